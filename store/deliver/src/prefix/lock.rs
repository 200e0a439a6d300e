//! The lock of a prefix: a file in its hidden directory, locked while anything changes.
//!
//! Uninstalling removes the file while it is locked. A process that waited for it then has the lock
//! of a file without a name, and starts again: the lock is valid only while the file and its
//! directory have the names by which they were opened.

use super::SysError;
use super::error::Result;
use super::marker::set_mode;
use super::names::LOCK;
use super::open::OpenPrefix;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, fstat};
use os::dir::{Dir, FileKind, kind};
use os::mode;
use std::fs::File;

/// Takes the lock; returns `None` when the directory or its lock was exchanged.
pub(super) fn take(opened: &OpenPrefix) -> Result<Option<Flock<File>>> {
    let hidden = &opened.hidden;
    remove_what_is_no_lock(opened)?;
    let file = match open(hidden) {
        Ok(file) => file,
        // Another process removed the directory, or replaced the lock.
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::EEXIST | Errno::ELOOP | Errno::EISDIR) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let lock = wait(file, hidden)?;
    let ours = fstat(&*lock).map_err(|errno| SysError::new("stat", hidden.join(LOCK), errno))?;
    let is_ours = hidden.find(LOCK)?.is_some_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino));
    Ok((is_ours && opened.is_in_place()?).then_some(lock))
}

/// Opens the lock, or makes it. Only its owner can open it: a process that does can block all
/// others.
fn open(hidden: &Dir) -> Result<File, SysError> {
    // Neither truncated nor written: the file may be another name of anything.
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match nix::fcntl::openat(hidden, LOCK, flags, Mode::empty()) {
        Ok(fd) => return Ok(fd.into()),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(SysError::new("open", hidden.join(LOCK), errno)),
    }
    let file = hidden.create_file(LOCK, mode::PRIVATE_FILE)?;
    set_mode(&file, mode::PRIVATE_FILE).map_err(|error| SysError::io("chmod", hidden.join(LOCK), &error))?;
    Ok(file)
}

/// Waits until no other process has the lock.
fn wait(file: File, hidden: &Dir) -> Result<Flock<File>, SysError> {
    let mut file = file;
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(SysError::new("lock", hidden.join(LOCK), errno)),
        }
    }
}

/// Removes a file that has the lock's name and is not a lock. A lock on the directory admits one
/// process at a time: otherwise one would remove the lock that another has just made and taken.
fn remove_what_is_no_lock(opened: &OpenPrefix) -> Result<()> {
    let hidden = &opened.hidden;
    let is_wrong = || -> Result<bool> { Ok(hidden.find(LOCK)?.is_some_and(|stat| kind(&stat) != FileKind::File)) };
    if !is_wrong()? {
        return Ok(());
    }
    let directory = File::from(
        nix::fcntl::openat(hidden, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| SysError::new("open directory", hidden.path(), errno))?,
    );
    let _alone = wait(directory, hidden)?;
    if is_wrong()? {
        opened.clear(LOCK)?;
    }
    Ok(())
}
