//! Gives the files of a tree second names in a new tree of the same directories, and does nothing else: what `tests/bench/store/run`
//! measures laying out trees against.
//!
//! `link TREE DEST [THREADS]` prints the processor seconds that `linkat` took, those of making and opening the directories, and the
//! number of links. Names and descriptors of directories are known before, so there
//! may have to be many open files (`ulimit -n`); threads share directories, not files.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, linkat, mkdirat, openat};
use rustix::time::{ClockId, clock_gettime};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// A directory of the tree and its counterpart, with the files to be linked.
struct Pair {
    from: OwnedFd,
    to: OwnedFd,
    files: Vec<CString>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(tree), Some(dest)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: link TREE DEST [THREADS]");
        std::process::exit(2);
    };
    let threads: usize = arguments.next().map_or(1, |count| count.parse().expect("THREADS is a number"));
    let (mut pairs, mut making) = (Vec::new(), 0.0);
    mkdirat(CWD, &dest, Mode::from_raw_mode(0o755)).expect("DEST can be made");
    walk(open(CWD, &tree), open(CWD, &dest), &mut pairs, &mut making);
    let links: usize = pairs.iter().map(|pair| pair.files.len()).sum();
    let (pairs, next) = (&pairs, &std::sync::atomic::AtomicUsize::new(0));
    let before = cpu();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(pair) = pairs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    for name in &pair.files {
                        linkat(&pair.from, name, &pair.to, name, AtFlags::empty()).expect("the file can be linked");
                    }
                }
            });
        }
    });
    println!("{:.2} {making:.2} {links}", cpu() - before);
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty()).expect("the directory can be opened")
}

/// Processor seconds of this process.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn walk(from: OwnedFd, to: OwnedFd, pairs: &mut Vec<Pair>, making: &mut f64) {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    let mut room = [MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(&from, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry.expect("the directory can be read");
        let name: &CStr = entry.file_name();
        match entry.file_type() {
            FileType::Directory if !matches!(name.to_bytes(), b"." | b"..") => directories.push(name.to_owned()),
            FileType::RegularFile => files.push(name.to_owned()),
            _ => {}
        }
    }
    for name in directories {
        let below = open(&from, &name);
        let before = cpu();
        mkdirat(&to, &name, Mode::from_raw_mode(0o755)).expect("the directory can be made");
        let made = open(&to, &name);
        *making += cpu() - before;
        walk(below, made, pairs, making);
    }
    pairs.push(Pair { from, to, files });
}
