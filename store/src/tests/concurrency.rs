//! Several threads, each with a store of its own like a process, add the same files to one root.

use super::*;
use crate::{GcOptions, ValidPath};
use std::collections::BTreeSet;

#[test]
fn many_add_the_same_at_once() {
    let temp = temp_store();
    let root = temp.root().to_owned();
    let source = temp.dir.path().join("source");
    let files: String = (0..40).map(|n| format!("d{}/f{n} = {}\n", n % 5, n % 17)).collect();
    make(&source, &files);
    let paths: BTreeSet<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let (root, source, files) = (&root, &source, &files);
                scope.spawn(move || {
                    let store = open(root);
                    let mut paths = Vec::new();
                    for round in 0..6 {
                        if worker == 3 && round % 2 == 0 {
                            store.gc(GcOptions::default(), &mut |_| {}).unwrap();
                        }
                        paths.push(store.add_source(source, name("src"), None).unwrap());
                        let scratch = store.scratch_dir("out").unwrap();
                        let staged = scratch.path().join("out");
                        make(&staged, files);
                        let imported = store.import_tree(&staged).unwrap();
                        let hash = model::Digest::of(&[round]).into();
                        let path = store.model().make_output_path("out", &hash, "out").unwrap();
                        store.install(&staged, &ValidPath::new(path.clone(), imported.node, imported.bytes)).unwrap();
                        assert_eq!(show(&store.physical_path(&path)).lines().count(), 46);
                        paths.push(path);
                        paths.push(store.add_text(name("t"), &[round], &BTreeSet::new()).unwrap());
                    }
                    for path in &paths {
                        assert!(store.is_valid(path).unwrap(), "{path} is in use and was collected");
                    }
                    paths
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(paths.len(), 13);
    assert_eq!(temp.verify(false).unwrap().damage, []);
    temp.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(temp.all_paths().unwrap(), []);
}

#[test]
fn registrations_of_a_batch_do_not_share_errors() {
    let temp = temp_store();
    std::thread::scope(|scope| {
        for n in 0..16u8 {
            let store = &temp.store;
            scope.spawn(move || {
                let stray = model::StorePath::new([n; 20], name("stray"));
                let references = if n % 4 == 0 { BTreeSet::from([stray]) } else { BTreeSet::new() };
                assert_eq!(store.add_text(name("t"), &[n], &references).is_err(), n % 4 == 0);
            });
        }
    });
    assert_eq!(temp.all_paths().unwrap().len(), 12);
}

#[test]
fn many_processes_create_the_database_at_once() {
    for _ in 0..40 {
        let temp = temp_store();
        let root = temp.dir.path().join("another");
        std::thread::scope(|scope| {
            for worker in 0..8u8 {
                let root = &root;
                scope.spawn(move || open(root).add_text(name("t"), &[worker], &BTreeSet::new()).unwrap());
            }
        });
        assert_eq!(open(&root).all_paths().unwrap().len(), 8);
    }
}
