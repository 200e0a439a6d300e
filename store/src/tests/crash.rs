//! Stops at every step of a change of a store, by `kill -9` of a process of its own, then opens the
//! store again.
//!
//! After any step: the store opens, valid paths are whole, the same work succeeds, and a collection
//! leaves no trace.

use super::*;
use crate::{GcOptions, ValidPath};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// The step at which a child process stops.
const STOP_AT: &str = "EVAL_STORE_TEST_STOP_AT";
const WORK: &str = "EVAL_STORE_TEST_WORK";
const ROOT: &str = "EVAL_STORE_TEST_ROOT";

static STEPS: AtomicU64 = AtomicU64::new(0);

/// The hook of a test between two steps.
type AtStep = Box<dyn FnMut(&'static str)>;

thread_local! {
    /// Called at the steps of this thread.
    pub static AT_STEP: std::cell::RefCell<Option<AtStep>> = const { std::cell::RefCell::new(None) };
}

/// Called between any two steps; kills this process at the chosen one.
pub fn step(name: &'static str) {
    AT_STEP.with_borrow_mut(|at_step| at_step.iter_mut().for_each(|at_step| at_step(name)));
    static STOP: std::sync::LazyLock<Option<u64>> =
        std::sync::LazyLock::new(|| std::env::var(STOP_AT).ok().and_then(|text| text.parse().ok()));
    if let Some(stop) = *STOP
        && STEPS.fetch_add(1, Ordering::SeqCst) == stop
    {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

const FILES: &str = "a = 1\nb/c * 2\nb/d -> ../a\ne/\nf = 1";

fn adopt(store: &LocalStore) {
    let scratch = store.scratch_dir("out").unwrap();
    let staged = scratch.path().join("out");
    make(&staged, FILES);
    let imported = store.import_tree(&staged).unwrap();
    let hash = model::Digest::of(b"x").into();
    let path = store.model().make_output_path("out", &hash, "adopted").unwrap();
    store.install(&staged, &ValidPath::new(path, imported.node, imported.bytes)).unwrap();
}

fn work(store: &LocalStore, what: &str) {
    match what {
        "adopt" => adopt(store),
        "source" => drop(store.add_source(&store.root().join("../source"), name("src"), None).unwrap()),
        "text" => {
            let first = store.add_text(name("one"), b"one", &BTreeSet::new()).unwrap();
            store.add_text(name("two"), b"two", &BTreeSet::from([first])).unwrap();
        }
        "gc" => drop(store.gc(GcOptions::default(), &mut |_| {}).unwrap()),
        _ => unreachable!("{what}"),
    }
}

/// Not a test by itself: the tests below run it in a process of its own.
#[test]
fn child() {
    if let (Ok(root), Ok(what)) = (std::env::var(ROOT), std::env::var(WORK)) {
        work(&open(Path::new(&root)), &what);
    }
}

#[track_caller]
fn check(what: &str) {
    for stop in 0.. {
        let dir = super::Temporary::new();
        make(&dir.path().join("source"), FILES);
        let root = dir.path().join("root");
        if what == "gc" {
            let store = open(&root);
            for what in ["adopt", "source", "text"] {
                work(&store, what);
            }
        } else {
            drop(open(&root));
        }
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::crash::child", "--test-threads=1"])
            .env(STOP_AT, stop.to_string())
            .env(WORK, what)
            .env(ROOT, &root)
            .output()
            .unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&ended.status) == Some(9);
        assert!(killed || ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));

        let store = open(&root);
        assert_eq!(store.verify(false).unwrap().damage, [], "after stopping at step {stop}");
        work(&store, what);
        assert_eq!(store.verify(false).unwrap().damage, [], "after step {stop} and doing it again");
        drop(store);
        let store = open(&root);
        store.gc(GcOptions::default(), &mut |_| {}).unwrap();
        assert_eq!(store.all_paths().unwrap(), []);
        assert_eq!(std::fs::read_dir(root.join("store")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
        for shard in std::fs::read_dir(root.join("cas")).unwrap() {
            assert_eq!(std::fs::read_dir(shard.unwrap().path()).unwrap().count(), 0, "a blob stays after step {stop}");
        }
        if !killed {
            assert!(stop > 3, "`{what}` has only {stop} steps");
            break;
        }
    }
}

#[test]
fn adopting() {
    check("adopt");
}

#[test]
fn adding_a_source() {
    check("source");
}

#[test]
fn adding_texts() {
    check("text");
}

#[test]
fn collecting() {
    check("gc");
}

/// A power cut can leave an unregistered blob without its bytes.
#[test]
fn a_blob_that_lost_its_bytes_is_not_reused() {
    let temp = temp_store();
    let root = temp.root().to_owned();
    let (small, large) = ("small", "large ".repeat(100_000));
    let files = format!("a = {small}\nb = {large}");
    for node in [temp.put_blob(small.as_bytes(), false), temp.put_blob(large.trim().as_bytes(), false)] {
        let model::Node::File { digest, size, .. } = node.unwrap() else { panic!("a blob is a file") };
        let path = temp.blob_path(&digest, false);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(size).unwrap();
        os::dir::finish_file(&file, false, &path).unwrap();
    }
    let TempStore { store, dir } = temp;
    drop(store);
    let started_later = || {
        let mut store = open(&root);
        store.booted_at = store.now() as i64 + 1;
        store
    };
    make(&dir.path().join("source"), &files);
    let store = started_later();
    assert_eq!(store.verify(false).unwrap().damage, [], "nothing refers to them");
    let path = store.add_source(&dir.path().join("source"), name("source"), None).unwrap();
    assert_eq!(store.verify(false).unwrap().damage, []);
    assert_eq!(std::fs::read_to_string(store.physical_path(&path).join("a")).unwrap(), small);

    // The same for outputs of builds, and for cached sources.
    for damaged in [small.as_bytes(), large.trim().as_bytes()] {
        let blob = store.blob_path(&model::Digest::of(damaged), false);
        std::fs::remove_file(&blob).unwrap();
        let file = std::fs::File::create(&blob).unwrap();
        file.set_len(damaged.len() as u64).unwrap();
        os::dir::finish_file(&file, false, &blob).unwrap();
    }
    drop(store);
    let store = started_later();
    let scratch = store.scratch_dir("out").unwrap();
    let staged = scratch.path().join("out");
    make(&staged, &files);
    let imported = store.import_tree(&staged).unwrap();
    let hash = model::Digest::of(b"x").into();
    let adopted = store.model().make_output_path("out", &hash, "adopted").unwrap();
    store.install(&staged, &ValidPath::new(adopted.clone(), imported.node.clone(), imported.bytes)).unwrap();
    assert_eq!(std::fs::read_to_string(store.physical_path(&adopted).join("a")).unwrap(), small);
    assert!(store.has_tree(&imported.node).unwrap());
}

/// Clocks that are wrong, in either direction, cost time at the most.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let years = std::time::Duration::from_secs(10 * 365 * 24 * 3600);
    let temp = temp_store();
    let root = temp.root().to_owned();
    let TempStore { store, dir } = temp;
    let source = dir.path().join("source");
    make(&source, "a = first\nb = second");
    let set = |time| std::fs::File::open(source.join("a")).unwrap().set_modified(time).unwrap();
    let (past, future) = (std::time::UNIX_EPOCH + years, std::time::SystemTime::now() + years);
    let add = |store: &LocalStore| store.add_source(&source, name("source"), None).unwrap();

    // A file from the future may be written again at that very time.
    set(future);
    let first = add(&store);
    std::fs::write(source.join("a"), "third").unwrap();
    set(future);
    let second = add(&store);
    assert_ne!(first, second);
    // And one that was changed while the clock was years behind.
    set(past);
    std::fs::write(source.join("a"), "fifth").unwrap();
    set(past);
    let third = add(&store);
    assert_eq!(std::fs::read_to_string(store.physical_path(&third).join("a")).unwrap(), "fifth");

    // Builds recorded at future times.
    let record = crate::BuildRecord {
        derivation: third.clone(),
        action: model::Digest::of(b"action"),
        started_at: store.now() + years.as_secs(),
        duration_ms: 1,
        cpu_ms: 1,
        memory_peak_bytes: None,
        log: None,
        status: "succeeded".to_owned(),
    };
    store.record_build(&record);
    store.add_named_root(&name("kept"), &third).unwrap();
    drop(store);

    // The machine seems to have been started long ago, or in years.
    for booted_at in [i64::MIN, 0, future.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64] {
        let mut store = open(&root);
        store.booted_at = booted_at;
        assert_eq!(add(&store), third);
        store.add_text(name("text"), b"fifth", &BTreeSet::new()).unwrap();
        let keep_logs = Some(std::time::Duration::from_secs(3600));
        store.gc(GcOptions { keep_logs, ..GcOptions::default() }, &mut |_| {}).unwrap();
        assert!(store.is_valid(&third).unwrap());
        assert_eq!(store.verify(false).unwrap().damage, []);
    }
}
