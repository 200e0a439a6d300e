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

use crate::db::{ALL_PATHS, BUILDS_OF_DERIVATION, BUILDS_OF_NAME, Database, PATH_REFERENCES, PATH_REFERRERS, SET_NAR};
use crate::db::{BuildRecord, Durability, ValidPath};
use crate::error::StoreError;
use crate::import::with_small_file;
use crate::lock::{Hold, Holder, Lock, Locks, SharedLock};
use crate::register::Registrar;
use crate::scratch::{Scratch, ScratchPath, TempRoot};
use model::derivation::{Derivation, name_of_path};
use model::hash::{Hash, HashAlgorithm, Hasher};
use model::nar;
use model::path::{StoreModel, StorePath};
use model::tree::union::{Layer, Overlap, Union};
use model::tree::{Digest, Node};
use os::dir::Dir;
use os::public;
use os::space::{self, FreeSpace};
use os::{Context, SysError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Hashes what is written and counts it.
struct Counted {
    hasher: Hasher,
    size: u64,
}

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What an action gave: its outputs by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionResult {
    pub outputs: BTreeMap<String, Node>,
}

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
    pub(crate) collector: SharedLock,
    pub(crate) locks: Arc<Locks>,
    pub(crate) scratch: Scratch,
    pub(crate) registrar: Registrar,
    pub(crate) durability: Durability,
    pub(crate) room: FreeSpace,
    pub(crate) directories: Mutex<crate::cas::DirectoryCache>,
    /// When the machine was started, in seconds since 1970.
    pub(crate) booted_at: i64,
}

impl std::fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStore").field("root", &self.root).finish_non_exhaustive()
    }
}

/// FreeSpace for most derivations, to read one at once.
const DERIVATION_BYTES: usize = 16 << 10;

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
        public::make_above(root)?;
        public::settle(root)?;
        let root = root.canonicalize().context("resolve", root)?;
        for name in DIRECTORIES {
            public::settle(&root.join(name))?;
        }
        let collector = SharedLock::new(root.join("locks/collector"));
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
            room: FreeSpace::new(&root, space::STORE_FULL),
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
    pub fn room(&self) -> &FreeSpace {
        &self.room
    }

    /// Returns where a store object is on this machine, whether it is there or not.
    pub fn physical_path(&self, path: &StorePath) -> PathBuf {
        self.root.join("store").join(path.to_string())
    }

    /// Returns the store path that a path on this machine, or a logical one, is or is below, and the rest.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] when it is outside of this store.
    pub fn parse_any(&self, text: &str) -> Result<(StorePath, String), StoreError> {
        let physical = self.root.join("store");
        let inside = Path::new(text).strip_prefix(&physical).ok().and_then(Path::to_str);
        let logical = match inside {
            Some(inside) => format!("{}/{inside}", self.model().store_dir()),
            None => text.to_owned(),
        };
        match self.model().split(&logical) {
            Ok((path, rest)) => Ok((path, rest.to_owned())),
            Err(model::path::PathError::OutsideStore { .. }) => {
                Err(StoreError::OtherStore { what: text.to_owned(), store_dir: self.model().store_dir() })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Keeps the collector out, in all processes, until the result is dropped. Not to be held while calling [`LocalStore::gc`].
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn hold(&self) -> Result<Hold<'_>, StoreError> {
        Ok(self.collector.hold()?)
    }

    /// Keeps the collector off a store path, valid already or still to be made, while this process lives.
    ///
    /// # Errors
    /// When the root cannot be written.
    pub fn temp_root(&self, path: &StorePath) -> Result<(), StoreError> {
        let _hold = self.hold()?;
        Ok(self.scratch.root(&TempRoot::Path(path.clone()))?)
    }

    /// As [`LocalStore::temp_root`], for many paths at the price of one.
    ///
    /// # Errors
    /// As [`LocalStore::temp_root`].
    pub fn temp_roots(&self, paths: impl IntoIterator<Item = StorePath>) -> Result<(), StoreError> {
        let _hold = self.hold()?;
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
    pub fn try_lock_path(&self, path: &StorePath) -> Result<Result<Lock, Option<Holder>>, StoreError> {
        Ok(self.locks.try_take(&path.to_string())?)
    }

    /// Takes the lock on an action if it is free, as [`LocalStore::try_lock_path`].
    ///
    /// # Errors
    /// When the lock cannot be asked for.
    pub fn try_lock_action(&self, action: &Digest) -> Result<Result<Lock, Option<Holder>>, StoreError> {
        Ok(self.locks.try_take(&format!("action-{action}"))?)
    }

    /// Returns whether the store has this object, whole.
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool, StoreError> {
        self.database.read(|session| session.is_valid(path))
    }

    /// Returns those of `paths` that are valid, at one moment. To ask for them together takes a fraction of the time, and
    /// few reads of a database that is larger than its cache.
    ///
    /// # Errors
    /// When the database fails.
    pub fn valid_among(&self, paths: impl IntoIterator<Item = StorePath>) -> Result<BTreeSet<StorePath>, StoreError> {
        // Neighbours in order are neighbours in the index.
        let mut valid: BTreeSet<StorePath> = paths.into_iter().collect();
        let mut failed = Ok(());
        self.database.read_at_once(|session| {
            valid.retain(|path| {
                failed.is_ok()
                    && session.is_valid(path).unwrap_or_else(|error| {
                        failed = Err(error);
                        false
                    })
            });
            std::mem::replace(&mut failed, Ok(()))
        })?;
        Ok(valid)
    }

    /// Returns what is known of a valid path, or `None` when it is not valid.
    ///
    /// # Errors
    /// When the database fails.
    pub fn path_info(&self, path: &StorePath) -> Result<Option<ValidPath>, StoreError> {
        self.database.read(|session| session.path_info(path))
    }

    /// Returns what is at a valid path.
    ///
    /// # Errors
    /// [`StoreError::NotValid`].
    pub fn tree_of(&self, path: &StorePath) -> Result<Node, StoreError> {
        let node = self.database.read(|session| session.node(path))?;
        node.ok_or_else(|| StoreError::NotValid { path: path.clone() })
    }

    /// Returns every valid path.
    ///
    /// # Errors
    /// When the database fails.
    pub fn all_paths(&self) -> Result<Vec<StorePath>, StoreError> {
        let rows = self.database.read(|session| session.rows(ALL_PATHS, [], |row| row.get::<_, String>(0)))?;
        rows.iter().map(|text| crate::db::store_path(text)).collect()
    }

    /// Returns the paths that `path` mentions.
    ///
    /// # Errors
    /// When the database fails.
    pub fn references(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, StoreError> {
        self.database.read(|session| session.neighbours(PATH_REFERENCES, path))
    }

    /// Returns the valid paths that mention `path`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, StoreError> {
        self.database.read(|session| session.neighbours(PATH_REFERRERS, path))
    }

    /// Returns everything that can be reached from `path` over references, itself included.
    ///
    /// # Errors
    /// [`StoreError::NotValid`] when `path` is not valid.
    pub fn closure(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, StoreError> {
        if !self.is_valid(path)? {
            return Err(StoreError::NotValid { path: path.clone() });
        }
        let mut closure = BTreeSet::from([path.clone()]);
        let mut todo = vec![path.clone()];
        while let Some(next) = todo.pop() {
            for reference in self.references(&next)? {
                if closure.insert(reference.clone()) {
                    todo.push(reference);
                }
            }
        }
        Ok(closure)
    }

    /// Returns the valid derivations that have `path` as an output.
    ///
    /// # Errors
    /// When the database fails.
    pub fn derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, StoreError> {
        self.database.read(|session| session.neighbours(crate::db::DERIVERS_OF_PATH, path))
    }

    /// Returns, for each derivation, where the outputs named with it are, when the derivation and all of these are valid;
    /// `None` when they are not, or when none are named. No derivation is read for it: what outputs it has was noted when it
    /// became valid.
    ///
    /// # Errors
    /// When the database fails.
    pub fn valid_outputs(
        &self,
        wanted: &[(&StorePath, &BTreeSet<String>)],
    ) -> Result<Vec<Option<BTreeMap<String, StorePath>>>, StoreError> {
        let mut found = vec![None; wanted.len()];
        // Neighbours in order are neighbours in the index.
        let mut order: Vec<usize> = (0..wanted.len()).filter(|&at| !wanted[at].1.is_empty()).collect();
        order.sort_unstable_by_key(|&at| wanted[at].0);
        self.database.read_at_once(|session| {
            for at in order {
                let (derivation, names) = wanted[at];
                found[at] = session.valid_outputs(derivation, names)?;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads the derivation at a path.
    ///
    /// # Errors
    /// [`StoreError::NotValid`] when it is not in the store; or when it is no derivation.
    pub fn derivation(&self, path: &StorePath) -> Result<Derivation, StoreError> {
        let name = name_of_path(path)?;
        let mut file = match self.objects.open_file(path.to_string().as_bytes()) {
            Ok(file) => file,
            Err(error) if error.errno == nix::errno::Errno::ENOENT => {
                return Err(StoreError::NotValid { path: path.clone() });
            }
            Err(error) => return Err(error.into()),
        };
        with_small_file(&mut file, DERIVATION_BYTES, |text| {
            let text = text.map_err(|error| SysError::io("read", self.physical_path(path), &error))?;
            Ok(Derivation::from_aterm(self.model(), name, text)?)
        })
    }

    /// Returns the union of trees, which is kept in the store; the collector leaves it while this process lives.
    ///
    /// # Errors
    /// As [`model::tree::union::union`].
    pub fn union(&self, layers: &[Layer], overlap: &Overlap) -> Result<Union, StoreError> {
        let _hold = self.hold()?;
        Ok(model::tree::union::union(self, layers, overlap)?)
    }

    /// Writes the NAR of a tree that is in the store.
    ///
    /// # Errors
    /// When a blob is missing or `out` fails.
    pub fn write_nar(&self, node: &Node, out: &mut dyn std::io::Write) -> Result<(), StoreError> {
        nar::write_node(self, node, &mut |digest| self.open_blob(digest), out)
    }

    /// Returns hash and size of the NAR of a tree that is in the store.
    ///
    /// # Errors
    /// When a blob is missing.
    pub fn hash_nar(&self, node: &Node, algorithm: HashAlgorithm) -> Result<(Hash, u64), StoreError> {
        let mut counted = Counted { hasher: Hasher::new(algorithm), size: 0 };
        self.write_nar(node, &mut counted)?;
        Ok((counted.hasher.finish(), counted.size))
    }

    /// Returns the sha256 and the size of a valid path's NAR; computed once, then remembered.
    ///
    /// # Errors
    /// [`StoreError::NotValid`]; or when a blob is missing.
    pub fn nar_info(&self, path: &StorePath) -> Result<(Hash, u64), StoreError> {
        let info = self.path_info(path)?.ok_or_else(|| StoreError::NotValid { path: path.clone() })?;
        if let (Some(hash), Some(size)) = (info.nar_hash, info.nar_size_bytes) {
            return Ok((hash, size));
        }
        let (hash, size) = self.hash_nar(&info.node, HashAlgorithm::Sha256)?;
        self.database
            .write(|session| session.execute(SET_NAR, rusqlite::params![path.to_string(), size as i64, hash.sri()]))?;
        Ok((hash, size))
    }

    /// Returns what running `action` gave, if it was run; the collector leaves that while this process lives.
    ///
    /// # Errors
    /// When the database fails.
    pub fn action_result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError> {
        let _hold = self.hold()?;
        let outputs = self.database.read(|session| session.action_result(action))?;
        for node in outputs.values() {
            self.scratch.root(&TempRoot::Node(node.clone()))?;
        }
        Ok((!outputs.is_empty()).then_some(ActionResult { outputs }))
    }

    /// Returns the runs for a derivation, latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn builds(&self, derivation: &StorePath) -> Result<Vec<BuildRecord>, StoreError> {
        self.database.read(|session| session.builds(BUILDS_OF_DERIVATION, &derivation.to_string()))
    }

    /// Returns the log of the last run for a derivation as it was registered with it ([`crate::Run::log`]), compressed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn short_log(&self, derivation: &StorePath) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.read(|session| session.log(derivation))
    }

    /// Returns the last runs for derivations of this name (`hello-2.12.drv`), latest first: to tell how long one may take.
    ///
    /// # Errors
    /// When the database fails.
    pub fn builds_of_name(&self, name: &str) -> Result<Vec<BuildRecord>, StoreError> {
        self.database.read(|session| session.builds(BUILDS_OF_NAME, name))
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

    /// Looks for damage of the database itself, which reading from it need not show.
    ///
    /// # Errors
    /// When it is damaged or cannot be looked at; see [`StoreError::is_database_damage`].
    pub fn check_database(&self) -> Result<(), StoreError> {
        self.database.check()?;
        self.each_path(|_, path, _| crate::db::store_path(path).map(drop))
    }

    /// Marks a step between which a crash is tested.
    pub(crate) fn step(&self, name: &'static str) {
        #[cfg(test)]
        crate::tests::crash::step(name);
        let _ = name;
    }
}
