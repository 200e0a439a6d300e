//! The network, and what is left when a build or its caller ends.

use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{Place, child_exe, run, shell, try_run};

#[test]
fn the_network_is_a_loopback_device() {
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
fn abstract_sockets_lead_neither_out_nor_in() {
    let name = format!("eval-test-{}", std::process::id());
    let outside = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&outside).unwrap();
    let inside = format!("{name}-inside");
    let script = format!(
        r#"perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die;
            print connect(S, pack("Sa*", AF_UNIX, "\0{name}")) ? "reached\n" : "refused\n";
            socket(L, AF_UNIX, SOCK_STREAM, 0); bind(L, pack("Sa*", AF_UNIX, "\0{inside}")) or die $!; listen(L, 1);
            socket(C, AF_UNIX, SOCK_STREAM, 0);
            print connect(C, pack("Sa*", AF_UNIX, "\0{inside}")) ? "own\n" : "not even own: $!\n";
            $| = 1; print "ready\n"; sleep 2'"#
    );
    let place = Place::new();
    let request = place.request(&script);
    let running = std::thread::spawn(move || run(&request));
    let until = Instant::now() + Duration::from_millis(1500);
    let address = SocketAddr::from_abstract_name(&inside).unwrap();
    while Instant::now() < until {
        assert!(std::os::unix::net::UnixStream::connect_addr(&address).is_err(), "reached the build from outside");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(running.join().unwrap(), "refused\nown\nready\n");
}

/// Whether a process of this machine has `marker` in its command line.
fn alive(marker: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let own = entry.file_name().to_str() == Some(std::process::id().to_string().as_str());
        !own && std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
    })
}

#[test]
fn everything_is_dead_when_a_build_ends() {
    let marker = format!("5{}", std::process::id());
    let script = format!("setsid sleep {marker} & (setsid nohup sleep {marker} >/dev/null 2>&1 <&- &) ; echo done");
    let started = Instant::now();
    assert_eq!(shell(&script), "done\n");
    assert!(!alive(&format!("sleep\0{marker}")));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_build_dies_with_its_caller() {
    let marker = format!("6{}", std::process::id());
    let place = Place::new();
    let request = place.request(&format!("setsid sleep {marker} & sleep {marker}"));
    let json = serde_json::to_vec(&request).unwrap();
    let mut caller = Command::new(child_exe())
        .arg0("sandbox-run")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    caller.stdin.take().unwrap().write_all(&json).unwrap();
    let wait = |expected: bool| {
        let until = Instant::now() + Duration::from_secs(30);
        while alive(&format!("sleep\0{marker}")) != expected {
            assert!(Instant::now() < until, "expected the build to be alive: {expected}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(true);
    caller.kill().unwrap();
    caller.wait().unwrap();
    wait(false);
}

#[test]
fn time_and_memory_are_accounted() {
    let script = "perl -e 'my $x = \"a\" x 50_000_000; my $t = times; 1 while times - $t < 0.3'";
    let usage = try_run(&Place::new().request(script)).unwrap().outcome.usage;
    assert!(usage.max_rss_bytes > 50_000_000 && usage.max_rss_bytes < 500_000_000, "{usage:?}");
    assert!(usage.user + usage.system > Duration::from_millis(200), "{usage:?}");
    assert!(usage.wall >= Duration::from_millis(200), "{usage:?}");
}

#[test]
fn as_an_ordinary_user() {
    crate::ordinary::run_again(&[], &[("SANDBOX_RUN", &child_exe())]);
}
