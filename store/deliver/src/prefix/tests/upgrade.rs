//! Files of earlier versions are read.

use super::*;

/// Two generations and a link, as the first version left them: lists that name the marker and do
/// not have targets of links, a lock for everyone, a foreign directory as `replaced-1`.
fn installed_by_the_first_version() -> World {
    let world = World::new();
    let hidden = world.hidden();
    for (number, directory) in [(1, hidden.join("1")), (2, world.prefix())] {
        fs::create_dir_all(directory.join("bin")).unwrap();
        fs::write(directory.join("bin/tool"), "old").unwrap();
        fs::File::options()
            .write(true)
            .open(directory.join("bin/tool"))
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
            .unwrap();
        symlink("tool", directory.join("bin/alias")).unwrap();
        let marker = format!("{{\"generation\":{number},\"mode\":\"copy\",\"source\":\"/store/x\"}}");
        fs::write(directory.join(MARKER), &marker).unwrap();
        let text = format!("{}:5:100644 {MARKER}\0link bin/alias\0{}:1:100644 bin/tool\0", marker.len(), 3);
        fs::create_dir_all(&hidden).unwrap();
        fs::write(hidden.join(format!("{number}.files")), text).unwrap();
    }
    for file in [hidden.join("1/bin/tool"), world.prefix().join("bin/tool")] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    symlink(world.tree("three").join("opt/my/stuff"), hidden.join("3")).unwrap();
    fs::create_dir(hidden.join("replaced-1")).unwrap();
    fs::write(hidden.join("lock"), "").unwrap();
    fs::set_permissions(hidden.join("lock"), fs::Permissions::from_mode(0o666)).unwrap();
    world
}

#[test]
fn the_first_version() {
    let world = installed_by_the_first_version();
    assert_eq!(world.list(), [(1, false), (2, true), (3, false)]);
    assert_eq!(world.rollback(None).unwrap().generation, 1);
    assert_eq!(world.rollback(Some(3)).unwrap().previous, Some(1));
    assert_eq!(world.version(), "three");
    assert_eq!(world.install("four").generation, 4);
    let removed = world.uninstall(false).unwrap();
    assert_eq!((removed.generations, removed.kept), (vec![1, 2, 3, 4], vec![]));
    assert!(world.hidden().join("replaced-1").exists(), "what it moved aside stays");
}

/// The first version had one name for a partial copy and for the link that moves to the path.
#[test]
fn leftovers_of_the_first_version() {
    let world = installed_by_the_first_version();
    fs::create_dir_all(world.hidden().join("incoming/bin")).unwrap();
    assert_eq!(world.list().len(), 3);
    assert!(!world.hidden().join("incoming").exists(), "a copy half made goes");

    symlink(".stuff.generations/3", world.hidden().join("incoming")).unwrap();
    assert_eq!(world.list().len(), 3);
    assert!(!world.hidden().join("incoming").is_symlink());

    // Killed after it had exchanged the current generation and a link.
    fs::rename(world.prefix(), world.hidden().join("incoming")).unwrap();
    symlink(".stuff.generations/3", world.prefix()).unwrap();
    assert_eq!(world.list(), [(1, false), (2, false), (3, true)]);

    // Killed in the middle of two renames.
    fs::write(world.hidden().join("switching"), "incoming").unwrap();
    fs::rename(world.prefix(), world.hidden().join("incoming")).unwrap();
    assert_eq!(world.list(), [(1, false), (2, false), (3, true)]);
}
