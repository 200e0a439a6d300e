//! Successive builds of one slot, which share the costly parts, find no traces of those before; a
//! promise a file.

mod clocks;
mod inodes;
mod inputs;
mod network;
mod roots;
mod traces;

use crate::scene::Scene;
use sandbox::{Sandbox, Status};
use std::sync::atomic::AtomicBool;

/// Runs the next build, with directories of its own.
#[track_caller]
fn build(sandbox: &Sandbox, script: &str) -> String {
    build_in(&Scene::new(), sandbox, script)
}

/// Runs the next build in this scene.
#[track_caller]
fn build_in(scene: &Scene, sandbox: &Sandbox, script: &str) -> String {
    let mut log = Vec::new();
    let ran = sandbox.run(&scene.request(script), &mut |bytes| log.extend_from_slice(bytes), &AtomicBool::new(false));
    let log = String::from_utf8_lossy(&log).into_owned();
    assert_eq!(ran.unwrap().status, Status::Exited(0), "log:\n{log}");
    log
}

/// A connection leaves a socket in `TIME_WAIT`, and counters; a failed one leaves counters too.
const CONNECT: &str = r#"perl -MIO::Socket::INET -e '
    my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => 4711) or die $!;
    my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => 4711) or die $!;
    my $s = $l->accept; close $s; close $c'"#;
const MISS: &str =
    r#"perl -MIO::Socket::INET -e 'IO::Socket::INET->new(PeerAddr => "192.0.2.1", PeerPort => 1) and die'"#;
