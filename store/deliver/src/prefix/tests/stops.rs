//! Kills a process at its N-th system call while it installs, switches, removes or prunes, or has
//! that call fail.
//!
//! After any call: the path holds one whole generation, the old or the new one; nothing outside of
//! the root has changed, the collector leaves linked trees, the user's files are found again, every
//! command works, and no partial work is left.
//! `EVAL_PREFIX_STOPS=10000 cargo test -p deliver --release prefix::tests::stops` makes that many
//! stops, later ones in roots with odd entries; without the variable there are some.

use super::hostile::NAMES;
use super::{shapes, *};
use model::StorePath;
use nix::errno::Errno;
use nix::libc;
use std::process::Command;
use store::{GcOptions, LocalStore};
use test_support::mutate::Random;
use test_support::tracer::{DISK_FULL, Ended, Fault, Plan, run};

const WORK: &str = "EVAL_PREFIX_TEST_STOPS_WORK";
const DIRECTORY: &str = "EVAL_PREFIX_TEST_STOPS_DIRECTORY";
/// The number of stops of all works together.
const STOPS: &str = "EVAL_PREFIX_STOPS";

/// The exit status of a child that reported an error.
const FAILED: i32 = 3;

/// The command, the state before it, and the versions that the path may show before and after, `""`
/// for none.
const WORKS: [(&str, &[&str], &str, &str); 13] = [
    ("install copy new", &[], "", "new"),
    ("install symlink new", &[], "", "new"),
    ("install copy new", &["copy old"], "old", "new"),
    ("install hardlink new", &["copy old", "copy old2"], "old2", "new"),
    ("install symlink new", &["copy old"], "old", "new"),
    ("install copy new", &["symlink old"], "old", "new"),
    ("install symlink new", &["symlink old"], "old", "new"),
    ("install copy new", &["foreign"], "foreign", "new"),
    ("install symlink new", &["foreign"], "foreign", "new"),
    ("install copy new", &["copy old", "change"], "changed", "new"),
    ("switch", &["symlink new", "copy old"], "old", "new"),
    ("uninstall", &["copy old", "copy old2", "symlink old3", "copy old4", "change"], "changed", ""),
    ("prune", &["copy old", "change", "symlink old2", "copy old3"], "old3", "old3"),
];

fn mode(word: &str) -> InstallMode {
    match word {
        "copy" => InstallMode::Copy,
        "symlink" => InstallMode::Symlink,
        "hardlink" => InstallMode::Hardlink,
        _ => unreachable!("{word}"),
    }
}

/// The tree of a version in a store.
fn tree(store: &LocalStore, directory: &Path, version: &str) -> StorePath {
    let source = directory.join("sources").join(version);
    fs::create_dir_all(source.join("opt/my/stuff/bin")).unwrap();
    fs::create_dir_all(source.join("opt/my/stuff/lib/deep")).unwrap();
    fs::write(source.join("opt/my/stuff/bin/tool"), version).unwrap();
    for file in ["lib/a", "lib/deep/b"] {
        fs::write(source.join("opt/my/stuff").join(file), format!("{file} of {version}")).unwrap();
    }
    let alias = source.join("opt/my/stuff/bin/alias");
    if !alias.is_symlink() {
        symlink("tool", alias).unwrap();
    }
    store.add_source(&source, name("tree"), None).unwrap()
}

fn work(directory: &Path, what: &str) -> Result<()> {
    let root = directory.join("root");
    let words: Vec<&str> = what.split(' ').collect();
    match words[..] {
        ["install", how, version] => {
            let store = open(&directory.join("store"));
            let path = tree(&store, directory, version);
            let keep = if version == "new" { 1 } else { KEEP };
            let options = InstallOptions { store: Some(&store), force: true, keep, ..InstallOptions::default() };
            install(&store.physical_path(&path), &root, mode(how), &options).map(drop)
        }
        ["switch"] => switch(&root, PREFIX.as_ref(), Wanted::Previous, true).map(drop),
        ["uninstall"] => uninstall(&root, PREFIX.as_ref(), true).map(drop),
        ["prune"] => prune(&root, PREFIX.as_ref(), 0, None).map(drop),
        _ => unreachable!("{what}"),
    }
}

/// Not a test by itself: the tests below run it in a process of its own.
#[test]
fn child() {
    if let (Ok(directory), Ok(what)) = (std::env::var(DIRECTORY), std::env::var(WORK)) {
        println!("\nready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        match work(Path::new(&directory), &what) {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("error: {error}");
                std::process::exit(FAILED);
            }
        }
    }
}

fn prepare(before: &[&str], odd: u64) -> World {
    // A kill loses no data on any file system.
    let world = World::new();
    fs::create_dir_all(world.prefix().parent().unwrap()).unwrap();
    let directory = world.directory.path();
    let store = open(&directory.join("store"));
    // Kept by the links of prefixes only.
    tree(&store, directory, "new");
    drop(store);
    for step in before {
        match *step {
            "foreign" => {
                fs::create_dir_all(world.prefix().join("bin")).unwrap();
                fs::write(world.prefix().join("bin/tool"), "foreign").unwrap();
                fs::write(world.prefix().join("mine"), "precious of the user's").unwrap();
            }
            "change" => {
                fs::write(world.prefix().join("bin/tool"), "changed").unwrap();
                fs::write(world.prefix().join("mine"), "precious of the user's").unwrap();
            }
            step => work(directory, &format!("install {step}")).unwrap(),
        }
    }
    world.outside();
    let mut random = Random::new(odd);
    for _ in 0..odd.min(3) {
        fs::create_dir_all(world.hidden()).unwrap();
        let at = world.hidden().join(NAMES[random.below(NAMES.len())]);
        if fs::symlink_metadata(&at).is_err() {
            shapes::ALL[random.below(shapes::ALL.len())].put(&at, &world.outside());
        }
    }
    world
}

fn start(world: &World, what: &str, plan: Plan) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "prefix::tests::stops::child", "--test-threads=1", "--nocapture"]);
    command.env(WORK, what).env(DIRECTORY, world.directory.path()).env("RAYON_NUM_THREADS", "1");
    run(&mut command, plan)
}

/// The version at the path, or none. Panics when it is neither, or not whole.
#[track_caller]
fn shown(world: &World, case: &str) -> String {
    shown_at(&world.prefix(), case)
}

#[track_caller]
fn shown_at(prefix: &Path, case: &str) -> String {
    if fs::symlink_metadata(prefix).is_err() {
        return String::new();
    }
    let read = |file: &str| fs::read_to_string(prefix.join(file)).ok();
    let version = read("bin/tool").unwrap_or_else(|| panic!("{case}: the path holds no program"));
    if !["foreign", "changed"].contains(&version.as_str()) {
        assert_eq!(read("bin/alias").as_ref(), Some(&version), "{case}");
        for file in ["lib/a", "lib/deep/b"] {
            assert_eq!(read(file), Some(format!("{file} of {version}")), "{case}");
        }
    }
    version
}

/// Checks the invariants after any end: see the head of this file.
#[track_caller]
fn check_after(world: &World, (what, before, old, new): (&str, &[&str], &str, &str), odd: u64, case: &str) {
    let has_precious = before.iter().any(|step| ["foreign", "change"].contains(step));
    if odd == 0 {
        let version = shown(world, case);
        assert!(version == old || version == new, "{case}: the path shows `{version}`");
        let store = open(&world.directory.path().join("store"));
        store.gc(GcOptions::default(), &mut |_| {}).unwrap();
        assert_eq!(shown(world, case), version, "{case}: after a collection");
        assert_eq!(store.verify(false).unwrap().damage, [], "{case}: the store");
        drop(store);
        if let Ok(list) = generations(&world.root(), PREFIX.as_ref()) {
            for generation in list.iter().filter(|generation| !generation.current) {
                shown_at(&world.hidden().join(generation.number.to_string()), case);
            }
            let current = list.iter().filter(|generation| generation.current).count();
            assert_eq!(
                current,
                usize::from(!["", "foreign"].contains(&shown(world, case).as_str())),
                "{case}: {list:?}"
            );
        }
    }
    if what != "switch" || odd == 0 {
        match work(world.directory.path(), what) {
            Ok(()) | Err(PrefixError::NotInstalled { .. }) => {}
            // There are other generations than the installed ones.
            Err(_) if odd > 0 => {}
            Err(PrefixError::NoGeneration { .. }) if what == "switch" => {}
            Err(error) => panic!("{case}: doing it again: {error}"),
        }
    }
    if odd == 0 {
        assert_eq!(shown(world, case), new, "{case}: after doing it again");
    }
    ends(case, || world.check_that_all_works(case));
    if has_precious {
        let exists = shapes::is_somewhere(&world.root(), "precious of the user's");
        assert!(exists, "{case}: what was the user's is lost: {:#?}", world.seen());
    }
    if odd == 0 && world.hidden().exists() {
        let names: Vec<_> = fs::read_dir(world.hidden()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name.to_str().unwrap().starts_with("kept-")), "{case}: {names:?} stay");
        assert!(has_precious, "{case}: {names:?} stay");
    }
}

/// The number of stops of one work.
fn wanted(short: u64) -> u64 {
    let all = std::env::var(STOPS).ok().and_then(|text| text.parse::<u64>().ok());
    all.map_or(short, |all| all.div_ceil(WORKS.len() as u64))
}

#[test]
fn at_each_call() {
    let mut all = 0;
    for all_of_it @ (what, before, ..) in WORKS {
        let (mut made, mut odd) = (0, 0);
        while made < wanted(8) {
            let world = prepare(before, odd);
            let whole = start(&world, what, Plan::Count);
            assert!(odd > 0 || whole.status == Some(0), "{}", whole.printed);
            // The first calls are those of the starting process.
            let stops = (wanted(8) - made).min(whole.calls.max(1));
            for n in 0..stops {
                let at = n * whole.calls / stops;
                let world = prepare(before, odd);
                let outside = shapes::seen(&world.outside());
                let ended = start(&world, what, Plan::Stop(at));
                let case =
                    format!("`{what}` after {before:?} with oddity {odd}, stopped at call {at} of {}", whole.calls);
                // The last calls may differ from run to run.
                assert!(odd > 0 || ended.status.is_none_or(|status| status == 0), "{case}: {}", ended.printed);
                check_after(&world, all_of_it, odd, &case);
                assert_eq!(shapes::seen(&world.outside()), outside, "{case}: outside");
            }
            made += stops;
            odd += 1;
        }
        println!("{what} after {before:?}: {made} stops");
        all += made;
    }
    println!("{all} stops");
}

const DISK_BROKEN: Fault = Fault {
    errno: Errno::EIO,
    calls: &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_fchmod,
        libc::SYS_getdents64,
        libc::SYS_unlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_newfstatat,
        libc::SYS_syncfs,
        libc::SYS_copy_file_range,
    ],
};

/// Makes calls fail, one a run: the command succeeds or ends with an error, and leaves no more than
/// a kill may.
#[test]
fn with_a_failing_disk() {
    for fault in [&DISK_FULL, &DISK_BROKEN] {
        let (mut made, mut reported) = (0, 0);
        for all_of_it @ (what, before, ..) in WORKS {
            let whole = start(&prepare(before, 0), what, Plan::Fail(u64::MAX - 1, fault));
            assert_eq!(whole.status, Some(0), "{}", whole.printed);
            let faults = (wanted(4) / 4).max(4).min(whole.calls);
            for n in 0..faults {
                let at = n * whole.calls / faults;
                let world = prepare(before, 0);
                let outside = shapes::seen(&world.outside());
                let ended = start(&world, what, Plan::Fail(at, fault));
                let case = format!("`{what}` after {before:?} with {} at call {at} of {}", fault.errno, whole.calls);
                match ended.status {
                    Some(0) => {}
                    Some(FAILED) => reported += 1,
                    // The store of the child is set up with calls that must not fail.
                    Some(101) if ended.printed.contains("tests/stops.rs") || ended.printed.contains("tests/mod.rs") => {
                    }
                    other => panic!("{case}: ended with {other:?}: {}", ended.printed),
                }
                made += u64::from(ended.struck);
                check_after(&world, all_of_it, 0, &case);
                assert_eq!(shapes::seen(&world.outside()), outside, "{case}: outside");
            }
        }
        println!("{}: {made} faults, {reported} of them reported", fault.errno);
        assert!(reported > 0 && reported <= made);
    }
}
