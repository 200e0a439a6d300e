//! Temporary directories for tests of stores.

use os::Dir;
use std::path::Path;

/// A temporary directory that is removed with all that is in it. Trees of a store are read-only, which has to change before
/// an ordinary user can remove them.
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

    /// In memory nobody waits for a disk.
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
