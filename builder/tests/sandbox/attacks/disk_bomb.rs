//! A build leaves some space on the disk to others.

use crate::scene::{Scene, try_run};
use nix::sys::statvfs::statvfs;
use sandbox::Status;
use std::time::{Duration, Instant};

#[test]
fn ends_before_the_disk_is_full() {
    let scene = Scene::new();
    let free = || {
        let stat = statvfs(&scene.path("build")).unwrap();
        stat.blocks_available() * stat.fragment_size()
    };
    let mut request = scene.request("for i in $(seq 80); do fallocate -l 10M f$i; sleep 0.05; done; sleep 600");
    let before = free();
    request.limits.disk_reserve_bytes = Some(before - (200 << 20));
    let started = Instant::now();
    let ran = try_run(&request).unwrap();
    assert_eq!(ran.outcome.status, Status::DiskFull);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(free() > before - (600 << 20), "{before} bytes were free, now {}", free());

    // A build that leaves the space may use the rest.
    let mut request = scene.request("fallocate -l 20M f && echo fits");
    request.limits.disk_reserve_bytes = Some(before / 2);
    let ran = try_run(&request).unwrap();
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "fits\n"));
}
