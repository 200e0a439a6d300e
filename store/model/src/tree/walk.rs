//! Visits every node of a tree.

use super::{DEPTH_MAX, Directories, Node, TreeError};

/// Calls `visit` for `root` (with an empty path) and everything below it, a directory before its
/// entries, in order of name. When `visit` returns `false` for a directory, its entries are
/// skipped.
///
/// # Errors
/// When a directory cannot be read, the tree is too deep, or `visit` fails.
pub fn walk<E: From<TreeError>>(
    directories: &dyn Directories,
    root: &Node,
    mut visit: impl FnMut(&[u8], &Node) -> Result<bool, E>,
) -> Result<(), E> {
    let mut todo: Vec<(Vec<u8>, Node, usize)> = vec![(Vec::new(), root.clone(), 0)];
    while let Some((path, node, depth)) = todo.pop() {
        if depth > DEPTH_MAX {
            return Err(TreeError::Depth { path: String::from_utf8_lossy(&path).into_owned() }.into());
        }
        if !visit(&path, &node)? {
            continue;
        }
        if let Node::Directory { digest, .. } = node {
            let directory = directories.load(&digest)?;
            for (name, node) in directory.iter().rev() {
                todo.push((join(&path, name), node.clone(), depth + 1));
            }
        }
    }
    Ok(())
}

/// Returns `path/name`, or `name` when `path` is the root.
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}
