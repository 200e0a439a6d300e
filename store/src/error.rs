//! What can go wrong in a store.

use crate::archive::ArchiveError;
use model::derivation::DerivationError;
use model::path::{PathError, StorePath};
use model::tree::{Digest, TreeError};
use nix::errno::Errno;
use os::SysError;
use os::space::NoRoom;
use std::path::PathBuf;

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
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Nar(#[from] model::nar::NarError),
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
