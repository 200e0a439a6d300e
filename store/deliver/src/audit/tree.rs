//! The tree under audit, with its links followed in memory.
//!
//! Paths are absolute, as after the installation: bytes, starting with a slash, without `.` and
//! `..`, without a slash at the end.

use super::AuditError;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// The number of links that one path may lead through, as in Linux.
const LINKS_MAX: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File { executable: bool, set_id: bool },
    Directory,
    Symlink { target: Vec<u8> },
    Special { what: &'static str },
}

/// The end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved<'a> {
    /// A node other than a link, perhaps beside the prefix.
    Found(Vec<u8>, &'a Node),
    /// A missing node inside the prefix.
    Missing(Vec<u8>),
    /// A missing node outside of the prefix.
    Outside(Vec<u8>),
    Loop,
}

pub(super) struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    host: PathBuf,
    /// The path of the host directory after the installation: `/`, or the prefix.
    host_stands_for: Vec<u8>,
    prefix: Vec<u8>,
}

impl Tree {
    /// Reads names, types and links; no file's content.
    pub fn read(host: &Path, prefix: &Path) -> Result<Self, AuditError> {
        let below = prefix.strip_prefix("/").ok().filter(|below| {
            !below.as_os_str().is_empty() && below.components().all(|part| matches!(part, Component::Normal(_)))
        });
        let below = below.ok_or_else(|| AuditError::Prefix { path: prefix.to_owned() })?;
        let prefix = normalise(prefix.as_os_str().as_bytes());
        let is_root = fs::symlink_metadata(host.join(below)).is_ok();
        let host_stands_for = if is_root { b"/".to_vec() } else { prefix.clone() };

        let mut nodes = BTreeMap::new();
        let mut pending = vec![(host.to_owned(), host_stands_for.clone())];
        while let Some((directory, path)) = pending.pop() {
            let read = |call, source| AuditError::Read { call, path: directory.clone(), source };
            for entry in fs::read_dir(&directory).map_err(|source| read("read directory", source))? {
                let entry = entry.map_err(|source| read("read directory", source))?;
                let entry_path = entry.path();
                let stat = |source| AuditError::Read { call: "stat", path: entry_path.clone(), source };
                let metadata = entry.metadata().map_err(stat)?;
                let kind = metadata.file_type();
                let path = join(&path, entry.file_name().as_bytes());
                let node = if kind.is_dir() {
                    pending.push((entry_path, path.clone()));
                    Node::Directory
                } else if kind.is_symlink() {
                    Node::Symlink { target: fs::read_link(&entry_path).map_err(stat)?.into_os_string().into_vec() }
                } else if kind.is_file() {
                    Node::File { executable: metadata.mode() & 0o111 != 0, set_id: metadata.mode() & 0o6000 != 0 }
                } else if kind.is_fifo() {
                    Node::Special { what: "fifo" }
                } else if kind.is_socket() {
                    Node::Special { what: "socket" }
                } else {
                    Node::Special { what: "device" }
                };
                nodes.insert(path, node);
            }
        }
        // The directories above the host directory exist, too.
        let mut above = host_stands_for.clone();
        loop {
            nodes.entry(above.clone()).or_insert(Node::Directory);
            if above == b"/" {
                break;
            }
            above = parent(&above).to_vec();
        }
        Ok(Self { nodes, host: host.to_owned(), host_stands_for, prefix })
    }

    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Returns the nodes of the tree, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (&[u8], &Node)> + Send {
        self.nodes.iter().map(|(path, node)| (path.as_slice(), node))
    }

    /// Returns a path relative to the directory that was given.
    pub fn relative(&self, path: &[u8]) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(below(path, &self.host_stands_for).unwrap_or(path)))
    }

    /// Returns a path relative to the prefix, if it is inside.
    pub fn in_prefix(&self, path: &[u8]) -> Option<PathBuf> {
        below(path, &self.prefix).map(|path| PathBuf::from(OsStr::from_bytes(path)))
    }

    pub fn host_path(&self, path: &[u8]) -> PathBuf {
        self.host.join(self.relative(path))
    }

    /// Follows all links, also in the last component.
    pub fn resolve(&self, path: &[u8]) -> Resolved<'_> {
        // Remaining components, last one first.
        let mut to_go: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut at = b"/".to_vec();
        let mut links = 0;
        while let Some(component) = to_go.pop() {
            match component.as_slice() {
                b"." => continue,
                b".." => {
                    at = parent(&at).to_vec();
                    continue;
                }
                _ => {}
            }
            let next = join(&at, &component);
            match self.nodes.get(&next) {
                None => {
                    let wanted = normalise(&to_go.iter().rev().fold(next, |path, component| join(&path, component)));
                    return if is_inside(&wanted, &self.prefix) {
                        Resolved::Missing(wanted)
                    } else {
                        Resolved::Outside(wanted)
                    };
                }
                Some(Node::Symlink { target }) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Resolved::Loop;
                    }
                    if target.starts_with(b"/") {
                        at = b"/".to_vec();
                    }
                    to_go.extend(components(target).rev().map(<[u8]>::to_vec));
                }
                Some(Node::Directory) => at = next,
                Some(_) if to_go.is_empty() => at = next,
                // A file in the middle of a path.
                Some(_) => return Resolved::Missing(next),
            }
        }
        match self.nodes.get(&at) {
            Some(node) => Resolved::Found(at, node),
            None => Resolved::Outside(at),
        }
    }

    /// Returns true when a path leads to a regular file inside the prefix.
    pub fn is_file_inside(&self, path: &[u8]) -> bool {
        matches!(self.resolve(path), Resolved::Found(found, Node::File { .. }) if is_inside(&found, &self.prefix))
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

/// Joins a directory and a relative path, without interpreting dots.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = directory.to_vec();
    if !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

pub(super) fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/",
        Some(at) => &path[..at],
    }
}

/// Removes double slashes and dots, without following links.
pub(super) fn normalise(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in components(path) {
        match component {
            b"." => {}
            b".." => {
                kept.pop();
            }
            component => kept.push(component),
        }
    }
    let mut joined = Vec::with_capacity(path.len());
    for component in kept {
        joined.push(b'/');
        joined.extend_from_slice(component);
    }
    if joined.is_empty() { b"/".to_vec() } else { joined }
}

/// Returns true when a normalised path is the directory or in it.
pub(super) fn is_inside(path: &[u8], directory: &[u8]) -> bool {
    below(path, directory).is_some()
}

fn below<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(directory)?;
    match rest.first() {
        None => Some(rest),
        Some(b'/') => Some(&rest[1..]),
        Some(_) if directory == b"/" => Some(rest),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters() {
        assert_eq!(normalise(b"//a/./b/../c/"), b"/a/c");
        assert_eq!(normalise(b"/../.."), b"/");
        assert!(is_inside(b"/p", b"/p") && is_inside(b"/p/x", b"/p") && !is_inside(b"/px", b"/p"));
        assert_eq!(parent(b"/a/b"), b"/a");
        assert_eq!(parent(b"/a"), b"/");
    }

    #[test]
    fn links_are_followed_as_if_in_place() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let prefix = root.path().join("opt/p");
        fs::create_dir_all(prefix.join("usr/lib")).unwrap();
        fs::write(prefix.join("usr/lib/f"), "").unwrap();
        symlink("usr/lib", prefix.join("lib")).unwrap();
        symlink("/opt/p/lib/f", prefix.join("absolute")).unwrap();
        symlink("loop", prefix.join("loop")).unwrap();
        symlink("../../etc/passwd", prefix.join("out")).unwrap();
        let tree = Tree::read(root.path(), Path::new("/opt/p")).unwrap();
        let file = &Node::File { executable: false, set_id: false };
        assert_eq!(tree.resolve(b"/opt/p/absolute"), Resolved::Found(b"/opt/p/usr/lib/f".to_vec(), file));
        // `lib/..` is the parent of the link's target, not of the link.
        assert_eq!(tree.resolve(b"/opt/p/lib/../lib/f"), Resolved::Found(b"/opt/p/usr/lib/f".to_vec(), file));
        assert_eq!(tree.resolve(b"/opt/p/loop"), Resolved::Loop);
        assert_eq!(tree.resolve(b"/opt/p/out"), Resolved::Outside(b"/etc/passwd".to_vec()));
        assert_eq!(tree.resolve(b"/opt/p/none/x"), Resolved::Missing(b"/opt/p/none/x".to_vec()));
    }
}
