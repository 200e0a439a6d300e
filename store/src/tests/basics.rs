use super::*;
use crate::ValidPath;
use insta::assert_snapshot;
use model::tree::Node;
use model::{Derivation, Digest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const TREE: &str = "a = 1\nb/c * 2\nb/d -> ../a\ne/\nf = 1\nb/g = 1";

fn install(store: &LocalStore, dir: &Path, path: &str, references: &[&model::StorePath]) -> model::StorePath {
    let imported = store.import_tree(dir).unwrap();
    let hash = Digest::of(path.as_bytes()).into();
    let path = store.model().make_output_path("out", &hash, path).unwrap();
    let references = references.iter().map(|&path| path.clone()).collect();
    store
        .install(dir, &ValidPath { references, ..ValidPath::new(path.clone(), imported.node, imported.bytes) })
        .unwrap();
    path
}

/// Every file's inode, to detect shared ones.
fn inodes(root: &Path) -> BTreeMap<u64, Vec<PathBuf>> {
    let mut inodes: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if meta.is_file() {
            inodes.entry(meta.ino()).or_default().push(path);
        }
    }
    inodes
}

#[track_caller]
fn assert_no_inode_is_shared(root: &Path) {
    for (_, names) in inodes(root) {
        assert_eq!(names.len(), 1, "{names:?} share an inode");
    }
}

#[test]
fn adopted_in_place_and_checked_out_again() {
    let store = temp_store();
    let scratch = store.scratch_dir("out").unwrap();
    let staged = scratch.path().join("out");
    make(&staged, TREE);
    std::fs::set_permissions(staged.join("b/c"), PermissionsExt::from_mode(0o6755)).unwrap();
    let path = install(&store, &staged, "x", &[]);
    assert!(!staged.exists());
    let there = store.physical_path(&path);
    let expected = "/ 555\n/a 444 1\n/b/ 555\n/b/c 555 2\n/b/d -> ../a\n/b/g 444 1\n/e/ 555\n/f 444 1";
    assert_eq!(show(&there), expected);
    assert_no_inode_is_shared(&there);

    let node = store.tree_of(&path).unwrap();
    let copy = scratch.path().join("copy");
    store.checkout(&node, &copy, crate::BlobCheck::Skip).unwrap();
    assert_eq!(show(&copy), expected);
    assert_no_inode_is_shared(&copy);
    let again = scratch.path().join("again");
    make(&again, TREE);
    assert_eq!(store.import_tree(&again).unwrap().node, node);
    assert_no_inode_is_shared(&again);
    // Both checkouts share the blob, which is stored once.
    assert_eq!(std::fs::metadata(copy.join("b/c")).unwrap().ino(), std::fs::metadata(there.join("b/c")).unwrap().ino());
    assert_eq!(store.path_info(&path).unwrap().unwrap().bytes, 4);
}

#[test]
fn an_output_may_be_a_file_or_a_link() {
    let store = temp_store();
    let scratch = store.scratch_dir("out").unwrap();
    make(scratch.path(), "file * hello\nlink -> nowhere");
    let file = install(&store, &scratch.path().join("file"), "file", &[]);
    assert_eq!(show(&store.physical_path(&file)), " 555 hello");
    let link = install(&store, &scratch.path().join("link"), "link", &[&file]);
    assert_eq!(show(&store.physical_path(&link)), " -> nowhere");
    assert_eq!(store.tree_of(&link).unwrap(), Node::Symlink { target: b"nowhere".to_vec() });
    assert_eq!(store.closure(&link).unwrap(), BTreeSet::from([file.clone(), link.clone()]));
    assert_eq!(store.referrers(&file).unwrap(), BTreeSet::from([link]));
}

#[test]
fn files_with_several_names_are_separated() {
    let store = temp_store();
    let outside = store.dir.path().join("precious");
    std::fs::write(&outside, "precious").unwrap();
    let scratch = store.scratch_dir("out").unwrap();
    let staged = scratch.path().join("out");
    make(&staged, "a = 1");
    std::fs::hard_link(staged.join("a"), staged.join("b")).unwrap();
    std::fs::hard_link(&outside, staged.join("c")).unwrap();
    install(&store, &staged, "x", &[]);
    let meta = std::fs::metadata(&outside).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.nlink()), (0o644, 1), "the file outside was changed or taken over");
}

#[test]
fn sources_stay_as_they_are() {
    let store = temp_store();
    let source = store.dir.path().join("source");
    make(&source, TREE);
    let before = inodes(&source);
    let path = store.add_source(&source, name("src"), None).unwrap();
    assert_eq!(store.add_source(&source, name("src"), None).unwrap(), path);
    assert_eq!(inodes(&source), before);
    assert_eq!(std::fs::metadata(source.join("a")).unwrap().mode() & 0o777, 0o644);
    assert_no_inode_is_shared(&store.physical_path(&path));
    let mut filter = |path: &Path, kind| Ok(!path.ends_with("g") && kind != crate::SourceKind::Symlink);
    let filtered = store.add_source(&source, name("src"), Some(&mut filter)).unwrap();
    assert_eq!(show(&store.physical_path(&filtered)), "/ 555\n/a 444 1\n/b/ 555\n/b/c 555 2\n/e/ 555\n/f 444 1");
    std::fs::write(source.join("a"), "2").unwrap();
    assert_ne!(store.add_source(&source, name("src"), None).unwrap(), path);
}

#[test]
fn special_files_are_refused_by_name() {
    let store = temp_store();
    let source = store.dir.path().join("source");
    make(&source, "a = 1");
    nix::unistd::mkfifo(&source.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let check = |error: crate::StoreError| error.to_string().replace(&*store.dir.path().to_string_lossy(), "…");
    assert_snapshot!(check(store.add_source(&source, name("src"), None).unwrap_err()), @"`…/source/pipe` is a named pipe; a store holds only regular files, directories and symbolic links");
    assert_snapshot!(check(store.import_tree(&source).unwrap_err()), @"`…/source/pipe` is a named pipe; a store holds only regular files, directories and symbolic links");
    assert_snapshot!(check(store.add_source(&source.join("none"), name("src"), None).unwrap_err()), @"cannot stat `…/source/none`: No such file or directory (ENOENT)");
}

#[test]
fn texts_and_derivations() {
    let store = temp_store();
    let text = store.add_text(name("foo"), b"bar", &BTreeSet::new()).unwrap();
    assert_eq!(std::fs::read(store.physical_path(&text)).unwrap(), b"bar");
    let derivation = Derivation {
        name: name("x"),
        outputs: BTreeMap::from([("out".to_owned(), model::Output::Deferred)]),
        input_derivations: BTreeMap::new(),
        input_sources: BTreeSet::from([text.clone()]),
        system: b"x86_64-linux".to_vec(),
        builder: b"/bin/sh".to_vec(),
        args: Vec::new(),
        env: BTreeMap::new(),
    };
    let path = store.add_derivation(&derivation).unwrap();
    assert_eq!(store.derivation(&path).unwrap(), derivation);
    assert_eq!(store.references(&path).unwrap(), BTreeSet::from([text]));
    let stray = model::StorePath::new([1; 20], name("stray"));
    let error = store.add_text(name("foo"), b"x", &BTreeSet::from([stray])).unwrap_err().to_string();
    assert!(
        error.ends_with("its reference `00000000000000000000000000000001-stray` is not valid")
            || error.contains("-stray` is not valid"),
        "{error}"
    );
}

#[test]
fn actions_and_builds_are_recorded() {
    let store = temp_store();
    let action = Digest::of(b"action");
    assert_eq!(store.action_result(&action).unwrap(), None);
    let node = store.put_blob(b"result", true).unwrap();
    let result = crate::ActionResult { outputs: BTreeMap::from([("out".to_owned(), node)]) };
    store.record_action(&action, &result);
    assert_eq!(store.action_result(&action).unwrap(), Some(result));
    let build = crate::BuildRecord {
        derivation: model::StorePath::new([1; 20], name("hello-2.12.drv")),
        action,
        started_at: 7,
        duration_ms: 1500,
        cpu_ms: 2500,
        memory_peak_bytes: Some(1 << 20),
        log: None,
        status: "succeeded".to_owned(),
    };
    store.record_build(&build);
    assert_eq!(store.builds(&build.derivation).unwrap(), std::slice::from_ref(&build));
    assert_eq!(store.builds_of_name("hello-2.12.drv").unwrap(), [build]);
}

#[test]
fn locks_name_their_holder_and_end_with_it() {
    let store = temp_store();
    let path = model::StorePath::new([1; 20], name("x"));
    let lock = store.try_lock_path(&path).unwrap().expect("the lock is free");
    let holder = store.try_lock_path(&path).unwrap().unwrap_err().unwrap();
    assert_eq!(holder.pid, std::process::id() as i32);
    assert!(!holder.command.is_empty());
    drop(lock);
    assert!(store.try_lock_path(&path).unwrap().is_ok());
}

#[test]
fn one_query_serves_many_paths() {
    let store = temp_store();
    let name = |text: &str| model::StorePathName::new(text).unwrap();
    let valid: BTreeSet<_> = (0..20).map(|nr| store.add_file(name(&format!("n{nr}")), &[nr])).collect();
    let missing: Vec<_> = (0..20)
        .map(|nr| {
            let hash = Digest::of(&[nr, 1]).into();
            store.model().make_output_path("out", &hash, "m").unwrap()
        })
        .collect();
    assert_eq!(store.valid_among(valid.iter().cloned().chain(missing.iter().cloned())).unwrap(), valid);
    assert!(store.valid_among(missing).unwrap().is_empty());
    // Rooted together, they stay.
    store.temp_roots(valid.iter().cloned()).unwrap();
    assert!(store.gc(crate::GcOptions::default(), &mut |_| {}).unwrap().removed == 0);
    assert_eq!(store.valid_among(valid.clone()).unwrap(), valid);
}
