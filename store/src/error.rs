//! Errors of the store, with a stable code and the next step for each.

use crate::archive::ArchiveError;
use model::derivation::DerivationError;
use model::path::{PathError, StorePath};
use model::tree::{Digest, TreeError};
use nix::errno::Errno;
use os::SysError;
use os::space::{OutOfSpace, STORE_FULL};
use std::path::PathBuf;

/// Advice for a database that is damaged or gone.
const REBUILD: &str = "rebuild it from the files on disk with `ev store rebuild-db`";

/// Returns the next step for the user when SQLite fails.
fn database_help(source: &rusqlite::Error) -> Option<&'static str> {
    use rusqlite::ErrorCode as Code;
    Some(match source.sqlite_error_code() {
        Some(Code::DiskFull) => STORE_FULL,
        Some(Code::SystemIoFailure) => {
            "free space with `ev store gc` if the disk is full; if it is failing, the kernel's log says so"
        }
        Some(Code::ReadOnly | Code::CannotOpen | Code::PermissionDenied) => {
            "set EVAL_ROOT to a directory of your own if the store belongs to another user; if something else is in the \
             database's place, `ev store rebuild-db` moves it aside"
        }
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => "wait for the process that has locked it, and try again",
        Some(Code::OutOfMemory | Code::OperationInterrupted) => return None,
        _ => REBUILD,
    })
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error(transparent)]
    OutOfSpace(#[from] OutOfSpace),
    #[error("the store's database `{}` failed on {query}: {source}", path.display())]
    Database { path: PathBuf, query: &'static str, source: rusqlite::Error },
    #[error(
        "the store's database `{}` has schema version {found}, and this eval knows {known}",
        path.display()
    )]
    NewerSchema { path: PathBuf, found: u32, known: u32 },
    #[error("the store's database `{}` is damaged: {what}", path.display())]
    DamagedDatabase { path: PathBuf, what: String },
    #[error("the store's database `{}` is missing, but the store has objects", path.display())]
    LostDatabase { path: PathBuf },
    #[error("the store's database holds a record that cannot be read: {what}")]
    Record { what: String },
    #[error("`{}` is a {kind}; a store holds only regular files, directories and symbolic links", path.display())]
    SpecialFile { path: PathBuf, kind: &'static str },
    #[error("`{}` changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("store path `{path}` is not valid: it was never made here, or was collected")]
    NotValid { path: StorePath },
    #[error("store path `{path}` is needed: by a link, a profile, a running build, or a path that is")]
    Alive { path: StorePath },
    #[error("store path `{path}` cannot be registered: its reference `{reference}` is not valid")]
    DanglingReference { path: StorePath, reference: StorePath },
    #[error("the files of the tree have more than the allowed {bytes_max} bytes, at `{}`", path.display())]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("blob {digest} is missing or modified")]
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
    /// Returns the stable name of the situation, which `ev explain` describes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Sys(error) if error.is_disk_full() => "store::out_of_space",
            Self::Sys(_) => "store::system_call",
            Self::OutOfSpace(_) => "store::out_of_space",
            Self::Database { source, .. } if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                "store::out_of_space"
            }
            Self::Database { .. } => "store::database",
            Self::NewerSchema { .. } => "store::newer_database",
            Self::DamagedDatabase { .. } | Self::LostDatabase { .. } | Self::Record { .. } => "store::damaged_database",
            Self::SpecialFile { .. } => "store::special_file",
            Self::Changed { .. } => "store::changed_file",
            Self::NotValid { .. } => "store::not_valid",
            Self::Alive { .. } => "store::alive",
            Self::DanglingReference { .. } => "store::dangling_reference",
            Self::TooLarge { .. } => "store::too_large",
            Self::MissingBlob { .. } => "store::damaged_blob",
            Self::Root { .. } => "store::not_a_root",
            Self::OtherStore { .. } => "store::other_store",
            Self::Tree(_) => "store::tree",
            Self::Path(_) => "store::path",
            Self::Derivation(_) => "store::derivation",
            Self::Archive(_) | Self::Nar(_) => "store::archive",
        }
    }

    /// All codes that [`StoreError::code`] can return.
    pub const CODES: [&'static str; 18] = [
        "store::alive",
        "store::archive",
        "store::changed_file",
        "store::damaged_blob",
        "store::damaged_database",
        "store::dangling_reference",
        "store::database",
        "store::derivation",
        "store::newer_database",
        "store::not_a_root",
        "store::not_valid",
        "store::other_store",
        "store::out_of_space",
        "store::path",
        "store::special_file",
        "store::system_call",
        "store::too_large",
        "store::tree",
    ];

    /// Returns the next step of the user, where there is one.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Sys(error) | Self::Archive(ArchiveError::Sys(error)) => error.help(),
            Self::OutOfSpace(error) => Some(error.help),
            Self::Database { source, .. } => database_help(source),
            Self::NewerSchema { .. } => Some(
                "use the newer eval that wrote it, or drop what only that one knows with `ev store rebuild-db --downgrade`",
            ),
            Self::DamagedDatabase { .. } | Self::LostDatabase { .. } | Self::Record { .. } => Some(REBUILD),
            Self::Alive { .. } => Some("remove the links to it first, such as `result`; `ev gc` then deletes it too"),
            Self::MissingBlob { .. } => Some("repair it with `ev store verify --repair`"),
            _ => None,
        }
    }

    /// Returns true when the database is at fault in a way that rebuilding it repairs.
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
