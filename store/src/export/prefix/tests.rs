//! Installing into temporary roots, with kills simulated by making what they leave.

use super::*;

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(world.root()).unwrap();
        world
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn prefix(&self) -> PathBuf {
        self.root().join("opt/my/stuff")
    }

    fn hidden(&self) -> PathBuf {
        self.root().join("opt/my/.stuff.generations")
    }

    /// A prefix root as the store has it: read-only, one program that says its version.
    fn tree(&self, version: &str) -> PathBuf {
        let tree = self.directory.path().join(format!("tree-{version}"));
        let bin = tree.join("opt/my/stuff/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("tool"), version).unwrap();
        fs::set_permissions(bin.join("tool"), fs::Permissions::from_mode(0o555)).unwrap();
        symlink("tool", bin.join("alias")).unwrap();
        tree
    }

    fn install_with(&self, version: &str, mode: Mode, options: &InstallOptions) -> Result<Installed> {
        install(&self.tree(version), &self.root(), mode, options)
    }

    fn install(&self, version: &str) -> Installed {
        self.install_with(version, Mode::Copy, &InstallOptions::default()).unwrap()
    }

    fn version(&self) -> String {
        fs::read_to_string(self.prefix().join("bin/alias")).unwrap()
    }

    fn list(&self) -> Vec<(u32, bool)> {
        let all = generations(&self.root(), Path::new("/opt/my/stuff")).unwrap();
        all.into_iter().map(|generation| (generation.number, generation.current)).collect()
    }

    fn rollback(&self, to: Option<u32>) -> Result<Installed> {
        rollback(&self.root(), Path::new("/opt/my/stuff"), to, false)
    }
}

#[test]
fn install_switch_and_roll_back() {
    let world = World::new();
    let first = world.install("one");
    assert_eq!((first.generation, first.previous, first.path), (1, None, world.prefix()));
    assert_eq!(fs::metadata(world.prefix().join("bin/tool")).unwrap().mode() & 0o777, 0o755);
    assert!(!world.prefix().is_symlink(), "the prefix is a real directory at its path");
    assert_eq!(world.install("two").previous, Some(1));
    assert_eq!((world.version().as_str(), world.list()), ("two", vec![(1, false), (2, true)]));
    assert_eq!(world.rollback(None).unwrap().generation, 1);
    assert_eq!((world.version().as_str(), world.list()), ("one", vec![(1, true), (2, false)]));
    let error = world.rollback(None).unwrap_err().to_string();
    assert!(error.ends_with("has no generation before the current one; it has 1, 2"), "{error}");
    assert_eq!(world.rollback(Some(2)).unwrap().previous, Some(1));
    assert_eq!(world.version(), "two");
    assert!(world.rollback(Some(7)).is_err());
    // Numbers are not given twice.
    world.rollback(Some(1)).unwrap();
    assert_eq!(world.install("three").generation, 3);
}

#[test]
fn modes_can_follow_each_other() {
    let world = World::new();
    let options = InstallOptions::default();
    for (version, mode) in
        [("a", Mode::Symlink), ("b", Mode::Symlink), ("c", Mode::Copy), ("d", Mode::Hardlink), ("e", Mode::Symlink)]
    {
        world.install_with(version, mode, &options).unwrap();
        assert_eq!(world.version(), version);
        assert_eq!(world.prefix().is_symlink(), mode == Mode::Symlink, "{version}");
    }
    assert_eq!(world.list(), [(1, false), (2, false), (3, false), (4, false), (5, true)]);
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    world.rollback(Some(4)).unwrap();
    let original = world.directory.path().join("tree-d/opt/my/stuff/bin/tool");
    assert_eq!(inode(world.prefix().join("bin/tool")), inode(original));
    for (number, version) in [(1, "a"), (3, "c"), (2, "b"), (5, "e")] {
        world.rollback(Some(number)).unwrap();
        assert_eq!(world.version(), version);
    }
    uninstall(&world.root(), Path::new("/opt/my/stuff"), false).unwrap();
    assert!(!world.prefix().is_symlink() && !world.hidden().exists());
}

#[test]
fn foreign_directory_is_refused_then_kept() {
    let world = World::new();
    fs::create_dir_all(world.prefix().join("bin")).unwrap();
    fs::write(world.prefix().join("bin/mine"), "precious").unwrap();
    let error = world.install_with("one", Mode::Copy, &InstallOptions::default()).unwrap_err().to_string();
    assert!(error.contains("--force") && error.contains("stuff/bin/mine"), "{error}");
    assert!(world.prefix().join("bin/mine").exists());

    fs::remove_dir_all(world.directory.path().join("tree-one")).unwrap();
    let forced = InstallOptions { force: true, ..InstallOptions::default() };
    let replaced = world.install_with("one", Mode::Copy, &forced).unwrap().replaced.unwrap();
    assert_eq!(world.version(), "one");
    assert_eq!(fs::read_to_string(replaced.join("bin/mine")).unwrap(), "precious");
    uninstall(&world.root(), Path::new("/opt/my/stuff"), false).unwrap();
    assert!(replaced.exists() && !world.prefix().exists());
}

#[test]
fn an_empty_directory_is_not_in_the_way() {
    let world = World::new();
    fs::create_dir_all(world.prefix()).unwrap();
    world.install("one");
    assert_eq!(world.version(), "one");
}

#[test]
fn changes_by_hand_are_named() {
    let world = World::new();
    world.install("one");
    fs::create_dir_all(world.prefix().join("lib/__pycache__")).unwrap();
    fs::write(world.prefix().join("lib/__pycache__/x.pyc"), "cache").unwrap();
    world.install("two");
    fs::write(world.prefix().join("bin/tool"), "edited").unwrap();
    fs::write(world.prefix().join("added"), "").unwrap();
    let error = world.install_with("three", Mode::Copy, &InstallOptions::default()).unwrap_err();
    let PrefixError::Foreign { files, more, .. } = &error else { panic!("{error}") };
    assert_eq!((files, *more), (&vec![world.prefix().join("added"), world.prefix().join("bin/tool")], 0));
    assert!(matches!(world.rollback(None), Err(PrefixError::Foreign { .. })));
    assert!(matches!(uninstall(&world.root(), Path::new("/opt/my/stuff"), false), Err(PrefixError::Foreign { .. })));
    uninstall(&world.root(), Path::new("/opt/my/stuff"), true).unwrap();
    assert!(!world.prefix().exists() && !world.hidden().exists());
}

#[test]
fn old_generations_go() {
    let world = World::new();
    let options = InstallOptions { keep: 1, ..InstallOptions::default() };
    for version in ["a", "b", "c", "d"] {
        world.install_with(version, Mode::Copy, &options).unwrap();
    }
    assert_eq!(world.list(), [(3, false), (4, true)]);
    assert!(!world.hidden().join("2.files").exists());
}

/// A kill between the exchange and the renaming leaves the old generation under the new one's number.
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
fn killed_while_copying() {
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
        fs::write(world.hidden().join(SWITCHING), "1").unwrap();
        if killed_after >= 1 {
            fs::rename(world.prefix(), world.hidden().join("outgoing")).unwrap();
        }
        if killed_after >= 2 {
            fs::rename(&staged, world.prefix()).unwrap();
        }
        if killed_after >= 3 {
            fs::remove_file(world.hidden().join(SWITCHING)).unwrap();
        }
        let switched = killed_after >= 1;
        assert_eq!(world.list(), [(1, switched), (2, !switched)], "killed after step {killed_after}");
        assert_eq!(world.version(), if switched { "one" } else { "two" });
        assert!(!world.hidden().join(SWITCHING).exists());
    }
}

#[test]
fn exchange_in_two_steps() {
    let world = World::new();
    world.install("one");
    world.install("two");
    let place = Place::open(&world.root(), Path::new("/opt/my/stuff"), false).unwrap();
    let old = place.exchange_in_two_steps(&world.hidden().join("1")).unwrap();
    assert_eq!(world.version(), "one");
    drop(place);
    assert!(old.exists());
    assert_eq!(world.list(), [(1, true), (2, false)]);
}

#[test]
fn trees_and_roots_that_do_not_fit() {
    let world = World::new();
    let tree = world.tree("one");
    let wrong = InstallOptions { prefix: Some("/opt/other".into()), ..InstallOptions::default() };
    let error = install(&tree, &world.root(), Mode::Copy, &wrong).unwrap_err().to_string();
    assert!(error.ends_with("is no prefix root: it does not hold `/opt/other`"), "{error}");
    fs::write(tree.join("stray"), "").unwrap();
    assert!(matches!(
        install(&tree, &world.root(), Mode::Copy, &InstallOptions::default()),
        Err(PrefixError::NoPrefix { .. })
    ));
    symlink("/tmp", world.root().join("opt")).unwrap();
    let fine = InstallOptions { prefix: Some("/opt/my/stuff".into()), ..InstallOptions::default() };
    assert!(matches!(install(&tree, &world.root(), Mode::Copy, &fine), Err(PrefixError::LinkOnTheWay { .. })));
    assert!(matches!(generations(&world.root(), Path::new("/never/installed")), Err(PrefixError::NoGeneration { .. })));
}
