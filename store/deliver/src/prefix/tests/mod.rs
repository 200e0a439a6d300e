//! Installing into temporary roots.
//!
//! `stops` kills at each system call, `leftovers` makes leftovers of kills and others, `hostile`
//! has hostile roots and packages, and `fuzz` has all of it at random.

mod errors;
mod fuzz;
mod hostile;
mod kept;
mod leftovers;
mod links;
mod reserved;
mod shapes;
#[cfg(target_arch = "x86_64")]
mod stops;
mod together;
mod upgrade;

use super::*;
use model::StorePathName;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use store::{Durability, OpenOptions};

#[track_caller]
fn must<T>(case: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{case}: {error}"))
}

/// Runs a closure that must not block, on a thread of its own.
#[track_caller]
fn ends<T: Send>(case: &str, work: impl FnOnce() -> T + Send) -> T {
    let done = std::sync::atomic::AtomicBool::new(false);
    let done = &done;
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            done.store(true, std::sync::atomic::Ordering::Release);
            result
        });
        let since = std::time::Instant::now();
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            if since.elapsed() > Duration::from_secs(120) {
                eprintln!("{case}: it does not end");
                // A thread that waits in the kernel cannot be joined.
                std::process::abort();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        worker.join().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The promises hold without root.
#[test]
fn as_an_ordinary_user() {
    let left = test_support::ordinary::run_again(&["prefix::tests::"], &[]);
    assert!(left.is_empty(), "temporary directories stay: {left:?}");
}

const PREFIX: &str = "/opt/my/stuff";

/// A store in a temporary directory, and space beside it.
struct TempStore {
    store: LocalStore,
    dir: test_support::Temporary,
}

impl std::ops::Deref for TempStore {
    type Target = LocalStore;

    fn deref(&self) -> &LocalStore {
        &self.store
    }
}

fn open(root: &Path) -> LocalStore {
    LocalStore::open_with(root, OpenOptions { durability: Durability::Relaxed }).unwrap()
}

fn temp_store() -> TempStore {
    let dir = test_support::Temporary::new();
    TempStore { store: open(&dir.path().join("root")), dir }
}

fn name(text: &str) -> StorePathName {
    StorePathName::new(text).unwrap()
}

struct World {
    directory: test_support::Temporary,
}

impl World {
    fn new() -> Self {
        let world = Self { directory: test_support::Temporary::in_memory() };
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

    /// A prefix root in the form of the store: read-only, one program that prints its version.
    fn tree(&self, version: &str) -> PathBuf {
        let tree = self.directory.path().join(format!("tree-{version}"));
        let bin = tree.join("opt/my/stuff/bin");
        if bin.exists() {
            return tree;
        }
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("tool"), version).unwrap();
        fs::set_permissions(bin.join("tool"), fs::Permissions::from_mode(0o555)).unwrap();
        symlink("tool", bin.join("alias")).unwrap();
        tree
    }

    fn install_with(&self, version: &str, mode: InstallMode, options: &InstallOptions<'_>) -> Result<Installed> {
        install(&self.tree(version), &self.root(), mode, options)
    }

    fn install(&self, version: &str) -> Installed {
        self.install_with(version, InstallMode::Copy, &InstallOptions::default()).unwrap()
    }

    fn version(&self) -> String {
        fs::read_to_string(self.prefix().join("bin/alias")).unwrap()
    }

    fn list(&self) -> Vec<(u32, bool)> {
        let all = match generations(&self.root(), PREFIX.as_ref()) {
            Err(PrefixError::NotInstalled { .. } | PrefixError::Damaged { .. }) => Vec::new(),
            listed => listed.unwrap(),
        };
        all.into_iter().map(|generation| (generation.number, generation.current)).collect()
    }

    fn rollback(&self, to: Option<u32>) -> Result<Installed> {
        switch(&self.root(), PREFIX.as_ref(), to.map_or(Wanted::Previous, Wanted::Number), false)
    }

    /// Everything in the root, to detect changes.
    fn seen(&self) -> Vec<String> {
        shapes::seen(&self.root())
    }

    /// Everything that no command may change: beside the root, with the installed trees.
    fn outside(&self) -> PathBuf {
        let outside = self.directory.path().join("outside");
        if !outside.exists() {
            fs::create_dir_all(outside.join("directory")).unwrap();
            fs::write(outside.join("file"), "precious").unwrap();
            fs::set_permissions(outside.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(outside.join("directory/inner"), "precious too").unwrap();
        }
        outside
    }

    /// Commands that must work in the end, in every case: one whole generation is installed, and
    /// removed again.
    #[track_caller]
    fn check_that_all_works(&self, case: &str) {
        let forced = InstallOptions { force: true, ..InstallOptions::default() };
        let (root, prefix) = (&self.root(), PREFIX.as_ref());
        let generation = must(case, install(&self.tree("last"), root, InstallMode::Copy, &forced)).generation;
        assert_eq!(self.version(), "last", "{case}");
        let list = must(case, generations(root, prefix));
        let current: Vec<u32> = list.iter().filter(|one| one.current).map(|one| one.number).collect();
        assert_eq!(current, [generation], "{case}");
        must(case, switch(root, prefix, Wanted::Newest, true));
        must(case, switch(root, prefix, Wanted::Number(generation), true));
        assert_eq!(self.version(), "last", "{case}");
        must(case, prune(root, prefix, 0, None));
        assert_eq!(self.list(), [(generation, true)], "{case}");
        must(case, uninstall(root, prefix, true));
        assert!(fs::symlink_metadata(self.prefix()).is_err(), "{case}");
        assert!(matches!(self.uninstall(true), Err(PrefixError::NotInstalled { .. })), "{case}");
    }

    fn uninstall(&self, force: bool) -> Result<Removed> {
        uninstall(&self.root(), PREFIX.as_ref(), force)
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
    // Numbers are not reused.
    world.rollback(Some(1)).unwrap();
    assert_eq!(world.install("three").generation, 3);
}

#[test]
fn modes_can_follow_each_other() {
    let world = World::new();
    let options = InstallOptions::default();
    for (version, mode) in [
        ("a", InstallMode::Symlink),
        ("b", InstallMode::Symlink),
        ("c", InstallMode::Copy),
        ("d", InstallMode::Hardlink),
        ("e", InstallMode::Symlink),
    ] {
        world.install_with(version, mode, &options).unwrap();
        assert_eq!(world.version(), version);
        assert_eq!(world.prefix().is_symlink(), mode == InstallMode::Symlink, "{version}");
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
    world.uninstall(false).unwrap();
    assert!(!world.prefix().is_symlink() && !world.hidden().exists());
}

#[test]
fn foreign_directory_is_refused_then_kept() {
    let world = World::new();
    fs::create_dir_all(world.prefix().join("bin")).unwrap();
    fs::write(world.prefix().join("bin/mine"), "precious").unwrap();
    let error = world.install_with("one", InstallMode::Copy, &InstallOptions::default()).unwrap_err();
    assert!(error.to_string().contains("stuff/bin/mine") && error.help().unwrap().contains("--force"), "{error}");
    assert!(world.prefix().join("bin/mine").exists());

    fs::remove_dir_all(world.directory.path().join("tree-one")).unwrap();
    let forced = InstallOptions { force: true, ..InstallOptions::default() };
    let replaced = world.install_with("one", InstallMode::Copy, &forced).unwrap().kept.remove(0);
    assert_eq!(world.version(), "one");
    assert_eq!(fs::read_to_string(replaced.join("bin/mine")).unwrap(), "precious");
    world.uninstall(false).unwrap();
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
    let error = world.install_with("three", InstallMode::Copy, &InstallOptions::default()).unwrap_err();
    let PrefixError::Foreign { files, more, .. } = &error else { panic!("{error}") };
    assert_eq!((files, *more), (&vec![world.prefix().join("added"), world.prefix().join("bin/tool")], 0));
    assert!(matches!(world.rollback(None), Err(PrefixError::Foreign { .. })));
    assert!(matches!(world.uninstall(false), Err(PrefixError::Foreign { .. })));
    let kept = world.uninstall(true).unwrap().kept;
    assert_eq!(kept, [world.hidden().join("kept-1")]);
    assert!(!world.prefix().exists());
}

#[test]
fn old_generations_are_removed() {
    let world = World::new();
    let options = InstallOptions { keep: 1, ..InstallOptions::default() };
    for version in ["a", "b", "c", "d"] {
        world.install_with(version, InstallMode::Copy, &options).unwrap();
    }
    assert_eq!(world.list(), [(3, false), (4, true)]);
    assert!(!world.hidden().join("2.files").exists());
}

#[test]
fn trees_and_roots_that_do_not_fit() {
    let world = World::new();
    let tree = world.tree("one");
    let wrong = InstallOptions { prefix: Some("/opt/other".as_ref()), ..InstallOptions::default() };
    let error = install(&tree, &world.root(), InstallMode::Copy, &wrong).unwrap_err().to_string();
    assert!(error.ends_with("is not a prefix root: it does not hold `/opt/other`"), "{error}");
    fs::write(tree.join("stray"), "").unwrap();
    assert!(matches!(
        install(&tree, &world.root(), InstallMode::Copy, &InstallOptions::default()),
        Err(PrefixError::NoPrefix { .. })
    ));
    symlink("/tmp", world.root().join("opt")).unwrap();
    let fine = InstallOptions { prefix: Some(PREFIX.as_ref()), ..InstallOptions::default() };
    assert!(matches!(install(&tree, &world.root(), InstallMode::Copy, &fine), Err(PrefixError::LinkInPath { .. })));
    assert!(matches!(generations(&world.root(), Path::new("/never/installed")), Err(PrefixError::NotInstalled { .. })));
}
