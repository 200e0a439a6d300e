//! What can go wrong before, around and after the builder itself runs.
//!
//! The errors cross from the child to the caller as JSON, so causes are kept as errno numbers rather than as values.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// A build that could not be run as asked; the builder's own failure is an [`super::Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SandboxError {
    /// A system call that sets the sandbox up was refused.
    #[error("cannot {doing}: {call}: {}{}", errno_text(*.errno), remedy_text(.remedy))]
    Call {
        /// What it was for, as in "cannot …".
        doing: String,
        /// The call and its arguments.
        call: String,
        /// Why the kernel refused.
        errno: i32,
        /// What the user can do, where that is known.
        remedy: Option<String>,
    },
    /// The builder could not be started inside.
    #[error("cannot start the builder `{program}` in the sandbox: {}{}", errno_text(*.errno), remedy_text(.remedy))]
    Builder {
        /// Path of the builder inside.
        program: String,
        /// Why `execve` failed.
        errno: i32,
        /// What is likely to be missing.
        remedy: Option<String>,
    },
    /// More trees than one overlay can hold.
    #[error(
        "the root is the union of {count} trees and the kernel unites at most {max}; unite some of them first, as with `builtin:union`"
    )]
    TooManyLayers {
        /// Trees asked for.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The derivation is for another kind of machine.
    #[error("the build is for `{wanted}` and this machine is `{here}`; build it on a machine of that kind")]
    ForeignSystem {
        /// The derivation's system.
        wanted: String,
        /// This machine's.
        here: String,
    },
    /// A request that makes no sense: a broken promise of the caller.
    #[error("the build request is not usable: {reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
    /// The child ended without a report.
    #[error("the sandbox process ended without a report ({how}); the end of the build log may say more")]
    Lost {
        /// What is known of it.
        how: String,
    },
}

fn errno_text(errno: i32) -> String {
    let errno = Errno::from_raw(errno);
    format!("{errno:?} ({})", errno.desc())
}

fn remedy_text(remedy: &Option<String>) -> String {
    remedy.as_ref().map(|text| format!("; {text}")).unwrap_or_default()
}

/// Puts the name and the arguments of a call on its errno.
pub(super) trait Named<T> {
    /// `doing` completes "cannot …"; `call` is the call with its arguments.
    fn named(self, doing: &str, call: impl FnOnce() -> String) -> Result<T, SandboxError>;

    /// The same, with what the user can do about the errno.
    fn remedied(
        self,
        doing: &str,
        call: impl FnOnce() -> String,
        remedy: impl FnOnce(Errno) -> Option<String>,
    ) -> Result<T, SandboxError>;
}

impl<T> Named<T> for Result<T, Errno> {
    fn named(self, doing: &str, call: impl FnOnce() -> String) -> Result<T, SandboxError> {
        self.remedied(doing, call, |_| None)
    }

    fn remedied(
        self,
        doing: &str,
        call: impl FnOnce() -> String,
        remedy: impl FnOnce(Errno) -> Option<String>,
    ) -> Result<T, SandboxError> {
        self.map_err(|errno| SandboxError::Call {
            doing: doing.into(),
            call: call(),
            errno: errno as i32,
            remedy: remedy(errno),
        })
    }
}

impl<T> Named<T> for std::io::Result<T> {
    fn named(self, doing: &str, call: impl FnOnce() -> String) -> Result<T, SandboxError> {
        self.remedied(doing, call, |_| None)
    }

    fn remedied(
        self,
        doing: &str,
        call: impl FnOnce() -> String,
        remedy: impl FnOnce(Errno) -> Option<String>,
    ) -> Result<T, SandboxError> {
        self.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))).remedied(doing, call, remedy)
    }
}
