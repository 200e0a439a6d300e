//! Stores of directories that are no store on disk: in memory above another one, and a store that
//! saves nothing.

use super::{Digest, Directories, Directory, MemoryDirectories, Node, TreeError};
use std::ops::Deref;
use std::sync::Arc;

/// Directories in memory above those of another store or cache, which stays as it is.
pub struct OverlaidDirectories<D> {
    memory: MemoryDirectories,
    below: D,
}

impl<D> OverlaidDirectories<D> {
    /// Returns the directories of `below`, with none added.
    pub fn new(below: D) -> Self {
        Self { memory: MemoryDirectories::new(), below }
    }

    /// Returns the directories that were added.
    pub fn memory(&self) -> &MemoryDirectories {
        &self.memory
    }

    /// Returns the store or cache that is not written to.
    pub fn below(&self) -> &D {
        &self.below
    }
}

impl<D> Directories for OverlaidDirectories<D>
where
    D: Deref + Sync,
    D::Target: Directories,
{
    fn load(&self, digest: &Digest) -> Result<Arc<Directory>, TreeError> {
        self.memory.load(digest).or_else(|_| self.below.load(digest))
    }

    fn save(&self, directory: &Directory) -> Result<Node, TreeError> {
        self.memory.save(directory)
    }
}

/// The directories of another store or cache, for trees of which only the digest is needed: nothing
/// is saved.
pub struct DigestsOnly<'a>(pub &'a dyn Directories);

impl Directories for DigestsOnly<'_> {
    fn load(&self, digest: &Digest) -> Result<Arc<Directory>, TreeError> {
        self.0.load(digest)
    }

    fn save(&self, directory: &Directory) -> Result<Node, TreeError> {
        Ok(directory.node())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saving_above_another_place_leaves_it_as_it_is() {
        let below = MemoryDirectories::new();
        let mut directory = Directory::new();
        let empty = below.save(&directory).unwrap();
        directory.insert("below", empty.clone()).unwrap();

        let above = OverlaidDirectories::new(&below);
        let node = above.save(&directory).unwrap();
        assert_eq!(node, DigestsOnly(&above).save(&directory).unwrap());
        for digest in [node.fingerprint(), empty.fingerprint()] {
            assert!(above.load(&digest).is_ok());
            assert!(DigestsOnly(&above).load(&digest).is_ok());
        }
        assert!(above.memory().load(&empty.fingerprint()).is_err());
        assert!(below.load(&node.fingerprint()).is_err());
        assert_eq!(DigestsOnly(&below).save(&directory).unwrap(), node);
        assert!(below.load(&node.fingerprint()).is_err());
    }
}
