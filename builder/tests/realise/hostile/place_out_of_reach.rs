//! Other users cannot reach the files of a running build, regardless of the permissions that it
//! gives them (CVE-2024-38531).

use crate::common::World;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// While a build runs, no other user enters its directories; when it is done, all users can read
/// the store.
#[test]
fn is_out_of_reach() {
    let world = World::new();
    let drv = world
        .script("open", "umask 0; mkdir -p $out/d; touch /build/tool; chmod -R 777 /build $out; sleep 1")
        .add(&world);
    let tmp = world.store.root().join("tmp");
    let seen = std::thread::scope(|scope| {
        let running = scope.spawn(|| world.built(&drv));
        let mut seen = false;
        while !running.is_finished() {
            for entry in fs::read_dir(&tmp).unwrap().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                assert_eq!(meta.mode() & 0o077, 0, "{}: {:o}", entry.path().display(), meta.mode());
                seen |= entry.path().read_dir().is_ok_and(|mut inside| {
                    inside.any(|scratch| scratch.is_ok_and(|scratch| scratch.path().join("build/tool").exists()))
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let built = running.join().unwrap();
        assert!(built.is_dir());
        assert_eq!(fs::metadata(&built).unwrap().mode() & 0o777, 0o555);
        seen
    });
    assert!(seen, "the build was seen at work");
}
