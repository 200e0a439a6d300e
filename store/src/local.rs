//! A store on this machine.
//!
//! ```text
//! <root>/
//!     cas/<2 hex>/<hash>[.x]   blobs: files and directories of trees
//!     store/<hash>-<name>      store objects, read-only, files hard-linked to their blobs
//!     db/store.sqlite          what is valid, what refers to what, what actions gave
//!     db/reserve               space kept for the database; see db/reserve.rs
//!     tmp/<process>/           what is being made; see scratch.rs
//!     locks/                   what locks are taken on; see lock.rs
//!     log/                     logs of builds, written by the builder: long ones and those of failures
//!     gcroots/                 links that keep store objects alive
//! ```
//!
//! Two kinds of path never mix: a [`StorePath`] names an object wherever its store is, and a `std::path::Path` is a place
//! on this machine. [`LocalStore::physical_path`] leads from the one to the other. What builds see, `/eval/store/…`, is
//! text, made by [`StoreModel::print`].
//!
//! **Crash rule.** Whatever is made is made below `tmp/`, renamed into place, made durable, and only then registered. So what
//! the database says is there is there; everything else is garbage, which [`LocalStore::gc`] collects.
//!
//! **Collector.** Whoever adds holds the collector's lock shared while something is neither registered nor rooted. Roots
//! of a process ([`LocalStore::temp_root`]) last until it ends.

use crate::cas::DirectoryCache;
use crate::db::{Database, Durability};
use crate::error::StoreError;
use crate::lock::{CollectorGuard, CollectorLock, Lock, LockHolder, Locks};
use crate::register::Registrar;
use crate::scratch::{Scratch, ScratchPath, TempRoot};
use model::path::{StoreModel, StorePath};
use model::tree::Digest;
use os::dir::Dir;
use os::public;
use os::space::{self, FreeSpace};
use os::{Context, SysError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// How to open a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    pub durability: Durability,
}

/// A store on this machine. Threads and processes may share it in any number.
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
    /// When the machine was started, in seconds since 1970.
    pub(crate) booted_at: i64,
}

impl std::fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStore").field("root", &self.root).finish_non_exhaustive()
    }
}

const DIRECTORIES: [&str; 8] = ["cas", "store", "db", "tmp", "locks", "log", "gcroots", "gcroots/auto"];

impl LocalStore {
    /// Opens the store at `root`, which is made if it is not there.
    ///
    /// # Errors
    /// When a directory cannot be made. The database is opened, and brought up to date, when it is first needed.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, OpenOptions::default())
    }

    /// As [`LocalStore::open`], with options.
    ///
    /// # Errors
    /// As [`LocalStore::open`].
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
        // Before the first object: where there are some, a database that is not there was lost.
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

    /// Returns how this store names its objects: always the native model.
    pub fn model(&self) -> StoreModel {
        StoreModel::Native
    }

    /// Returns where the store is on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where logs of builds are kept.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Returns the room on the store's file system, to be asked by whoever writes much there.
    pub fn free_space(&self) -> &FreeSpace {
        &self.free_space
    }

    /// Returns where a store object is on this machine, whether it is there or not.
    pub fn physical_path(&self, path: &StorePath) -> PathBuf {
        self.root.join("store").join(path.to_string())
    }

    pub(crate) fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Keeps the collector out, in all processes, until the result is dropped. Not to be held while calling [`LocalStore::gc`].
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn lock_shared(&self) -> Result<CollectorGuard<'_>, StoreError> {
        Ok(self.collector.lock_shared()?)
    }

    /// Keeps the collector off a store path, valid already or still to be made, while this process lives.
    ///
    /// # Errors
    /// When the root cannot be written.
    pub fn temp_root(&self, path: &StorePath) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        Ok(self.scratch.root(&TempRoot::Path(path.clone()))?)
    }

    /// As [`LocalStore::temp_root`], for many paths at the price of one.
    ///
    /// # Errors
    /// As [`LocalStore::temp_root`].
    pub fn temp_roots(&self, paths: impl IntoIterator<Item = StorePath>) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        Ok(self.scratch.roots(paths.into_iter().map(TempRoot::Path))?)
    }

    /// Makes a directory to work in, on the store's file system, below a directory that only this user can enter.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch_dir(&self, what: &str) -> Result<ScratchPath, StoreError> {
        Ok(ScratchPath::new(&self.scratch, what)?)
    }

    /// Takes the lock on a store path if it is free; else returns its holder, when that is known.
    ///
    /// # Errors
    /// When the lock cannot be asked for.
    pub fn try_lock_path(&self, path: &StorePath) -> Result<Result<Lock, Option<LockHolder>>, StoreError> {
        Ok(self.locks.try_take(&path.to_string())?)
    }

    /// Takes the lock on an action if it is free, as [`LocalStore::try_lock_path`].
    ///
    /// # Errors
    /// When the lock cannot be asked for.
    pub fn try_lock_action(&self, action: &Digest) -> Result<Result<Lock, Option<LockHolder>>, StoreError> {
        Ok(self.locks.try_take(&format!("action-{action}"))?)
    }

    /// Has everything written to the store's file system so far reach the disk, as the durability asks for.
    ///
    /// # Errors
    /// When the kernel says that something could not be written.
    pub fn make_durable(&self) -> Result<(), SysError> {
        match self.durability {
            Durability::Full => nix::unistd::syncfs(&self.cas).context("sync the file system of", &self.root),
            Durability::Relaxed => Ok(()),
        }
    }

    /// Marks a step between which a crash is tested.
    pub(crate) fn step(&self, name: &'static str) {
        #[cfg(test)]
        crate::tests::crash::step(name);
        let _ = name;
    }
}
