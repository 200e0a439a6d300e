//! Locks between processes and threads.
//!
//! A lock on a path or an action is one byte of one file, `locks/objects`, at the offset that the
//! hash of its name gives. It is a lock of the open file (`F_OFD_SETLK`), which the kernel releases
//! when its holder dies in any way. The file stays empty, and no lock creates or removes a file: on
//! some file systems that takes longer than the rest of a small build. Locks of one open file do
//! not exclude other threads of its process, so each process also keeps a list of the locks it
//! holds.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use os::{Context, SysError};
use rustix::fs::FlockOperation;
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// The names in `locks/` that the collector leaves.
pub(crate) const FILES: [&[u8]; 2] = [b"collector", b"objects"];

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    pub pid: i32,
    pub command: String,
}

impl std::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} (`{}`)", self.pid, self.command)
    }
}

/// The locks of one store, as one open file sees them.
#[derive(Debug)]
pub(crate) struct Locks {
    path: PathBuf,
    /// A directory whose entries start with the process ids of the store's users.
    workers: PathBuf,
    file: OnceLock<File>,
    held: Mutex<HashSet<i64>>,
    freed: Condvar,
}

/// A lock held until dropped.
#[derive(Debug)]
pub struct Lock {
    locks: Arc<Locks>,
    offset: i64,
}

impl Locks {
    /// Returns the locks of the store at `root`.
    pub fn new(root: &Path) -> Arc<Self> {
        Arc::new(Self {
            path: root.join("locks/objects"),
            workers: root.join("tmp"),
            file: OnceLock::new(),
            held: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    /// Takes the lock called `name` if it is free; else returns its holder, where that is known.
    pub fn try_take(self: &Arc<Self>, name: &str) -> Result<Result<Lock, Option<LockHolder>>, SysError> {
        let offset = offset_of(name);
        if !self.held().insert(offset) {
            return Ok(Err(Some(LockHolder::of(std::process::id() as i32))));
        }
        // From here on, dropping the lock releases it for other threads of this process.
        let lock = Lock { locks: Arc::clone(self), offset };
        match self.request(offset, true, false) {
            Ok(()) => Ok(Ok(lock)),
            Err(error) if matches!(error.errno, Errno::EAGAIN | Errno::EACCES) => {
                drop(lock);
                Ok(Err(self.holder(offset)))
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the lock called `name`.
    pub fn take(self: &Arc<Self>, name: &str) -> Result<Lock, SysError> {
        let offset = offset_of(name);
        let mut held = self.held();
        while !held.insert(offset) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        drop(held);
        let lock = Lock { locks: Arc::clone(self), offset };
        self.request(offset, true, true)?;
        Ok(lock)
    }

    fn held(&self) -> MutexGuard<'_, HashSet<i64>> {
        os::lock(&self.held)
    }

    fn file(&self) -> Result<&File, SysError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let opened = open(&self.path)?;
        Ok(self.file.get_or_init(|| opened))
    }

    /// Takes or releases the byte at `offset`.
    fn request(&self, offset: i64, take: bool, wait: bool) -> Result<(), SysError> {
        let file = self.file()?;
        let what = nix::libc::flock {
            l_type: if take { nix::libc::F_WRLCK } else { nix::libc::F_UNLCK } as i16,
            l_whence: nix::libc::SEEK_SET as i16,
            l_start: offset,
            l_len: 1,
            // Locks of open files require zero here.
            l_pid: 0,
        };
        loop {
            let how = if wait { FcntlArg::F_OFD_SETLKW(&what) } else { FcntlArg::F_OFD_SETLK(&what) };
            match fcntl(file, how) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(SysError::new("lock", &self.path, errno)),
            }
        }
    }

    /// Finds the process that holds the lock at `offset`, among those that use the store. Returns
    /// `None` when this process cannot see it.
    ///
    /// The kernel does not report the owner of such a lock, but lists the locks of each open file
    /// of a process.
    fn holder(&self, offset: i64) -> Option<LockHolder> {
        let inode = self.file().ok()?.metadata().ok()?.ino().to_string();
        let offset = offset.to_string();
        // `lock:	1: OFDLCK ADVISORY  WRITE -1 fe:00:5678 900 900`
        let is_it = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &["lock:", _, "OFDLCK", _, _, _, file, start, ..] = words.as_slice() else { return false };
            file.rsplit(':').next() == Some(&inode) && start == offset
        };
        let holds = |pid: i32| {
            let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?;
            let mut texts = files.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
            texts.any(|text| text.lines().any(is_it)).then_some(pid)
        };
        let workers = std::fs::read_dir(&self.workers).ok()?;
        let mut pids = workers.filter_map(|entry| entry.ok()?.file_name().to_str()?.split('-').next()?.parse().ok());
        pids.find_map(holds).map(LockHolder::of)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The order matters: otherwise a thread that takes the lock in between would lose it again.
        if self.locks.file.get().is_some() {
            let _ = self.locks.request(self.offset, false, false);
        }
        self.locks.held().remove(&self.offset);
        self.locks.freed.notify_all();
    }
}

impl LockHolder {
    fn of(pid: i32) -> Self {
        LockHolder { pid, command: command_line(pid) }
    }
}

/// Returns the offset of the lock called `name`. With 62 bits, names in use at the same time do not
/// collide.
fn offset_of(name: &str) -> i64 {
    let hash = blake3::hash(name.as_bytes());
    let bytes = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    (u64::from_le_bytes(*bytes) >> 2).cast_signed()
}

fn open(path: &Path) -> Result<File, SysError> {
    os::public::open_file(path).context("open", path).map_err(SysError::of_store)
}

/// Returns true when `path` is a name of the open file.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool, SysError> {
    let ours = file.metadata().context("stat", path)?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SysError::io("stat", path, &error)),
    }
}

fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> =
        bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    words.join(" ").replace('\n', " ")
}

/// The collector's lock: writers to the store share it, the collector takes it exclusively.
///
/// Shared locks are counted, so that only the first and the last of a process call the kernel.
#[derive(Debug)]
pub(crate) struct CollectorLock {
    path: PathBuf,
    state: Mutex<(usize, Option<File>)>,
}

/// A shared lock on the collector, which does not run until this is dropped.
#[must_use]
pub struct CollectorGuard<'a>(&'a CollectorLock);

impl CollectorLock {
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::new((0, None)) }
    }

    /// Takes the lock shared; waits while a collector runs.
    pub fn lock_shared(&self) -> Result<CollectorGuard<'_>, SysError> {
        let mut state = os::lock(&self.state);
        let (count, file) = &mut *state;
        if *count == 0 {
            let file = match file {
                Some(file) => file,
                none => none.insert(open(&self.path)?),
            };
            self.lock(file, FlockOperation::LockShared)?;
        }
        *count += 1;
        Ok(CollectorGuard(self))
    }

    /// Takes the lock exclusively, and lets this process share it: for work that adds to the store
    /// while no other process may. The caller must not hold the lock.
    pub fn lock_exclusive_for_process(&self) -> Result<CollectorGuard<'_>, SysError> {
        let mut state = os::lock(&self.state);
        let (count, file) = &mut *state;
        assert_eq!(*count, 0, "the caller holds no shared lock");
        self.lock(file.insert(open(&self.path)?), FlockOperation::LockExclusive)?;
        *count = 1;
        Ok(CollectorGuard(self))
    }

    /// Takes the lock exclusively; waits for all other holders, also those of this process. Closing
    /// the file releases it.
    pub fn lock_exclusive(&self) -> Result<File, SysError> {
        let file = open(&self.path)?;
        self.lock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn lock(&self, file: &File, how: FlockOperation) -> Result<(), SysError> {
        loop {
            match rustix::fs::flock(file, how) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(SysError::new("lock", &self.path, Errno::from_raw(errno.raw_os_error()))),
            }
        }
    }
}

impl Drop for CollectorGuard<'_> {
    fn drop(&mut self) {
        let mut state = os::lock(&self.0.state);
        let (count, file) = &mut *state;
        *count -= 1;
        if *count == 0
            && let Some(held) = file
            && rustix::fs::flock(&*held, FlockOperation::Unlock).is_err()
        {
            // Closing the file releases the lock too.
            *file = None;
        }
    }
}
