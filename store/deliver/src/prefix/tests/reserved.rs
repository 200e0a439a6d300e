//! Reserved names: a package that brings one is refused before anything changes.

use super::shapes::{self, Shape};
use super::*;

const MODES: [InstallMode; 3] = [InstallMode::Copy, InstallMode::Symlink, InstallMode::Hardlink];

/// The name of the marker in a tree, as any kind, in every mode: in an empty root, and over a
/// generation.
#[test]
fn a_marker_in_a_tree() {
    for (number, shape) in shapes::ALL.into_iter().chain([Shape::Relative("bin/tool")]).enumerate() {
        for mode in MODES {
            for name in [MARKER, ".Eval-Generation"] {
                let world = World::new();
                let tree = world.tree("odd");
                shape.put(&tree.join("opt/my/stuff").join(name), &world.outside());
                let case = format!("{number} {shape:?} {mode:?} {name}");
                for is_first in [true, false] {
                    let (root, outside) = (world.seen(), shapes::seen(&world.outside()));
                    let source = shapes::seen(&tree);
                    let forced = InstallOptions { force: true, ..InstallOptions::default() };
                    let error = ends(&case, || install(&tree, &world.root(), mode, &forced)).unwrap_err();
                    assert!(matches!(error, PrefixError::Reserved { .. }), "{case}: {error}");
                    assert_eq!(world.seen(), root, "{case}");
                    assert_eq!(shapes::seen(&world.outside()), outside, "{case}");
                    assert_eq!(shapes::seen(&tree), source, "{case}");
                    if is_first {
                        world.install("good");
                    }
                }
                assert_eq!(world.version(), "good", "{case}");
            }
        }
    }
}

/// Deeper down, and in similar names, nothing is reserved.
#[test]
fn other_names_are_the_packages() {
    for mode in MODES {
        let world = World::new();
        let tree = world.tree("one");
        let prefix = tree.join("opt/my/stuff");
        for name in ["bin/.eval-generation", ".eval-generation2", "lock", "1", "switching", ".stuff.generations"] {
            fs::write(prefix.join(name), "the package's").unwrap();
        }
        install(&tree, &world.root(), mode, &InstallOptions::default()).unwrap();
        assert_eq!(fs::read_to_string(world.prefix().join("bin/.eval-generation")).unwrap(), "the package's");
        world.uninstall(false).unwrap();
        assert!(!world.hidden().exists());
    }
}

/// A package whose prefix has the name of another's directory of generations would own them all.
#[test]
fn a_prefix_named_as_a_directory_of_generations() {
    for prefix in ["/opt/my/.stuff.generations", "/opt/my/.stuff.generations/1", "/opt/.my.generations/stuff"] {
        let world = World::new();
        let tree = world.directory.path().join("evil");
        fs::create_dir_all(tree.join(&prefix[1..]).join("bin")).unwrap();
        world.install("good");
        let root = world.seen();
        for options in
            [InstallOptions::default(), InstallOptions { prefix: Some(prefix.as_ref()), ..Default::default() }]
        {
            let error = install(&tree, &world.root(), InstallMode::Copy, &options).unwrap_err();
            assert!(matches!(error, PrefixError::Reserved { .. }), "{prefix}: {error}");
        }
        assert_eq!(world.seen(), root, "{prefix}");
        for result in [
            generations(&world.root(), prefix.as_ref()).map(drop),
            switch(&world.root(), prefix.as_ref(), Wanted::Previous, true).map(drop),
            uninstall(&world.root(), prefix.as_ref(), true).map(drop),
            prune(&world.root(), prefix.as_ref(), 0, None).map(drop),
        ] {
            assert!(matches!(result, Err(PrefixError::Reserved { .. })), "{prefix}");
        }
        assert_eq!(world.seen(), root, "{prefix}");
    }
}

/// The path to the prefix in a tree leads through directories of the tree only.
#[test]
fn a_tree_whose_prefix_is_elsewhere() {
    let world = World::new();
    fs::create_dir_all(world.outside().join("my/stuff/bin")).unwrap();
    let tree = world.directory.path().join("tree");
    fs::create_dir(&tree).unwrap();
    symlink(world.outside(), tree.join("opt")).unwrap();
    let options = InstallOptions { prefix: Some(PREFIX.as_ref()), ..InstallOptions::default() };
    for mode in MODES {
        let error = install(&tree, &world.root(), mode, &options).unwrap_err();
        assert!(matches!(error, PrefixError::NoPrefix { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(world.root()).unwrap().count(), 0);
}

/// A store has no such entries; a directory that a user names may have them.
#[test]
fn special_files_in_a_tree() {
    for shape in [Shape::Fifo, Shape::Socket] {
        for mode in [InstallMode::Copy, InstallMode::Hardlink] {
            let world = World::new();
            world.install("good");
            let tree = world.tree("odd");
            shape.put(&tree.join("opt/my/stuff/bin/odd"), &world.outside());
            let error = ends("special", || install(&tree, &world.root(), mode, &InstallOptions::default()));
            assert!(matches!(error, Err(PrefixError::NoPrefix { .. })));
            assert_eq!((world.version().as_str(), world.list()), ("good", vec![(1, true)]));
            assert!(!world.hidden().join("copying").exists());
        }
    }
}
