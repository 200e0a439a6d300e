//! A build that is no longer wanted ends at once.

use crate::scene::{Scene, run_until};
use sandbox::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn ends_a_build() {
    let cancelled = Arc::new(AtomicBool::new(false));
    let later = cancelled.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        later.store(true, Ordering::Relaxed);
    });
    let scene = Scene::new();
    let started = Instant::now();
    let ran = run_until(&scene.request("sleep 600"), &cancelled).unwrap();
    assert_eq!(ran.outcome.status, Status::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn that_comes_too_late_changes_nothing() {
    let (scene, cancelled) = (Scene::new(), AtomicBool::new(false));
    let ran = run_until(&scene.request("echo done"), &cancelled).unwrap();
    cancelled.store(true, Ordering::Relaxed);
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "done\n"));
}
