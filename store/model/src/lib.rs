//! The model: names, hashes, derivations, trees and archives as values, and the traits of their
//! stores.
//!
//! Does no input or output and makes no system call, so the language depends on this crate alone.
//! The `store` crate keeps such values on a machine's disks, and `builder` makes them.

pub mod base32;
pub mod hash;
pub mod line;
pub mod path;
pub mod terminal;

pub mod derivation;
pub mod references;

pub mod nar;
pub mod reapi;
pub mod tree;

pub mod blobs;
pub mod path_infos;

pub use derivation::{Derivation, DerivationHashes, Output};
pub use hash::{Hash, HashAlgorithm, Hasher};
pub use path::{Ingestion, StoreModel, StorePath, StorePathName};
pub use tree::{Digest, Directories, Directory, Node};
