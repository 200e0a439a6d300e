//! Stops a process at its N-th system call while it opens, adds to, adopts into, verifies or
//! collects a store, or has that call fail, and opens the store again.
//!
//! After any call: valid paths that are kept stay, all valid paths are whole, the same work
//! succeeds afterwards, and a collection removes all leftovers.
//! `EVAL_STORE_STOPS=10000 cargo test -p store --release stops` makes that many stops; without the
//! variable there are a few hundred. [`super::crash`] stops at our own steps instead, at each of
//! them.

use super::*;
use crate::{GcOptions, StoreError, ValidPath};
use model::StorePath;
use nix::errno::Errno;
use nix::libc;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use test_support::tracer::{DISK_FULL, Ended, Fault, Plan, run};

const WORK: &str = "EVAL_STORE_TEST_STOPS_WORK";
const ROOT: &str = "EVAL_STORE_TEST_STOPS_ROOT";
/// The number of stops or faults of all tests here together.
const STOPS: &str = "EVAL_STORE_STOPS";

/// The works; each takes its share of the stops.
const WORKS: [&str; 6] = ["open", "adopt", "source", "text", "gc", "verify"];

/// The exit status of a child that reported an error.
const FAILED: i32 = 3;

fn work(root: &Path, what: &str) -> Result<(), StoreError> {
    let store = LocalStore::open_with(root, OpenOptions { durability: Durability::Relaxed })?;
    match what {
        "open" => drop(store.all_paths()?),
        "adopt" => {
            let scratch = store.scratch_dir("out")?;
            let staged = scratch.path().join("out");
            // Made by a builder, in production: its failures are not ours.
            std::fs::rename(root.join("../staged"), &staged)
                .map_err(|error| crate::SysError::io("rename", &staged, &error))?;
            let imported = store.import_tree(&staged)?;
            let hash = model::Digest::of(b"x").into();
            let path = store.model().make_output_path("out", &hash, "adopted")?;
            store.install(&staged, &ValidPath::new(path, imported.node, imported.bytes))?;
        }
        "source" => drop(store.add_source(&root.join("../source"), name("src"), None)?),
        "text" => {
            let first = store.add_text(name("one"), b"one", &BTreeSet::new())?;
            store.add_text(name("two"), b"two", &BTreeSet::from([first]))?;
        }
        "gc" => {
            store.gc(GcOptions::default(), &mut |_| {})?;
        }
        "verify" => drop(store.verify(true)?),
        _ => unreachable!("{what}"),
    }
    Ok(())
}

/// Not a test by itself: the tests below run it in a process of its own.
#[test]
fn child() {
    if let (Ok(root), Ok(what)) = (std::env::var(ROOT), std::env::var(WORK)) {
        println!("\nready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        match work(Path::new(&root), &what) {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("error: {error}");
                std::process::exit(FAILED);
            }
        }
    }
}

/// A store with a path to keep and one to collect, and beside it a source to add.
struct Fixture {
    dir: super::Temporary,
    kept: Option<StorePath>,
}

impl Fixture {
    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }
}

fn files(extra: u64) -> String {
    let extra: String = (0..extra).map(|n| format!("x{}/f{n} = {}\n", n % 3, n % 7)).collect();
    format!("a = 1\nb/c * 2\nb/d -> ../a\ne/\nf = 1\n{extra}")
}

fn prepare(what: &str, extra: u64) -> Fixture {
    // A kill loses no data on any file system: in memory it is ten times faster.
    let dir = super::Temporary::in_memory();
    make(&dir.path().join("source"), &files(extra));
    make(&dir.path().join("staged"), &files(extra));
    let mut fixture = Fixture { dir, kept: None };
    if what == "open" {
        return fixture;
    }
    let store = open(&fixture.root());
    make(&fixture.dir.path().join("kept"), "bin/k * kept\nlib/l = also kept");
    let kept = store.add_source(&fixture.dir.path().join("kept"), name("kept"), None).unwrap();
    store.add_named_root(&name("kept"), &kept).unwrap();
    fixture.kept = Some(kept);
    if matches!(what, "gc" | "verify") {
        for n in 0..=extra as u8 {
            store.add_text(name("gone"), &[n], &BTreeSet::new()).unwrap();
        }
        store.add_source(&fixture.dir.path().join("source"), name("src"), None).unwrap();
    }
    if what == "verify" {
        // Damages a path, for a repair or an invalidation: the kept path may be the damaged one.
        let (_, blob) = blobs(&fixture.root()).pop_first().unwrap();
        std::fs::set_permissions(&blob, PermissionsExt::from_mode(0o644)).unwrap();
        let damaged = vec![b'!'; std::fs::metadata(&blob).unwrap().len() as usize];
        std::fs::write(&blob, damaged).unwrap();
        fixture.kept = None;
    }
    fixture
}

/// The blobs of a store by name.
fn blobs(root: &Path) -> std::collections::BTreeMap<std::ffi::OsString, std::path::PathBuf> {
    let shards = std::fs::read_dir(root.join("cas")).unwrap();
    let files = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
    files.map(|file| file.unwrap()).map(|file| (file.file_name(), file.path())).collect()
}

fn start(fixture: &Fixture, what: &str, plan: Plan) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::stops::child", "--test-threads=1", "--nocapture"]);
    command.env(WORK, what).env(ROOT, fixture.root()).env("RAYON_NUM_THREADS", "1");
    run(&mut command, plan)
}

/// Checks the invariants after any end: see the head of this file.
#[track_caller]
fn check_after(fixture: &Fixture, what: &str, case: &str) {
    let store = open(&fixture.root());
    if let Some(kept) = &fixture.kept {
        assert!(store.is_valid(kept).unwrap(), "{case}: a registered path was lost");
        assert_eq!(show(&store.physical_path(kept)).lines().count(), 5, "{case}: a registered path is not whole");
    }
    if what != "verify" {
        assert_eq!(store.verify(false).unwrap().damage, [], "{case}: something half was accepted");
    }
    drop(store);
    if what == "adopt" && !fixture.dir.path().join("staged").exists() {
        make(&fixture.dir.path().join("staged"), &files(0));
    }
    work(&fixture.root(), what).unwrap_or_else(|error| panic!("{case}: doing it again: {error}"));
    let store = open(&fixture.root());
    assert_eq!(store.verify(false).unwrap().damage, [], "{case}: after doing it again");
    store.remove_named_root(&name("kept")).unwrap();
    drop(store);
    let store = open(&fixture.root());
    store.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(store.all_paths().unwrap(), [], "{case}: a path stays");
    assert_eq!(blobs(&fixture.root()).len(), 0, "{case}: a blob stays");
    for dir in ["store", "tmp", "locks"] {
        let mut names: Vec<_> =
            std::fs::read_dir(fixture.root().join(dir)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.retain(|name| dir != "locks" || !crate::lock::FILES.contains(&name.as_bytes()));
        assert!(names.is_empty(), "{case}: {names:?} in {dir}");
    }
}

/// The number of stops of one of `parts` equal parts of the tests here.
fn wanted(parts: u64) -> u64 {
    std::env::var(STOPS).ok().and_then(|text| text.parse::<u64>().ok()).map_or(12, |stops| stops.div_ceil(parts))
}

/// Stops evenly over the work, and over ever larger work when one round is not enough.
#[track_caller]
fn stop_everywhere(what: &str) {
    let (mut made, mut extra) = (0, 0);
    while made < wanted(WORKS.len() as u64) {
        let whole = start(&prepare(what, extra), what, Plan::Count);
        assert_eq!(whole.status, Some(0), "{}", whole.printed);
        assert!(whole.calls > 20, "`{what}` takes only {} calls", whole.calls);
        let stops = (wanted(WORKS.len() as u64) - made).min(whole.calls);
        for n in 0..stops {
            let at = n * whole.calls / stops;
            let fixture = prepare(what, extra);
            let ended = start(&fixture, what, Plan::Stop(at));
            let case = format!("`{what}` with {extra} more files, stopped at call {at} of {}", whole.calls);
            // The last calls may differ from run to run.
            assert!(ended.status.is_none_or(|status| status == 0), "{case}: {}", ended.printed);
            check_after(&fixture, what, &case);
        }
        made += stops;
        extra += 7;
    }
    println!("{what}: {made} stops");
}

#[test]
fn opening() {
    stop_everywhere("open");
}

#[test]
fn adopting() {
    stop_everywhere("adopt");
}

#[test]
fn adding_a_source() {
    stop_everywhere("source");
}

#[test]
fn adding_texts() {
    stop_everywhere("text");
}

#[test]
fn collecting() {
    stop_everywhere("gc");
}

#[test]
fn verifying() {
    stop_everywhere("verify");
}

const DISK_BROKEN: Fault = Fault {
    errno: Errno::EIO,
    calls: &[
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_pwrite64,
        libc::SYS_fchmod,
        libc::SYS_utimensat,
        libc::SYS_getdents64,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_newfstatat,
    ],
};

const TOO_MANY_FILES: Fault = Fault { errno: Errno::EMFILE, calls: &[libc::SYS_openat, libc::SYS_open] };

const READ_ONLY: Fault = Fault {
    errno: Errno::EROFS,
    calls: &[
        libc::SYS_mkdir,
        libc::SYS_mkdirat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
        libc::SYS_fchmod,
        libc::SYS_utimensat,
    ],
};

/// Makes calls fail, one a run, evenly over the work: it succeeds or ends with an error.
#[track_caller]
fn fail_everywhere(fault: &'static Fault) {
    let (mut made, mut reported) = (0, 0);
    for what in ["open", "adopt", "source", "text", "gc"] {
        let whole = start(&prepare(what, 3), what, Plan::Fail(u64::MAX - 1, fault));
        assert_eq!(whole.status, Some(0), "{}", whole.printed);
        let faults = wanted(20).min(whole.calls);
        for n in 0..faults {
            let at = n * whole.calls / faults;
            let fixture = prepare(what, 3);
            let ended = start(&fixture, what, Plan::Fail(at, fault));
            let case = format!("`{what}` with {} at call {at} of {}", fault.errno, whole.calls);
            match ended.status {
                Some(0) => {}
                Some(FAILED) => reported += 1,
                other => panic!("{case}: ended with {other:?}: {}", ended.printed),
            }
            made += u64::from(ended.struck);
            check_after(&fixture, what, &case);
        }
    }
    println!("{}: {made} faults, {reported} of them reported", fault.errno);
    assert!(reported > 0 && reported <= made);
}

#[test]
fn a_full_disk() {
    fail_everywhere(&DISK_FULL);
}

#[test]
fn a_broken_disk() {
    fail_everywhere(&DISK_BROKEN);
}

#[test]
fn too_many_open_files() {
    fail_everywhere(&TOO_MANY_FILES);
}

#[test]
fn a_file_system_that_became_read_only() {
    fail_everywhere(&READ_ONLY);
}
