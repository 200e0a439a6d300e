//! The root of a build: the union of trees, computed on Merkle nodes, and the host directories that
//! show it.
//!
//! When mounting the trees over each other shows the union, the trees themselves are the layers.
//! Only files that two trees share are copied: equal files are one inode in the store, and tools
//! that look for hard links would see that, so all but one of their names get private copies in a
//! layer on top. When mounting does not show the union (a link in one tree stands for a directory
//! of another), or there are too many trees, the union is checked out.
//!
//! ```text
//!   <root>/cache/.lock            held shared while building, exclusively while clearing
//!   <root>/cache/layers/<digest>  private copies for one list of trees; often empty
//!   <root>/cache/unions/<digest>  the checkout of one union
//! ```
//! Everything below `cache` can be made again, so losing it costs only time. Losing a part of an
//! entry would change the contents that a build sees, so each entry is on the disk before it gets
//! its name.

use crate::error::{BuildError, io_error};
use crate::inputs::InputTree;
use model::tree::directories::OverlaidDirectories;
use model::tree::union::{Layer, Overlap, union};
use model::tree::walk::{join, walk};
use model::tree::{Digest, Directories, Node, TreeError};
use nix::fcntl::{Flock, FlockArg};
use os::{lock, public};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};
use store::{LocalStore, StoreError};

/// The store's directories, and above them those of unions, which need not be stored.
type UnionDirectories = OverlaidDirectories<Arc<LocalStore>>;

/// The union of some trees.
#[derive(Clone, Debug)]
pub(crate) struct United {
    pub node: Node,
    /// Set when mounting the trees over each other shows something else.
    redirected: bool,
}

/// A regular file's identity in the store: files that are equal in both are one inode, but for
/// private copies.
type FileKey = (Digest, bool);

/// Unions and lists of files, cached for the life of a builder.
pub(crate) struct Roots {
    pub directories: UnionDirectories,
    unions: Mutex<HashMap<(Vec<Digest>, String), United>>,
    files: Mutex<HashMap<Digest, Arc<Vec<FileKey>>>>,
    number: AtomicU64,
    in_use: Mutex<Weak<CacheInUse>>,
}

impl Roots {
    pub fn new(store: &Arc<LocalStore>) -> Roots {
        Roots {
            directories: OverlaidDirectories::new(Arc::clone(store)),
            unions: Mutex::default(),
            files: Mutex::default(),
            number: AtomicU64::new(0),
            in_use: Mutex::default(),
        }
    }

    /// Locks the cache shared, so that it is not cleared while the result lives. Concurrent builds
    /// share one lock.
    pub fn hold_cache(&self, store: &LocalStore) -> Result<Arc<CacheInUse>, BuildError> {
        let mut in_use = lock(&self.in_use);
        if let Some(held) = in_use.upgrade() {
            return Ok(held);
        }
        let held = Arc::new(CacheInUse::new(store)?);
        *in_use = Arc::downgrade(&held);
        Ok(held)
    }

    /// Returns the union of `trees`.
    ///
    /// # Errors
    /// When they conflict outside of `overlap`, or one is no directory.
    pub fn unite(&self, trees: &[InputTree], overlap: &str) -> Result<United, BuildError> {
        let key = (trees.iter().map(|tree| tree.node.fingerprint()).collect::<Vec<_>>(), overlap.to_owned());
        if let Some(known) = lock(&self.unions).get(&key) {
            return Ok(known.clone());
        }
        let layers: Vec<Layer> =
            trees.iter().map(|tree| Layer { root: tree.node.clone(), owner: tree.owner.clone() }).collect();
        let overlap = Overlap::parse(overlap).map_err(|e| crate::error::attribute("__overlap", e.to_string()))?;
        let union = union(&self.directories, &layers, &overlap)?;
        let united = United { node: union.root, redirected: union.redirected };
        lock(&self.unions).insert(key, united.clone());
        Ok(united)
    }

    /// Returns the host directories that, mounted over each other from first to last, show
    /// `united`.
    pub fn layers(&self, trees: &[InputTree], united: &United) -> Result<Vec<PathBuf>, BuildError> {
        let store = &**self.directories.below();
        // Only the upper one of two equal trees shows.
        let mut seen = HashSet::new();
        let mut used: Vec<&InputTree> =
            trees.iter().rev().filter(|tree| seen.insert(tree.node.fingerprint())).collect();
        used.reverse();
        if let [tree] = used.as_slice() {
            return Ok(vec![tree.host(store)]);
        }
        let mut paths = HashSet::new();
        // The kernel refuses layers that are nested.
        let nested = used.iter().any(|tree| !paths.insert(&tree.name.path));
        if united.redirected || nested || used.len() >= sandbox::LAYERS_MAX {
            return Ok(vec![self.checkout(&united.node)?]);
        }
        let mut layers: Vec<PathBuf> = used.iter().map(|tree| tree.host(store)).collect();
        layers.extend(self.private_copies(&used, &layers)?);
        Ok(layers)
    }

    fn checkout(&self, node: &Node) -> Result<PathBuf, BuildError> {
        let store = &**self.directories.below();
        self.cached("unions", node.fingerprint(), |dest| {
            self.store_directories(node)?;
            store.checkout(node, dest, store::BlobCheck::Written)?;
            Ok(store.make_durable().map_err(StoreError::from)?)
        })
    }

    /// Stores those directories of a union that are only in memory.
    fn store_directories(&self, node: &Node) -> Result<(), BuildError> {
        walk(&self.directories, node, |_, node| -> Result<bool, BuildError> {
            let Node::Directory { digest, .. } = node else { return Ok(false) };
            let Ok(directory) = self.directories.memory().load(digest) else { return Ok(false) };
            self.directories.below().save(&directory)?;
            Ok(true)
        })
    }

    /// Returns the layer of private copies for `trees`, whose paths are `hosts`; `None` when they
    /// share no file.
    fn private_copies(&self, trees: &[&InputTree], hosts: &[PathBuf]) -> Result<Option<PathBuf>, BuildError> {
        let mut key = b"private copies 1".to_vec();
        trees.iter().for_each(|tree| key.extend_from_slice(tree.node.fingerprint().bytes()));
        let layer = self.cached("layers", Digest::of(&key), |dest| {
            fs::create_dir(dest).map_err(|e| io_error("mkdir", dest, e))?;
            let shared = self.shared_files(trees)?;
            if shared.is_empty() {
                return seal(dest);
            }
            for (path, host) in self.extra_names(trees, hosts, &shared)? {
                let size = fs::symlink_metadata(&host).map_err(|e| io_error("lstat", &host, e))?.len();
                self.directories.below().free_space().claim(size).map_err(StoreError::from)?;
                copy_into(dest, &path, &host)?;
            }
            seal(dest)?;
            Ok(self.directories.below().make_durable().map_err(StoreError::from)?)
        })?;
        let empty = fs::read_dir(&layer).map_err(|e| io_error("opendir", &layer, e))?.next().is_none();
        Ok((!empty).then_some(layer))
    }

    /// Returns the files that are in more than one tree.
    fn shared_files(&self, trees: &[&InputTree]) -> Result<HashSet<FileKey>, BuildError> {
        let mut seen = HashSet::new();
        let mut shared = HashSet::new();
        for tree in trees {
            for key in self.files(&tree.node)?.iter() {
                if !seen.insert(*key) {
                    shared.insert(*key);
                }
            }
        }
        Ok(shared)
    }

    /// Returns the different files of a tree.
    fn files(&self, node: &Node) -> Result<Arc<Vec<FileKey>>, BuildError> {
        if let Some(known) = lock(&self.files).get(&node.fingerprint()) {
            return Ok(Arc::clone(known));
        }
        let mut files = BTreeSet::new();
        walk(&self.directories, node, |_, node| -> Result<bool, TreeError> {
            if let Node::File { digest, executable, .. } = node {
                files.insert((*digest, *executable));
            }
            Ok(true)
        })?;
        let files = Arc::new(files.into_iter().collect::<Vec<_>>());
        lock(&self.files).insert(node.fingerprint(), Arc::clone(&files));
        Ok(files)
    }

    /// Finds the names in the mounted union that share an inode with a name before them, with the
    /// file each stands for.
    fn extra_names(
        &self,
        trees: &[&InputTree],
        hosts: &[PathBuf],
        shared: &HashSet<FileKey>,
    ) -> Result<Vec<(PathBuf, PathBuf)>, BuildError> {
        let mut inodes = HashSet::new();
        let mut extra = Vec::new();
        let start: Vec<(usize, Node)> =
            trees.iter().enumerate().map(|(layer, tree)| (layer, tree.node.clone())).collect();
        let mut todo = vec![(Vec::new(), start)];
        while let Some((path, parts)) = todo.pop() {
            let mut entries: BTreeMap<Vec<u8>, Vec<(usize, Node)>> = BTreeMap::new();
            for (layer, node) in parts {
                let Node::Directory { digest, .. } = node else { continue };
                for (name, node) in self.directories.load(&digest)?.iter() {
                    entries.entry(name.to_vec()).or_default().push((layer, node.clone()));
                }
            }
            for (name, parts) in entries {
                let inner = join(&path, &name);
                match parts.last() {
                    Some((_, Node::Directory { .. })) => {
                        // As the kernel does: the last entry that is no directory hides those below
                        // it.
                        let start = parts.iter().rposition(|(_, node)| !node.is_directory()).map_or(0, |at| at + 1);
                        todo.push((inner, parts[start..].to_vec()));
                    }
                    Some((layer, Node::File { digest, executable, .. }))
                        if shared.contains(&(*digest, *executable)) =>
                    {
                        let relative = PathBuf::from(OsStr::from_bytes(&inner));
                        let host = hosts[*layer].join(&relative);
                        let metadata = fs::symlink_metadata(&host).map_err(|e| io_error("lstat", &host, e))?;
                        if !inodes.insert((metadata.dev(), metadata.ino())) {
                            extra.push((relative, host));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(extra)
    }

    /// Returns the directory `<root>/cache/<kind>/<digest>`, made by `make` at a temporary name
    /// when it is not there.
    fn cached(
        &self,
        kind: &str,
        digest: Digest,
        make: impl FnOnce(&Path) -> Result<(), BuildError>,
    ) -> Result<PathBuf, BuildError> {
        let directory = self.directories.below().root().join("cache").join(kind);
        let path = directory.join(digest.to_string());
        if path.is_dir() {
            return Ok(path);
        }
        public::make_directories(&directory).map_err(StoreError::from)?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        // A sibling, since a read-only directory can be renamed but not moved.
        let part = directory.join(format!(".{digest}.{}.{number}", std::process::id()));
        let made = make(&part).and_then(|()| match fs::rename(&part, &path) {
            // Another thread or process was faster.
            Err(_) if path.is_dir() => Ok(()),
            renamed => renamed.map_err(|e| io_error("rename", &part, e)),
        });
        if part.exists() {
            // Left over after a lost race or an error; when it stays, clearing the cache removes
            // it.
            let _ = os::remove_tree(&part);
        }
        made.map(|()| path)
    }
}

/// Keeps the cache from being cleared while it lives.
pub(crate) struct CacheInUse(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl CacheInUse {
    fn new(store: &LocalStore) -> Result<CacheInUse, BuildError> {
        let (file, path) = lock_file(store)?;
        match Flock::lock(file, FlockArg::LockShared) {
            Ok(lock) => Ok(CacheInUse(lock)),
            Err((_, errno)) => Err(io_error("flock", &path, errno.into())),
        }
    }
}

/// Removes the cache, unless a build is using it. Returns true when it was removed.
pub(crate) fn clear(store: &LocalStore) -> Result<bool, BuildError> {
    if !store.root().join("cache").exists() {
        // Making it in order to lock it takes space, and there may be none.
        return Ok(true);
    }
    let (file, path) = lock_file(store)?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(false),
        Err((_, errno)) => return Err(io_error("flock", &path, errno.into())),
    };
    for kind in ["layers", "unions"] {
        let directory = store.root().join("cache").join(kind);
        if directory.exists() {
            os::remove_tree(&directory)?;
        }
    }
    drop(lock);
    Ok(true)
}

fn lock_file(store: &LocalStore) -> Result<(File, PathBuf), BuildError> {
    let directory = store.root().join("cache");
    public::make_directories(&directory).map_err(StoreError::from)?;
    let path = directory.join(".lock");
    let file = public::open_file(&path).map_err(|e| io_error("open", &path, e))?;
    Ok((file, path))
}

/// Copies the file at `host` to `path` below `layer`.
fn copy_into(layer: &Path, path: &Path, host: &Path) -> Result<(), BuildError> {
    let dest = layer.join(path);
    if let Some(parent) = dest.parent() {
        fs::create_dir_all(parent).map_err(|e| io_error("mkdir", parent, e))?;
    }
    fs::copy(host, &dest).map_err(|e| io_error("write", &dest, e))?;
    Ok(())
}

/// Gives everything below `directory` the modes and the time of files in the store.
fn seal(directory: &Path) -> Result<(), BuildError> {
    let mut directories = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(&directory).map_err(|e| io_error("readdir", &directory, e))? {
            let path = entry.map_err(|e| io_error("readdir", &directory, e))?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                set_time(&path)?;
            }
        }
    }
    for directory in directories.iter().rev() {
        set_time(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o555)).map_err(|e| io_error("chmod", directory, e))?;
    }
    Ok(())
}

fn set_time(path: &Path) -> Result<(), BuildError> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let file = File::open(path).map_err(|e| io_error("open", path, e))?;
    file.set_times(fs::FileTimes::new().set_modified(time).set_accessed(time))
        .map_err(|e| io_error("utimensat", path, e))
}
