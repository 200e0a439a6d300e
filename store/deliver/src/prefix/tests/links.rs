//! Symlink mode: the collector keeps the target of a link, from before the link exists until it is
//! removed.

use super::*;
use model::StorePath;
use store::GcOptions;

fn tree(store: &TempStore, version: &str) -> StorePath {
    let source = store.dir.path().join(format!("source-{version}"));
    fs::create_dir_all(source.join("opt/my/stuff/bin")).unwrap();
    fs::write(source.join("opt/my/stuff/bin/alias"), version).unwrap();
    store.add_source(&source, name("tree"), None).unwrap()
}

fn install(store: &TempStore, path: &StorePath, root: &Path) -> u32 {
    let options = InstallOptions { store: Some(&store.store), durable: false, keep: 1, ..InstallOptions::default() };
    super::install(&store.physical_path(path), root, InstallMode::Symlink, &options).unwrap().generation
}

/// Collects as another process would, without the temporary roots of this one.
fn collect(store: &TempStore) {
    open(store.root()).gc(GcOptions::default(), &mut |_| {}).unwrap();
}

/// A store opened again, without this process's temporary roots.
fn reopened(store: TempStore) -> TempStore {
    let TempStore { store, dir } = store;
    drop(store);
    TempStore { store: open(&dir.path().join("root")), dir }
}

#[test]
fn a_root_for_each_link() {
    let store = temp_store();
    let (one, two, three) = (tree(&store, "one"), tree(&store, "two"), tree(&store, "three"));
    let (a, b) = (store.dir.path().join("a"), store.dir.path().join("b"));
    install(&store, &one, &a);
    install(&store, &one, &b);
    install(&store, &two, &a);
    let store = reopened(store);
    collect(&store);
    for (path, is_kept) in [(&one, true), (&two, true), (&three, false)] {
        assert_eq!(store.is_valid(path).unwrap(), is_kept);
    }
    assert_eq!(fs::read_to_string(a.join("opt/my/stuff/bin/alias")).unwrap(), "two");
    // Pruned in one root, it is kept by the other.
    prune(&a, PREFIX.as_ref(), 0, None).unwrap();
    collect(&store);
    assert_eq!(fs::read_to_string(b.join("opt/my/stuff/bin/alias")).unwrap(), "one");
    uninstall(&b, PREFIX.as_ref(), false).unwrap();
    collect(&store);
    assert!(!store.is_valid(&one).unwrap() && store.is_valid(&two).unwrap());
    uninstall(&a, PREFIX.as_ref(), false).unwrap();
    collect(&store);
    assert!(!store.is_valid(&two).unwrap());
    assert_eq!(fs::read_dir(store.root().join("gcroots/auto")).unwrap().count(), 0, "roots are given back");
    assert_eq!(fs::read_dir(store.root().join("gcroots")).unwrap().count(), 1);
}

/// The root exists before the link, and no collection can run in between.
#[test]
fn the_root_comes_first() {
    let store = temp_store();
    let one = tree(&store, "one");
    let link = store.dir.path().join("link");
    let made = store.root_of_link(&link, &one, || {
        let roots: Vec<PathBuf> = fs::read_dir(store.root().join("gcroots/auto"))
            .unwrap()
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
            .collect();
        assert_eq!(roots, std::slice::from_ref(&link));
        let lock = fs::File::open(store.root().join("locks/collector")).unwrap();
        assert!(nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).is_err());
        symlink(store.physical_path(&one), &link).unwrap();
        Ok::<_, PrefixError>(())
    });
    made.unwrap();
    let store = reopened(store);
    collect(&store);
    assert!(store.is_valid(&one).unwrap());
}

/// Installed again, a link whose root was lost has one.
#[test]
fn a_root_that_was_lost() {
    let store = temp_store();
    let one = tree(&store, "one");
    let root = store.dir.path().join("a");
    install(&store, &one, &root);
    for entry in fs::read_dir(store.root().join("gcroots/auto")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(install(&store, &one, &root), 1);
    let store = reopened(store);
    collect(&store);
    assert!(store.is_valid(&one).unwrap());
}

/// A generation whose tree is gone is not switched to.
#[test]
fn a_tree_that_is_gone() {
    let world = World::new();
    let options = InstallOptions::default();
    world.install_with("one", InstallMode::Symlink, &options).unwrap();
    world.install("two");
    fs::remove_dir_all(world.directory.path().join("tree-one")).unwrap();
    let error = world.rollback(None).unwrap_err();
    assert!(matches!(error, PrefixError::TreeGone { number: 1, .. }), "{error}");
    assert_eq!(world.version(), "two");
}

/// A tree that is not in the store is not linked as if it were.
#[test]
fn a_tree_outside_of_the_store() {
    let store = temp_store();
    let world = World::new();
    let options = InstallOptions { store: Some(&store.store), ..InstallOptions::default() };
    let error = world.install_with("one", InstallMode::Symlink, &options).unwrap_err();
    assert!(matches!(error, PrefixError::Store(_)), "{error}");
    assert!(fs::symlink_metadata(world.prefix()).is_err());
}
