//! Errors before, around and after the run of the builder itself.
//!
//! They cross from the child to the caller as JSON, so causes are errno numbers rather than values.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// A build that could not be run as asked; the builder's own failure is an [`super::Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SandboxError {
    /// A system call that sets the sandbox up was refused.
    #[error("cannot {doing}: {call}: {}", errno_text(*.errno))]
    Call {
        /// The purpose, as in "cannot …".
        doing: String,
        /// The call and its arguments.
        call: String,
        /// The answer of the kernel.
        errno: i32,
        /// The next step of the user, where there is one.
        help: Option<String>,
    },
    /// The builder could not be started inside.
    #[error("cannot start the builder `{program}` in the sandbox: {}", errno_text(*.errno))]
    Builder {
        /// Path of the builder inside.
        program: String,
        /// The error of `execve`.
        errno: i32,
        /// The part that is likely to be missing.
        help: Option<String>,
    },
    /// A program of the user could not be started.
    #[error("cannot run `{program}`: {}", errno_text(*.errno))]
    Program {
        /// Its name or path.
        program: String,
        /// The error of `execve`.
        errno: i32,
        /// The part that is likely to be missing.
        help: Option<String>,
    },
    /// More trees than one overlay can hold.
    #[error("the root is the union of {count} trees, and the kernel unites at most {max}")]
    TooManyLayers {
        /// Trees asked for.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The derivation is for another kind of machine.
    #[error("the build is for `{wanted}`, and this machine is `{here}`")]
    ForeignSystem {
        /// The derivation's system.
        wanted: String,
        /// This machine's.
        here: String,
    },
    /// A request that contradicts itself: a bug of the caller.
    #[error("the build request is invalid: {reason}")]
    Request {
        /// The reason.
        reason: String,
    },
    /// The child ended without a report.
    #[error("the sandbox process ended without a report ({how})")]
    Lost {
        /// The known facts.
        how: String,
    },
}

impl SandboxError {
    /// Returns the next step of the user, where there is one.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Call { help, .. } | Self::Builder { help, .. } | Self::Program { help, .. } => help.as_deref(),
            Self::TooManyLayers { .. } => Some("unite some of the trees first, as with `builtin:union`"),
            Self::ForeignSystem { .. } => Some("build it on a machine of that kind"),
            Self::Lost { .. } => Some("the end of the build log may say more"),
            Self::Request { .. } => None,
        }
    }
}

fn errno_text(errno: i32) -> String {
    let errno = Errno::from_raw(errno);
    format!("{errno:?} ({})", errno.desc())
}

/// An error with the number of a failed system call.
pub(super) trait HasErrno {
    fn errno(&self) -> Errno;
}

impl HasErrno for Errno {
    fn errno(&self) -> Errno {
        *self
    }
}

impl HasErrno for std::io::Error {
    fn errno(&self) -> Errno {
        Errno::from_raw(self.raw_os_error().unwrap_or(0))
    }
}

impl HasErrno for os::SysError {
    fn errno(&self) -> Errno {
        self.errno
    }
}

/// Names a failed call and its arguments.
pub(super) trait Named<T> {
    /// `doing` completes "cannot …"; `call` is the call with its arguments.
    fn named(self, doing: &str, call: impl FnOnce() -> String) -> Result<T, SandboxError>;

    /// The same, with the next step for the user.
    fn named_with_help(
        self,
        doing: &str,
        call: impl FnOnce() -> String,
        help: impl FnOnce(Errno) -> Option<String>,
    ) -> Result<T, SandboxError>;
}

impl<T, E: HasErrno> Named<T> for Result<T, E> {
    fn named(self, doing: &str, call: impl FnOnce() -> String) -> Result<T, SandboxError> {
        self.named_with_help(doing, call, |_| None)
    }

    fn named_with_help(
        self,
        doing: &str,
        call: impl FnOnce() -> String,
        help: impl FnOnce(Errno) -> Option<String>,
    ) -> Result<T, SandboxError> {
        self.map_err(|error| {
            let errno = error.errno();
            SandboxError::Call { doing: doing.into(), call: call(), errno: errno as i32, help: help(errno) }
        })
    }
}
