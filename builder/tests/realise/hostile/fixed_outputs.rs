//! A build whose output is known beforehand has no more network than others (CVE-2024-27297).

use crate::common::{World, text};
use model::{HashAlgorithm, Ingestion};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

#[test]
fn have_no_more_network_than_others() {
    let name = format!("eval-fixed-{}", std::process::id());
    let abstracted = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    abstracted.set_nonblocking(true).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let script = format!(
        r#"perl -e 'sub reach {{ socket(S, $_[0], 1, 0) or die; print connect(S, $_[1]) ? "reached\n" : "refused\n" }}
            reach(1, pack("S a*", 1, "\0{name}")); reach(2, pack("S n C4 x8", 2, {port}, 127, 0, 0, 1));
            socket(L, 1, 1, 0) or die; bind(L, pack("S a*", 1, "\0{name}")) or die $!; listen(L, 1) or die;
            reach(1, pack("S a*", 1, "\0{name}"))'; echo x > $out"#
    );
    let world = World::new();
    let hash = HashAlgorithm::Sha256.hash(b"x\n");
    let fixed = world.script("fixed", &script).fixed(&hash.sri(), Ingestion::Flat).add(&world);
    assert_eq!(text(&world.built(&fixed)), "x\n");
    let log = world.log(&fixed);
    assert_eq!(log, "refused\nrefused\nreached\n", "but for what it has made itself");
    assert!(abstracted.accept().is_err() && tcp.accept().is_err(), "nobody came");
}
