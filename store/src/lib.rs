//! The store: what things are called, what trees are made of, and where they are kept.
//!
//! The pure half does no I/O and is all that the language uses: [`hash`], [`path`], [`derivation`], [`archive`],
//! [`references`] and [`tree`].

pub mod base32;
pub mod hash;
pub mod path;

pub mod derivation;

pub mod references;
pub mod tree;

pub use derivation::{Derivation, DerivationHashes, Output};
pub use hash::{Hash, HashAlgorithm, Hasher};
pub use path::{StoreModel, StorePath, StorePathName};
pub use tree::{Digest, Directories, Directory, Node};
