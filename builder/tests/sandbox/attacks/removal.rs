//! Removal of a build's tree touches nothing else, even while another process changes the tree
//! (CVE-2025-46415, -52991).

use crate::scene::{Scene, run};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use os::remove_tree;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A directory that must stay as it is, with files in and below it.
fn precious(scene: &Scene) -> PathBuf {
    let precious = scene.path("precious");
    fs::create_dir_all(precious.join("deeper")).unwrap();
    for number in 0..DIRECTORIES {
        fs::write(precious.join(format!("deeper/{number}")), "stays").unwrap();
    }
    precious
}

#[track_caller]
fn assert_untouched(precious: &Path) {
    assert_eq!(fs::read_dir(precious.join("deeper")).unwrap().count(), DIRECTORIES);
    for number in 0..DIRECTORIES {
        let file = precious.join(format!("deeper/{number}"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "stays");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    }
}

const DIRECTORIES: usize = 20;

#[test]
fn of_a_builds_tree_and_nothing_else() {
    let scene = Scene::new();
    let precious = precious(&scene);
    let script = format!(
        "mkdir a a/b; ln -s {0} a/link; ln -s / root; mkdir shut; touch shut/f; chmod 0 shut; mkfifo pipe; d=.; for i in $(seq 300); do d=$d/d; done; mkdir -p $d",
        precious.display()
    );
    run(&scene.request(&script));
    remove_tree(&scene.path("build")).unwrap();
    assert!(!scene.path("build").exists());
    assert_untouched(&precious);
}

/// Removes trees of directories, each of which another thread exchanges with the object that
/// `other` puts beside it, and back, again and again.
#[track_caller]
fn while_directories_are_swapped(other: impl Fn(&Path, &Path, usize)) {
    let scene = Scene::new();
    let precious = precious(&scene);
    let mut swaps = 0;
    for _ in 0..30 {
        let tree = scene.path("left");
        for number in 0..DIRECTORIES {
            fs::create_dir_all(tree.join(format!("a{number}/deeper"))).unwrap();
            (0..20).for_each(|file| fs::write(tree.join(format!("a{number}/deeper/{file}")), "goes").unwrap());
            other(&precious, &tree.join(format!("b{number}")), number);
        }
        let done = AtomicBool::new(false);
        swaps += std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0;
                while !done.load(Ordering::Relaxed) {
                    for number in 0..DIRECTORIES {
                        let (a, b) = (tree.join(format!("a{number}")), tree.join(format!("b{number}")));
                        swaps += u32::from(renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE).is_ok());
                    }
                }
                swaps
            });
            // It may fail, as a directory may have been exchanged; the test is that it touches
            // nothing outside.
            let _ = remove_tree(&tree);
            done.store(true, Ordering::Relaxed);
            swapper.join().unwrap()
        });
        let _ = remove_tree(&tree);
        assert!(!tree.exists());
        assert_untouched(&precious);
    }
    assert!(swaps > 0, "nothing was swapped");
}

/// Names are looked up once, from open directories, and no link is followed.
#[test]
fn while_directories_are_swapped_for_links() {
    while_directories_are_swapped(|precious, beside, _| symlink(precious, beside).unwrap());
}

/// A file outside loses only a name, though directories get permissions before they are emptied.
#[test]
fn while_directories_are_swapped_for_hard_links() {
    while_directories_are_swapped(|precious, beside, number| {
        fs::hard_link(precious.join(format!("deeper/{number}")), beside).unwrap();
    });
}
