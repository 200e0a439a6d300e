//! All processes of a build are dead when it ends, when it is stopped, and when its caller dies.

use crate::scene::{Scene, child_exe, run_until, shell};
use crate::support::{is_sleeping, limited, unique_seconds};
use sandbox::Status;
use sandbox::request::Limits;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

#[test]
fn are_dead_when_a_build_ends() {
    let seconds = unique_seconds(5);
    let script = format!("setsid sleep {seconds} & (setsid nohup sleep {seconds} >/dev/null 2>&1 <&- &) ; echo done");
    let started = Instant::now();
    assert_eq!(shell(&script), "done\n");
    assert!(!is_sleeping(&seconds));
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// A build that ends while its children hold the log open does not hang the caller.
#[test]
fn that_became_daemons_do_not_keep_the_build_open() {
    let seconds = unique_seconds(6);
    let started = Instant::now();
    let script = format!(
        "perl -e 'use POSIX; fork and exit; setsid; fork and exit; $SIG{{$_}} = q(IGNORE) for qw(HUP TERM INT);
            exec q(sleep), {seconds}' ; echo over"
    );
    assert_eq!(shell(&script), "over\n");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(!is_sleeping(&seconds));
}

#[test]
fn are_dead_when_a_build_is_stopped() {
    let seconds = unique_seconds(7);
    let script = format!("trap '' TERM INT HUP; setsid sleep {seconds} & (setsid sleep {seconds} &); echo begun; wait");
    let limits = Limits { timeout: Some(Duration::from_secs(1)), ..Limits::default() };
    let ran = limited(&script, limits, 30);
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::TimedOut, "begun\n"));
    assert!(!is_sleeping(&seconds), "after its time");

    let (scene, stop) = (Scene::new(), AtomicBool::new(false));
    let request = scene.request(&script);
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_until(&request, &stop).unwrap());
        wait_until_sleeping(&seconds, true);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        running.join().unwrap()
    });
    assert_eq!(ran.outcome.status, Status::Cancelled);
    assert!(!is_sleeping(&seconds), "after it was cancelled");
}

#[test]
fn are_dead_when_the_caller_dies() {
    let seconds = unique_seconds(8);
    let scene = Scene::new();
    let request = scene.request(&format!("setsid sleep {seconds} & sleep {seconds}"));
    let json = serde_json::to_vec(&request).unwrap();
    let mut caller = Command::new(child_exe())
        .arg0("sandbox-run")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    caller.stdin.take().unwrap().write_all(&json).unwrap();
    wait_until_sleeping(&seconds, true);
    caller.kill().unwrap();
    caller.wait().unwrap();
    wait_until_sleeping(&seconds, false);
}

#[track_caller]
fn wait_until_sleeping(seconds: &str, expected: bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while is_sleeping(seconds) != expected {
        assert!(Instant::now() < until, "expected the build to be alive: {expected}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
