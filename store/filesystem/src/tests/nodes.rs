//! Conversions between file systems and trees with manifests.

use super::*;
use crate::{EntryKind, Manifest, NodesError};
use model::Node;
use model::tree::{Directories, MemoryDirectories};
use proptest::prelude::*;

/// A tree `a` (file), `b` (the same, executable), `c` (as `a`), `d/` and `l` (link).
fn tree(directories: &MemoryDirectories) -> Node {
    let mut root = model::Directory::new();
    let file = |executable| Node::File { digest: Digest::of(b"x"), executable, size: 1 };
    root.insert("a", file(false)).unwrap();
    root.insert("b", file(true)).unwrap();
    root.insert("c", file(false)).unwrap();
    root.insert("d", directories.save(&model::Directory::new()).unwrap()).unwrap();
    root.insert("l", Node::Symlink { target: b"a".to_vec() }).unwrap();
    directories.save(&root).unwrap()
}

fn of_tree(lines: &str) -> Result<FileSystem<Digest>, NodesError> {
    let directories = MemoryDirectories::new();
    let manifest: Manifest = format!("eval-manifest 1\n{lines}").parse().unwrap();
    FileSystem::from_tree(&tree(&directories), &directories, &manifest, &DEFAULTS)
}

fn listed(file_system: &FileSystem<Digest>) -> String {
    let mut text = String::new();
    let walked: Result<(), std::convert::Infallible> = file_system.walk(&mut |entry, _| {
        let stat = entry.stat;
        let kind = match entry.kind {
            EntryKind::HardLink { target } => format!("= {target}"),
            kind => format!("{kind:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
        };
        text.push_str(&format!("{} {:04o} {}:{} {} {kind}\n", entry.path, stat.mode, stat.uid, stat.gid, stat.mtime));
        Ok(())
    });
    let Ok(()) = walked;
    text
}

#[test]
fn a_manifest_adds_metadata_and_objects_to_a_tree() {
    insta::assert_snapshot!(listed(&of_tree("").unwrap()), @"
    / 0755 0:0 1000000000 Directory
    /a 0644 0:0 1000000000 File
    /b 0755 0:0 1000000000 File
    /c 0644 0:0 1000000000 File
    /d 0755 0:0 1000000000 Directory
    /l 0777 0:0 1000000000 Symlink
    ");
    let lines = "/ mode=0700\n/a uid=7 mtime=5\n/b mode=4711\n/c link=/a\n/d/null char=1:3 mode=0666\n/d/pipe fifo\n";
    insta::assert_snapshot!(listed(&of_tree(lines).unwrap()), @"
    / 0700 0:0 1000000000 Directory
    /a 0644 7:0 5 File
    /b 4711 0:0 1000000000 File
    /c 0644 7:0 5 = /a
    /d 0755 0:0 1000000000 Directory
    /d/null 0666 0:0 1000000000 CharacterDevice
    /d/pipe 0600 0:0 1000000000 Fifo
    /l 0777 0:0 1000000000 Symlink
    ");
    let directories = MemoryDirectories::new();
    let all = FileSystem::from_tree(
        &tree(&directories),
        &directories,
        &Manifest::new(),
        &Defaults::read_only(Time::of_seconds(1)),
    );
    insta::assert_snapshot!(listed(&all.unwrap()), @"
    / 0555 0:0 1 Directory
    /a 0444 0:0 1 File
    /b 0555 0:0 1 File
    /c 0444 0:0 1 File
    /d 0555 0:0 1 Directory
    /l 0777 0:0 1 Symlink
    ");
}

#[test]
fn a_manifest_that_does_not_fit_its_tree_is_refused_with_the_path() {
    let cases = [
        ("/x uid=1", "the manifest describes `/x`, which is not in the tree"),
        ("/a/x uid=1", "the manifest describes `/a/x`, which is not in the tree"),
        ("/l/x uid=1", "the manifest describes `/l/x`, which is not in the tree"),
        ("/x/y fifo", "the manifest puts `/x/y` into a directory that is not in the tree"),
        ("/l/y fifo", "the manifest puts `/l/y` into a directory that is not in the tree"),
        ("/a fifo", "the manifest puts an object at `/a`, where the tree has one"),
        ("/d socket", "the manifest puts an object at `/d`, where the tree has one"),
        ("/b link=/a", "the manifest makes `/b` a hard link to `/a`, and the tree does not have one object at both"),
        ("/x link=/a", "the manifest makes `/x` a hard link to `/a`, and the tree does not have one object at both"),
        (
            "/d/x link=/d",
            "the manifest makes `/d/x` a hard link to `/d`, and the tree does not have one object at both",
        ),
        ("/a mode=0700", "the manifest gives `/a` the mode 0700, and in the tree the file is not executable"),
        ("/b mode=0644", "the manifest gives `/b` the mode 0644, and in the tree the file is executable"),
    ];
    for (line, reason) in cases {
        let error = of_tree(&format!("{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{line}: {error}");
    }
    let file = Node::File { digest: Digest::of(b""), executable: false, size: 0 };
    let error = FileSystem::from_tree(&file, &MemoryDirectories::new(), &Manifest::new(), &DEFAULTS).unwrap_err();
    assert_eq!(error.to_string(), "the root of a file system is a directory, and this is a file");
}

#[test]
fn further_names_of_a_device_are_hard_links() {
    let file_system = of_tree("/d/null char=1:3\n/d/zero link=/d/null\n").unwrap();
    assert!(listed(&file_system).contains("/d/zero 0600 0:0 1000000000 = /d/null\n"));
}

/// A file that one manifest describes and another does not has one node: metadata does not change a
/// tree.
#[test]
fn metadata_is_not_part_of_the_tree() {
    let directories = MemoryDirectories::new();
    let (plain, _) = of_tree("").unwrap().to_tree(&directories, &DEFAULTS).unwrap();
    let (changed, manifest) = of_tree("/a mode=0600 uid=1\n/c link=/a\n/d/null char=1:3\n")
        .unwrap()
        .to_tree(&directories, &DEFAULTS)
        .unwrap();
    assert_eq!((plain.clone(), plain), (changed, tree(&directories)));
    assert_eq!(manifest.to_string(), "eval-manifest 1\n/a mode=0600 uid=1\n/c link=/a\n/d/null char=1:3\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tree_and_its_manifest_give_the_file_system_back(file_system in random::file_system()) {
        for defaults in [DEFAULTS, Defaults::read_only(Time::of_seconds(1))] {
            let directories = MemoryDirectories::new();
            let (node, manifest) = file_system.to_tree(&directories, &defaults).unwrap();
            let back = FileSystem::from_tree(&node, &directories, &manifest, &defaults).unwrap();
            prop_assert!(back == file_system, "{}\n{}", listed(&back), listed(&file_system));
        }
    }
}
