//! Trees onto disk, by hard links into `cas/`.

use crate::blob::blob_name;
use crate::error::StoreError;
use crate::import::TreeCounter;
use crate::local::LocalStore;
use model::tree::{Digest, Node, check_depth};
use os::dir::{Dir, is_finished};
use os::mode;
use rayon::prelude::*;
use std::path::Path;

/// How blobs are looked at before they get another name, when the kernel has to look them up anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobCheck {
    /// Not at all, as whoever asks has just made them, or looked.
    Skip,
    /// Blobs of valid paths: one that is not there, or that somebody has written to since (size and time tell), counts as
    /// missing. Nothing is read but directories.
    Written,
    /// Others, which may have lost their bytes with the power as well: those from before the machine was started are read, once.
    Whole,
}

impl LocalStore {
    /// Lays `node` out at `path`, where there must be nothing yet: read-only, with the store's time, files linked to their
    /// blobs except where two names of the tree would share one.
    ///
    /// # Errors
    /// When a blob is missing or something cannot be written; what was laid out until then stays for the caller to remove.
    pub fn checkout(&self, node: &Node, path: &Path, blobs: BlobCheck) -> Result<(), StoreError> {
        let (parent, name) = Dir::open_parent(path)?;
        self.check_out(node, &parent, &name, mode::OBJECT_DIRECTORY, blobs)
    }

    /// As [`LocalStore::checkout`], with the permissions of a directory at the very top.
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

    /// Whether a blob passes a check.
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

/// What is the same for all of one tree.
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
