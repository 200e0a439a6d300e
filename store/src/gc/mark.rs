//! Which blobs are alive, and removing the others.

use super::{GcReport, parse_blob_name};
use crate::error::StoreError;
use crate::local::LocalStore;
use crate::tree::{Digest, Node, TreeError};
use rayon::prelude::*;
use std::collections::HashSet;

/// The blobs that are alive; a directory's mark means that all below it is marked too.
#[derive(Default)]
pub(super) struct Marked {
    blobs: HashSet<(Digest, bool)>,
}

impl Marked {
    pub fn has(&self, node: &Node) -> bool {
        match node {
            Node::File { digest, executable, .. } => self.blobs.contains(&(*digest, *executable)),
            Node::Directory { digest, .. } => self.blobs.contains(&(*digest, false)),
            Node::Symlink { .. } => true,
        }
    }
}

/// Marks everything in the trees of `nodes`. A directory that is missing or damaged ends its branch: telling of it is
/// the business of `verify`.
pub(super) fn mark(store: &LocalStore, nodes: &[Node]) -> Result<Marked, StoreError> {
    let mut marked = Marked::default();
    let mut todo: Vec<Node> = nodes.to_vec();
    // A file may have a directory's bytes, and then its mark says nothing about what is below.
    let mut seen: HashSet<Digest> = HashSet::new();
    while let Some(node) = todo.pop() {
        match node {
            Node::Symlink { .. } => {}
            Node::File { digest, executable, .. } => {
                marked.blobs.insert((digest, executable));
            }
            Node::Directory { digest, .. } => {
                if !seen.insert(digest) {
                    continue;
                }
                marked.blobs.insert((digest, false));
                match store.load_directory(&digest) {
                    Ok(directory) => todo.extend(directory.iter().map(|(_, node)| node.clone())),
                    Err(StoreError::Tree(TreeError::Missing { .. } | TreeError::Encoding { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(marked)
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
        .map(|fan| {
            let dir = store.cas.open_dir(&fan)?;
            let (mut count, mut bytes) = (0, 0);
            for name in dir.names()? {
                if parse_blob_name(&name).is_some_and(|blob| marked.blobs.contains(&blob)) {
                    continue;
                }
                let stat = dir.stat(&name)?;
                if dry_run || stat.st_nlink == 1 {
                    bytes += stat.st_size as u64;
                }
                count += 1;
                if !dry_run {
                    dir.remove_file(&name)?;
                }
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
