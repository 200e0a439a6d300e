//! The database from what is on disk, should it be lost.
//!
//! Trees come from hashing the objects, references from what the files mention, derivers and outputs from the derivations.
//! The records of actions and builds are lost. An object whose directory is still writable was never finished, and one with
//! a reference that is not there cannot be valid; both are left for the collector.

use crate::db::{Database, Durability, KNOWN_VERSION, ValidPath, schema_version};
use crate::error::StoreError;
use crate::local::{LocalStore, OpenOptions};
use model::path::StorePath;
use model::references::ReferenceScanner;
use model::tree::Node;
use model::tree::walk::walk;
use os::dir::{Dir, Kind, kind};
use os::mode;
use os::{Context, SysError};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// The database, the one that is being made, and the one that was; each has files beside it while it is open.
const DATABASE: &str = "store.sqlite";
const NEW: &str = "store.sqlite.new";
const OLD: &str = "store.sqlite.old";
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

impl LocalStore {
    /// Makes the database of the store at `root` again from what is on disk; returns the store and how many paths are valid.
    /// The one that was is kept beside it as `store.sqlite.old`.
    ///
    /// The new one is made whole before it takes the other's place, while no other process adds to the store or collects. Killed
    /// before that, the old one is as it was; killed in between, there is none, which every command says.
    ///
    /// One that a newer eval has written is left alone unless `downgrade` is set.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; when something cannot be read or written: the old database is in its place then.
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
        // First the database itself: a log that was left beside another one would be taken for its own.
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
            if kind(&stat) != Kind::Directory || stat.st_mode & mode::WRITE == 0 {
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

    /// Returns which of `candidates` the files, names and links of a tree mention.
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

/// Removes whatever is at a database's name, and beside it.
fn remove(db: &Dir, name: &str) -> Result<(), StoreError> {
    for end in [""].iter().chain(&SIDE_FILES) {
        db.remove_all(format!("{name}{end}").as_bytes())?;
    }
    Ok(())
}
