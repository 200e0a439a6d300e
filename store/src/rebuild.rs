//! The database from what is on disk, should it be lost.
//!
//! Trees come from hashing the objects, references from what the files mention, derivers and outputs from the derivations.
//! The records of actions and builds are lost. An object whose directory is still writable was never finished, and one with
//! a reference that is not there cannot be valid; both are left for the collector.

use crate::db::{KNOWN_VERSION, ValidPath, schema_version};
use crate::error::{Context, StoreError};
use crate::local::{LocalStore, OpenOptions};
use crate::lock::SharedLock;
use crate::path::StorePath;
use crate::references::ReferenceScanner;
use crate::sys::{Kind, kind};
use crate::tree::Node;
use crate::tree::walk::walk;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

impl LocalStore {
    /// Makes the database of the store at `root` anew from what is on disk; returns the store and how many paths are valid.
    /// The old database is kept beside the new one as `store.sqlite.old`. No other process may have the store open.
    ///
    /// One that a newer eval has written is left alone unless `downgrade` is set.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; when something cannot be read or written; the old database is in place or beside its place
    /// then.
    pub fn rebuild_db(root: &Path, options: OpenOptions, downgrade: bool) -> Result<(Self, usize), StoreError> {
        // A store that lacks a directory gets it.
        drop(Self::open_with(root, options)?);
        {
            let collector = SharedLock::new(root.join("locks/collector"));
            let _alone = collector.alone()?;
            let db = root.join("db");
            let path = db.join("store.sqlite");
            if let (Some(found), false) = (schema_version(&path).filter(|&found| found > KNOWN_VERSION), downgrade) {
                return Err(StoreError::NewerSchema { path, found, known: KNOWN_VERSION });
            }
            for (from, to) in [
                ("store.sqlite-wal", "store.sqlite.old-wal"),
                ("store.sqlite-shm", "store.sqlite.old-shm"),
                ("store.sqlite", "store.sqlite.old"),
            ] {
                let from = db.join(from);
                match std::fs::rename(&from, db.join(to)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(crate::error::SysError::io("rename", from, &error).into());
                    }
                    _ => {}
                }
            }
        }
        let store = Self::open_with(root, options)?;
        let count = store.register_all()?;
        Ok((store, count))
    }

    fn register_all(&self) -> Result<usize, StoreError> {
        let _hold = self.hold()?;
        let mut candidates: Vec<StorePath> = Vec::new();
        for name in self.objects.names()? {
            let Some(path) = std::str::from_utf8(&name).ok().and_then(|text| StorePath::parse(text).ok()) else {
                continue;
            };
            let stat = self.objects.stat(&name)?;
            if kind(&stat) != Kind::Directory || stat.st_mode & 0o222 == 0 {
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
