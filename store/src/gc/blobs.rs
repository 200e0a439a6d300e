//! Marks live blobs, and removes the others.

use super::GcReport;
use crate::blob::{blob_key, parse_blob_name};
use crate::error::StoreError;
use crate::local::LocalStore;
use model::tree::{Node, TreeError};
use os::dir::DirEntry;
use rayon::prelude::*;
use std::collections::HashSet;

/// Keys of live blobs. A collision keeps a dead blob until the next collection. A directory's mark
/// means that its entries are marked too.
#[derive(Default)]
pub(super) struct Marked {
    blobs: HashSet<u64>,
    /// A separate set, since a file may have a directory's bytes, and then its mark does not cover
    /// any entries.
    directories: HashSet<u64>,
}

impl Marked {
    pub fn has(&self, node: &Node) -> bool {
        match node {
            Node::File { digest, executable, .. } => self.blobs.contains(&blob_key(digest, *executable)),
            Node::Directory { digest, .. } => self.directories.contains(&blob_key(digest, false)),
            Node::Symlink { .. } => true,
        }
    }

    /// Marks everything in the tree of `node`. A missing or damaged directory ends its branch:
    /// `verify` reports it.
    pub fn mark(&mut self, store: &LocalStore, node: Node) -> Result<(), StoreError> {
        let mut todo = vec![node];
        while let Some(node) = todo.pop() {
            match node {
                Node::Symlink { .. } => {}
                Node::File { digest, executable, .. } => {
                    self.blobs.insert(blob_key(&digest, executable));
                }
                Node::Directory { digest, .. } => {
                    if !self.directories.insert(blob_key(&digest, false)) {
                        continue;
                    }
                    self.blobs.insert(blob_key(&digest, false));
                    match store.load_directory(&digest) {
                        Ok(directory) => todo.extend(directory.iter().map(|(_, node)| node.clone())),
                        Err(StoreError::Tree(TreeError::Missing { .. } | TreeError::Encoding { .. })) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Removes all blobs that are not marked.
pub(super) fn sweep(
    store: &LocalStore,
    marked: &Marked,
    dry_run: bool,
    report: &mut GcReport,
) -> Result<(), StoreError> {
    let swept: Vec<(u64, u64)> = store
        .cas
        .names()?
        .into_par_iter()
        .map(|shard| {
            let mut dir = store.cas.open_dir(&shard)?;
            let (mut count, mut bytes) = (0, 0);
            for DirEntry { name, .. } in dir.list()? {
                let blob = parse_blob_name(&name);
                if blob.is_some_and(|(digest, executable)| marked.blobs.contains(&blob_key(&digest, executable))) {
                    continue;
                }
                let stat = dir.stat(&name)?;
                if !dry_run {
                    dir.remove_file(&name)?;
                }
                if dry_run || stat.st_nlink == 1 {
                    bytes += stat.st_size as u64;
                }
                count += 1;
            }
            Ok((count, bytes))
        })
        .collect::<Result<_, StoreError>>()?;
    for (count, bytes) in swept {
        report.removed_blobs += count;
        report.freed_bytes += bytes;
    }
    Ok(())
}
