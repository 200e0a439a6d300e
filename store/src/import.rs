//! Takes trees from disk into the store, in one of two ways.
//!
//! *Adopting* takes over a tree that is ours (a build's output, on the store's file system): each
//! file is hashed, made read-only and linked into `cas/`, without a copy. A blob that is already in
//! `cas/` replaces the file.
//!
//! *Copying* ([`LocalStore::copy_in`]) leaves the tree of another owner unchanged and copies new
//! blobs into `cas/`.
//!
//! Either way, no two names within one tree share an inode: the first of several equal files is the
//! one in `cas/`, the others have inodes of their own. Otherwise an editor or `cp -a` on a copy of
//! the tree would change both. Files with several names are separated for that reason, and since
//! one of the names may be outside of the tree.

use crate::blob::{blob_key, blob_name};
use crate::error::StoreError;
use crate::local::LocalStore;
use crate::read::hash_file_unless;
use crate::scratch::TempRoot;
use model::tree::{Digest, Directory, Node, check_depth};
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use os::dir::{Dir, DirEntry, FileKind, finish_file, kind};
use os::{Context, mode};
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// A tree that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub node: Node,
    /// Bytes of all regular files together.
    pub bytes: u64,
    /// The number of regular files.
    pub files: u64,
}

/// Conditions that end the adoption of a tree early.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// The limit on the bytes of all files together, holes included.
    pub bytes_max: u64,
    /// Set when the tree is no longer wanted.
    pub cancelled: &'a AtomicBool,
}

/// The state shared by all threads that work on one tree.
#[derive(Default)]
pub(crate) struct TreeCounter<'a> {
    bounds: Option<Bounds<'a>>,
    /// Bytes of the files whose reading began.
    begun: AtomicU64,
    /// The first file that was not admitted, for which all others stop being read.
    refused: OnceLock<PathBuf>,
    /// Keys of the blobs that share their inode with a name of this tree. A collision costs a copy,
    /// no more.
    taken: Mutex<HashSet<u64>>,
    bytes: AtomicU64,
    files: AtomicU64,
}

impl TreeCounter<'_> {
    /// Admits a file, before it is read.
    fn admit(&self, stat: &FileStat, path: &Path) -> Result<(), StoreError> {
        let Some(Bounds { bytes_max, .. }) = self.bounds else { return Ok(()) };
        let size = stat.st_size as u64;
        let before = self.begun.fetch_add(size.min(bytes_max), Ordering::Relaxed);
        if before.checked_add(size).is_none_or(|all| all > bytes_max) {
            let path = self.refused.get_or_init(|| path.to_owned()).clone();
            return Err(StoreError::TooLarge { path, bytes_max });
        }
        Ok(())
    }

    /// Returns true when files need not be read on.
    fn is_stopped(&self) -> bool {
        self.refused.get().is_some() || self.bounds.is_some_and(|bounds| bounds.cancelled.load(Ordering::Relaxed))
    }

    /// Returns the reason of `error`: that a file was refused, where this stopped the reading of another.
    fn reason(&self, error: StoreError) -> StoreError {
        match (self.refused.get(), self.bounds) {
            (Some(path), Some(Bounds { bytes_max, .. })) if error.errno() == Some(Errno::ECANCELED) => {
                StoreError::TooLarge { path: path.clone(), bytes_max }
            }
            _ => error,
        }
    }

    /// Returns true when this name is the first for the blob in its tree.
    pub fn take(&self, digest: &Digest, executable: bool) -> bool {
        os::lock(&self.taken).insert(blob_key(digest, executable))
    }

    pub fn count(&self, size: u64) {
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub fn imported(&self, node: Node) -> Imported {
        Imported { node, bytes: self.bytes.load(Ordering::Relaxed), files: self.files.load(Ordering::Relaxed) }
    }
}

impl LocalStore {
    /// Adopts the file, directory or link at `path`, which must be on the store's file system and
    /// ours to change.
    ///
    /// The whole tree is then as in the store, apart from a directory at `path` itself: that stays
    /// writable until [`LocalStore::install`] has moved it. The collector keeps the tree while this
    /// process lives.
    ///
    /// # Errors
    /// [`StoreError::SpecialFile`] for sockets, pipes and devices; or when a file cannot be read or
    /// written.
    pub fn import_tree(&self, path: &Path) -> Result<Imported, StoreError> {
        self.import_tree_within(path, Bounds { bytes_max: u64::MAX, cancelled: &AtomicBool::new(false) })
    }

    /// Does the same as [`LocalStore::import_tree`], within bounds: reading a sparse file takes
    /// time, though it takes no space.
    ///
    /// # Errors
    /// The errors of [`LocalStore::import_tree`]; [`StoreError::TooLarge`]; and a read that fails
    /// with `ECANCELED`.
    pub fn import_tree_within(&self, path: &Path, bounds: Bounds<'_>) -> Result<Imported, StoreError> {
        let _shared = self.lock_shared()?;
        let (parent, name) = Dir::open_parent(path)?;
        let counter = TreeCounter { bounds: Some(bounds), ..TreeCounter::default() };
        let node = self.adopt(&parent, &name, &counter, 0).map_err(|error| counter.reason(error))?;
        self.scratch.root(&TempRoot::Node(node.clone()))?;
        Ok(counter.imported(node))
    }

    fn adopt(&self, parent: &Dir, name: &[u8], counter: &TreeCounter<'_>, depth: usize) -> Result<Node, StoreError> {
        let stat = parent.stat(name)?;
        match kind(&stat) {
            FileKind::File => self.adopt_file(parent, name, &stat, counter),
            FileKind::Symlink => {
                let target = parent.read_link(name)?;
                parent.touch_link(name, &stat)?;
                Ok(Node::Symlink { target })
            }
            FileKind::Directory => {
                check_depth(depth, &parent.join(name))?;
                let mut dir = parent.open_dir(name)?;
                // Entries are replaced and renamed below; root needs no permission for that, other
                // users do.
                if stat.st_mode & 0o700 != 0o700 {
                    dir.finish(mode::DIRECTORY)?;
                }
                let entries = dir.list()?;
                let adopt =
                    |DirEntry { name, .. }| self.adopt(&dir, &name, counter, depth + 1).map(|node| (name, node));
                let nodes: Vec<(Vec<u8>, Node)> = if depth < PARALLEL_DEPTH_MAX {
                    entries.into_par_iter().map(adopt).collect::<Result<_, StoreError>>()?
                } else {
                    entries.into_iter().map(adopt).collect::<Result<_, StoreError>>()?
                };
                let mut directory = Directory::new();
                for (name, node) in nodes {
                    directory.insert(name, node)?;
                }
                dir.finish(if depth == 0 { mode::DIRECTORY } else { mode::OBJECT_DIRECTORY })?;
                self.write_directory(&directory)
            }
            FileKind::Other(kind) => Err(StoreError::SpecialFile { path: parent.join(name), kind }),
        }
    }

    fn adopt_file(
        &self,
        parent: &Dir,
        name: &[u8],
        stat: &FileStat,
        counter: &TreeCounter<'_>,
    ) -> Result<Node, StoreError> {
        let path = parent.join(name);
        counter.admit(stat, &path)?;
        let executable = mode::is_executable(stat.st_mode);
        let single = stat.st_nlink == 1;
        let mut file = match parent.open_file(name) {
            // The owner of this file has no permission to read it. A file with other names is not
            // ours to change.
            Err(error) if error.errno == Errno::EACCES && single => {
                parent.chmod_file(name, stat, mode::PRIVATE_FILE)?;
                parent.open_file(name)?
            }
            opened => opened?,
        };
        let opened = nix::sys::stat::fstat(&file).context("stat", &path)?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(StoreError::Changed { path });
        }
        let (digest, size) = hash_file_unless(&mut file, &path, || counter.is_stopped())?;
        counter.count(size);
        let node = Node::File { digest, executable, size };
        let first = counter.take(&digest, executable);
        if single {
            finish_file(&file, executable, &path)?;
            if !first {
                return Ok(node);
            }
        }
        self.step("file hashed");
        let blob = blob_name(&digest, executable);
        loop {
            let there = self.cas.find(&blob)?;
            let whole = match &there {
                Some(stat) if self.is_whole(stat, &digest, executable, size)? => Some(stat),
                _ => None,
            };
            match whole {
                Some(there) if first => {
                    if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
                        return Ok(node);
                    }
                    let scratch = self.scratch.fresh("link");
                    if self.link_blob(&digest, executable, self.scratch.dir()?, &scratch)? {
                        self.scratch.dir()?.rename(&scratch, parent, name)?;
                        self.step("file replaced by its blob");
                        return Ok(node);
                    }
                    if single {
                        return Ok(node);
                    }
                    return self.make_private(&digest, executable, parent, name).map(|()| node);
                }
                Some(_) => return self.make_private(&digest, executable, parent, name).map(|()| node),
                None if single && there.is_none() => match parent.hard_link(name, &self.cas, &blob) {
                    Ok(()) => {
                        self.step("file linked into cas");
                        return Ok(node);
                    }
                    Err(error) if error.errno == Errno::EEXIST => {}
                    Err(error) if error.errno == Errno::ENOENT => self.make_shard(&blob)?,
                    Err(error) => return Err(error.into()),
                },
                None if single => {
                    let (scratch, dir) = (self.scratch.fresh("link"), self.scratch.dir()?);
                    parent.hard_link(name, dir, &scratch)?;
                    dir.rename(&scratch, &self.cas, &blob)?;
                    self.step("unfinished blob replaced");
                    return Ok(node);
                }
                None => {
                    let (again, _) = self.stream_blob(&mut parent.open_file(name)?, executable, &path)?;
                    if again != digest {
                        return Err(StoreError::Changed { path });
                    }
                }
            }
        }
    }

    /// Replaces the file `name` by a copy of the blob.
    fn make_private(&self, digest: &Digest, executable: bool, parent: &Dir, name: &[u8]) -> Result<(), StoreError> {
        let scratch = self.scratch.fresh("copy");
        self.copy_blob(digest, executable, self.scratch.dir()?, &scratch)?;
        Ok(self.scratch.dir()?.rename(&scratch, parent, name)?)
    }
}

/// Directories deeper than this are adopted one after the other: otherwise a deep chain of
/// directories that a build made on purpose would fill a thread's stack with frames of the pool.
pub(crate) const PARALLEL_DEPTH_MAX: usize = 16;
