//! Implementations of [`lang::Host`]: the world as expressions see it.
//!
//! [`StoreHost`] writes to a store and builds; [`ReadOnlyHost`] computes Nix's paths and writes
//! nothing. Both read files through `disk`, and share [`Surroundings`].

mod disk;
mod read_only;
mod store;

use ::store::StoreError;
use builder::BuildError;
use lang::host::{FetchRequest, Fetched, Host, HostError, HostErrorKind, HostResult};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::store::StoreHost;
pub use read_only::ReadOnlyHost;

use crate::environment::Environment;
use crate::hooks::{Interrupts, Reporter};
use crate::sources::Sources;

/// The parts of the world that every host gives in the same way.
pub struct Surroundings {
    pub environment: Environment,
    /// Entries of `builtins.nixPath`: name and path or URL.
    pub search_path: Vec<(String, String)>,
    /// Downloads and repositories; without them nothing can be fetched.
    pub sources: Option<Sources>,
    pub reporter: Arc<dyn Reporter>,
    pub interrupts: Interrupts,
}

impl Surroundings {
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.environment.variable(OsStr::from_bytes(name)).map(|value| value.to_owned().into_vec())
    }

    fn home(&self) -> Option<PathBuf> {
        self.environment.home()
    }

    /// Returns whether to warn about working trees with changes.
    fn warns_of_changes(&self) -> bool {
        self.sources.as_ref().is_none_or(Sources::warns_of_changes)
    }

    /// Fetches for `host`, stopping at interrupts.
    fn fetch(&self, host: &dyn Host, request: &FetchRequest) -> HostResult<Fetched> {
        let _cooperating = self.interrupts.cooperate();
        let nowhere = || HostError::unsupported("fetching with neither `XDG_CACHE_HOME` nor `HOME` set");
        self.sources.as_ref().ok_or_else(nowhere)?.fetch(host, request)
    }
}

/// Returns the seconds since 1970; 0 when the clock is set to before then.
fn current_time() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// Wraps an error of the builder with its code and help, for the caller's exit status.
fn build_failed(error: BuildError) -> HostError {
    let (code, help) = (error.code(), error.help());
    HostError { help, ..HostError::from_cause(error).code(code) }
}

/// Wraps an error of the store with its code and help.
fn store_failed(error: StoreError) -> HostError {
    let (code, help) = (error.code(), error.help().map(str::to_owned));
    HostError { help, ..HostError::from_cause(error).code(code) }
}

/// Wraps an error whose text says everything.
pub(crate) fn other(error: impl std::fmt::Display) -> HostError {
    HostError::new(HostErrorKind::Other, error.to_string())
}
