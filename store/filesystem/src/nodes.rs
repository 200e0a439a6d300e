//! Conversion between a file system and a tree of nodes with its manifest.

use crate::manifest::LineError;
use crate::tree::Found;
use crate::{Attributes, Child, Content, Defaults, Directory, FileSystem, Inode, Manifest, Special, TreePath};
use model::tree::{DEPTH_MAX, Directories, TreeError};
use model::{Digest, Node};
use std::sync::Arc;

/// The bit of a mode that makes a file executable in a tree: the owner's, as in a store.
const EXECUTABLE: u32 = 0o100;

/// A tree and a manifest that do not fit together, or a tree that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    #[error("the root of a file system is a directory, and this is a {found}")]
    Root { found: &'static str },
    #[error("the manifest describes `{path}`, which is not in the tree")]
    NotInTree { path: TreePath },
    #[error("the manifest puts `{path}` into a directory that is not in the tree")]
    NoDirectory { path: TreePath },
    #[error("the manifest puts an object at `{path}`, where the tree has one")]
    InTree { path: TreePath },
    #[error("the manifest makes `{path}` a hard link to `{target}`, and the tree does not have one object at both")]
    HardLink { path: TreePath, target: TreePath },
    #[error("the manifest gives `{path}` the mode {mode:04o}, and in the tree the file is {}executable", if *executable { "" } else { "not " })]
    Executable { path: TreePath, mode: u32, executable: bool },
    #[error("a manifest cannot hold `{path}`: {reason}")]
    Manifest { path: TreePath, reason: LineError },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl FileSystem<Digest> {
    /// Makes a file system of a tree and a manifest. An object that the manifest does not mention,
    /// and each fact that it leaves out, has the value of `defaults`.
    ///
    /// # Errors
    /// [`NodesError`] with the path when the manifest mentions an object that the tree does not
    /// have, or puts one where it has another.
    pub fn from_tree(
        root: &Node,
        directories: &dyn Directories,
        manifest: &Manifest,
        defaults: &Defaults,
    ) -> Result<Self, NodesError> {
        let Node::Directory { digest, .. } = root else { return Err(NodesError::Root { found: root.kind() }) };
        let mut reader = TreeReader { directories, manifest, defaults, path: TreePath::ROOT, depth: 0 };
        let mut file_system = Self { root: reader.directory(digest)? };
        // In order of path, so the target of a hard link is complete when the link is made.
        for (path, attributes) in manifest.iter() {
            match &attributes.special {
                None if file_system.get(path).is_none() => return Err(NodesError::NotInTree { path: path.clone() }),
                None => {}
                Some(special) => {
                    place(&mut file_system, path, special, attributes.stat(defaults, defaults.special_mode))?
                }
            }
        }
        Ok(file_system)
    }

    /// Splits a file system into its tree, saved in `directories`, and a manifest with all that
    /// differs from `defaults`: the opposite of [`FileSystem::from_tree`].
    ///
    /// # Errors
    /// When a directory cannot be saved, or has a name that no directory can have.
    pub fn to_tree(&self, directories: &dyn Directories, defaults: &Defaults) -> Result<(Node, Manifest), NodesError> {
        let mut manifest = Manifest::new();
        self.walk(&mut |entry, inode| {
            let mode = inode.map_or(defaults.directory_mode, |inode| default_mode(inode, defaults));
            let mut attributes = Attributes::of_stat(entry.stat, defaults, mode);
            attributes.special = match entry.kind {
                crate::EntryKind::HardLink { target } => {
                    attributes = Attributes::default();
                    Some(Special::HardLink(target.clone()))
                }
                crate::EntryKind::CharacterDevice(device) => Some(Special::CharacterDevice(device)),
                crate::EntryKind::BlockDevice(device) => Some(Special::BlockDevice(device)),
                crate::EntryKind::Fifo => Some(Special::Fifo),
                crate::EntryKind::Socket => Some(Special::Socket),
                _ => None,
            };
            if !attributes.is_empty() {
                let inserted = manifest.insert(entry.path.clone(), attributes);
                inserted.map_err(|reason| NodesError::Manifest { path: entry.path.clone(), reason })?;
            }
            Ok::<_, NodesError>(())
        })?;
        Ok((save(&self.root, directories)?, manifest))
    }
}

struct TreeReader<'a> {
    directories: &'a dyn Directories,
    manifest: &'a Manifest,
    defaults: &'a Defaults,
    path: TreePath,
    depth: usize,
}

impl TreeReader<'_> {
    fn directory(&mut self, digest: &Digest) -> Result<Directory<Digest>, NodesError> {
        if self.depth > DEPTH_MAX {
            return Err(TreeError::Depth { path: self.path.to_string() }.into());
        }
        let mut directory = Directory::new(self.stat(self.defaults.directory_mode));
        for (name, node) in self.directories.load(digest)?.iter() {
            self.path.push(name);
            let child = match node {
                Node::Directory { digest, .. } => {
                    self.depth += 1;
                    let child = Child::Directory(self.directory(digest)?);
                    self.depth -= 1;
                    child
                }
                Node::File { digest, size, executable } => {
                    let child = self.inode(node, Content::File { size: *size, blob: *digest });
                    let mode = child.stat.mode;
                    if (mode & EXECUTABLE != 0) != *executable {
                        return Err(NodesError::Executable { path: self.path.clone(), mode, executable: *executable });
                    }
                    Child::Inode(child)
                }
                Node::Symlink { target } => Child::Inode(self.inode(node, Content::Symlink { target: target.clone() })),
            };
            directory.entries.insert(name.to_owned(), child);
            self.path.pop();
        }
        Ok(directory)
    }

    fn inode(&self, node: &Node, content: Content<Digest>) -> Arc<Inode<Digest>> {
        let mode = match node {
            Node::File { executable: true, .. } => self.defaults.executable_mode,
            Node::Symlink { .. } => Defaults::SYMLINK_MODE,
            _ => self.defaults.file_mode,
        };
        Arc::new(Inode { stat: self.stat(mode), content })
    }

    /// Returns the metadata of the object at the current path.
    fn stat(&self, mode: u32) -> crate::Stat {
        match self.manifest.get(&self.path) {
            Some(attributes) => attributes.stat(self.defaults, mode),
            None => self.defaults.stat(mode),
        }
    }
}

/// Puts an object that a tree cannot hold at `path`.
fn place(
    file_system: &mut FileSystem<Digest>,
    path: &TreePath,
    special: &Special,
    stat: crate::Stat,
) -> Result<(), NodesError> {
    let content = match special {
        Special::CharacterDevice(device) => Content::CharacterDevice(*device),
        Special::BlockDevice(device) => Content::BlockDevice(*device),
        Special::Fifo => Content::Fifo,
        Special::Socket => Content::Socket,
        Special::HardLink(target) => return link(file_system, path, target),
    };
    let Some(parent) = parent(file_system, path) else { return Err(NodesError::NoDirectory { path: path.clone() }) };
    if parent.entries.contains_key(path.name()) {
        return Err(NodesError::InTree { path: path.clone() });
    }
    parent.entries.insert(path.name().to_owned(), Child::Inode(Arc::new(Inode { stat, content })));
    Ok(())
}

/// Makes `path` a further name of the object at `target`. Builds see the tree alone, so it has the
/// object at both.
fn link(file_system: &mut FileSystem<Digest>, path: &TreePath, target: &TreePath) -> Result<(), NodesError> {
    let wrong = || NodesError::HardLink { path: path.clone(), target: target.clone() };
    let Some(Found::Inode(first)) = file_system.get(target) else { return Err(wrong()) };
    let first = first.clone();
    // The node of a file has its executable bit, too.
    let has_same_mode = |other: &Inode<Digest>| match first.content {
        Content::File { .. } => is_executable(other) == is_executable(&first),
        _ => true,
    };
    let is_special = !matches!(first.content, Content::File { .. } | Content::Symlink { .. });
    match file_system.get(path) {
        Some(Found::Inode(other)) if other.content == first.content && has_same_mode(other) => {}
        None if is_special => {}
        _ => return Err(wrong()),
    }
    let parent = parent(file_system, path).ok_or_else(|| NodesError::NoDirectory { path: path.clone() })?;
    parent.entries.insert(path.name().to_owned(), Child::Inode(first));
    Ok(())
}

fn parent<'f>(file_system: &'f mut FileSystem<Digest>, path: &TreePath) -> Option<&'f mut Directory<Digest>> {
    let mut parent = path.clone();
    parent.pop();
    file_system.directory_mut(&parent)
}

/// Returns the permissions that an object has where a manifest says nothing.
fn default_mode(inode: &Inode<Digest>, defaults: &Defaults) -> u32 {
    match inode.content {
        Content::File { .. } if is_executable(inode) => defaults.executable_mode,
        Content::File { .. } => defaults.file_mode,
        Content::Symlink { .. } => Defaults::SYMLINK_MODE,
        _ => defaults.special_mode,
    }
}

fn is_executable(inode: &Inode<Digest>) -> bool {
    inode.stat.mode & EXECUTABLE != 0
}

/// Saves a directory and those below it, without the objects that a tree cannot hold.
fn save(directory: &Directory<Digest>, directories: &dyn Directories) -> Result<Node, TreeError> {
    let mut saved = model::Directory::new();
    for (name, child) in &directory.entries {
        let node = match child {
            Child::Directory(directory) => save(directory, directories)?,
            Child::Inode(inode) => match &inode.content {
                Content::File { size, blob } => {
                    Node::File { digest: *blob, executable: is_executable(inode), size: *size }
                }
                Content::Symlink { target } => Node::Symlink { target: target.clone() },
                _ => continue,
            },
        };
        saved.insert(name.as_slice(), node)?;
    }
    directories.save(&saved)
}
