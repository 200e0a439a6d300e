//! The network of a build is a loopback device of its own.

use crate::scene::shell;
use std::net::{TcpListener, UdpSocket};

#[test]
fn is_a_loopback_device() {
    assert_eq!(shell("ls /sys 2>/dev/null; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '"), "lo\n");
    let talk = r#"perl -MIO::Socket::INET -e '
        my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die $!;
        my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $l->sockport) or die $!;
        print {$l->accept} "to oneself\n"; print <$c>'"#;
    assert_eq!(shell(talk), "to oneself\n");

    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port();
    let reach = format!(
        r#"perl -MIO::Socket::INET -e 'for my $host ("127.0.0.1", "192.0.2.1") {{
            print IO::Socket::INET->new(PeerAddr => $host, PeerPort => {port}, Timeout => 5) ? "reached\n" : "refused\n" }}'"#
    );
    assert_eq!(shell(&reach), "refused\nrefused\n");
}

#[test]
fn carries_no_datagram_out() {
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    outside.set_nonblocking(true).unwrap();
    let port = outside.local_addr().unwrap().port();
    let send = format!(
        r#"perl -MIO::Socket::INET -e 'my $own = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1") or die $!;
            for my $port ({port}, $own->sockport) {{
                my $s = IO::Socket::INET->new(Proto => "udp", PeerAddr => "127.0.0.1", PeerPort => $port) or die $!; $s->send("own") }}
            $own->recv(my $got, 9); print "$got\n"'"#
    );
    assert_eq!(shell(&send), "own\n");
    assert!(outside.recv(&mut [0; 9]).is_err(), "nothing came");
}
