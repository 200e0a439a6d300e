//! The database is rebuilt whole, or not at all: a collector never sees a store without its
//! objects.

use super::{TempStore, Temporary, crash, make, name, open, temp_store};
use crate::error::StoreError;
use crate::gc::GcOptions;
use crate::{Durability, LocalStore, OpenOptions};
use model::StorePath;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

const OPTIONS: OpenOptions = OpenOptions { durability: Durability::Relaxed };

/// A store with a rooted path, and the path; the store is closed.
fn store_with_root() -> (Temporary, StorePath) {
    let TempStore { store, dir } = temp_store();
    make(&dir.path().join("source"), "x = 1\nd/y = 2");
    let path = store.add_source(&dir.path().join("source"), name("kept"), None).unwrap();
    store.add_named_root(&name("kept"), &path).unwrap();
    (dir, path)
}

fn gc(store: &LocalStore) -> Result<u64, StoreError> {
    store.gc(GcOptions::default(), &mut |_| {}).map(|report| report.removed + report.leftovers)
}

/// Everything exists, or the missing database is reported; either way a rebuild restores it.
#[track_caller]
fn assert_nothing_is_lost(root: &Path, path: &StorePath, when: &str) {
    let store = open(root);
    match gc(&store) {
        Ok(_) => assert!(store.is_valid(path).unwrap(), "{when}: collected"),
        Err(StoreError::LostDatabase { .. }) => {}
        Err(error) => panic!("{when}: {error}"),
    }
    assert!(store.physical_path(path).join("d/y").exists(), "{when}: the object is gone");
    drop(store);
    let (store, count) = LocalStore::rebuild_db(root, OPTIONS, false).unwrap();
    assert_eq!(count, 1, "{when}");
    assert!(store.is_valid(path).unwrap(), "{when}");
    gc(&store).unwrap();
    assert_eq!(store.verify(false).unwrap().damage, [], "{when}");
}

#[test]
fn stopped_at_any_step() {
    let seen = {
        let (dir, _) = store_with_root();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let steps = Rc::clone(&seen);
        crash::AT_STEP.set(Some(Box::new(move |step| steps.borrow_mut().push(step))));
        LocalStore::rebuild_db(&dir.path().join("root"), OPTIONS, false).unwrap();
        crash::AT_STEP.set(None);
        seen.take()
    };
    assert!(seen.len() > 5, "{seen:?}");
    for damaged in [false, true] {
        for (stop, &step) in seen.iter().enumerate() {
            let (dir, path) = store_with_root();
            let root = dir.path().join("root");
            if damaged {
                std::fs::write(root.join("db/store.sqlite"), "no database").unwrap();
            }
            let count = RefCell::new(0);
            crash::AT_STEP.set(Some(Box::new(move |_| {
                assert!(*count.borrow() != stop, "stopped");
                *count.borrow_mut() += 1;
            })));
            let stopped = catch_unwind(AssertUnwindSafe(|| LocalStore::rebuild_db(&root, OPTIONS, false).map(drop)));
            crash::AT_STEP.set(None);
            assert!(stopped.is_err());
            if damaged && gc(&open(&root)).is_err_and(|error| error.is_database_damage()) {
                LocalStore::rebuild_db(&root, OPTIONS, false).unwrap();
            }
            assert_nothing_is_lost(&root, &path, step);
        }
    }
}

#[test]
fn no_process_collects_or_adds_during_a_rebuild() {
    let (dir, path) = store_with_root();
    let root = dir.path().join("root");
    let lock = std::fs::File::open(root.join("locks/collector")).unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let held = Rc::clone(&seen);
    crash::AT_STEP.set(Some(Box::new(move |_| {
        let free = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok();
        held.borrow_mut().push(free);
    })));
    LocalStore::rebuild_db(&root, OPTIONS, false).unwrap();
    crash::AT_STEP.set(None);
    assert!(!seen.borrow().is_empty() && !seen.borrow().contains(&true), "{:?}", seen.borrow());
    assert!(open(&root).is_valid(&path).unwrap());
}

#[test]
fn a_running_process_registers_in_the_new_database() {
    let (dir, path) = store_with_root();
    let root = dir.path().join("root");
    let going_on = open(&root);
    assert!(going_on.is_valid(&path).unwrap());
    LocalStore::rebuild_db(&root, OPTIONS, false).unwrap();
    make(&dir.path().join("other"), "z = 3");
    let added = going_on.add_source(&dir.path().join("other"), name("other"), None).unwrap();
    assert!(open(&root).is_valid(&added).unwrap());
    assert!(open(&root).is_valid(&path).unwrap());
}

#[test]
fn a_missing_database_is_an_error() {
    for what in ["nothing", "an empty file"] {
        let (dir, path) = store_with_root();
        let root = dir.path().join("root");
        std::fs::remove_file(root.join("db/store.sqlite")).unwrap();
        if what == "an empty file" {
            std::fs::write(root.join("db/store.sqlite"), "").unwrap();
        }
        let error = open(&root).is_valid(&path).unwrap_err();
        assert!(matches!(error, StoreError::LostDatabase { .. }) && error.is_database_damage(), "{what}: {error}");
        assert!(error.help().unwrap().contains("`ev store rebuild-db`"), "{error}");
        assert_nothing_is_lost(&root, &path, what);
    }
}

#[test]
fn files_at_the_old_database_are_removed() {
    let (dir, path) = store_with_root();
    let root = dir.path().join("root");
    for kind in ["store.sqlite", "store.sqlite.old", "store.sqlite.new", "store.sqlite.old-wal"] {
        let place = root.join("db").join(kind);
        let _ = std::fs::remove_file(&place);
        make(&place, "a/b = 1");
        let (store, count) = LocalStore::rebuild_db(&root, OPTIONS, false).unwrap();
        assert_eq!(count, 1, "{kind}");
        assert!(store.is_valid(&path).unwrap(), "{kind}");
    }
}
