//! The errors of a fetch, with the reason of each URL.

use model::hash::Hash;
use nix::errno::Errno;
use os::SysError;
use os::space::OutOfSpace;
use std::{fmt, io};
use thiserror::Error;

/// A fetch that gave no file.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Every URL failed. The message lists them all, each with its reason.
    #[error("cannot fetch `{name}`: {}", Listed(attempts))]
    Failed {
        /// Name of the wanted file.
        name: String,
        /// The attempts, in the order tried.
        attempts: Vec<Attempt>,
    },
    /// The list of URLs is empty.
    #[error("cannot fetch `{name}`: no URL is given")]
    NoUrl {
        /// Name of the wanted file.
        name: String,
    },
    /// The settings forbid the use of a network, and no URL is that of a local file.
    #[error("`{name}` is missing, and nothing is fetched offline")]
    Offline {
        /// Name of the wanted file.
        name: String,
    },
    /// The fetch was cancelled; the bytes that have arrived are kept for the next fetch.
    #[error("fetching `{name}` was cancelled")]
    Cancelled {
        /// Name of the wanted file.
        name: String,
    },
    /// The file, or the endless answer of a server, does not fit on the disk; the bytes that have
    /// arrived are removed.
    #[error("cannot fetch `{name}`: {source}")]
    OutOfSpace {
        /// Name of the wanted file.
        name: String,
        /// The free space that there is, and the next step.
        source: OutOfSpace,
    },
    /// A local file could not be written or read.
    #[error("cannot fetch `{name}`: {source}")]
    Local {
        /// Name of the wanted file.
        name: String,
        /// The failed system call.
        source: SysError,
    },
}

impl FetchError {
    /// Returns the next step of the user, where there is one.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoUrl { .. } => "set `url` or `urls`".to_owned(),
            Self::Offline { .. } => "run it once without `--offline` where there is a network".to_owned(),
            Self::OutOfSpace { source, .. } => source.help.to_owned(),
            Self::Local { source, .. } => source.help()?.to_owned(),
            Self::Failed { .. } if self.unreachable().is_some() => {
                "check the network, and the proxy if there is one (`http_proxy`), then run it again".to_owned()
            }
            Self::Failed { .. } if self.is_network() => "run it again later".to_owned(),
            Self::Failed { attempts, .. } => {
                let name = attempts.iter().find_map(|attempt| match &attempt.kind {
                    AttemptKind::NoMirror { name } => Some(name),
                    _ => None,
                })?;
                match name.as_str() {
                    "debian-snapshot" => {
                        "the public snapshot archive of Debian keeps every file of every release: name it with \
                                          `EVAL_MIRRORS='debian-snapshot=URL'`"
                            .to_owned()
                    }
                    name => format!("name one with `EVAL_MIRRORS='{name}=URL'`"),
                }
            }
            Self::Cancelled { .. } => return None,
        })
    }

    /// Returns the message without the name of the file.
    pub fn reason(&self) -> String {
        match self {
            Self::Failed { attempts, .. } => Listed(attempts).to_string(),
            Self::NoUrl { .. } => "no URL is given".to_owned(),
            Self::Offline { .. } => "nothing is fetched offline".to_owned(),
            Self::Cancelled { .. } => "it was cancelled".to_owned(),
            Self::OutOfSpace { source, .. } => source.to_string(),
            Self::Local { source, .. } => source.to_string(),
        }
    }

    /// Returns true when the same fetch may succeed later, with no change to its URLs: a host could
    /// not be reached, or did not answer as it should.
    pub fn is_network(&self) -> bool {
        self.attempts().iter().any(|attempt| {
            matches!(attempt.kind, AttemptKind::Unreachable { .. } | AttemptKind::Transient)
                && attempt.mismatch.is_none()
        })
    }

    /// Returns a host that could not be reached, or the proxy that stands for it, and the reason.
    pub fn unreachable(&self) -> Option<(&str, &str)> {
        self.attempts().iter().find_map(|attempt| match &attempt.kind {
            AttemptKind::Unreachable { host } => Some((host.as_str(), attempt.reason.as_str())),
            _ => None,
        })
    }

    /// Returns true when a file system was full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::OutOfSpace { .. } => true,
            Self::Local { source, .. } => source.is_disk_full(),
            _ => false,
        }
    }

    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Failed { attempts, .. } => attempts,
            _ => &[],
        }
    }

    /// Returns the expected hash and the actual one, when some URL delivered a whole file with
    /// another hash: then the pin, rather than the network, may be wrong.
    pub fn mismatch(&self) -> Option<(&Hash, &Hash)> {
        match self {
            Self::Failed { attempts, .. } => attempts
                .iter()
                .find_map(|attempt| attempt.mismatch.as_ref().map(|mismatch| (&mismatch.expected, &mismatch.got))),
            _ => None,
        }
    }
}

/// The failure of one URL.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The URL, its password hidden.
    pub url: String,
    /// Number of requests.
    pub tries: u32,
    /// Reason for which the last of them failed.
    pub reason: String,
    pub kind: AttemptKind,
    /// Set when a whole file came, with another hash.
    pub mismatch: Option<Mismatch>,
}

/// The way in which a URL failed, which decides the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    /// The host cannot be reached.
    Unreachable {
        /// The host with its port, or the proxy that it is reached by.
        host: String,
    },
    /// It may pass by itself: a timeout, a broken connection, an overloaded server.
    Transient,
    /// It stays: the file is not there, the URL is wrong.
    Final,
    /// It is one of a mirror of which no address is known, so that there was no request.
    NoMirror {
        /// Name of the mirror.
        name: String,
    },
}

/// Two hashes of one algorithm that should have been equal.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The hash in the derivation.
    pub expected: Hash,
    /// The hash of the file.
    pub got: Hash,
}

struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A mirror without an address is no reason as long as another host could not be reached.
        let unreachable = self.0.iter().any(|attempt| matches!(attempt.kind, AttemptKind::Unreachable { .. }));
        let is_shown = |attempt: &&Attempt| !(unreachable && matches!(attempt.kind, AttemptKind::NoMirror { .. }));
        write!(f, "{} failed", if self.0.len() == 1 { "its one URL" } else { "all its URLs" })?;
        for attempt in self.0.iter().filter(is_shown) {
            write!(f, "\n  {}: {}", attempt.url, attempt.reason)?;
            if attempt.tries > 1 {
                write!(f, " (tried {} times)", attempt.tries)?;
            }
        }
        Ok(())
    }
}

/// A transfer that ended early. The kind says whether a retry can help.
#[derive(Debug)]
pub(super) struct TransferError {
    pub kind: TransferErrorKind,
    pub reason: String,
    /// The value of `Retry-After` in the answer of the server.
    pub retry_after: Option<std::time::Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TransferErrorKind {
    /// May pass by itself: a timeout, a broken connection, an overloaded server.
    Flaky,
    /// The host cannot be reached at all; worth one more try, not many.
    Unreachable,
    /// Will stay: the file is not there, the server is not to be trusted.
    Final,
    /// The caller asked to stop.
    Cancelled,
    /// Our own disk; no other URL can help.
    Local(Errno),
    /// Our own disk would be full.
    OutOfSpace(OutOfSpace),
}

impl TransferError {
    pub fn new(kind: TransferErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), retry_after: None }
    }

    /// Returns the error of writing the part; `what` says what failed, as in "cannot write `x`".
    pub fn local(what: &str, error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<OutOfSpace>()) {
            Some(full) => Self::new(TransferErrorKind::OutOfSpace(full.clone()), full.to_string()),
            None => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32));
                Self::new(TransferErrorKind::Local(errno), format!("{what}: {}", os::io_reason(error)))
            }
        }
    }

    pub fn last(reason: impl Into<String>) -> Self {
        Self::new(TransferErrorKind::Final, reason)
    }

    pub fn flaky(reason: impl Into<String>) -> Self {
        Self::new(TransferErrorKind::Flaky, reason)
    }
}
