//! The error of a failed system call: the call, its path and the error number.

use crate::space::STORE_FULL;
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// A system call that failed: its verb, the path and the error number.
#[derive(Debug, thiserror::Error)]
#[error("cannot {call} `{}`: {}", path.display(), explain(*errno))]
pub struct SysError {
    pub call: &'static str,
    pub path: PathBuf,
    pub errno: Errno,
    whose: Whose,
}

/// Owner of a path, which decides the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// A path in a store, or in a tree that is added to one.
    Any,
    /// One of the store's own files, such as that of a lock.
    Store,
    /// A path outside of any store, where a store's advice does not apply.
    Outside,
}

impl SysError {
    pub fn new(call: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self { call, path: path.into(), errno, whose: Whose::Any }
    }

    /// Marks a failure on a file or directory that each store has.
    pub fn of_store(self) -> Self {
        Self { whose: Whose::Store, ..self }
    }

    /// Marks a failure outside of any store, where a store's advice does not apply.
    pub fn outside(self) -> Self {
        Self { whose: Whose::Outside, ..self }
    }

    /// Returns the reason alone, where the path says nothing to the user.
    pub fn reason(&self) -> String {
        explain(self.errno)
    }

    /// Returns true when a file system is full, or a quota used up.
    pub fn is_disk_full(&self) -> bool {
        is_full(self.errno)
    }

    /// Returns the next step of the user, where there is one.
    pub fn help(&self) -> Option<&'static str> {
        match (self.whose, self.errno) {
            (Whose::Outside, _) => None,
            (Whose::Store, Errno::EACCES | Errno::EPERM) => Some(OTHER_USER),
            (Whose::Store, Errno::ENOTDIR | Errno::EISDIR | Errno::EEXIST | Errno::ELOOP | Errno::ENXIO) => {
                Some("a store has something else there: move it away, or set EVAL_ROOT to another directory")
            }
            (Whose::Store, Errno::ENOENT) => Some("set EVAL_ROOT to a directory that can be made"),
            (_, errno) => errno_help(errno),
        }
    }

    pub fn io(call: &'static str, path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        Self::new(call, path, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

fn explain(errno: Errno) -> String {
    format!("{} ({errno:?})", errno.desc())
}

/// Returns the reason of a failed operation on a file, in the form that [`SysError`] prints.
pub fn io_reason(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| explain(Errno::from_raw(number)))
}

/// Returns true when an operation failed because a file system is full, or a quota used up.
pub fn is_disk_full(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| is_full(Errno::from_raw(number)))
}

fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT)
}

/// Advice for a store that another user owns.
const OTHER_USER: &str = "the store belongs to another user: set EVAL_ROOT to a directory of your own";

fn errno_help(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::ENOSPC => STORE_FULL,
        Errno::EDQUOT => "the quota is used up: free some space (`ev store gc`) or set EVAL_ROOT elsewhere",
        Errno::EROFS => "set EVAL_ROOT to a file system that can be written",
        Errno::EXDEV => "move both to one file system",
        Errno::EMFILE | Errno::ENFILE => "raise the limit on open files (`ulimit -n`)",
        _ => return None,
    })
}

/// Returns the next step after a failed operation on a file of the store, where there is a general
/// one.
pub fn io_help(error: &std::io::Error) -> Option<&'static str> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EACCES | Errno::EPERM => Some(OTHER_USER),
        errno => errno_help(errno),
    }
}

/// Names the call and the path of a failed system call.
pub trait Context<T> {
    fn context(self, call: &'static str, path: impl ErrorPath) -> Result<T, SysError>;
}

/// The path of a failure, computed only when one happens.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_form() {
        let error = std::io::Error::from_raw_os_error(Errno::ENOENT as i32);
        let reason = "No such file or directory (ENOENT)";
        assert_eq!(io_reason(&error), reason);
        assert_eq!(SysError::io("read", "/x", &error).to_string(), format!("cannot read `/x`: {reason}"));
        assert_eq!(io_reason(&std::io::Error::other("it is damaged")), "it is damaged");
        assert!(is_disk_full(&std::io::Error::from_raw_os_error(Errno::EDQUOT as i32)));
        assert!(!is_disk_full(&error));
    }
}
