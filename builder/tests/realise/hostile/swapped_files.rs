//! A file that a process swaps while it is adopted is an error or one of the two, and no file
//! outside is changed.
//!
//! No process of a build is alive at that point; this is the second line of defence. Directories
//! and symbolic links are swapped in `swaps` of the store's tests.

use super::assert_clean;
use crate::common::World;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const FILES: usize = 100;

fn exchange(a: &Path, b: &Path) -> bool {
    renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE).is_ok()
}

#[test]
fn for_hard_links_change_nothing_outside() {
    let world = World::new();
    // On the file system of the store, where a hard link to it can be made.
    let outside = tempfile::tempdir_in(world.store.root()).unwrap();
    let precious = outside.path().join("precious");
    fs::write(&precious, "stays").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o640)).unwrap();
    let modified = fs::metadata(&precious).unwrap().modified().unwrap();
    let (mut swaps, mut taken) = (0, 0);
    for round in 0..30 {
        let tree = outside.path().join(format!("tree{round}"));
        fs::create_dir(&tree).unwrap();
        for number in 0..FILES {
            let file = tree.join(format!("a{number}"));
            fs::write(&file, format!("{round} {number}")).unwrap();
            // Some that even their owner cannot read, so that permissions have to be given.
            fs::set_permissions(&file, fs::Permissions::from_mode(if number % 2 == 0 { 0 } else { 0o644 })).unwrap();
            fs::hard_link(&precious, outside.path().join(format!("b{number}"))).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0;
                while !done.load(Ordering::Relaxed) {
                    for number in 0..FILES {
                        let (a, b) = (tree.join(format!("a{number}")), outside.path().join(format!("b{number}")));
                        swaps += u32::from(exchange(&a, &b));
                    }
                }
                swaps
            });
            // It may fail, as what is one file when it is looked at may be another when it is
            // opened.
            taken += u32::from(world.store.import_tree(&tree).is_ok());
            done.store(true, Ordering::Relaxed);
            swaps += swapper.join().unwrap();
        });
        for number in 0..FILES {
            fs::remove_file(outside.path().join(format!("b{number}"))).unwrap();
        }
        let now = fs::metadata(&precious).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "stays");
        assert_eq!((now.permissions().mode() & 0o7777, now.modified().unwrap()), (0o640, modified), "round {round}");
    }
    assert!(swaps > 100, "{swaps} swaps");
    assert_clean(&world);
    // Left alone, such a tree is taken, and the file outside is no part of it.
    let tree = outside.path().join("quiet");
    fs::create_dir(&tree).unwrap();
    fs::hard_link(&precious, tree.join("a")).unwrap();
    world.store.import_tree(&tree).unwrap();
    assert_eq!(fs::metadata(&precious).unwrap().permissions().mode() & 0o7777, 0o640);
    println!("{swaps} swaps, {taken} of 30 trees were taken");
}
