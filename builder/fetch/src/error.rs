//! What can go wrong with a fetch, told URL by URL.

use model::hash::Hash;
use os::space::OutOfSpace;
use std::fmt;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// A fetch that gave no file.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Every URL failed. The message lists them all, and what each said.
    #[error("cannot fetch `{name}`{}", Listed(attempts))]
    Failed {
        /// What was wanted.
        name: String,
        /// In the order tried.
        attempts: Vec<Attempt>,
    },
    /// The list of URLs is empty.
    #[error("cannot fetch `{name}`: no URL is given; set `url` or `urls`")]
    NoUrl {
        /// What was wanted.
        name: String,
    },
    /// The fetch was told to stop; what had arrived is kept for the next time.
    #[error("fetching `{name}` was cancelled")]
    Cancelled {
        /// What was wanted.
        name: String,
    },
    /// The file, or what the server sends without end, does not fit on the disk; what had arrived is removed.
    #[error("cannot fetch `{name}`: {reason}")]
    OutOfSpace {
        /// What was wanted.
        name: String,
        /// How much room there is, and what to do about it.
        reason: String,
    },
    /// A local file could not be written or read.
    #[error("cannot {call} `{path}` while fetching `{name}`: {source}{}", os::io_remedy(source))]
    Local {
        /// What was wanted.
        name: String,
        /// The system call, as a verb.
        call: &'static str,
        /// Its argument.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FetchError {
    /// Returns the hash that was expected and the one that came, when some URL delivered a whole file with another
    /// hash: then the pin, rather than the network, may be what is wrong.
    pub fn mismatch(&self) -> Option<(&Hash, &Hash)> {
        match self {
            Self::Failed { attempts, .. } => attempts
                .iter()
                .find_map(|attempt| attempt.mismatch.as_ref().map(|mismatch| (&mismatch.expected, &mismatch.got))),
            _ => None,
        }
    }
}

/// What one URL said.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The URL, its password hidden.
    pub url: String,
    /// How many requests were made.
    pub tries: u32,
    /// Why the last of them failed.
    pub reason: String,
    /// Set when a whole file came, with another hash.
    pub mismatch: Option<Mismatch>,
}

/// Two hashes of one algorithm that should have been equal.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// What the derivation says.
    pub expected: Hash,
    /// What the file has.
    pub got: Hash,
}

struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ": {} failed", if self.0.len() == 1 { "its one URL" } else { "all its URLs" })?;
        for attempt in self.0 {
            write!(f, "\n  {}: {}", attempt.url, attempt.reason)?;
            if attempt.tries > 1 {
                write!(f, " (tried {} times)", attempt.tries)?;
            }
        }
        Ok(())
    }
}

/// Why one transfer ended early, and whether trying again can help.
#[derive(Debug)]
pub(super) struct TransferError {
    pub kind: TransferErrorKind,
    pub reason: String,
    /// What the server asked for in `Retry-After`.
    pub retry_after: Option<std::time::Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferErrorKind {
    /// May pass by itself: a timeout, a broken connection, an overloaded server.
    Flaky,
    /// The host cannot be reached at all; worth one more try, not many.
    Unreachable,
    /// Will stay: the file is not there, the server is not to be trusted.
    Final,
    /// We were told to stop.
    Cancelled,
    /// Our own disk; no other URL can help.
    Local(io::ErrorKind),
    /// Our own disk would be full; the reason says all.
    OutOfSpace,
}

impl TransferError {
    pub fn new(kind: TransferErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), retry_after: None }
    }

    /// Writing the part failed; `what` says what was done, as in "cannot write `x`".
    pub fn local(what: &str, error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<OutOfSpace>()) {
            Some(no_room) => Self::new(TransferErrorKind::OutOfSpace, no_room.to_string()),
            None => Self::new(TransferErrorKind::Local(error.kind()), format!("{what}: {error}")),
        }
    }

    pub fn last(reason: impl Into<String>) -> Self {
        Self::new(TransferErrorKind::Final, reason)
    }

    pub fn flaky(reason: impl Into<String>) -> Self {
        Self::new(TransferErrorKind::Flaky, reason)
    }
}
