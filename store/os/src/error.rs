//! The error of a failed system call: which call, on what, and why.

use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// A system call that failed: which, on what, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {call} `{}`: {}{}", path.display(), explain(*errno), self.remedy())]
pub struct SysError {
    pub call: &'static str,
    pub path: PathBuf,
    pub errno: Errno,
    place: Place,
}

/// Where a path is, as far as it decides what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a store, or in what is added to one.
    Any,
    /// One of the store's own files, such as that of a lock.
    OwnOfStore,
    /// Where a store's trees are put, which has remedies of its own.
    Outside,
}

impl SysError {
    pub fn new(call: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self { call, path: path.into(), errno, place: Place::Any }
    }

    /// Tells that what failed was done to a file or directory that each store has.
    pub fn of_store(self) -> Self {
        Self { place: Place::OwnOfStore, ..self }
    }

    /// Tells that what failed was done outside of any store: what helps a store does not help there.
    pub fn outside(self) -> Self {
        Self { place: Place::Outside, ..self }
    }

    fn remedy(&self) -> &'static str {
        let is_own = self.place == Place::OwnOfStore;
        match self.errno {
            _ if self.place == Place::Outside => "",
            Errno::EACCES | Errno::EPERM if is_own => {
                "; the store belongs to another user: set EVAL_ROOT to a directory of your own"
            }
            Errno::ENOTDIR | Errno::EISDIR | Errno::EEXIST | Errno::ELOOP | Errno::ENXIO if is_own => {
                "; that is not what a store has there: move it away, or set EVAL_ROOT to another directory"
            }
            Errno::ENOENT if is_own => "; set EVAL_ROOT to a directory that can be made",
            errno => remedy(errno),
        }
    }

    pub fn io(call: &'static str, path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        Self::new(call, path, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

fn explain(errno: Errno) -> String {
    format!("{} ({errno:?})", errno.desc())
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC => "; free some space (`ev store gc`) or set EVAL_ROOT to a larger file system",
        Errno::EDQUOT => "; the quota is used up: free some space (`ev store gc`) or set EVAL_ROOT elsewhere",
        Errno::EROFS => "; set EVAL_ROOT to a file system that can be written",
        Errno::EXDEV => "; the two places must be on one file system",
        Errno::EMFILE | Errno::ENFILE => "; raise the limit on open files (`ulimit -n`)",
        _ => "",
    }
}

/// What to do about a file operation's error, to be put after it; empty when nothing general can be said.
pub fn io_remedy(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::StorageFull => {
            "; free some space there (`ev store gc` drops what nothing keeps) and run it again"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; the store belongs to another user: set EVAL_ROOT to a directory of your own"
        }
        _ => "",
    }
}

/// Names the call and the path of a failed system call.
pub trait Context<T> {
    fn context(self, call: &'static str, path: impl ErrorPath) -> Result<T, SysError>;
}

/// Where something failed: put together only once it has.
pub trait ErrorPath {
    fn error_path(self) -> PathBuf;
}

impl<P: AsRef<Path>> ErrorPath for P {
    fn error_path(self) -> PathBuf {
        self.as_ref().to_owned()
    }
}

impl<T> Context<T> for Result<T, Errno> {
    fn context(self, call: &'static str, path: impl ErrorPath) -> Result<T, SysError> {
        self.map_err(|errno| SysError::new(call, path.error_path(), errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, call: &'static str, path: impl ErrorPath) -> Result<T, SysError> {
        self.map_err(|error| SysError::io(call, path.error_path(), &error))
    }
}
