//! Abstract sockets lead neither out of a build nor into one (CVE-2024-27297).

use crate::scene::{Scene, run};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

#[test]
fn lead_neither_out_nor_in() {
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
    let scene = Scene::new();
    let request = scene.request(&script);
    let running = std::thread::spawn(move || run(&request));
    let until = Instant::now() + Duration::from_millis(1500);
    let address = SocketAddr::from_abstract_name(&inside).unwrap();
    while Instant::now() < until {
        assert!(UnixStream::connect_addr(&address).is_err(), "reached the build from outside");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(running.join().unwrap(), "refused\nown\nready\n");
}
