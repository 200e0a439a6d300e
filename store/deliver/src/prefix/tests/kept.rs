//! Files that the user has changed or added are kept, and their new path is reported, by every
//! command that removes the generation.

use super::*;

/// Changes a generation at the path in every way.
fn change(world: &World) {
    fs::write(world.prefix().join("bin/tool"), "edited").unwrap();
    fs::create_dir_all(world.prefix().join("etc/deep/er")).unwrap();
    fs::write(world.prefix().join("etc/deep/er/mine"), "added").unwrap();
    fs::remove_file(world.prefix().join("bin/alias")).unwrap();
    symlink("elsewhere", world.prefix().join("bin/alias")).unwrap();
    fs::create_dir_all(world.prefix().join("lib/__pycache__")).unwrap();
    fs::write(world.prefix().join("lib/__pycache__/x.pyc"), "cache").unwrap();
}

#[track_caller]
fn check(world: &World, kept: &[PathBuf]) {
    let aside = world.hidden().join("kept-1");
    assert_eq!(kept, std::slice::from_ref(&aside));
    assert_eq!(fs::read_to_string(aside.join("bin/tool")).unwrap(), "edited");
    assert_eq!(fs::read_to_string(aside.join("etc/deep/er/mine")).unwrap(), "added");
    assert_eq!(fs::read_link(aside.join("bin/alias")).unwrap(), Path::new("elsewhere"));
    // Installed files and compiled files do not.
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 2);
    assert_eq!(fs::read_dir(aside.join("bin")).unwrap().count(), 2);
}

#[test]
fn by_a_forced_uninstall() {
    let world = World::new();
    world.install("one");
    change(&world);
    assert!(matches!(world.uninstall(false), Err(PrefixError::Foreign { .. })));
    let removed = world.uninstall(true).unwrap();
    assert_eq!(removed.generations, [1]);
    check(&world, &removed.kept);
    assert!(!world.prefix().exists());
    // Installing and removing again leaves it there.
    world.install("two");
    assert_eq!(world.uninstall(false).unwrap().kept, <[PathBuf; 0]>::default());
    assert!(world.hidden().join("kept-1/etc/deep/er/mine").exists());
}

#[test]
fn by_an_uninstall_after_a_forced_install() {
    let world = World::new();
    world.install("one");
    change(&world);
    let forced = InstallOptions { force: true, ..InstallOptions::default() };
    world.install_with("two", InstallMode::Copy, &forced).unwrap();
    let removed = world.uninstall(false).unwrap();
    assert_eq!(removed.generations, [1, 2]);
    check(&world, &removed.kept);
}

#[test]
fn by_pruning() {
    let world = World::new();
    world.install("one");
    change(&world);
    let options = InstallOptions { force: true, keep: 0, ..InstallOptions::default() };
    check(&world, &world.install_with("two", InstallMode::Copy, &options).unwrap().kept);
    let world = World::new();
    world.install("one");
    change(&world);
    world.install_with("two", InstallMode::Copy, &InstallOptions { keep: 1, ..options }).unwrap();
    let removed = prune(&world.root(), PREFIX.as_ref(), 0, None).unwrap();
    assert_eq!(removed.generations, [1]);
    check(&world, &removed.kept);
    assert_eq!(world.version(), "two");
}

/// When the list of installed files is lost, all of them may be the user's.
#[test]
fn without_a_list() {
    let world = World::new();
    world.install("one");
    world.install("two");
    fs::remove_file(world.hidden().join("1.files")).unwrap();
    fs::remove_file(world.hidden().join("2.files")).unwrap();
    assert!(matches!(world.uninstall(false), Err(PrefixError::Foreign { .. })));
    let kept = world.uninstall(true).unwrap().kept;
    assert_eq!(kept.len(), 2);
    assert_eq!(fs::read_to_string(kept[0].join("bin/tool")).unwrap(), "one");
    assert_eq!(fs::read_to_string(kept[1].join("bin/tool")).unwrap(), "two");
}

/// A directory that is too deep, and one that cannot be read, move as a whole.
#[test]
fn directories_that_cannot_be_read() {
    let world = World::new();
    world.install("one");
    let mut dir = os::dir::Dir::open(world.prefix()).unwrap();
    for _ in 0..400 {
        dir = dir.make_dir(b"d").unwrap();
    }
    dir.create_file(b"mine", 0o644).unwrap();
    fs::create_dir(world.prefix().join("shut")).unwrap();
    fs::write(world.prefix().join("shut/mine"), "precious").unwrap();
    fs::set_permissions(world.prefix().join("shut"), fs::Permissions::from_mode(0o000)).unwrap();
    let kept = world.uninstall(true).unwrap().kept;
    assert!(!world.prefix().exists());
    let shut = kept[0].join("shut");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read_to_string(shut.join("mine")).unwrap(), "precious");
    let mut dir = os::dir::Dir::open(&kept[0]).unwrap();
    for _ in 0..400 {
        dir = dir.open_dir(b"d").unwrap();
    }
    assert_eq!(dir.names().unwrap(), [b"mine"]);
    os::dir::Dir::open(world.hidden()).unwrap().remove_all(b"kept-1").unwrap();
}

/// A link that the user has put at the path is moved aside as a link, in every mode.
#[test]
fn a_link_of_the_users() {
    for mode in [InstallMode::Copy, InstallMode::Symlink] {
        let world = World::new();
        fs::create_dir_all(world.prefix().parent().unwrap()).unwrap();
        symlink(world.outside(), world.prefix()).unwrap();
        assert!(matches!(
            world.install_with("one", mode, &InstallOptions::default()),
            Err(PrefixError::Foreign { .. })
        ));
        let forced = InstallOptions { force: true, ..InstallOptions::default() };
        let kept = world.install_with("one", mode, &forced).unwrap().kept;
        assert_eq!(fs::read_link(&kept[0]).unwrap(), world.outside());
        assert_eq!(world.version(), "one");
    }
}

/// Files that are moved aside stay closed to users who could not read them before.
#[test]
fn closed_directories_stay_closed() {
    let world = World::new();
    world.install("one");
    fs::create_dir_all(world.prefix().join("etc/keys")).unwrap();
    fs::write(world.prefix().join("etc/keys/mine"), "secret").unwrap();
    fs::set_permissions(world.prefix().join("etc/keys"), fs::Permissions::from_mode(0o700)).unwrap();
    let kept = world.uninstall(true).unwrap().kept;
    let mode = |path: &str| fs::metadata(kept[0].join(path)).unwrap().mode() & 0o777;
    assert_eq!((mode("etc/keys"), mode("etc") & 0o055), (0o700, 0o055));
    // So does a prefix that is closed as a whole.
    world.install("two");
    fs::write(world.prefix().join("mine"), "secret").unwrap();
    fs::set_permissions(world.prefix(), fs::Permissions::from_mode(0o700)).unwrap();
    let kept = world.uninstall(true).unwrap().kept;
    assert_eq!(fs::metadata(&kept[0]).unwrap().mode() & 0o777, 0o700);
}

/// Installing the current generation again makes no copy, unless it has changed.
#[test]
fn an_unchanged_generation_is_not_installed_again() {
    for mode in [InstallMode::Copy, InstallMode::Symlink, InstallMode::Hardlink] {
        let world = World::new();
        let again = |force| {
            let options = InstallOptions { force, ..InstallOptions::default() };
            world.install_with("one", mode, &options).unwrap()
        };
        again(false);
        let tool = fs::metadata(world.prefix().join("bin/tool")).unwrap().ino();
        let same = again(false);
        assert_eq!((same.generation, same.previous), (1, Some(1)), "{mode:?}");
        assert_eq!(fs::metadata(world.prefix().join("bin/tool")).unwrap().ino(), tool);
        assert_eq!(world.list(), [(1, true)]);
        if mode == InstallMode::Copy {
            fs::remove_file(world.prefix().join("bin/tool")).unwrap();
            assert_eq!(again(false).generation, 2, "what is gone comes back");
            fs::write(world.prefix().join("bin/tool"), "edited").unwrap();
            assert_eq!(again(true).generation, 3);
            assert_eq!(world.version(), "one");
        }
    }
}

#[test]
fn pruning_by_number_and_age() {
    let world = World::new();
    for version in ["a", "b", "c", "d"] {
        world.install(version);
    }
    let day = Duration::from_secs(86_400);
    let gone = |keep, age| prune(&world.root(), PREFIX.as_ref(), keep, age).unwrap().generations;
    assert_eq!(gone(0, Some(day)), <[u32; 0]>::default());
    let old = SystemTime::now() - day * 3;
    for generation in ["1", "2"] {
        let marker = world.hidden().join(generation).join(MARKER);
        fs::File::options().write(true).open(marker).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(gone(2, Some(day)), [1]);
    assert_eq!(gone(0, Some(day)), [2]);
    assert_eq!(gone(1, None), <[u32; 0]>::default());
    world.rollback(Some(3)).unwrap();
    // The current one stays, even if it is not the newest.
    assert_eq!(gone(0, None), [4]);
    assert_eq!(world.list(), [(3, true)]);
}

#[test]
fn back_and_forward() {
    let world = World::new();
    for version in ["a", "b", "c"] {
        world.install(version);
    }
    world.rollback(Some(1)).unwrap();
    assert_eq!(world.version(), "a");
    assert_eq!(switch(&world.root(), PREFIX.as_ref(), Wanted::Newest, false).unwrap().generation, 3);
    assert_eq!(world.version(), "c");
}
