//! A store on this machine.
//!
//! ```text
//! <root>/
//!     cas/<2 hex>/<hash>[.x]   blobs: files and directories of trees
//!     store/<hash>-<name>      store objects, read-only, files hard-linked to their blobs
//!     db/store.sqlite          valid paths, their references, results of actions
//!     db/reserve               space kept for the database; see db/reserve.rs
//!     tmp/<process>/           files and trees being made; see scratch.rs
//!     locks/                   files that locks are taken on; see lock.rs
//!     log/                     logs of builds, by the builder: long ones, and those of failures
//!     gcroots/                 links that keep store objects alive
//! ```
//!
//! Two kinds of path never mix: a [`StorePath`] names an object in any store, and a
//! `std::path::Path` is a file on this machine. [`LocalStore::physical_path`] converts the one to
//! the other. Builds see `/eval/store/…`, which is text, made by [`StoreModel::print`].
//!
//! **Crash rule.** A tree is made below `tmp/`, renamed into place, made durable, and only then
//! registered. So each object that the database lists is on disk; everything else is garbage, which
//! [`LocalStore::gc`] collects.
//!
//! **Collector.** A writer locks the collector shared while an object is neither registered nor
//! rooted. Roots of a process ([`LocalStore::temp_root`]) last until it ends.

use crate::batch::Registrar;
use crate::db::{Database, Durability};
use crate::directory_cache::DirectoryCache;
use crate::error::StoreError;
use crate::lock::{CollectorGuard, CollectorLock, Lock, LockHolder, Locks};
use crate::scratch::{Scratch, ScratchPath, TempRoot};
use model::path::{StoreModel, StorePath};
use model::tree::Digest;
use os::dir::Dir;
use os::space::{self, FreeSpace};
use os::{Context, SysError, public};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Options for opening a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    pub durability: Durability,
}

/// A store on this machine. Any number of threads and processes may share it.
pub struct LocalStore {
    root: PathBuf,
    pub(crate) cas: Dir,
    pub(crate) objects: Dir,
    pub(crate) database: Database,
    pub(crate) collector: CollectorLock,
    pub(crate) locks: Arc<Locks>,
    pub(crate) scratch: Scratch,
    pub(crate) registrar: Registrar,
    pub(crate) durability: Durability,
    pub(crate) free_space: FreeSpace,
    pub(crate) directories: Mutex<DirectoryCache>,
    /// The time at which the machine was started, in seconds since 1970.
    pub(crate) booted_at: i64,
}

impl std::fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStore").field("root", &self.root).finish_non_exhaustive()
    }
}

const DIRECTORIES: [&str; 8] = ["cas", "store", "db", "tmp", "locks", "log", "gcroots", "gcroots/auto"];

impl LocalStore {
    /// Opens the store at `root`, and creates it when it does not exist.
    ///
    /// # Errors
    /// When a directory cannot be created. The database is opened, and migrated, on first use.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, OpenOptions::default())
    }

    /// Does the same as [`LocalStore::open`], with options.
    ///
    /// # Errors
    /// The errors of [`LocalStore::open`].
    pub fn open_with(root: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        public::make_parents(root)?;
        public::ensure_directory(root)?;
        let root = root.canonicalize().context("resolve", root)?;
        for name in DIRECTORIES {
            public::ensure_directory(&root.join(name))?;
        }
        let collector = CollectorLock::new(root.join("locks/collector"));
        let scratch = Scratch::new(root.join("tmp"));
        let objects = Dir::open(root.join("store")).map_err(SysError::of_store)?;
        let database = Database::of_objects(root.join("db/store.sqlite"), options.durability, root.join("store"));
        // The database comes before the first object: where there are objects, a missing database
        // was lost.
        if database.is_missing() && objects.names()?.is_empty() {
            database.make()?;
        }
        Ok(Self {
            cas: Dir::open(root.join("cas")).map_err(SysError::of_store)?,
            objects,
            database,
            collector,
            locks: Locks::new(&root),
            scratch,
            registrar: Registrar::default(),
            durability: options.durability,
            free_space: FreeSpace::new(&root, space::STORE_FULL),
            directories: Mutex::default(),
            booted_at: os::dir::booted_at(),
            root,
        })
    }

    /// Returns the naming scheme of this store: always the native model.
    pub fn model(&self) -> StoreModel {
        StoreModel::Native
    }

    /// Returns the directory of the store on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of build logs.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Returns the free space on the store's file system, which large writers claim first.
    pub fn free_space(&self) -> &FreeSpace {
        &self.free_space
    }

    /// Returns the path of a store object on this machine, which need not exist.
    pub fn physical_path(&self, path: &StorePath) -> PathBuf {
        self.root.join("store").join(path.to_string())
    }

    pub(crate) fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Locks the collector shared: it waits, in all processes, until the result is dropped. A
    /// thread that has this lock must not call [`LocalStore::gc`].
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn lock_shared(&self) -> Result<CollectorGuard<'_>, StoreError> {
        Ok(self.collector.lock_shared()?)
    }

    /// Makes a store path, valid or not yet made, a root while this process lives.
    ///
    /// # Errors
    /// When the root cannot be written.
    pub fn temp_root(&self, path: &StorePath) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        Ok(self.scratch.root(&TempRoot::Path(path.clone()))?)
    }

    /// Does the same as [`LocalStore::temp_root`], for many paths at the cost of one.
    ///
    /// # Errors
    /// The errors of [`LocalStore::temp_root`].
    pub fn temp_roots(&self, paths: impl IntoIterator<Item = StorePath>) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        Ok(self.scratch.roots(paths.into_iter().map(TempRoot::Path))?)
    }

    /// Returns a descriptor that keeps the temporary roots of this process as long as any process
    /// has it open, for a program that replaces this process. `None` when there are none.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn hold_temp_roots(&self) -> Result<Option<OwnedFd>, StoreError> {
        Ok(self.scratch.hold()?)
    }

    /// Creates a scratch directory on the store's file system, below a directory that only this
    /// user can enter.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn scratch_dir(&self, what: &str) -> Result<ScratchPath, StoreError> {
        Ok(ScratchPath::new(&self.scratch, what)?)
    }

    /// Takes the lock on a store path if it is free; else returns its holder, where that is known.
    ///
    /// # Errors
    /// When the lock cannot be requested.
    pub fn try_lock_path(&self, path: &StorePath) -> Result<Result<Lock, Option<LockHolder>>, StoreError> {
        Ok(self.locks.try_take(&path.to_string())?)
    }

    /// Takes the lock on an action if it is free, as [`LocalStore::try_lock_path`].
    ///
    /// # Errors
    /// When the lock cannot be requested.
    pub fn try_lock_action(&self, action: &Digest) -> Result<Result<Lock, Option<LockHolder>>, StoreError> {
        Ok(self.locks.try_take(&format!("action-{action}"))?)
    }

    /// Writes everything on the store's file system to disk, unless the durability is relaxed.
    ///
    /// # Errors
    /// When the kernel could not write.
    pub fn make_durable(&self) -> Result<(), SysError> {
        match self.durability {
            Durability::Full => nix::unistd::syncfs(&self.cas).context("sync the file system of", &self.root),
            Durability::Relaxed => Ok(()),
        }
    }

    /// Marks a step, before and after which tests simulate a crash.
    pub(crate) fn step(&self, name: &'static str) {
        #[cfg(test)]
        crate::tests::crash::step(name);
        let _ = name;
    }
}
