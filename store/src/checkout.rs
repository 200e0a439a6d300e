//! Writes trees to disk, by hard links into `cas/`.

use crate::blob::blob_name;
use crate::error::StoreError;
use crate::import::TreeCounter;
use crate::local::LocalStore;
use model::tree::{Digest, Node, check_depth};
use os::dir::{Dir, is_finished};
use os::mode;
use rayon::prelude::*;
use std::path::Path;

/// Checks of a blob before it gets another name, when the kernel has to look it up anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobCheck {
    /// None: the caller has just made the blobs, or checked them.
    Skip,
    /// For blobs of valid paths: a blob that does not exist, or that was written to since (its size
    /// or time differs), is missing. Reads directories only.
    Written,
    /// For other blobs, which may also have lost their bytes in a power cut: reads those from
    /// before the last boot, once.
    Whole,
}

impl LocalStore {
    /// Writes `node` to `path`, which must not exist: read-only, with the store's time, files
    /// linked to their blobs except where two names of the tree would share one.
    ///
    /// # Errors
    /// When a blob is missing or a file cannot be written; the caller removes the partial tree.
    pub fn checkout(&self, node: &Node, path: &Path, blobs: BlobCheck) -> Result<(), StoreError> {
        let (parent, name) = Dir::open_parent(path)?;
        self.check_out(node, &parent, &name, mode::OBJECT_DIRECTORY, blobs)
    }

    /// Does the same as [`LocalStore::checkout`], with the permissions of the top directory.
    pub(crate) fn check_out(
        &self,
        node: &Node,
        parent: &Dir,
        name: &[u8],
        top_mode: u32,
        blobs: BlobCheck,
    ) -> Result<(), StoreError> {
        let counter = TreeCounter::default();
        Checkout { store: self, counter: &counter, blobs }.node(node, parent, name, 0, top_mode)
    }

    /// Returns true when a blob passes a check.
    pub(crate) fn passes(
        &self,
        check: BlobCheck,
        digest: &Digest,
        executable: bool,
        size: u64,
    ) -> Result<bool, StoreError> {
        Ok(match check {
            BlobCheck::Skip => true,
            BlobCheck::Written => {
                let found = self.cas.find(&blob_name(digest, executable))?;
                found.is_some_and(|stat| stat.st_size as u64 == size && is_finished(&stat))
            }
            BlobCheck::Whole => self.has_blob(digest, executable, size)?,
        })
    }
}

/// The state shared by all of one tree.
#[derive(Clone, Copy)]
struct Checkout<'a> {
    store: &'a LocalStore,
    counter: &'a TreeCounter<'a>,
    blobs: BlobCheck,
}

impl Checkout<'_> {
    fn node(self, node: &Node, parent: &Dir, name: &[u8], depth: usize, mode: u32) -> Result<(), StoreError> {
        let Checkout { store, counter, .. } = self;
        match node {
            Node::File { digest, executable, size } => {
                self.check(digest, *executable, *size)?;
                if counter.take(digest, *executable) && store.link_blob(digest, *executable, parent, name)? {
                    return Ok(());
                }
                store.copy_blob(digest, *executable, parent, name)
            }
            Node::Symlink { target } => {
                parent.make_link(name, target)?;
                Ok(parent.touch(name)?)
            }
            Node::Directory { digest, size } => {
                check_depth(depth, &parent.join(name))?;
                self.check(digest, false, *size)?;
                let directory = store.load_directory(digest)?;
                let dir = parent.make_dir(name)?;
                let entries: Vec<(&[u8], &Node)> = directory.iter().collect();
                entries
                    .par_iter()
                    .try_for_each(|(name, node)| self.node(node, &dir, name, depth + 1, mode::OBJECT_DIRECTORY))?;
                Ok(dir.finish(mode)?)
            }
        }
    }

    fn check(self, digest: &Digest, executable: bool, size: u64) -> Result<(), StoreError> {
        match self.store.passes(self.blobs, digest, executable, size)? {
            true => Ok(()),
            false => Err(StoreError::MissingBlob { digest: *digest }),
        }
    }
}
