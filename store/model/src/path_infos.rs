//! Records of store paths: contents and references, as a cache serves them and a store holds them.

use crate::hash::Hash;
use crate::path::StorePath;
use crate::tree::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Mutex, PoisonError};

/// A valid store path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    pub path: StorePath,
    pub node: Node,
    /// Store paths that the contents mention, the path itself included when it does.
    pub references: BTreeSet<StorePath>,
    /// The sha256 of the contents as a NAR.
    pub nar_hash: Hash,
    pub nar_size_bytes: u64,
}

/// A store or cache that knows store paths.
pub trait PathInfos: Sync {
    /// Returns the record of a path, or `None` when the path is not valid there.
    ///
    /// # Errors
    /// [`PathInfoError`] when the store or cache cannot be asked.
    fn info(&self, path: &StorePath) -> Result<Option<PathInfo>, PathInfoError>;
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the record of store path `{path}`")]
pub struct PathInfoError {
    pub path: StorePath,
    pub source: Box<dyn Error + Send + Sync>,
}

/// Records in memory.
#[derive(Default)]
pub struct MemoryPathInfos {
    known: Mutex<BTreeMap<StorePath, PathInfo>>,
}

impl MemoryPathInfos {
    /// Adds a record; returns the one it replaces.
    pub fn insert(&self, info: PathInfo) -> Option<PathInfo> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(info.path.clone(), info)
    }
}

impl PathInfos for MemoryPathInfos {
    fn info(&self, path: &StorePath) -> Result<Option<PathInfo>, PathInfoError> {
        Ok(self.known.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned())
    }
}
