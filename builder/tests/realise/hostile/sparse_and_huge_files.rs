//! Files with holes and files of more than four gigabytes are adopted as they are.

use super::assert_clean;
use crate::common::{World, text};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Makes an output of one sparse file: so many zeros, and some bytes at its end.
#[track_caller]
fn with_hole(bytes: u64) -> World {
    let world = World::new();
    let script = format!(
        r#"mkdir $out; perl -e 'open F, ">", "$ENV{{out}}/hole"; seek(F, {bytes} - 3, 0) or die $!; print F "end" or die $!'"#
    );
    let built = world.built(&world.script("sparse", &script).add(&world));
    let hole = fs::metadata(built.join("hole")).unwrap();
    assert_eq!(hole.len(), bytes);
    assert!(hole.blocks() * 512 < 1 << 20, "{} blocks: it takes no more space than before", hole.blocks());
    let info =
        world.store.path_info(&world.output(&world.script("sparse", &script).add(&world), "out")).unwrap().unwrap();
    assert_eq!(info.bytes, bytes);
    world
}

#[test]
fn with_holes_are_taken_over() {
    assert_clean(&with_hole(300_000_000));
}

/// A size that does not fit 32 bits.
#[test]
fn that_are_huge_are_taken_over() {
    with_hole((1 << 32) + 7);
}

/// Reading holes takes time, though they take no space: a file larger than the store's file system
/// is not read.
#[test]
fn that_are_larger_than_the_disk_are_refused_at_once() {
    let world = World::new();
    let capacity = {
        let stat = nix::sys::statvfs::statvfs(world.store.root()).unwrap();
        stat.blocks() * stat.fragment_size()
    };
    let half = capacity / 2 + (1 << 20);
    let truncate = format!(
        r#"mkdir $out; for name in a b; do perl -e 'open F, ">", $ARGV[0]; truncate F, {half} or die' $out/$name; done"#
    );
    let begin = std::time::Instant::now();
    let cancelled = world.options.fetch.cancel.clone();
    // Should it be read all the same, it is not read to its end.
    let _watch = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(300));
        cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let error = world.error(&world.script("holes", &truncate).add(&world));
    assert!(error.contains("more than the allowed"), "after {:?}: {error}", begin.elapsed());
}

#[test]
fn are_not_read_on_when_the_build_is_no_longer_wanted() {
    let world = World::new();
    let script = "perl -e 'open F, q(>), $ENV{out}; truncate F, 200 << 30 or die'; echo @phase over";
    let drv = world.script("hole", script).add(&world);
    let (cancelled, events) = (world.options.fetch.cancel.clone(), world.events.clone());
    let canceller = std::thread::spawn(move || {
        while !events.lock().unwrap().iter().any(|event| event == "phase hole over") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let error = world.error(&drv);
    canceller.join().unwrap();
    assert!(error.contains("stopped on request") || error.contains("more than the allowed"), "{error}");
}

/// The file system refuses them as the build's own mistake, or a limit of the derivation does.
#[test]
fn that_are_too_large_fail() {
    let world = World::new();
    let impossible =
        world.script("impossible", "perl -e 'open F, q(>), $ENV{out}; truncate F, 1 << 62 or die qq($!\\n)'");
    let error = world.error(&impossible.add(&world));
    assert!(error.contains("File too large") || error.contains("Invalid argument"), "{error}");
    let script = "perl -e 'open F, q(>), $ENV{out}; truncate F, 300_000_000'";
    let error = world.error(&world.script("bounded", script).set("maxSize", "1000000").add(&world));
    assert!(error.contains("maxSize"), "{error}");
    let small = world.script("small", "echo x > $out").set("maxSize", "1000000").add(&world);
    assert_eq!(text(&world.built(&small)), "x\n");
}
