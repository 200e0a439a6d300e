//! The store: what things are called, what trees are made of, and where they are kept.
//!
//! The pure half does no I/O and is all that the language uses: [`hash`], [`path`], [`derivation`], [`references`] and
//! [`tree`]. The effect half keeps trees on this machine: [`LocalStore`] is its door.

pub mod base32;
pub mod hash;
pub mod line;
pub mod path;

pub mod archive;
pub mod derivation;
pub mod export;
pub mod references;
pub mod tree;

mod db;
mod error;
mod local;
mod lock;
pub mod personal;
pub mod place;
pub mod room;
mod scratch;
mod sys;

mod add;
mod cas;
mod checkout;
mod import;
mod register;
mod sources;

mod gc;
mod rebuild;
mod verify;

#[cfg(test)]
mod tests;

pub use derivation::{Derivation, DerivationHashes, Output};
pub use hash::{Hash, HashAlgorithm, Hasher};
pub use path::{Ingestion, StoreModel, StorePath, StorePathName};
pub use tree::{Digest, Directories, Directory, Node};

pub use add::{SourceFilter, SourceKind, Text};
pub use checkout::BlobCheck;
pub use db::{BuildRecord, Durability, Realisation, ValidPath};
pub use error::{StoreError, SysError};
pub use gc::roots::Root;
pub use gc::{GcOptions, GcReport};
pub use import::{Bounds, Imported};
pub use local::{ActionResult, LocalStore, OpenOptions};
pub use lock::{Hold, Holder, Lock};
pub use register::Run;
pub use scratch::ScratchPath;
pub use verify::{Damage, VerifyReport};
