//! The power fails at any moment: a store on a disk whose writes are recorded, and then opened from
//! the possible contents of that disk at each flush, and at moments between them with a part of the
//! later writes.
//!
//! After any moment: mounting repairs the file system, all registered paths exist, valid paths are
//! whole, the same work succeeds, and it treats no partial file as whole.
//!
//! `EVAL_POWER_LOSS=300 cargo test -p store --release power -- --ignored
//! --nocapture`, as root, makes that many images on each of ext4, xfs and btrfs, whose `mkfs` must
//! be installed.

mod disk;

use self::disk::{Disk, Event, Record};
use super::*;
use crate::{GcOptions, ValidPath};
use model::StorePath;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use test_support::mutate;

/// The number of images of each file system.
const IMAGES: &str = "EVAL_POWER_LOSS";

/// A registered path, and the moments between which it must exist.
struct Kept {
    path: StorePath,
    from: usize,
    until: usize,
}

/// A file system on a loop device.
struct Mounted {
    at: PathBuf,
    device: String,
}

fn tool(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

impl Mounted {
    fn new(kind: &str, file: &Path, at: &Path) -> Mounted {
        let device = tool("losetup", &["--find", "--show", file.to_str().unwrap()]);
        // The previous file system has the same number, and may still exist in a namespace.
        let options = if kind == "xfs" { "nouuid" } else { "defaults" };
        tool("mount", &["-t", kind, "-o", options, &device, at.to_str().unwrap()]);
        Mounted { at: at.to_owned(), device }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        disk::unmount(&self.at);
        tool("losetup", &["--detach", &self.device]);
    }
}

fn open_safe(root: &Path) -> LocalStore {
    LocalStore::open_with(root, OpenOptions { durability: Durability::Full }).unwrap()
}

/// Opens a store as if the machine had been started after the last write to it.
fn open_after_start(root: &Path) -> LocalStore {
    let mut store = open(root);
    store.booted_at = store.now() as i64 + 1;
    store
}

/// Files of the tree that round `round` adds: small and larger ones, some shared with other rounds.
fn files(round: usize) -> String {
    let long = |n: usize| format!("{n} {round}").repeat(10_000 + n * 777);
    let many: String = (0..8).map(|n| format!("d{}/f{n} = {round} {n}\n", n % 3)).collect();
    format!("same = as ever\nbin/x * run {round}\nlink -> same\nlong = {}\nlonger = {}\n{many}", long(1), long(2))
}

/// Does the work of one round; adds registered paths to `kept` as soon as they are.
fn round(store: &LocalStore, outside: &Path, number: usize, kept: &mut dyn FnMut(StorePath)) {
    let source = outside.join(format!("source-{number}"));
    if !source.exists() {
        make(&source, &files(number));
    }
    kept(store.add_source(&source, name("source"), None).unwrap());
    let one = store.add_text(name("one"), format!("one {number}").as_bytes(), &BTreeSet::new()).unwrap();
    kept(one.clone());
    kept(store.add_text(name("two"), format!("two {number}").as_bytes(), &BTreeSet::from([one])).unwrap());
    let scratch = store.scratch_dir("out").unwrap();
    let staged = scratch.path().join("out");
    make(&staged, &files(1000 + number));
    let imported = store.import_tree(&staged).unwrap();
    let hash = model::Digest::of(&number.to_le_bytes()).into();
    let path = store.model().make_output_path("out", &hash, "adopted").unwrap();
    store.install(&staged, &ValidPath::new(path.clone(), imported.node, imported.bytes)).unwrap();
    kept(path);
}

/// Works on a store on a recorded disk.
fn record(kind: &str, mkfs: &[&str], size: u64, place: &Path) -> (Record, Vec<Kept>, usize) {
    let (below, at) = (place.join("disk"), place.join("recorded"));
    for directory in [&below, &at] {
        std::fs::create_dir_all(directory).unwrap();
    }
    let disk = Disk::new(&below, size).unwrap();
    tool(mkfs[0], &[&mkfs[1..], &[disk.file().to_str().unwrap()]].concat());
    let mounted = Mounted::new(kind, &disk.file(), &at);
    let store = open_safe(&at.join("root"));
    tool("sync", &["--file-system", at.to_str().unwrap()]);
    let begin = disk.len();
    let mut kept: Vec<Kept> = Vec::new();
    for number in 0..3 {
        round(&store, place, number, &mut |path| kept.push(Kept { path, from: disk.len(), until: usize::MAX }));
    }
    // Some are kept, and the rest is collected.
    store.add_named_root(&name("kept"), &kept[0].path).unwrap();
    let now = disk.len();
    drop(store);
    let store = open_safe(&at.join("root"));
    store.gc(GcOptions::default(), &mut |_| {}).unwrap();
    for gone in &mut kept[1..] {
        gone.until = now;
    }
    // Collected paths are made again, and new ones by several threads at a time.
    let more = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for number in 2..6 {
            let (store, disk, more) = (&store, &disk, &more);
            scope.spawn(move || {
                round(store, place, number, &mut |path| {
                    more.lock().unwrap().push(Kept { path, from: disk.len(), until: usize::MAX });
                });
            });
        }
    });
    kept.extend(more.into_inner().unwrap());
    drop(store);
    let end = disk.len();
    drop(mounted);
    let mut record = disk.take();
    record.events.truncate(end);
    (record, kept, begin)
}

/// Opens the store in an image, and checks all invariants.
fn check_image(kind: &str, image: &Path, place: &Path, must: &[&StorePath], case: &str) {
    let at = place.join("image");
    std::fs::create_dir_all(&at).unwrap();
    let mounted = Mounted::new(kind, image, &at);
    let root = at.join("root");
    let store = open_after_start(&root);
    for path in must {
        assert!(store.is_valid(path).unwrap(), "{case}: `{path}` was registered and is lost");
    }
    assert_eq!(store.verify(false).unwrap().damage, [], "{case}: something half is registered");
    // The same work does not reuse partial files of any kind.
    for number in 0..6 {
        round(&store, place, number, &mut |_| {});
    }
    assert_eq!(store.verify(false).unwrap().damage, [], "{case}: after doing it again");
    drop(store);
    let store = open(&root);
    store.remove_named_root(&name("kept")).unwrap();
    drop(store);
    let store = open(&root);
    store.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(store.all_paths().unwrap(), [], "{case}");
    assert_eq!(std::fs::read_dir(root.join("store")).unwrap().count(), 0, "{case}");
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0, "{case}");
    drop(store);
    drop(mounted);
}

fn lose_power(kind: &str, mkfs: &[&str], size: u64) {
    assert!(Command::new(mkfs[0]).arg("-V").output().is_ok(), "{kind} needs {}, which is not installed", mkfs[0]);
    let wanted: usize = std::env::var(IMAGES).map_or(30, |text| text.parse().unwrap());
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let (record, kept, begin) = record(kind, mkfs, size, place.path());
    let moments = begin..=record.events.len();
    let flushes: Vec<usize> =
        moments.clone().filter(|&at| at > begin && matches!(record.events[at - 1], Event::Flush)).collect();
    let mut random = mutate::Random::new(1);
    let (mut at_flushes, mut between) = (0, 0);
    for n in 0..wanted {
        // Half of them at flushes, spread evenly, with no write or with all writes since the
        // previous flush.
        let (count, share) = if n % 2 == 0 {
            at_flushes += 1;
            let flush = flushes[n * flushes.len() / wanted];
            (flush - usize::from(n % 4 == 0), if n % 8 < 4 { 0 } else { 100 })
        } else {
            between += 1;
            (begin + random.below(record.events.len() - begin), [10, 50, 90, 100][random.below(4)])
        };
        // A file of its own: another process's namespace may keep the last one mounted for a while.
        let image = place.path().join(format!("{n}.img"));
        record.image(&image, size, count, || random.below(100) < share);
        let case = format!("{kind}: {count} of {} events, {share} % of the last", record.events.len());
        let must: Vec<&StorePath> =
            kept.iter().filter(|kept| kept.from <= count && count < kept.until).map(|kept| &kept.path).collect();
        check_image(kind, &image, place.path(), &must, &case);
        std::fs::remove_file(&image).unwrap();
    }
    println!(
        "{kind}: {} writes and flushes recorded, {} of them flushes; {at_flushes} images at flushes, {between} between",
        record.events.len() - begin,
        flushes.len(),
    );
}

#[test]
#[ignore = "needs root, a loop device and FUSE, and takes minutes"]
fn ext4() {
    lose_power("ext4", &["mkfs.ext4", "-q", "-F"], 96 << 20);
}

#[test]
#[ignore = "needs root, a loop device and FUSE, and takes minutes"]
fn xfs() {
    lose_power("xfs", &["mkfs.xfs", "-q", "-f"], 320 << 20);
}

#[test]
#[ignore = "needs root, a loop device and FUSE, and takes minutes"]
fn btrfs() {
    lose_power("btrfs", &["mkfs.btrfs", "-q", "-f"], 192 << 20);
}

/// An ext4 file system after an error of its disk: it becomes read-only while the store is in use.
/// Registered paths can still be read, everything else is a reported error, and nothing is lost.
#[test]
#[ignore = "needs root and a loop device"]
fn a_file_system_that_becomes_read_only() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let (image, at) = (place.path().join("image"), place.path().join("at"));
    std::fs::create_dir(&at).unwrap();
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    tool("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
    let mounted = Mounted::new("ext4", &image, &at);
    let root = at.join("root");
    let store = open_safe(&root);
    let mut kept = Vec::new();
    round(&store, place.path(), 0, &mut |path| kept.push(path));
    let whole: Vec<String> = kept.iter().map(|path| show(&store.physical_path(path))).collect();
    make(&place.path().join("late"), &files(7));

    tool("mount", &["-o", "remount,abort", at.to_str().unwrap()]);
    let source = store.add_source(&place.path().join("late"), name("late"), None);
    assert!(source.unwrap_err().to_string().contains("EROFS"));
    assert!(store.add_text(name("late"), b"late", &BTreeSet::new()).is_err());
    assert!(store.gc(GcOptions::default(), &mut |_| {}).is_err());
    for (path, whole) in kept.iter().zip(&whole) {
        assert!(store.is_valid(path).unwrap());
        assert_eq!(show(&store.physical_path(path)), *whole);
    }
    drop(store);
    // Opening it again succeeds or is an error, and changes nothing.
    if let Ok(store) = LocalStore::open(&root) {
        let _ = store.all_paths();
    }
    drop(mounted);

    let mounted = Mounted::new("ext4", &image, &at);
    let store = open_after_start(&root);
    for (path, whole) in kept.iter().zip(&whole) {
        assert!(store.is_valid(path).unwrap());
        assert_eq!(show(&store.physical_path(path)), *whole);
    }
    assert_eq!(store.verify(false).unwrap().damage, []);
    round(&store, place.path(), 7, &mut |_| {});
    assert_eq!(store.verify(false).unwrap().damage, []);
    drop(store);
    drop(mounted);
}
