//! What can go wrong in a store.

use crate::derivation::DerivationError;
use crate::path::{PathError, StorePath};
use crate::room::NoRoom;
use crate::tree::{Digest, TreeError};
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
    pub(crate) fn of_store(self) -> Self {
        Self { place: Place::OwnOfStore, ..self }
    }

    /// Tells that what failed was done outside of any store: what helps a store does not help there.
    pub(crate) fn outside(self) -> Self {
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

/// What makes a database anew.
const REBUILD: &str = "`ev store rebuild-db` makes it anew from what is on disk";

/// What to do when SQLite fails, to be put after what it says.
fn database_remedy(source: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode as Code;
    let remedy = match source.sqlite_error_code() {
        Some(Code::DiskFull) => "free some space (`ev store gc`) or set EVAL_ROOT to a larger file system",
        Some(Code::SystemIoFailure) => {
            "when the disk is full, `ev store gc` frees space; when it is failing, the kernel's log tells"
        }
        Some(Code::ReadOnly | Code::CannotOpen | Code::PermissionDenied) => {
            "when the store belongs to another user, set EVAL_ROOT to a directory of your own; when something else lies there, \
             `ev store rebuild-db` moves it aside"
        }
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => "another process keeps it; try again when that has ended",
        Some(Code::OutOfMemory | Code::OperationInterrupted) => return String::new(),
        _ => REBUILD,
    };
    format!("; {remedy}")
}

/// What can go wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("the store's database `{}` failed on {query}: {source}{}", path.display(), database_remedy(source))]
    Database { path: PathBuf, query: &'static str, source: rusqlite::Error },
    #[error(
        "the store's database `{}` has schema version {found}, and this eval knows {known}; use the newer eval that wrote it, \
         or give up what only that one knows with `ev store rebuild-db --downgrade`",
        path.display()
    )]
    NewerSchema { path: PathBuf, found: u32, known: u32 },
    #[error("the store's database `{}` is damaged: {what}; {REBUILD}", path.display())]
    DamagedDatabase { path: PathBuf, what: String },
    #[error("the store's database `{}` is gone, and there are objects that it should know; {REBUILD}", path.display())]
    LostDatabase { path: PathBuf },
    #[error("the store's database holds a record that cannot be read: {what}; {REBUILD}")]
    Record { what: String },
    #[error("`{}` is a {kind}; a store holds only regular files, directories and symbolic links", path.display())]
    SpecialFile { path: PathBuf, kind: &'static str },
    #[error("`{}` changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("store path `{path}` is not valid: it was never made here, or was collected")]
    NotValid { path: StorePath },
    #[error("store path `{path}` cannot be registered: its reference `{reference}` is not valid")]
    DanglingReference { path: StorePath, reference: StorePath },
    #[error("the files of the tree come to more than {bytes_max} bytes at `{}`, which is more than may be", path.display())]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("blob {digest} is not in the store, or somebody has written to it; `ev store verify --repair` mends that")]
    MissingBlob { digest: Digest },
    #[error("`{}` is not a root of the collector: {reason}", path.display())]
    Root { path: PathBuf, reason: &'static str },
    #[error("`{what}` is not of this store (`{store_dir}`)")]
    OtherStore { what: String, store_dir: &'static str },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Derivation(#[from] DerivationError),
    #[error(transparent)]
    Nar(#[from] crate::archive::nar::NarError),
}

impl StoreError {
    /// Whether the database is at fault, in a way that making it anew repairs.
    pub fn is_database_damage(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        match self {
            Self::DamagedDatabase { .. } | Self::LostDatabase { .. } | Self::Record { .. } => true,
            Self::Database { source, .. } => !matches!(
                source.sqlite_error_code(),
                Some(
                    Code::DiskFull
                        | Code::SystemIoFailure
                        | Code::ReadOnly
                        | Code::PermissionDenied
                        | Code::DatabaseBusy
                        | Code::DatabaseLocked
                        | Code::OutOfMemory
                        | Code::OperationInterrupted
                )
            ),
            _ => false,
        }
    }

    /// Returns the error number, when a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Sys(error) => Some(error.errno),
            _ => None,
        }
    }
}

/// Names the call and the path of a failed system call.
pub(crate) trait Context<T> {
    fn context(self, call: &'static str, path: impl ErrorPath) -> Result<T, SysError>;
}

/// Where something failed: put together only once it has.
pub(crate) trait ErrorPath {
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
