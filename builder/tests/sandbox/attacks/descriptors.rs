//! A build passes no descriptor to a process outside.

use crate::scene::{Scene, run, shell};
use std::os::unix::net::UnixListener;

/// CVE-2024-27297 and -2025-46416: a descriptor handed to a helper outside keeps the output
/// writable after the check.
#[test]
fn cannot_be_handed_out() {
    let scene = Scene::new();
    // A socket of the host that the build may even know the name of.
    let socket = scene.path("helper");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let script = format!(
        r#"perl -MSocket -e 'for my $name ("{path}", "\0{path}", "/proc/1/root{path}", "/proc/self/cwd/../helper") {{
            socket(S, AF_UNIX, SOCK_STREAM, 0) or die;
            print connect(S, pack("Sa*", AF_UNIX, $name)) ? "reached $name\n" : "refused\n" }}
            socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die; syswrite A, "own"; sysread B, my $x, 3; print "$x\n"'"#,
        path = socket.display()
    );
    assert_eq!(run(&scene.request(&script)), "refused\nrefused\nrefused\nrefused\nown\n");
    assert!(listener.accept().is_err(), "nobody came");
}

/// The log is the one thing that leads out: a pipe, through which no descriptor passes.
#[test]
fn do_not_fit_through_the_log() {
    assert_eq!(shell("readlink /proc/self/fd/1 | cut -d: -f1; readlink /proc/self/fd/2 | cut -d: -f1"), "pipe\npipe\n");
    assert_eq!(shell("perl -e 'print send(STDOUT, q(x), 0) ? q(a socket) : q(not a socket)'"), "not a socket");
}
