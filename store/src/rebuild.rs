//! Rebuilds a lost database from the files on disk.
//!
//! Trees come from hashing the objects, references from scanning their files, derivers and outputs
//! from the derivations. The records of actions and builds are lost. An object whose directory is
//! still writable was never finished, and one with a missing reference cannot be valid; the
//! collector removes both.

use crate::db::{Database, Durability, KNOWN_VERSION, ValidPath, schema_version};
use crate::error::StoreError;
use crate::local::{LocalStore, OpenOptions};
use model::path::StorePath;
use model::references::ReferenceScanner;
use model::tree::Node;
use model::tree::walk::walk;
use os::dir::{Dir, FileKind, kind};
use os::{Context, SysError, mode};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// Names of the database, of its replacement, and of the old one; each has files beside it while it
/// is open.
const DATABASE: &str = "store.sqlite";
const NEW: &str = "store.sqlite.new";
const OLD: &str = "store.sqlite.old";
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

impl LocalStore {
    /// Rebuilds the database of the store at `root` from the files on disk; returns the store and
    /// the number of valid paths. The old one is kept beside it as `store.sqlite.old`.
    ///
    /// The new database is complete before it replaces the old one, and no other process adds to
    /// the store or collects until it has. A process killed before that leaves the old database as
    /// it was; killed between the two renames it leaves none, which every command reports.
    ///
    /// A database that a newer eval has written is an error unless `downgrade` is set.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; when a file cannot be read or written. The old database is in
    /// use then.
    pub fn rebuild_db(root: &Path, options: OpenOptions, downgrade: bool) -> Result<(Self, usize), StoreError> {
        let mut store = Self::open_with(root, options)?;
        let db = Dir::open(store.root().join("db"))?;
        store.database = Database::new(db.join(NEW.as_bytes()), options.durability);
        let exclusive = store.collector.lock_exclusive_for_process()?;
        let path = db.join(DATABASE.as_bytes());
        if let (Some(found), false) = (schema_version(&path).filter(|&found| found > KNOWN_VERSION), downgrade) {
            return Err(StoreError::NewerSchema { path, found, known: KNOWN_VERSION });
        }
        remove(&db, NEW)?;
        store.step("old attempt removed");
        let count = store.register_all()?;
        store.database.make()?;
        store.database.close()?;
        store.step("new database made");
        remove(&db, OLD)?;
        // The database itself goes first: SQLite would take a log beside another database for that
        // one's log.
        for end in [""].iter().chain(&SIDE_FILES) {
            let [from, to] = [DATABASE, OLD].map(|name| format!("{name}{end}").into_bytes());
            if db.find(&from)?.is_some() {
                db.rename(&from, &db, &to)?;
            }
            store.step("old database moved away");
        }
        db.rename(NEW.as_bytes(), &db, DATABASE.as_bytes())?;
        store.step("new database in place");
        if options.durability == Durability::Full {
            nix::unistd::fsync(&db).map_err(|errno| SysError::new("write out", db.path(), errno))?;
        }
        drop(exclusive);
        Ok((Self::open_with(root, options)?, count))
    }

    fn register_all(&self) -> Result<usize, StoreError> {
        let _shared = self.lock_shared()?;
        let mut candidates: Vec<StorePath> = Vec::new();
        for name in self.objects.names()? {
            let Some(path) = std::str::from_utf8(&name).ok().and_then(|text| StorePath::parse(text).ok()) else {
                continue;
            };
            let stat = self.objects.stat(&name)?;
            if kind(&stat) != FileKind::Directory || stat.st_mode & mode::WRITE == 0 {
                candidates.push(path);
            }
        }
        let found: Vec<ValidPath> =
            candidates.par_iter().map(|path| self.describe(path, &candidates)).collect::<Result<_, StoreError>>()?;
        let mut valid: BTreeMap<StorePath, ValidPath> =
            found.into_iter().map(|info| (info.path.clone(), info)).collect();
        loop {
            let present: BTreeSet<StorePath> = valid.keys().cloned().collect();
            valid.retain(|_, info| info.references.is_subset(&present));
            if valid.len() == present.len() {
                break;
            }
        }
        for path in valid.keys().filter(|path| path.is_derivation()).cloned().collect::<Vec<_>>() {
            let Ok(derivation) = self.derivation(&path) else { continue };
            for output in derivation.output_paths(self.model())?.into_values().flatten() {
                if let Some(info) = valid.get_mut(&output) {
                    info.deriver = Some(path.clone());
                }
            }
        }
        let infos: Vec<ValidPath> = valid.into_values().collect();
        self.register_paths(&infos)?;
        Ok(infos.len())
    }

    fn describe(&self, path: &StorePath, candidates: &[StorePath]) -> Result<ValidPath, StoreError> {
        let imported = self.copy_in(&self.physical_path(path), None)?;
        let references = match self.derivation(path) {
            Ok(derivation) => derivation.references(),
            Err(_) => self.scan(&imported.node, candidates)?,
        };
        Ok(ValidPath { references, ..ValidPath::new(path.clone(), imported.node, imported.bytes) })
    }

    /// Returns those of `candidates` that occur in the files, names and links of a tree.
    ///
    /// # Errors
    /// When a blob cannot be read.
    pub fn scan(&self, node: &Node, candidates: &[StorePath]) -> Result<BTreeSet<StorePath>, StoreError> {
        let mut scanner = ReferenceScanner::new(candidates.iter().cloned());
        let mut buffer = vec![0; 1 << 16];
        walk::<StoreError>(self, node, |path, node| {
            scanner.boundary();
            scanner.update(path);
            scanner.boundary();
            match node {
                Node::Symlink { target } => scanner.update(target),
                Node::File { digest, executable, .. } => {
                    let mut file = self.open_blob(digest)?;
                    loop {
                        let read = file.read(&mut buffer).context("read", self.blob_path(digest, *executable))?;
                        if read == 0 {
                            break;
                        }
                        scanner.update(&buffer[..read]);
                    }
                }
                Node::Directory { .. } => {}
            }
            Ok(true)
        })?;
        Ok(scanner.finish())
    }
}

/// Removes a database, or anything else at its name, and the files beside it.
fn remove(db: &Dir, name: &str) -> Result<(), StoreError> {
    for end in [""].iter().chain(&SIDE_FILES) {
        db.remove_all(format!("{name}{end}").as_bytes())?;
    }
    Ok(())
}
