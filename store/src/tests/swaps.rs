//! A tree that another process changes during its adoption leads nowhere else: files outside are
//! not read, and above all do not get the store's permissions and times.

use super::*;
use model::Digest;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

const DIRECTORIES: usize = 20;

/// A directory that must not change, with a writable file of its own time.
fn precious(place: &Path) -> PathBuf {
    let precious = place.join("precious");
    make(&precious, "secret = no source has this\ndeeper/secret = nor this");
    precious
}

fn seen(precious: &Path) -> Vec<(u32, i64, i64)> {
    ["", "secret", "deeper", "deeper/secret"]
        .iter()
        .map(|name| std::fs::symlink_metadata(precious.join(name)).unwrap())
        .map(|meta| (meta.mode(), meta.mtime(), meta.mtime_nsec()))
        .collect()
}

/// Calls `work` on trees of directories while each is repeatedly swapped for a link to the precious
/// one and back.
#[track_caller]
fn with_swapped_directories(work: impl Fn(&LocalStore, &Path) -> bool) {
    let store = temp_store();
    let place = tempfile::tempdir_in(store.root().join("tmp")).unwrap();
    let precious = precious(place.path());
    let before = seen(&precious);
    let (mut swaps, mut whole) = (0, 0);
    for round in 0..30 {
        let tree = place.path().join(format!("tree{round}"));
        for number in 0..DIRECTORIES {
            make(&tree.join(format!("a{number}")), &format!("secret = {number}\ndeeper/secret * {round}"));
            std::os::unix::fs::symlink(&precious, tree.join(format!("b{number}"))).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
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
            // It may fail, as a directory that was listed may be a link when it is opened.
            whole += u32::from(work(&store, &tree));
            done.store(true, Ordering::Relaxed);
            swaps += swapper.join().unwrap();
        });
        assert_eq!(seen(&precious), before, "round {round}");
    }
    assert!(swaps > 100, "{swaps} swaps");
    for secret in ["no source has this", "nor this"] {
        let digest = Digest::of(secret.as_bytes());
        assert!(store.open_blob(&digest).is_err(), "`{secret}` was read");
    }
    // Left unchanged, the tree is adopted.
    let tree = place.path().join("quiet");
    make(&tree, "a/secret = 1");
    std::os::unix::fs::symlink(&precious, tree.join("b")).unwrap();
    assert!(work(&store, &tree));
    assert_eq!(seen(&precious), before);
    println!("{swaps} swaps, {whole} of 30 trees were taken");
}

#[test]
fn output_is_adopted() {
    with_swapped_directories(|store, tree| store.import_tree(tree).is_ok());
}

#[test]
fn source_is_added() {
    with_swapped_directories(|store, tree| store.add_source(tree, name("source"), None).is_ok());
}
