//! Removing what a build left leads nowhere else, even while somebody changes it (CVE-2025-46415, -52991).

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use builder::sandbox::remove_tree;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::place::{Place, run};

/// A directory that must stay as it is, with files in and below it.
fn precious(place: &Place) -> PathBuf {
    let precious = place.path("precious");
    fs::create_dir_all(precious.join("deeper")).unwrap();
    for number in 0..FOLDERS {
        fs::write(precious.join(format!("deeper/{number}")), "stays").unwrap();
    }
    precious
}

#[track_caller]
fn assert_untouched(precious: &Path) {
    assert_eq!(fs::read_dir(precious.join("deeper")).unwrap().count(), FOLDERS);
    for number in 0..FOLDERS {
        let file = precious.join(format!("deeper/{number}"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "stays");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    }
}

const FOLDERS: usize = 20;

#[test]
fn of_what_a_build_leaves_and_nothing_else() {
    let place = Place::new();
    let precious = precious(&place);
    let script = format!(
        "mkdir a a/b; ln -s {0} a/link; ln -s / root; mkdir shut; touch shut/f; chmod 0 shut; mkfifo pipe; d=.; for i in $(seq 300); do d=$d/d; done; mkdir -p $d",
        precious.display()
    );
    run(&place.request(&script));
    remove_tree(&place.path("build")).unwrap();
    assert!(!place.path("build").exists());
    assert_untouched(&precious);
}

/// Removes trees of folders, each of which somebody swaps for what `other` puts beside it and back, again and again.
#[track_caller]
fn while_folders_are_swapped(other: impl Fn(&Path, &Path, usize)) {
    let place = Place::new();
    let precious = precious(&place);
    let mut swaps = 0;
    for _ in 0..30 {
        let tree = place.path("left");
        for number in 0..FOLDERS {
            fs::create_dir_all(tree.join(format!("a{number}/deeper"))).unwrap();
            (0..20).for_each(|file| fs::write(tree.join(format!("a{number}/deeper/{file}")), "goes").unwrap());
            other(&precious, &tree.join(format!("b{number}")), number);
        }
        let done = AtomicBool::new(false);
        swaps += std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0;
                while !done.load(Ordering::Relaxed) {
                    for number in 0..FOLDERS {
                        let (a, b) = (tree.join(format!("a{number}")), tree.join(format!("b{number}")));
                        swaps += u32::from(renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE).is_ok());
                    }
                }
                swaps
            });
            // It may fail, as a folder may be another when its turn comes; what counts is what it did not touch.
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

/// Names are looked up once, from open folders, and no link is followed.
#[test]
fn while_folders_are_swapped_for_links() {
    while_folders_are_swapped(|precious, place, _| symlink(precious, place).unwrap());
}

/// Nor does a file outside lose anything but a name, though permissions are given to what has to be emptied.
#[test]
fn while_folders_are_swapped_for_hard_links() {
    while_folders_are_swapped(|precious, place, number| {
        fs::hard_link(precious.join(format!("deeper/{number}")), place).unwrap();
    });
}
