//! A tree that somebody changes while it is taken over leads nowhere else: not to be read, and above all not to have the
//! store's permissions and times put on what lies outside.

use super::*;
use crate::Digest;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

const FOLDERS: usize = 20;

/// What must stay as it is: a folder with a writable file of its own time.
fn precious(place: &Path) -> PathBuf {
    let precious = place.join("precious");
    make(&precious, "secret = nobody has added this\ndeeper/secret = nor this");
    precious
}

fn seen(precious: &Path) -> Vec<(u32, i64, i64)> {
    ["", "secret", "deeper", "deeper/secret"]
        .iter()
        .map(|name| std::fs::symlink_metadata(precious.join(name)).unwrap())
        .map(|meta| (meta.mode(), meta.mtime(), meta.mtime_nsec()))
        .collect()
}

/// Calls `work` on trees of folders while each is swapped for a link to what is precious and back, again and again.
#[track_caller]
fn while_folders_are_swapped(work: impl Fn(&LocalStore, &Path) -> bool) {
    let store = temp_store();
    let place = tempfile::tempdir_in(store.root().join("tmp")).unwrap();
    let precious = precious(place.path());
    let before = seen(&precious);
    let (mut swaps, mut whole) = (0, 0);
    for round in 0..30 {
        let tree = place.path().join(format!("tree{round}"));
        for number in 0..FOLDERS {
            make(&tree.join(format!("a{number}")), &format!("secret = {number}\ndeeper/secret * {round}"));
            std::os::unix::fs::symlink(&precious, tree.join(format!("b{number}"))).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
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
            // It may fail, as what is a folder when it is listed may be none when it is opened.
            whole += u32::from(work(&store, &tree));
            done.store(true, Ordering::Relaxed);
            swaps += swapper.join().unwrap();
        });
        assert_eq!(seen(&precious), before, "round {round}");
    }
    assert!(swaps > 100, "{swaps} swaps");
    for secret in ["nobody has added this", "nor this"] {
        let digest = Digest::of(secret.as_bytes());
        assert!(store.open_blob(&digest).is_err(), "`{secret}` was read");
    }
    // Left alone, the tree is taken.
    let tree = place.path().join("quiet");
    make(&tree, "a/secret = 1");
    std::os::unix::fs::symlink(&precious, tree.join("b")).unwrap();
    assert!(work(&store, &tree));
    assert_eq!(seen(&precious), before);
    println!("{swaps} swaps, {whole} of 30 trees were taken");
}

#[test]
fn while_an_output_is_taken_over() {
    while_folders_are_swapped(|store, tree| store.import_tree(tree).is_ok());
}

#[test]
fn while_a_source_is_added() {
    while_folders_are_swapped(|store, tree| store.add_source(tree, name("source"), None).is_ok());
}
