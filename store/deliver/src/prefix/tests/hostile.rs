//! Hostile roots: nothing outside of them is changed, made or trusted, and no command blocks.

use super::shapes::{self, Shape};
use super::*;

/// Names in the hidden directory that this version or an earlier one reserves.
pub const NAMES: [&str; 20] = [
    "lock",
    "copying",
    "incoming",
    "link",
    "outgoing",
    "removing",
    "switching",
    "1",
    "2",
    "3",
    "1.files",
    "2.files",
    "3.files",
    "7",
    "0",
    "007",
    "+5",
    "4294967295",
    "999999",
    "kept-1",
];

/// Runs every command on a world, and checks that nothing outside has changed.
#[track_caller]
fn check(world: &World, case: &str) {
    let outside = shapes::seen(&world.outside());
    let mut results = Vec::new();
    for force in [false, true] {
        results.push(ends(case, || switch(&world.root(), PREFIX.as_ref(), Wanted::Previous, force).map(drop)));
        results.push(ends(case, || {
            let options = InstallOptions { force, ..InstallOptions::default() };
            world.install_with("one", InstallMode::Copy, &options).map(drop)
        }));
        results.push(ends(case, || generations(&world.root(), PREFIX.as_ref()).map(drop)));
    }
    ends(case, || world.check_that_all_works(case));
    assert_eq!(shapes::seen(&world.outside()), outside, "{case}: {results:?}");
}

/// Each name with each kind, in a hidden directory that is otherwise empty, and in one of two
/// generations.
#[test]
fn each_name_with_each_kind() {
    for name in NAMES {
        for shape in shapes::ALL {
            for installed in [0, 2] {
                let world = World::new();
                ["a", "b"].into_iter().take(installed).for_each(|version| drop(world.install(version)));
                fs::create_dir_all(world.hidden()).unwrap();
                let at = world.hidden().join(name);
                if let Ok(metadata) = fs::symlink_metadata(&at) {
                    if metadata.is_dir() { fs::remove_dir_all(&at).unwrap() } else { fs::remove_file(&at).unwrap() }
                }
                shape.put(&at, &world.outside());
                let case = format!("{name} as {shape:?} with {installed} installed");
                check(&world, &case);
                let is_ours = ["copying", "incoming", "removing", "lock"].contains(&name) || name.ends_with(".files");
                if let Some(precious) = shape.precious().filter(|_| !is_ours) {
                    assert!(shapes::is_somewhere(&world.root(), precious), "{case}: it is lost");
                }
            }
        }
    }
}

/// The path of the prefix with each kind: the user's files are found again.
#[test]
fn the_path_with_each_kind() {
    for shape in shapes::ALL {
        let world = World::new();
        fs::create_dir_all(world.prefix().parent().unwrap()).unwrap();
        shape.put(&world.prefix(), &world.outside());
        let case = format!("the path as {shape:?}");
        check(&world, &case);
        if let Some(precious) = shape.precious() {
            assert!(shapes::is_somewhere(&world.root(), precious), "{case}: it is lost");
        }
    }
}

/// The marker of the current generation with each kind.
#[test]
fn the_marker_with_each_kind() {
    for shape in shapes::ALL {
        let world = World::new();
        world.install("a");
        fs::remove_file(world.prefix().join(MARKER)).unwrap();
        shape.put(&world.prefix().join(MARKER), &world.outside());
        check(&world, &format!("the marker as {shape:?}"));
    }
}

/// A link anywhere between the root and the prefix, or as the hidden directory.
#[test]
fn links_in_the_path() {
    for link in ["opt", "opt/my", "opt/my/.stuff.generations"] {
        for shape in [Shape::LinkToDirectory, Shape::Dangling, Shape::Circle, Shape::LinkToFile, Shape::Relative(".")] {
            let world = World::new();
            let at = world.root().join(link);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            shape.put(&at, &world.outside());
            let (root, outside) = (world.seen(), shapes::seen(&world.outside()));
            for force in [false, true] {
                let options = InstallOptions { force, ..InstallOptions::default() };
                for mode in [InstallMode::Copy, InstallMode::Symlink] {
                    let result = world.install_with("one", mode, &options);
                    assert!(matches!(result, Err(PrefixError::LinkInPath { .. })), "{link} {shape:?}: {result:?}");
                }
                for result in [
                    switch(&world.root(), PREFIX.as_ref(), Wanted::Previous, force).map(drop),
                    world.uninstall(force).map(drop),
                    generations(&world.root(), PREFIX.as_ref()).map(drop),
                    prune(&world.root(), PREFIX.as_ref(), 0, None).map(drop),
                ] {
                    assert!(matches!(result, Err(PrefixError::LinkInPath { .. })), "{link} {shape:?}: {result:?}");
                }
            }
            assert_eq!((world.seen(), shapes::seen(&world.outside())), (root, outside), "{link} {shape:?}");
        }
    }
}

/// Of `/` itself, the machine's own links are followed; links of other users are not, nor links
/// into a directory of generations.
#[test]
fn links_of_the_machine_itself() {
    let world = World::new();
    let top = world.directory.path().canonicalize().unwrap();
    fs::create_dir(top.join("real")).unwrap();
    symlink("real", top.join("own")).unwrap();
    symlink(".stuff.generations/1", top.join("installed")).unwrap();
    fs::create_dir_all(top.join(".stuff.generations/1")).unwrap();
    symlink("real", top.join("other")).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        std::os::unix::fs::lchown(top.join("other"), Some(65534), None).unwrap();
    }
    let install_at = |way: &str| {
        let prefix = top.join(way).join("stuff");
        let tree = world.directory.path().join(format!("machine-{way}"));
        fs::create_dir_all(tree.join(prefix.strip_prefix("/").unwrap()).join("bin")).unwrap();
        let options = InstallOptions { prefix: Some(&prefix), durable: false, ..InstallOptions::default() };
        install(&tree, Path::new("/"), InstallMode::Copy, &options)
    };
    install_at("own").unwrap();
    assert!(top.join("real/stuff/bin").is_dir());
    for way in if is_root { vec!["installed", "other"] } else { vec!["installed"] } {
        let result = install_at(way);
        assert!(matches!(result, Err(PrefixError::LinkInPath { .. })), "{way}: {result:?}");
    }
    assert_eq!(fs::read_dir(top.join(".stuff.generations/1")).unwrap().count(), 0);
}

/// A file as the hidden directory is not repaired; it stays.
#[test]
fn the_hidden_directory_is_a_file() {
    for shape in [Shape::File("precious file"), Shape::Fifo] {
        let world = World::new();
        fs::create_dir_all(world.hidden().parent().unwrap()).unwrap();
        shape.put(&world.hidden(), &world.outside());
        let root = world.seen();
        let result = ends("hidden", || world.install_with("one", InstallMode::Copy, &InstallOptions::default()));
        assert!(matches!(result, Err(PrefixError::System(_))), "{result:?}");
        assert_eq!(world.seen(), root);
    }
}

/// Numbers grow, and end without wrapping.
#[test]
fn the_highest_number() {
    let world = World::new();
    world.install("one");
    let marker = format!("{{\"generation\":{},\"mode\":\"copy\",\"source\":\"/x\"}}", names::NUMBER_MAX);
    fs::create_dir(world.hidden().join("999999999")).unwrap();
    fs::write(world.hidden().join("999999999").join(MARKER), marker).unwrap();
    let error = world.install_with("two", InstallMode::Copy, &InstallOptions::default()).unwrap_err();
    assert!(matches!(error, PrefixError::NoNumber { .. }), "{error}");
    assert_eq!(world.version(), "one");
    prune(&world.root(), PREFIX.as_ref(), 0, None).unwrap();
    assert_eq!(world.install("two").generation, 2);
}

#[test]
fn numbers_are_written_in_one_way() {
    for (name, number) in [("1", Some(1)), ("999999999", Some(999_999_999)), ("10", Some(10))] {
        assert_eq!(names::number(name.as_bytes()), number);
    }
    for name in
        ["", "0", "01", "+1", "-1", " 1", "1 ", "1000000000", "4294967295", "4294967296", "99999999999999999999", "١"]
    {
        assert_eq!(names::number(name.as_bytes()), None, "{name}");
    }
}

/// Root trusts a hidden directory of another user only where that user owns the parent directory as
/// well.
#[test]
fn generations_of_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let world = World::new();
    world.install("one");
    world.install("two");
    std::os::unix::fs::chown(world.hidden(), Some(65534), None).unwrap();
    let root = world.seen();
    for result in [
        world.rollback(None).map(drop),
        world.uninstall(true).map(drop),
        world.install_with("three", InstallMode::Copy, &InstallOptions::default()).map(drop),
        prune(&world.root(), PREFIX.as_ref(), 0, None).map(drop),
    ] {
        assert!(matches!(result, Err(PrefixError::OtherOwner { user: 65534, .. })), "{result:?}");
    }
    assert_eq!(world.list(), [(1, false), (2, true)], "to look is no harm");
    assert_eq!(world.seen(), root);
    std::os::unix::fs::chown(world.hidden().parent().unwrap(), Some(65534), None).unwrap();
    world.rollback(None).unwrap();
}

/// A hidden directory that everyone can write, as an earlier version made it under some umasks.
#[test]
fn a_hidden_directory_that_everyone_can_write() {
    let world = World::new();
    world.install("one");
    fs::set_permissions(world.hidden(), fs::Permissions::from_mode(0o777)).unwrap();
    world.install("two");
    assert_eq!(fs::metadata(world.hidden()).unwrap().mode() & 0o7777, 0o775);
}
