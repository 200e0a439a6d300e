//! Concurrent commands: a process that waits for another continues when that one has removed
//! everything.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Concurrent installs, switches and removals end well, or as they would one after the other.
#[test]
fn installs_and_removals() {
    let world = World::new();
    let trees: Vec<PathBuf> = ["a", "b", "c", "d"].iter().map(|version| world.tree(version)).collect();
    let installed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (thread, tree) in trees.iter().enumerate() {
            let (world, installed) = (&world, &installed);
            scope.spawn(move || {
                let (root, prefix) = (&world.root(), Path::new(PREFIX));
                for round in 0..60 {
                    let options = InstallOptions { durable: false, keep: round % 3, ..InstallOptions::default() };
                    let result = match (thread + round) % 3 {
                        0 => install(tree, root, InstallMode::Copy, &options).map(|_| {
                            installed.fetch_add(1, Ordering::Relaxed);
                        }),
                        1 => uninstall(root, prefix, false).map(drop),
                        _ => switch(root, prefix, Wanted::Previous, false).map(drop),
                    };
                    let is_expected = match &result {
                        Ok(()) => true,
                        Err(PrefixError::NotInstalled { .. } | PrefixError::NoGeneration { .. }) => {
                            (thread + round) % 3 != 0
                        }
                        Err(_) => false,
                    };
                    assert!(is_expected, "thread {thread}, round {round}: {result:?}");
                }
            });
        }
    });
    assert!(installed.load(Ordering::Relaxed) > 20);
    world.check_that_all_works("afterwards");
    assert!(!world.hidden().exists());
}

/// The lock of a removed prefix is void: the next process has a lock of its own.
#[test]
fn a_lock_without_a_name() {
    let world = World::new();
    world.install("one");
    let held = OpenPrefix::open(&world.root(), PREFIX.as_ref(), Access::Change).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| world.install("two"));
        let has_opened = || {
            let lock = fs::canonicalize(world.hidden().join("lock")).unwrap();
            let open = fs::read_dir("/proc/self/fd").unwrap();
            open.filter(|entry| fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to == lock)).count() > 1
        };
        while !has_opened() {
            std::thread::yield_now();
        }
        // The calls of an uninstall.
        held.take_away(held.current().unwrap()).unwrap();
        held.remove_generation(1).unwrap();
        drop(held);
        assert_eq!(waits.join().unwrap().generation, 1);
    });
    assert_eq!((world.version().as_str(), world.list()), ("two", vec![(1, true)]));
}
