//! Builds a file system from the entries of an archive, as unpacking into a directory would.
//!
//! The rules are those of a hostile archive on a disk: a parent that is missing is made; symbolic
//! links among the parents are followed as if the tree were `/`, as packages need (`lib` →
//! `usr/lib`), so `..` and absolute targets end at its root; the last component is never followed.
//! A later entry replaces an earlier one of its name, except that a directory with entries is only
//! ever joined by another directory.

use crate::path::printable;
use crate::tree::Found;
use crate::{Child, Content, Defaults, Directory, Entry, EntryKind, FileSystem, Inode, Sink, TreePath};
use model::tree::DEPTH_MAX;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

/// The most symbolic links that are followed for one path, as Linux has it.
const LINKS_MAX: usize = 40;

/// An entry that does not fit into the tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeBuildError {
    #[error("its parent `{parent}` leads through a symbolic link to nowhere")]
    DanglingParent { parent: String },
    #[error("its parent `{parent}` is not a directory")]
    ParentNotDirectory { parent: String },
    #[error("its parent `{parent}` leads through a symbolic link that is not followed")]
    LinkLoop { parent: String },
    #[error("it is nested deeper than the {DEPTH_MAX} directories a tree may have")]
    Depth,
    #[error("a directory with files in it has this name already")]
    DirectoryInTheWay,
    #[error("it has the name of the whole tree and is no directory")]
    Root,
    #[error("its link target is empty or contains a zero byte")]
    LinkTarget,
    #[error("it is a hard link to `{target}`, which is not in the tree")]
    HardLinkToNothing { target: String },
    #[error("it is a hard link to `{target}`, which is not a file")]
    HardLinkToDirectory { target: String },
    #[error(transparent)]
    Stat(#[from] crate::StatError),
    /// The contents could not be read or kept.
    #[error(transparent)]
    Contents(#[from] io::Error),
}

/// A sink that builds a [`FileSystem`].
///
/// `keep` stores the contents of a file and returns a name for them. It must read them to their
/// end.
pub struct TreeBuilder<T, K> {
    file_system: FileSystem<T>,
    defaults: Defaults,
    keep: K,
}

impl<T, K: FnMut(u64, &mut dyn Read) -> io::Result<T>> TreeBuilder<T, K> {
    /// Starts with an empty root directory. `defaults` are the metadata of directories that no
    /// entry describes.
    pub fn new(defaults: Defaults, keep: K) -> Self {
        let root = defaults.stat(defaults.directory_mode);
        Self { file_system: FileSystem::new(root), defaults, keep }
    }

    /// Returns the file system with all entries so far.
    pub fn finish(self) -> FileSystem<T> {
        self.file_system
    }

    /// Returns the directory that holds the entry at `path`, made if it is missing.
    fn parent(&mut self, path: &TreePath) -> Result<&mut Directory<T>, TreeBuildError> {
        let Resolved { existing, missing } = resolve(&self.file_system.root, path.parent(), true)?;
        if existing.len() + missing.len() >= DEPTH_MAX {
            return Err(TreeBuildError::Depth);
        }
        let mut directory = &mut self.file_system.root;
        for name in &existing {
            let Some(Child::Directory(next)) = directory.entries.get_mut(name) else {
                unreachable!("resolve() returns names of directories")
            };
            directory = next;
        }
        let implied = self.defaults.stat(self.defaults.directory_mode);
        for name in missing {
            let child =
                directory.entries.entry(name).or_insert_with(|| Child::Directory(Directory::new(implied.clone())));
            let Child::Directory(next) = child else { unreachable!("resolve() returns names of directories to make") };
            directory = next;
        }
        Ok(directory)
    }

    fn directory(&mut self, entry: Entry<'_>) -> Result<(), TreeBuildError> {
        if entry.path.is_root() {
            self.file_system.root.stat = entry.stat.clone();
            return Ok(());
        }
        // A symbolic link to a directory stays: it stands for the directory.
        let leads_to_directory = resolve(&self.file_system.root, entry.path.as_bytes(), false).is_ok();
        let parent = self.parent(entry.path)?;
        let name = entry.path.name();
        match parent.entries.get_mut(name) {
            Some(Child::Directory(there)) => there.stat = entry.stat.clone(),
            Some(Child::Inode(_)) if leads_to_directory => {}
            _ => drop(parent.entries.insert(name.to_owned(), Child::Directory(Directory::new(entry.stat.clone())))),
        }
        Ok(())
    }

    fn hard_link_target(&self, target: &TreePath) -> Result<Arc<Inode<T>>, TreeBuildError> {
        let missing = || TreeBuildError::HardLinkToNothing { target: printable(target.as_bytes()) };
        let is_directory = || TreeBuildError::HardLinkToDirectory { target: printable(target.as_bytes()) };
        if target.is_root() {
            return Err(is_directory());
        }
        let resolved = resolve(&self.file_system.root, target.parent(), false).map_err(|_| missing())?;
        let mut parent = TreePath::ROOT;
        resolved.existing.iter().for_each(|name| parent.push(name));
        match self.file_system.get(&parent.join(target.name())) {
            Some(Found::Inode(inode)) => Ok(inode.clone()),
            Some(Found::Directory(_)) => Err(is_directory()),
            None => Err(missing()),
        }
    }

    fn inode(&mut self, path: &TreePath, inode: Arc<Inode<T>>) -> Result<(), TreeBuildError> {
        if path.is_root() {
            return Err(TreeBuildError::Root);
        }
        let parent = self.parent(path)?;
        match parent.entries.get(path.name()) {
            Some(Child::Directory(there)) if !there.entries.is_empty() => {
                return Err(TreeBuildError::DirectoryInTheWay);
            }
            _ => drop(parent.entries.insert(path.name().to_owned(), Child::Inode(inode))),
        }
        Ok(())
    }
}

impl<T, K: FnMut(u64, &mut dyn Read) -> io::Result<T>> Sink for TreeBuilder<T, K> {
    type Error = TreeBuildError;

    fn entry(&mut self, entry: Entry<'_>, contents: &mut dyn Read) -> Result<(), TreeBuildError> {
        entry.stat.check()?;
        let content = match entry.kind {
            EntryKind::Directory => return self.directory(entry),
            EntryKind::HardLink { target } => {
                let inode = self.hard_link_target(target)?;
                return self.inode(entry.path, inode);
            }
            EntryKind::Symlink { target } if target.is_empty() || target.contains(&0) => {
                return Err(TreeBuildError::LinkTarget);
            }
            EntryKind::Symlink { target } => Content::Symlink { target: target.to_owned() },
            EntryKind::File { size } => Content::File { size, blob: (self.keep)(size, contents)? },
            EntryKind::CharacterDevice(device) => Content::CharacterDevice(device),
            EntryKind::BlockDevice(device) => Content::BlockDevice(device),
            EntryKind::Fifo => Content::Fifo,
            EntryKind::Socket => Content::Socket,
        };
        self.inode(entry.path, Arc::new(Inode { stat: entry.stat.clone(), content }))
    }
}

/// The directory that a path leads to.
struct Resolved {
    /// Names of existing directories from the root, without links.
    existing: Vec<Vec<u8>>,
    /// Names of the directories below these that are to make.
    missing: Vec<Vec<u8>>,
}

/// Follows `path` from the root through directories and symbolic links. With `may_make`, the
/// components at its end may be missing; those that the target of a link names may not.
fn resolve<T>(root: &Directory<T>, path: &[u8], may_make: bool) -> Result<Resolved, TreeBuildError> {
    let parent = || printable(path);
    let split = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    // Each component, and whether the target of a link named it.
    let mut todo: VecDeque<(Vec<u8>, bool)> = split(path).into_iter().map(|name| (name, false)).collect();
    let mut above: Vec<(Vec<u8>, &Directory<T>)> = Vec::new();
    let mut links = 0;
    while let Some((name, of_link)) = todo.pop_front() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                above.pop();
                continue;
            }
            _ => {}
        }
        let here = above.last().map_or(root, |(_, directory)| directory);
        match here.entries.get(&name) {
            Some(Child::Directory(next)) => above.push((name, next)),
            Some(Child::Inode(inode)) => {
                let Content::Symlink { target } = &inode.content else {
                    return Err(TreeBuildError::ParentNotDirectory { parent: parent() });
                };
                links += 1;
                if links > LINKS_MAX {
                    return Err(TreeBuildError::LinkLoop { parent: parent() });
                }
                if target.starts_with(b"/") {
                    above.clear();
                }
                split(target).into_iter().rev().for_each(|name| todo.push_front((name, true)));
            }
            None if of_link || !may_make => return Err(TreeBuildError::DanglingParent { parent: parent() }),
            None => {
                let rest = todo.into_iter().map(|(name, _)| name);
                let missing = std::iter::once(name).chain(rest).collect();
                return Ok(Resolved { existing: names(above), missing });
            }
        }
    }
    Ok(Resolved { existing: names(above), missing: Vec::new() })
}

fn names<T>(above: Vec<(Vec<u8>, &Directory<T>)>) -> Vec<Vec<u8>> {
    above.into_iter().map(|(name, _)| name).collect()
}
