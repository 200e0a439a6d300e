//! Locks between processes and threads: `flock` on files that vanish with their holder.
//!
//! The kernel gives a lock back when its holder dies, however it dies, and says who holds one. The file is empty; its holder
//! removes it just before it lets go, so whoever gets a lock checks that the file is still the one of that name.

use crate::error::{Context, SysError};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: i32,
    pub command: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} (`{}`)", self.pid, self.command)
    }
}

/// A lock held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    // Dropped after the file is removed.
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock if it is free; else says who holds it, when that is known.
    pub(crate) fn try_take(path: &Path) -> Result<Result<Self, Option<Holder>>, SysError> {
        loop {
            let file = open(path)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => {
                    if let Some(lock) = Self::check(path, locked)? {
                        return Ok(Ok(lock));
                    }
                }
                Err((file, Errno::EWOULDBLOCK)) => return Ok(Err(holder(&file))),
                Err((_, Errno::EINTR)) => {}
                Err((_, errno)) => return Err(SysError::new("lock", path, errno)),
            }
        }
    }

    /// Waits for the lock; calls `on_wait` with the holder when it is not free at once.
    pub(crate) fn take(path: &Path, on_wait: impl FnOnce(Option<Holder>)) -> Result<Self, SysError> {
        match Self::try_take(path)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => on_wait(holder),
        }
        loop {
            match Flock::lock(open(path)?, FlockArg::LockExclusive) {
                Ok(locked) => {
                    if let Some(lock) = Self::check(path, locked)? {
                        return Ok(lock);
                    }
                }
                Err((_, Errno::EINTR)) => {}
                Err((_, errno)) => return Err(SysError::new("lock", path, errno)),
            }
        }
    }

    fn check(path: &Path, file: Flock<File>) -> Result<Option<Self>, SysError> {
        Ok(if is_at(&file, path)? { Some(Self { path: path.to_owned(), _file: file }) } else { None })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Should it stay, the next holder finds it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> Result<File, SysError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).context("open", path)
}

/// Returns whether `path` is a name of the open file.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool, SysError> {
    let ours = file.metadata().context("stat", path)?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SysError::io("stat", path, &error)),
    }
}

/// Asks the kernel who holds the lock on a file. Not known when that is a process which this one cannot see.
fn holder(file: &File) -> Option<Holder> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; who waits has an arrow after the number.
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, "FLOCK", _, _, pid, place, ..] = words.as_slice() else { return None };
        (place.rsplit(':').next() == Some(&inode)).then(|| pid.parse::<i32>().ok())?
    })?;
    (pid > 0).then(|| Holder { pid, command: command_line(pid) })
}

fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> =
        bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    words.join(" ").replace('\n', " ")
}

/// The store's collector lock: shared by all who add to the store, exclusive to the collector.
///
/// Shared holds are counted, so that only the first and the last of a process ask the kernel.
#[derive(Debug)]
pub(crate) struct SharedLock {
    path: PathBuf,
    state: Mutex<(usize, Option<Flock<File>>)>,
}

/// Keeps the collector out while it lives.
#[must_use]
pub struct Hold<'a>(&'a SharedLock);

impl SharedLock {
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::new((0, None)) }
    }

    /// Takes the lock shared; waits while a collector runs.
    pub fn hold(&self) -> Result<Hold<'_>, SysError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1.is_none() {
            state.1 = Some(self.lock(FlockArg::LockShared)?);
        }
        state.0 += 1;
        Ok(Hold(self))
    }

    /// Takes the lock alone; waits for all others, also those of this process.
    pub fn alone(&self) -> Result<impl Drop + use<>, SysError> {
        self.lock(FlockArg::LockExclusive)
    }

    fn lock(&self, how: FlockArg) -> Result<Flock<File>, SysError> {
        loop {
            match Flock::lock(open(&self.path)?, how) {
                Ok(locked) => return Ok(locked),
                Err((_, Errno::EINTR)) => {}
                Err((_, errno)) => return Err(SysError::new("lock", &self.path, errno)),
            }
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 -= 1;
        if state.0 == 0 {
            state.1 = None;
        }
    }
}
