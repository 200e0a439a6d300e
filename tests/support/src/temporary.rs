//! Temporary directories for tests of stores.

use os::Dir;
use std::path::Path;

/// A temporary directory that is removed with its contents, even if they are read-only like a
/// store's trees.
pub struct Temporary(tempfile::TempDir);

impl Default for Temporary {
    fn default() -> Self {
        Self::new()
    }
}

impl Temporary {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Makes a directory in memory, so that tests do not wait for a disk.
    pub fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Ok(top) = Dir::open(self.path()) else { return };
        top.names().unwrap_or_default().iter().for_each(|name| drop(top.remove_all(name)));
    }
}
