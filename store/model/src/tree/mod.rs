//! Trees: Merkle directories in the Remote Execution API's encoding, named by blake3.
//!
//! A [`Node`] is a file, a directory or a symbolic link; a [`Directory`] maps names to nodes and is
//! itself a blob, so equal directories have equal digests and are stored once. Operations on trees
//! work on these nodes: [`union`] merges and [`select`] filters them without touching a file.
//!
//! Callers choose the store of the nodes: [`Directories`].

pub mod digest;
pub mod directories;
pub mod select;
pub mod union;
pub mod walk;

pub use digest::{Digest, DigestError, SizedDigest};

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The deepest nesting of directories, which bounds recursion over trees, here and in archives.
pub const DEPTH_MAX: usize = 256;

/// Checks a depth against [`DEPTH_MAX`]; `path` is for the message.
///
/// # Errors
/// [`TreeError::Depth`].
pub fn check_depth(depth: usize, path: &Path) -> Result<(), TreeError> {
    if depth > DEPTH_MAX { Err(TreeError::Depth { path: path.display().to_string() }) } else { Ok(()) }
}

/// One object of a tree: the value of a name, and the content of a store path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// A regular file; `digest` is that of its bytes, `size` their number.
    File { digest: Digest, executable: bool, size: u64 },
    /// A directory; `digest` is that of its encoding, `size` the encoding's length in bytes.
    Directory { digest: Digest, size: u64 },
    /// A symbolic link, with its unresolved target.
    Symlink { target: Vec<u8> },
}

impl Node {
    /// Returns the one digest that names this node and all below it.
    ///
    /// For a directory it is the directory's; for others that of [`Node::to_bytes`], which is never
    /// a directory's.
    pub fn fingerprint(&self) -> Digest {
        match self {
            Node::Directory { digest, .. } => *digest,
            Node::File { .. } | Node::Symlink { .. } => Digest::of(&self.to_bytes()),
        }
    }

    /// Returns the digest of the blob that is stored for this node, if there is one.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Node::File { digest, .. } | Node::Directory { digest, .. } => Some(*digest),
            Node::Symlink { .. } => None,
        }
    }

    pub fn is_directory(&self) -> bool {
        matches!(self, Node::Directory { .. })
    }

    /// Returns the name of this kind of node in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::File { executable: false, .. } => "file",
            Node::File { executable: true, .. } => "executable file",
            Node::Directory { .. } => "directory",
            Node::Symlink { .. } => "symbolic link",
        }
    }
}

/// Defects of a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("`{}` is not a name in a directory: it is empty, `.`, `..`, or holds a slash or NUL", name.escape_ascii())]
    Name { name: Vec<u8> },
    #[error("the bytes of directory {digest} are not a canonical directory: {reason}")]
    Encoding { digest: Digest, reason: &'static str },
    #[error("directory {digest} is not in the store")]
    Missing { digest: Digest },
    #[error("cannot read or write directory {digest}")]
    Access { digest: Digest, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("`{path}` is nested deeper than the {DEPTH_MAX} directories a tree may have")]
    Depth { path: String },
    #[error("there is no `{path}` in the tree")]
    NotFound { path: String },
    #[error("`{path}` is a {found}, not a directory")]
    NotADirectory { path: String, found: &'static str },
    #[error("the glob `{glob}` is not valid: {reason}")]
    Glob { glob: String, reason: String },
    #[error(transparent)]
    Union(#[from] union::Conflicts),
}

/// Returns true when `name` is valid for an entry.
pub fn is_entry_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

/// The entries of one directory, by name in order of bytes.
///
/// Names are bytes, as on disk. The Remote Execution API requires UTF-8; a directory with other
/// names is stored and built all the same, but a remote engine may refuse it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: BTreeMap<Vec<u8>, Node>,
}

impl Directory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry; returns the one it replaces.
    ///
    /// # Errors
    /// [`TreeError::Name`] when the name is not valid for an entry.
    pub fn insert(&mut self, name: impl Into<Vec<u8>>, node: Node) -> Result<Option<Node>, TreeError> {
        let name = name.into();
        if is_entry_name(&name) { Ok(self.entries.insert(name, node)) } else { Err(TreeError::Name { name }) }
    }

    pub fn remove(&mut self, name: &[u8]) -> Option<Node> {
        self.entries.remove(name)
    }

    pub fn get(&self, name: &[u8]) -> Option<&Node> {
        self.entries.get(name)
    }

    /// Returns the entries in order of name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Node)> + Clone {
        self.entries.iter().map(|(name, node)| (name.as_slice(), node))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the node of this directory.
    pub fn node(&self) -> Node {
        let bytes = self.encode();
        Node::Directory { digest: Digest::of(&bytes), size: bytes.len() as u64 }
    }
}

/// A store of directories.
pub trait Directories: Sync {
    /// Returns the directory with this digest.
    ///
    /// # Errors
    /// [`TreeError::Missing`], or [`TreeError::Access`] and [`TreeError::Encoding`] when it cannot
    /// be read.
    fn load(&self, digest: &Digest) -> Result<Arc<Directory>, TreeError>;

    /// Stores `directory` and returns its node.
    ///
    /// # Errors
    /// [`TreeError::Access`] when it cannot be written.
    fn save(&self, directory: &Directory) -> Result<Node, TreeError>;
}

/// Directories in memory: for trees before, or without, a store.
#[derive(Default)]
pub struct MemoryDirectories {
    known: Mutex<HashMap<Digest, Arc<Directory>>>,
}

impl MemoryDirectories {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Directories for MemoryDirectories {
    fn load(&self, digest: &Digest) -> Result<Arc<Directory>, TreeError> {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(digest).cloned().ok_or(TreeError::Missing { digest: *digest })
    }

    fn save(&self, directory: &Directory) -> Result<Node, TreeError> {
        let node = directory.node();
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.entry(node.fingerprint()).or_insert_with(|| Arc::new(directory.clone()));
        Ok(node)
    }
}

/// Returns the node at `path` below `root`, a path of names separated by slashes; links are not
/// followed.
///
/// # Errors
/// When there is no such node, or a component of the path is not a directory.
pub fn lookup(directories: &dyn Directories, root: &Node, path: &[u8]) -> Result<Node, TreeError> {
    let mut node = root.clone();
    let text = || String::from_utf8_lossy(path).into_owned();
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        let Node::Directory { digest, .. } = node else {
            return Err(TreeError::NotADirectory { path: text(), found: node.kind() });
        };
        let directory = directories.load(&digest)?;
        node = directory.get(name).cloned().ok_or_else(|| TreeError::NotFound { path: text() })?;
    }
    Ok(node)
}
