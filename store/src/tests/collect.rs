//! The collector, verification and rebuilding the database.

use super::*;
use crate::{Damage, GcOptions, GcReport, ValidPath};
use model::StorePath;
use std::collections::BTreeSet;
use std::time::Duration;

/// Adds a tree as a path with references.
fn add(store: &LocalStore, label: &str, files: &str, references: &[&StorePath]) -> StorePath {
    let scratch = store.scratch_dir("out").unwrap();
    let staged = scratch.path().join("out");
    make(&staged, files);
    let imported = store.import_tree(&staged).unwrap();
    let hash = model::Digest::of(label.as_bytes()).into();
    let path = store.model().make_output_path("out", &hash, label).unwrap();
    let references = references.iter().map(|&path| path.clone()).collect();
    store
        .install(&staged, &ValidPath { references, ..ValidPath::new(path.clone(), imported.node, imported.bytes) })
        .unwrap();
    path
}

/// Ends the process's temporary roots by opening the store again.
fn reopen(temp: TempStore) -> TempStore {
    let TempStore { store, dir } = temp;
    drop(store);
    TempStore { store: open(&dir.path().join("root")), dir }
}

fn blobs(store: &LocalStore) -> usize {
    let mut count = 0;
    for shard in std::fs::read_dir(store.root().join("cas")).unwrap() {
        count += std::fs::read_dir(shard.unwrap().path()).unwrap().count();
    }
    count
}

#[track_caller]
fn assert_clean(store: &LocalStore) {
    assert_eq!(store.verify(false).unwrap().damage, []);
}

/// Collects; returns the removed paths, or those of a dry run, and the report.
fn collected(store: &LocalStore, options: GcOptions) -> (Vec<StorePath>, GcReport) {
    let mut gone = Vec::new();
    let report = store.gc(options, &mut |path| gone.push(path.clone())).unwrap();
    (gone, report)
}

#[test]
fn closures_of_roots_stay() {
    let temp = temp_store();
    let shared = "lib = shared bytes";
    let a = add(&temp, "a", &format!("{shared}\na = only a"), &[]);
    let b = add(&temp, "b", shared, &[&a]);
    let c = add(&temp, "c", &format!("{shared}\nc = only c"), &[&a]);
    let link = temp.dir.path().join("result");
    temp.add_root(&link, &b).unwrap();
    // All is in use by this process.
    assert_eq!(collected(&temp, GcOptions::default()).0, []);

    let temp = reopen(temp);
    assert_eq!(std::fs::read_link(&link).unwrap(), temp.physical_path(&b));
    let (would_go, dry) = collected(&temp, GcOptions { dry_run: true, ..GcOptions::default() });
    assert_eq!(would_go, std::slice::from_ref(&c));
    assert!(temp.is_valid(&c).unwrap());
    let (gone, report) = collected(&temp, GcOptions::default());
    let directory = temp.store.tree_of(&a).unwrap();
    assert!(directory.is_directory());
    assert_eq!((gone, report.removed, report.kept, report.leftovers), (vec![c.clone()], 1, 2, 0));
    assert_eq!((report.freed_bytes, report.removed_blobs), (dry.freed_bytes, dry.removed_blobs));
    assert!(!temp.physical_path(&c).exists());
    assert_clean(&temp);

    std::fs::remove_file(&link).unwrap();
    let temp = reopen(temp);
    assert_eq!(collected(&temp, GcOptions::default()).0, [b, a]);
    assert_eq!(blobs(&temp), 0);
    assert_eq!(std::fs::read_dir(temp.root().join("gcroots/auto")).unwrap().count(), 0);
    assert_eq!(temp.gc(GcOptions::default(), &mut |_| {}).unwrap(), GcReport::default());
}

#[test]
fn limits_on_age_and_size() {
    let temp = temp_store();
    let old = add(&temp, "old", "a = 12345", &[]);
    let new = add(&temp, "new", "b = 123456", &[&old]);
    let temp = reopen(temp);
    let options = GcOptions { older_than: Some(Duration::from_secs(3600)), ..GcOptions::default() };
    assert_eq!(collected(&temp, options).0, []);
    let options = GcOptions { max_bytes: Some(11), ..GcOptions::default() };
    assert_eq!(collected(&temp, options).0, []);
    let options = GcOptions { max_bytes: Some(10), ..GcOptions::default() };
    assert_eq!(collected(&temp, options).0, [new]);
    assert!(temp.is_valid(&old).unwrap());
}

#[test]
fn a_derivation_lives_with_its_output() {
    let temp = temp_store();
    let mut derivation = model::Derivation {
        name: name("x"),
        outputs: [("out".to_owned(), model::Output::Deferred)].into(),
        input_derivations: Default::default(),
        input_sources: Default::default(),
        system: b"s".to_vec(),
        builder: b"b".to_vec(),
        args: Vec::new(),
        env: Default::default(),
    };
    derivation.fill_output_paths(temp.model(), &model::DerivationHashes::new(), |_| panic!("no inputs")).unwrap();
    let drv = temp.add_derivation(&derivation).unwrap();
    let out = derivation.output_path(temp.model(), "out").unwrap().unwrap();
    let node = temp.put_blob(b"out", false).unwrap();
    temp.add_tree(&ValidPath::new(out.clone(), node, 3)).unwrap();
    assert_eq!(temp.derivers(&out).unwrap(), BTreeSet::from([drv.clone()]));
    temp.add_named_root(&name("keep"), &out).unwrap();
    let temp = reopen(temp);
    temp.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert!(temp.is_valid(&drv).unwrap());
    temp.remove_named_root(&name("keep")).unwrap();
    assert_eq!(temp.gc(GcOptions::default(), &mut |_| {}).unwrap().removed, 2);
}

#[test]
fn a_result_without_blobs_is_deleted() {
    let temp = temp_store();
    let node = temp.put_blob(b"result", false).unwrap();
    let result = crate::ActionResult { outputs: [("out".to_owned(), node.clone())].into() };
    let (kept, lost) = (model::Digest::of(b"kept"), model::Digest::of(b"lost"));
    temp.record_action(&kept, &result);
    let other = crate::ActionResult { outputs: [("out".to_owned(), temp.put_blob(b"other", false).unwrap())].into() };
    temp.record_action(&lost, &other);
    let path = temp.add_source_node(name("x"), &crate::Imported { node, bytes: 6, files: 1 }).unwrap();
    temp.add_named_root(&name("keep"), &path).unwrap();
    let temp = reopen(temp);
    temp.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(temp.action_result(&kept).unwrap(), Some(result));
    assert_eq!(temp.action_result(&lost).unwrap(), None);
}

#[test]
fn leftovers_of_dead_processes_are_removed_and_those_of_living_ones_are_not() {
    let temp = temp_store();
    let living = temp.scratch_dir("work").unwrap();
    make(living.path(), "a = 1");
    let dead = temp.root().join("tmp/1-1");
    make(&dead.join("0-out"), "a = 1\nb/c = 2");
    make(&temp.root().join("store/something"), "x = 1");
    std::fs::write(temp.root().join("locks/stale"), "1\nx\n").unwrap();
    // Deeper than the collector has directories open, and without permissions.
    let mut deep = dead.join("deep");
    for _ in 0..700 {
        deep = deep.join("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::set_permissions(dead.join("deep"), PermissionsExt::from_mode(0o000)).unwrap();
    let report = temp.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(report.leftovers, 2);
    assert!(!dead.exists() && living.path().join("a").exists() && !temp.root().join("locks/stale").exists());
    assert_eq!(std::fs::read_dir(temp.root().join("store")).unwrap().count(), 0);
    let left: Vec<_> =
        std::fs::read_dir(temp.root().join("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_link_to_elsewhere_is_not_replaced() {
    let temp = temp_store();
    let path = temp.add_file(name("x"), b"x");
    let check = |link: &str| {
        let error = temp.add_root(&temp.dir.path().join(link), &path).unwrap_err().to_string();
        error.replace(&*temp.dir.path().to_string_lossy(), "…")
    };
    make(temp.dir.path(), "file = x\nlink -> /etc");
    insta::assert_snapshot!(check("file"), @"`…/file` is not a root of the collector: another file has that name");
    insta::assert_snapshot!(check("link"), @"`…/link` is not a root of the collector: a link to elsewhere has that name");
}

/// A collection between the steps of making a root would remove the first part.
#[test]
fn roots_are_made_and_removed_while_no_collection_can_run() {
    let temp = temp_store();
    let path = temp.add_file(name("x"), b"x");
    let link = temp.dir.path().join("result");
    let lock = std::fs::File::options().write(true).open(temp.root().join("locks/collector")).unwrap();
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let steps = std::rc::Rc::clone(&seen);
    crash::AT_STEP.set(Some(Box::new(move |step| {
        if step.contains("root") {
            let could_collect = lock.try_lock().is_ok();
            if could_collect {
                lock.unlock().unwrap();
            }
            steps.borrow_mut().push((step, could_collect));
        }
    })));
    temp.add_root(&link, &path).unwrap();
    temp.add_named_root(&name("named"), &path).unwrap();
    temp.remove_named_root(&name("named")).unwrap();
    crash::AT_STEP.set(None);
    let expected = ["indirect root made", "root made", "named root made", "named root removed"];
    assert_eq!(*seen.borrow(), expected.map(|step| (step, false)));
    assert_eq!(temp.roots().unwrap(), [crate::Root { link, path }]);
}

/// Abandoned downloads are removed, but not one in progress.
#[test]
fn abandoned_downloads_are_removed() {
    let temp = temp_store();
    let downloads = temp.root().join("tmp/partial");
    make(&downloads, "a.part = old\na.from = url\nb.part = busy\nb.from = url\nc.from = url");
    let busy = std::fs::File::open(downloads.join("b.part")).unwrap();
    busy.try_lock().unwrap();
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(&downloads).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let dry = temp.gc(GcOptions { dry_run: true, ..GcOptions::default() }, &mut |_| {}).unwrap();
    assert_eq!((dry.leftovers, names().len()), (1, 5));
    let report = temp.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((report.leftovers, report.freed_bytes), (1, 3));
    assert_eq!(names(), ["b.from", "b.part"]);
}

fn overwrite(path: &Path, text: &str) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o444)).unwrap();
}

#[test]
fn damage_is_found_and_repaired_or_made_invalid() {
    let temp = temp_store();
    let a = add(&temp, "a", "file = bytes\ndir/x = other", &[]);
    let b = add(&temp, "b", "y = third", &[&a]);
    let c = add(&temp, "c", "z = fourth\nsame1 = twice\nsame2 = twice", &[]);
    assert_clean(&temp);
    overwrite(&temp.physical_path(&a).join("file"), "bites");
    std::fs::set_permissions(temp.physical_path(&c), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(temp.physical_path(&c).join("new"), "").unwrap();
    let report = temp.verify(false).unwrap();
    let damaged: Vec<String> = report
        .damage
        .iter()
        .map(Damage::to_string)
        .map(|text| text.split_once(' ').unwrap().1[..0].to_owned() + &text)
        .collect();
    assert_eq!(damaged.len(), 4, "{damaged:?}");
    assert!(damaged.iter().any(|text| text.ends_with("-a` is damaged at `/file`: its blob is damaged")), "{damaged:?}");
    assert!(
        damaged.iter().any(|text| text.ends_with("-c` is damaged at `/new`: it is not part of the tree")),
        "{damaged:?}"
    );

    let report = temp.verify(true).unwrap();
    assert_eq!(report.repaired, BTreeSet::from([c.clone()]));
    assert_eq!(report.invalidated, BTreeSet::from([a.clone(), b.clone()]));
    assert!(!temp.is_valid(&a).unwrap() && !temp.is_valid(&b).unwrap() && temp.is_valid(&c).unwrap());
    assert!(!temp.physical_path(&c).join("new").exists());
    assert_clean(&temp);
    // Made again, it is complete.
    assert_eq!(add(&temp, "a", "file = bytes\ndir/x = other", &[]), a);
    assert_eq!(std::fs::read_to_string(temp.physical_path(&a).join("file")).unwrap(), "bytes");
    assert_clean(&temp);
}

#[test]
fn missing_blobs_are_restored_from_objects_on_disk() {
    let temp = temp_store();
    let a = add(&temp, "a", "file = bytes\ndir/x = other", &[]);
    for shard in std::fs::read_dir(temp.root().join("cas")).unwrap() {
        for blob in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            std::fs::remove_file(blob.unwrap().path()).unwrap();
        }
    }
    let temp = reopen(temp);
    assert!(!temp.verify(false).unwrap().is_clean());
    assert_eq!(temp.verify(true).unwrap().repaired, BTreeSet::from([a]));
    assert_clean(&temp);
}

#[test]
fn the_database_can_be_rebuilt() {
    let temp = temp_store();
    let a = add(&temp, "a", "x = 1", &[]);
    let mention = temp.model().print(&a);
    let b = add(&temp, "b", &format!("y = {mention}"), &[&a]);
    let text = temp.add_text(name("t"), b"text", &BTreeSet::new()).unwrap();
    let before: Vec<_> = [&a, &b, &text].map(|path| temp.path_info(path).unwrap().unwrap()).into();
    make(&temp.root().join("store/00000000000000000000000000000000-unfinished"), "x = 1");
    let TempStore { store, dir } = temp;
    drop(store);
    let root = dir.path().join("root");
    std::fs::write(root.join("db/store.sqlite"), "not a database at all").unwrap();
    let options = OpenOptions { durability: Durability::Relaxed };
    assert!(LocalStore::open_with(&root, options).unwrap().all_paths().is_err());
    let (store, count) = LocalStore::rebuild_db(&root, options, false).unwrap();
    assert_eq!(count, 3);
    for info in before {
        let mut after = store.path_info(&info.path).unwrap().unwrap();
        after.registered_at = info.registered_at;
        assert_eq!(after, info);
    }
    assert_eq!(store.verify(false).unwrap().damage, []);
}

#[test]
fn logs_stay_with_their_derivation_or_for_the_given_time() {
    let temp = temp_store();
    let derivation = |label: &str| temp.add_text(name(&format!("{label}.drv")), label.as_bytes(), &BTreeSet::new());
    let (kept, gone) = (derivation("kept").unwrap(), derivation("gone").unwrap());
    temp.add_named_root(&name("kept"), &kept).unwrap();
    let log_dir = temp.log_dir();
    let failed = temp.root().join("failed").join(gone.to_string());
    make(&failed, "build/x = left\nrequest.json = { }");
    std::fs::set_permissions(failed.join("build"), PermissionsExt::from_mode(0o000)).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let two_days_ago = std::time::SystemTime::now() - 2 * day;
    for (file, old) in [
        (format!("{kept}.zst"), true),
        (format!("{gone}.zst"), true),
        (format!("{gone}.999999999.part"), true),
        (format!("{kept}.{}.part", std::process::id()), true),
        (format!("{gone}.999999998.part"), false),
        ("notes".to_owned(), true),
    ] {
        std::fs::write(log_dir.join(&file), "log").unwrap();
        if old {
            let times = std::fs::FileTimes::new().set_modified(two_days_ago);
            std::fs::File::options().write(true).open(log_dir.join(&file)).unwrap().set_times(times).unwrap();
        }
    }
    std::fs::File::open(&failed).unwrap().set_times(std::fs::FileTimes::new().set_modified(two_days_ago)).unwrap();
    let started_at = temp.now() - 2 * day.as_secs();
    for path in [&kept, &gone] {
        let record = crate::BuildRecord {
            derivation: path.clone(),
            action: model::Digest::of(b"action"),
            started_at,
            duration_ms: 1,
            cpu_ms: 1,
            memory_peak_bytes: None,
            log: Some(format!("{path}.zst")),
            status: "succeeded".to_owned(),
        };
        temp.record_build(&record);
    }
    let temp = reopen(temp);
    let logs = || std::fs::read_dir(temp.log_dir()).unwrap().count();

    // Without an age for logs they stay, as does everything younger than the age.
    for keep_logs in [None, Some(3 * day)] {
        let report = temp.gc(GcOptions { keep_logs, dry_run: true, ..GcOptions::default() }, &mut |_| {}).unwrap();
        assert_eq!((report.removed, report.removed_logs), (1, u64::from(keep_logs.is_some())));
    }
    let options = GcOptions { keep_logs: Some(day), ..GcOptions::default() };
    let dry = temp.gc(GcOptions { dry_run: true, ..options }, &mut |_| {}).unwrap();
    assert_eq!((dry.removed_logs, logs(), failed.exists()), (2, 6, true));
    let report = temp.gc(options, &mut |_| {}).unwrap();
    assert_eq!((report.removed_logs, logs(), failed.exists()), (2, 4, false));
    assert!(temp.log_dir().join(format!("{kept}.zst")).exists());
    assert_eq!((temp.builds(&kept).unwrap().len(), temp.builds(&gone).unwrap().len()), (1, 0));
    // With an age of zero, only logs in use or of valid paths stay.
    temp.gc(GcOptions { keep_logs: Some(Duration::ZERO), ..GcOptions::default() }, &mut |_| {}).unwrap();
    assert!(temp.log_dir().join(format!("{kept}.zst")).exists());
}

/// Other processes add during a verification: a blob that was read unfinished may be complete when
/// an object refers to it.
#[test]
fn a_blob_finished_during_verification_is_not_damaged() {
    let temp = temp_store();
    let path = add(&temp, "first", "a = first", &[]);
    let digest = model::Digest::of(b"second");
    let blob = temp.blob_path(&digest, false);
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::fs::write(&blob, "sec").unwrap();
    let mut report = crate::VerifyReport::default();
    let blobs = temp.store.verify_blobs(&mut report).unwrap();
    let second = add(&temp, "second", "a = second", &[&path]);
    temp.store.verify_objects(&blobs, &mut report).unwrap();
    assert_eq!(report.damage, []);
    // One that was damaged since is found nevertheless.
    let there = temp.physical_path(&second).join("a");
    std::fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&there, "others").unwrap();
    temp.store.verify_objects(&blobs, &mut report).unwrap();
    assert_eq!(report.damage.len(), 2, "{:?}", report.damage);
}
