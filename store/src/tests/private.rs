//! Files being made are private: their names are random, and only the user of the process reaches
//! them.

use super::{make, open, temp_store};
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// CVE-2025-46416 and -52991: another user who knows a name beforehand puts a file there.
#[test]
fn names_are_random() {
    let store = temp_store();
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let again = open(store.root());
        let scratch = again.scratch_dir("build").unwrap();
        let name = scratch.path().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let (pid, random) = name.split_once('-').unwrap();
        assert_eq!(pid, std::process::id().to_string());
        assert_eq!(random.len(), 32, "{name}: 128 bits");
        assert!(seen.insert(random.to_owned()), "{name} came twice");
    }
    // Digits of a time or a counter would agree in some position.
    for at in 0..32 {
        let digits: BTreeSet<u8> = seen.iter().map(|random| random.as_bytes()[at]).collect();
        assert!(digits.len() > 4, "digit {at} is one of {digits:?} in 50 names");
    }
}

/// CVE-2024-38531: another user starts a program that a build leaves.
#[test]
fn no_other_user_gets_in() {
    let store = temp_store();
    let scratch = store.scratch_dir("build").unwrap();
    make(scratch.path(), "tool * #!/bin/sh");
    let tool = scratch.path().join("tool");
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o777)).unwrap();
    let private = scratch.path().parent().unwrap();
    assert_eq!(std::fs::metadata(private).unwrap().mode() & 0o7777, 0o700);
    assert!(Command::new(&tool).status().unwrap().success(), "its own user starts it");
    if nix::unistd::geteuid().is_root() {
        // All directories above can be entered by others, so this one must not.
        for above in private.ancestors().skip(1).take_while(|path| path.starts_with(store.dir.path())) {
            std::fs::set_permissions(above, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let as_other =
            |program: &std::path::Path| Command::new(program).uid(65534).gid(65534).current_dir("/").status();
        let error = as_other(&tool).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        // All users may start programs in the store.
        std::fs::rename(&tool, store.root().join("tool")).unwrap();
        assert!(as_other(&store.root().join("tool")).unwrap().success());
    }
}

/// Private directories, and the refusal of hostile trees and archives, are the same without root.
#[test]
fn as_an_ordinary_user() {
    let left = test_support::ordinary::run_again(
        &["tests::private", "tests::swaps", "tests::basics", "tests::crash", "archive::"],
        &[],
    );
    assert!(left.is_empty(), "temporary directories stay: {left:?}");
}

/// Without root the trees of a store can be removed only once they are writable.
#[test]
fn temporary_directories_go() {
    for temporary in [super::Temporary::new(), super::Temporary::in_memory()] {
        let path = temporary.path().to_owned();
        super::make(&path.join("source"), "a/b/c = 1");
        let store = super::open(&path.join("root"));
        store.add_source(&path.join("source"), super::name("source"), None).unwrap();
        drop(store);
        drop(temporary);
        assert!(!path.exists(), "{}", path.display());
    }
}
