//! The errors of reading archives.

use filesystem::TreeBuildError;
use os::SysError;
use os::space::OutOfSpace;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// An archive that was not read to its end. Files written before the error stay for the caller to
/// remove.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The archive or the destination cannot be opened.
    #[error(transparent)]
    Open(#[from] SysError),
    /// The bytes are not a known archive, or one with unknown features.
    #[error("`{}` cannot be unpacked: {reason}", archive.display())]
    Format {
        /// The archive.
        archive: PathBuf,
        /// The archive's form, or the part that it lacks.
        reason: String,
    },
    /// The archive ends too early or contradicts itself.
    #[error("`{}` is truncated or damaged near byte {offset}: {source}", archive.display())]
    Broken {
        /// The archive.
        archive: PathBuf,
        /// Number of bytes read of the file when the damage was found.
        offset: u64,
        /// The error of the decoder.
        source: io::Error,
    },
    /// One entry is refused.
    #[error("`{}`: entry `{entry}` is refused: {reason}", archive.display())]
    Refused {
        /// The archive.
        archive: PathBuf,
        /// The entry's name, made printable.
        entry: String,
        /// The reason.
        reason: String,
    },
    /// The result would be larger than allowed: perhaps a bomb.
    #[error("`{}`: at entry `{entry}` the limit of {limit} is exceeded", archive.display())]
    Limit {
        /// The archive.
        archive: PathBuf,
        /// The entry at which it happened, made printable.
        entry: String,
        /// The limit.
        limit: String,
    },
    /// The result does not fit on the disk.
    #[error("`{}`: entry `{entry}`: {source}", archive.display())]
    OutOfSpace {
        /// The archive.
        archive: PathBuf,
        /// The entry at which it happened, made printable.
        entry: String,
        /// The free space that there is, and the next step.
        source: OutOfSpace,
    },
    /// The destination cannot be written.
    #[error("`{}`: cannot {} entry `{entry}`: {}", archive.display(), source.call, source.reason())]
    System {
        /// The archive.
        archive: PathBuf,
        /// The entry's name, made printable.
        entry: String,
        /// The failed system call.
        source: SysError,
    },
    /// The caller asked to stop.
    #[error("unpacking `{}` was cancelled", archive.display())]
    Cancelled {
        /// The archive.
        archive: PathBuf,
    },
}

impl UnpackError {
    /// Returns true when a file system was full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Open(source) | Self::System { source, .. } => source.is_disk_full(),
            Self::OutOfSpace { .. } => true,
            _ => false,
        }
    }

    /// Returns the next step of the user, where there is one.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Open(source) | Self::System { source, .. } => source.help(),
            Self::OutOfSpace { source, .. } => Some(source.help),
            _ => None,
        }
    }
}

/// The reason for which a sink did not take an entry, or a parser could not read it.
#[derive(Debug)]
pub enum EntryError {
    /// The entry is not allowed, or does not fit.
    Refused(String),
    /// A limit is exceeded: which.
    Limit(String),
    /// The file system lacks free space for the entry.
    OutOfSpace(OutOfSpace),
    /// The entry could not be written.
    System(SysError),
    /// The content could not be read.
    Read(io::Error),
    /// The caller asked to stop.
    Cancelled,
}

impl From<OutOfSpace> for EntryError {
    fn from(error: OutOfSpace) -> Self {
        Self::OutOfSpace(error)
    }
}

impl From<SysError> for EntryError {
    fn from(error: SysError) -> Self {
        Self::System(error)
    }
}

impl From<filesystem::PathError> for EntryError {
    fn from(error: filesystem::PathError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<TreeBuildError> for EntryError {
    fn from(error: TreeBuildError) -> Self {
        Self::Refused(error.to_string())
    }
}
