//! Flakes: references, lock files, and loading.
//!
//! ```text
//! "github:o/r?dir=x" ──reference──▶ FlakeRef ──load──▶ source tree ──▶ flake.nix ──▶ outputs
//!                                                          │                ▲
//!                                                      flake.lock ──lock──▶ inputs
//! ```
//!
//! The language and the command line share this module, so both accept the same references and lock
//! files. `reference` and `lock` are pure text formats. The others evaluate, and ask the host to
//! fetch.

mod form;
mod inputs;
mod load;
mod lock;
mod locked;
mod reference;
mod tree;

pub use inputs::{FlakeInput, FlakeTree};
pub use lock::{InputPath, LockError, LockFile, LockInput, LockNode, Pin};
pub use reference::{FlakeRef, FlakeRefError};
pub use tree::git_reference;

pub(crate) use load::{flake_ref_to_string, get_flake, parse_flake_ref};
pub(crate) use reference::{has_revision, pins_tree};

use crate::error::Error;

impl From<FlakeRefError> for Error {
    fn from(error: FlakeRefError) -> Error {
        Error::other("lang::flake_reference", error.to_string())
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Error {
        Error::other("lang::flake_lock", error.to_string())
            .help("delete the file, and `ev flake lock` locks all inputs again")
    }
}
