//! A cache of directories in memory.

use model::tree::{Digest, Directory};
use std::collections::HashMap;
use std::sync::Arc;

/// The number of directory entries that are cached in memory.
const CACHED_MAX: usize = 1 << 17;

/// Directories of trees that were read or written last.
#[derive(Default)]
pub(crate) struct DirectoryCache {
    known: HashMap<Digest, Arc<Directory>>,
    entries: usize,
}

impl DirectoryCache {
    pub fn insert(&mut self, digest: Digest, directory: Arc<Directory>) {
        if self.entries > CACHED_MAX {
            self.clear();
        }
        self.entries += directory.len();
        self.known.insert(digest, directory);
    }

    pub fn get(&self, digest: &Digest) -> Option<&Arc<Directory>> {
        self.known.get(digest)
    }

    pub fn clear(&mut self) {
        self.known.clear();
        self.entries = 0;
    }
}
