//! What ends a build early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use builder::request::Limits;
use builder::sandbox::Status;

use crate::place::{Place, Ran, run_until, try_run};

#[track_caller]
fn limited(script: &str, limits: Limits) -> Ran {
    let started = Instant::now();
    let place = Place::new();
    let mut request = place.request(script);
    request.limits = limits;
    let ran = try_run(&request).unwrap_or_else(|error| panic!("{error}"));
    assert!(started.elapsed() < Duration::from_secs(30), "it took {:?}", started.elapsed());
    ran
}

#[test]
fn timeout_ends_even_a_build_that_ignores_signals() {
    let limits = Limits { timeout: Some(Duration::from_millis(500)), ..Limits::default() };
    let ran = limited("trap '' TERM INT HUP; echo begun; sleep 600; sleep 600", limits.clone());
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::TimedOut, "begun\n"));
    let limits = Limits { timeout: Some(Duration::from_secs(60)), ..limits };
    assert_eq!(limited("exit 0", limits).outcome.status, Status::Exited(0));
}

#[test]
fn silence_ends_a_build_and_talking_keeps_it() {
    let limits = Limits { max_silent: Some(Duration::from_millis(1500)), ..Limits::default() };
    assert_eq!(limited("echo x; sleep 600", limits.clone()).outcome.status, Status::Silent);
    let talking = limited("for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done", limits);
    assert_eq!(talking.outcome.status, Status::Exited(0));
}

#[test]
fn the_log_has_a_limit() {
    let limits = Limits { max_log_bytes: Some(1000), ..Limits::default() };
    let ran = limited("yes", limits.clone());
    assert_eq!((ran.outcome.status, ran.log.len()), (Status::LogTooLong, 1000));
    let ran = limited("head -c 1000 /dev/zero", limits);
    assert_eq!((ran.outcome.status, ran.log.len()), (Status::Exited(0), 1000));
}

#[test]
fn a_build_can_be_cancelled() {
    let cancelled = Arc::new(AtomicBool::new(false));
    let later = cancelled.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        later.store(true, Ordering::Relaxed);
    });
    let place = Place::new();
    let started = Instant::now();
    let ran = run_until(&place.request("sleep 600"), &cancelled).unwrap();
    assert_eq!(ran.outcome.status, Status::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_long_log_arrives_whole() {
    let ran = try_run(&Place::new().request("seq 1 200000; (seq 1 1000 >&2)")).unwrap();
    assert_eq!(ran.log.lines().count(), 201_000);
    assert!(ran.log.ends_with("\n1000\n"));
}
