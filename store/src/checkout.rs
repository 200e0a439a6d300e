//! Trees onto disk, by hard links into `cas/`.

use crate::error::StoreError;
use crate::import::{Tally, check_depth, open_parent};
use crate::local::LocalStore;
use crate::sys::Dir;
use crate::tree::Node;
use rayon::prelude::*;
use std::path::Path;

impl LocalStore {
    /// Lays `node` out at `path`, where there must be nothing yet: read-only, with the store's time, files linked to their
    /// blobs except where two names of the tree would share one.
    ///
    /// # Errors
    /// When a blob is missing or something cannot be written; what was laid out until then stays for the caller to remove.
    pub fn checkout(&self, node: &Node, path: &Path) -> Result<(), StoreError> {
        let (parent, name) = open_parent(path)?;
        self.lay_out(node, &parent, &name, 0o555)
    }

    /// As [`LocalStore::checkout`], with the permissions of a directory at the very top.
    pub(crate) fn lay_out(&self, node: &Node, parent: &Dir, name: &[u8], top_mode: u32) -> Result<(), StoreError> {
        self.lay(node, parent, name, &Tally::default(), 0, top_mode)
    }

    fn lay(
        &self,
        node: &Node,
        parent: &Dir,
        name: &[u8],
        tally: &Tally,
        depth: usize,
        mode: u32,
    ) -> Result<(), StoreError> {
        match node {
            Node::File { digest, executable, .. } => {
                if tally.take(digest, *executable) && self.link_blob(digest, *executable, parent, name)? {
                    return Ok(());
                }
                self.copy_blob(digest, *executable, parent, name)
            }
            Node::Symlink { target } => {
                parent.make_link(name, target)?;
                Ok(parent.touch(name)?)
            }
            Node::Directory { digest, .. } => {
                check_depth(depth, &parent.join(name))?;
                let directory = self.load_directory(digest)?;
                let dir = parent.make_dir(name)?;
                let entries: Vec<(&[u8], &Node)> = directory.iter().collect();
                entries.par_iter().try_for_each(|(name, node)| self.lay(node, &dir, name, tally, depth + 1, 0o555))?;
                Ok(dir.finish(mode)?)
            }
        }
    }
}
