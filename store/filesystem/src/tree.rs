//! A file system in memory.

use crate::{Device, Entry, EntryKind, Sink, Stat, TreePath};
use model::blobs::{BlobError, Blobs};
use model::tree::Digest;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::Arc;

/// A file system in memory, with a `T` in place of the contents of each file: a digest, mostly.
#[derive(Clone, Debug)]
pub struct FileSystem<T> {
    pub root: Directory<T>,
}

/// A directory: its metadata and its entries by name.
#[derive(Clone, Debug)]
pub struct Directory<T> {
    pub stat: Stat,
    /// Names of entries, see [`model::tree::is_entry_name`].
    pub entries: BTreeMap<Vec<u8>, Child<T>>,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub enum Child<T> {
    Directory(Directory<T>),
    /// Another object. Hard links share one inode.
    Inode(Arc<Inode<T>>),
}

/// An object that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode<T> {
    pub stat: Stat,
    pub content: Content<T>,
}

/// The object that an [`Inode`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<T> {
    File { size: u64, blob: T },
    Symlink { target: Vec<u8> },
    CharacterDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}

impl<T> Content<T> {
    fn kind(&self) -> EntryKind<'_> {
        match self {
            Content::File { size, .. } => EntryKind::File { size: *size },
            Content::Symlink { target } => EntryKind::Symlink { target },
            Content::CharacterDevice(device) => EntryKind::CharacterDevice(*device),
            Content::BlockDevice(device) => EntryKind::BlockDevice(*device),
            Content::Fifo => EntryKind::Fifo,
            Content::Socket => EntryKind::Socket,
        }
    }
}

/// A source of the bytes of files.
pub trait Contents<T> {
    /// Opens the contents that `blob` names.
    ///
    /// # Errors
    /// When they are not there or cannot be read.
    fn open(&self, blob: &T) -> io::Result<Box<dyn Read + '_>>;
}

impl<T, R: Read + 'static, F: Fn(&T) -> io::Result<R>> Contents<T> for F {
    fn open(&self, blob: &T) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self(blob)?))
    }
}

/// The blobs of a store or cache as the contents of files.
pub struct BlobContents<'b>(pub &'b dyn Blobs);

impl Contents<Digest> for BlobContents<'_> {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + '_>> {
        match self.0.open(blob) {
            Ok(contents) => Ok(contents),
            Err(error @ BlobError::Missing { .. }) => Err(io::Error::new(io::ErrorKind::NotFound, error)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// A function that takes each entry, and its inode unless it is a directory.
pub type Visit<'v, T, E> = dyn FnMut(Entry<'_>, Option<&Arc<Inode<T>>>) -> Result<(), E> + 'v;

/// A failure while a file system is sent to a sink.
#[derive(Debug, thiserror::Error)]
pub enum SendError<E> {
    #[error("cannot open the contents of `{path}`")]
    Open { path: TreePath, source: io::Error },
    #[error(transparent)]
    Sink(E),
}

impl<T> FileSystem<T> {
    /// Returns a file system with nothing but a root directory.
    pub fn new(root: Stat) -> Self {
        Self { root: Directory::new(root) }
    }

    /// Gives all entries to `sink`, the root first. Directories are in the order of the walk; of
    /// several names of one inode the first is the file and the others are hard links to it.
    ///
    /// # Errors
    /// When contents cannot be opened, or the sink fails.
    pub fn send<S: Sink>(&self, contents: &dyn Contents<T>, sink: &mut S) -> Result<(), SendError<S::Error>> {
        self.walk(&mut |entry, inode| match inode.map(|inode| &inode.content) {
            Some(Content::File { blob, .. }) if !matches!(entry.kind, EntryKind::HardLink { .. }) => {
                let opened = contents.open(blob);
                let mut reader = opened.map_err(|source| SendError::Open { path: entry.path.clone(), source })?;
                sink.entry(entry, &mut reader).map_err(SendError::Sink)
            }
            _ => sink.entry(entry, &mut io::empty()).map_err(SendError::Sink),
        })
    }

    /// Calls `visit` with each entry, and with its inode unless it is a directory.
    ///
    /// # Errors
    /// When `visit` fails.
    pub fn walk<E>(&self, visit: &mut Visit<'_, T, E>) -> Result<(), E> {
        Walk { path: TreePath::ROOT, first_names: HashMap::new(), visit: &mut |entry, inode| visit(entry, inode) }
            .directory(&self.root)
    }

    /// Returns the object at `path`; `None` when there is none, or the path leads through another
    /// object than a directory.
    pub fn get(&self, path: &TreePath) -> Option<Found<'_, T>> {
        let mut found = Found::Directory(&self.root);
        for name in path.components() {
            let Found::Directory(directory) = found else { return None };
            found = match directory.entries.get(name)? {
                Child::Directory(directory) => Found::Directory(directory),
                Child::Inode(inode) => Found::Inode(inode),
            };
        }
        Some(found)
    }

    /// Returns the directory at `path`, to be changed.
    pub fn directory_mut(&mut self, path: &TreePath) -> Option<&mut Directory<T>> {
        let mut directory = &mut self.root;
        for name in path.components() {
            let Child::Directory(next) = directory.entries.get_mut(name)? else { return None };
            directory = next;
        }
        Some(directory)
    }
}

/// An object of a [`FileSystem`].
#[derive(Debug)]
pub enum Found<'a, T> {
    Directory(&'a Directory<T>),
    Inode(&'a Arc<Inode<T>>),
}

impl<T> Directory<T> {
    pub fn new(stat: Stat) -> Self {
        Self { stat, entries: BTreeMap::new() }
    }
}

/// The state of [`FileSystem::walk`]. Recursion is bounded, as trees are:
/// [`model::tree::DEPTH_MAX`].
struct Walk<'v, T, E> {
    path: TreePath,
    /// The first name of each inode that may have several, by its address.
    first_names: HashMap<*const Inode<T>, TreePath>,
    visit: &'v mut Visit<'v, T, E>,
}

impl<T, E> Walk<'_, T, E> {
    fn directory(&mut self, directory: &Directory<T>) -> Result<(), E> {
        (self.visit)(Entry { path: &self.path, stat: &directory.stat, kind: EntryKind::Directory }, None)?;
        for (name, child) in &directory.entries {
            self.path.push(name);
            match child {
                Child::Directory(directory) => self.directory(directory)?,
                Child::Inode(inode) => self.inode(inode)?,
            }
            self.path.pop();
        }
        Ok(())
    }

    fn inode(&mut self, inode: &Arc<Inode<T>>) -> Result<(), E> {
        let mut kind = inode.content.kind();
        if Arc::strong_count(inode) > 1 {
            let address = Arc::as_ptr(inode);
            if self.first_names.contains_key(&address) {
                kind = EntryKind::HardLink { target: &self.first_names[&address] };
            } else {
                self.first_names.insert(address, self.path.clone());
            }
        }
        (self.visit)(Entry { path: &self.path, stat: &inode.stat, kind }, Some(inode))
    }
}

/// Compares the entries: hard links are equal when they are between the same paths.
impl<T: PartialEq> PartialEq for FileSystem<T> {
    fn eq(&self, other: &Self) -> bool {
        let list = |file_system: &Self| {
            let mut entries = Vec::new();
            let walked: Result<(), std::convert::Infallible> = file_system.walk(&mut |entry, inode| {
                let link = match entry.kind {
                    EntryKind::HardLink { target } => Some(target.clone()),
                    _ => None,
                };
                entries.push((entry.path.clone(), entry.stat.clone(), link, inode.cloned()));
                Ok(())
            });
            let Ok(()) = walked;
            entries
        };
        list(self) == list(other)
    }
}
