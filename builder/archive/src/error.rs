//! Why an archive was not unpacked.

use nix::errno::Errno;
use os::io_remedy;
use os::space::OutOfSpace;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// An archive that was not unpacked; what was written until then stays for the caller to throw away.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The archive or the destination cannot be opened.
    #[error("cannot {call} `{}`: {source}", path.display())]
    Open {
        /// The call, as a verb.
        call: &'static str,
        /// Its argument.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are no archive we know, or one with features we do not.
    #[error("`{}` cannot be unpacked: {reason}", archive.display())]
    Format {
        /// The archive.
        archive: PathBuf,
        /// What it is, or what it lacks.
        reason: String,
    },
    /// The archive ends too early or contradicts itself.
    #[error("`{}` is truncated or broken near byte {offset}: {source}", archive.display())]
    Broken {
        /// The archive.
        archive: PathBuf,
        /// How far the file had been read when the damage was seen.
        offset: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// One entry is refused for what it is.
    #[error("`{}`: entry `{entry}` is refused: {reason}", archive.display())]
    Refused {
        /// The archive.
        archive: PathBuf,
        /// The entry's name, made printable.
        entry: String,
        /// Why.
        reason: String,
    },
    /// The result would be larger than allowed: perhaps a bomb.
    #[error("`{}`: at entry `{entry}` the limit of {limit} is exceeded", archive.display())]
    Limit {
        /// The archive.
        archive: PathBuf,
        /// The entry at which it happened, made printable.
        entry: String,
        /// Which limit.
        limit: String,
    },
    /// The result does not fit on the disk.
    #[error("`{}`: entry `{entry}`: {source}", archive.display())]
    OutOfSpace {
        /// The archive.
        archive: PathBuf,
        /// The entry at which it happened, made printable.
        entry: String,
        /// How much room there is, and what to do about it.
        source: OutOfSpace,
    },
    /// The destination cannot be written.
    #[error("`{}`: entry `{entry}`: {call} failed: {errno}{}", archive.display(), io_remedy(&(*errno).into()))]
    System {
        /// The archive.
        archive: PathBuf,
        /// The entry's name, made printable.
        entry: String,
        /// The system call and its arguments.
        call: String,
        /// What the system said.
        errno: Errno,
    },
    /// The caller asked to stop.
    #[error("unpacking `{}` was cancelled", archive.display())]
    Cancelled {
        /// The archive.
        archive: PathBuf,
    },
}

/// Why one entry could not be made, before it is known to which archive it belongs.
#[derive(Debug)]
pub(super) enum EntryError {
    Refused(String),
    Limit(String),
    OutOfSpace(OutOfSpace),
    System(String, Errno),
    /// Reading the entry's content failed.
    Read(io::Error),
    Cancelled,
}

impl From<OutOfSpace> for EntryError {
    fn from(error: OutOfSpace) -> Self {
        Self::OutOfSpace(error)
    }
}

/// Returns bytes from an archive for a message: no control characters, no invalid text.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .flat_map(|c| {
            let escaped: Vec<char> = if c.is_control() { c.escape_default().collect() } else { vec![c] };
            escaped
        })
        .collect()
}
