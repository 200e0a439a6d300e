//! Removing what a build left leads nowhere else, even while somebody changes it.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use builder::sandbox::remove_tree;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::place::{Place, run};

/// CVE-2025-46415 and -52991: what a builder leaves must not lead the removal elsewhere.
#[test]
fn of_what_a_build_leaves_and_nothing_else() {
    let place = Place::new();
    let precious = place.path("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "stays").unwrap();
    let script = format!(
        "mkdir a a/b; ln -s {0} a/link; ln -s / root; mkdir shut; touch shut/f; chmod 0 shut; mkfifo pipe; d=.; for i in $(seq 300); do d=$d/d; done; mkdir -p $d",
        precious.display()
    );
    run(&place.request(&script));
    remove_tree(&place.path("build")).unwrap();
    assert!(!place.path("build").exists());
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "stays");
}

/// The same while somebody swaps a folder for a link to another, again and again: names are looked up once, from open
/// folders, and no link is followed.
#[test]
fn while_folders_are_swapped_for_links() {
    let place = Place::new();
    let precious = place.path("precious");
    fs::create_dir_all(precious.join("deeper")).unwrap();
    for number in 0..20 {
        fs::write(precious.join(format!("deeper/{number}")), "stays").unwrap();
    }
    let mut swaps = 0;
    for _ in 0..30 {
        let tree = place.path("left");
        for number in 0..20 {
            fs::create_dir_all(tree.join(format!("a{number}/deeper"))).unwrap();
            (0..20).for_each(|file| fs::write(tree.join(format!("a{number}/deeper/{file}")), "goes").unwrap());
            std::os::unix::fs::symlink(&precious, tree.join(format!("b{number}"))).unwrap();
        }
        let done = AtomicBool::new(false);
        swaps += std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0;
                while !done.load(Ordering::Relaxed) {
                    for number in 0..20 {
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
        assert_eq!(fs::read_dir(precious.join("deeper")).unwrap().count(), 20);
    }
    assert!(swaps > 0, "nothing was swapped");
    assert_eq!(fs::read_to_string(precious.join("deeper/7")).unwrap(), "stays");
}
