//! Leftovers of killed processes, and other entries with reserved names.

use super::super::names::SWITCHING;
use super::*;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::ffi::OsStr;

fn switching(world: &World) -> PathBuf {
    world.hidden().join(OsStr::from_bytes(SWITCHING))
}

/// A kill between the exchange and the renaming leaves the old generation under the new one's
/// number.
#[test]
fn killed_after_the_exchange() {
    let world = World::new();
    world.install("one");
    world.install("two");
    let (first, second) = (world.hidden().join("1"), world.prefix());
    renameat2(AT_FDCWD, &first, AT_FDCWD, &second, RenameFlags::RENAME_EXCHANGE).unwrap();
    assert_eq!(world.list(), [(1, true), (2, false)]);
    assert_eq!(world.version(), "one");
    world.rollback(Some(2)).unwrap();
    assert_eq!(world.version(), "two");
}

#[test]
fn killed_during_the_copy() {
    let world = World::new();
    world.install("one");
    fs::create_dir_all(world.hidden().join("incoming/bin")).unwrap();
    assert_eq!(world.install("two").generation, 2);
    assert_eq!((world.version().as_str(), world.list()), ("two", vec![(1, false), (2, true)]));
}

/// Where directories cannot be exchanged: a kill at each point of the two renames.
#[test]
fn killed_between_two_renames() {
    for killed_after in 0..=3 {
        let world = World::new();
        world.install("one");
        world.install("two");
        let staged = world.hidden().join("1");
        fs::write(switching(&world), "1").unwrap();
        if killed_after >= 1 {
            fs::rename(world.prefix(), world.hidden().join("outgoing")).unwrap();
        }
        if killed_after >= 2 {
            fs::rename(&staged, world.prefix()).unwrap();
        }
        if killed_after >= 3 {
            fs::remove_file(switching(&world)).unwrap();
        }
        let switched = killed_after >= 1;
        assert_eq!(world.list(), [(1, switched), (2, !switched)], "killed after step {killed_after}");
        assert_eq!(world.version(), if switched { "one" } else { "two" });
        assert!(!switching(&world).exists());
    }
}

#[test]
fn exchange_in_two_steps() {
    let world = World::new();
    world.install("one");
    world.install("two");
    let opened = OpenPrefix::open(&world.root(), PREFIX.as_ref(), Access::Change).unwrap();
    opened.exchange_in_two_steps(b"1").unwrap();
    assert_eq!(world.version(), "one");
    drop(opened);
    assert!(world.hidden().join("outgoing").exists());
    assert_eq!(world.list(), [(1, true), (2, false)]);
}
