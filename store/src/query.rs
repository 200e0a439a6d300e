//! Queries: paths, derivations, actions, builds and NARs.

use crate::db::{
    ALL_PATHS, ActionResult, BUILDS_OF_DERIVATION, BUILDS_OF_NAME, BuildRecord, DERIVERS_OF_PATH, PATH_REFERENCES,
    PATH_REFERRERS, SET_NAR, ValidPath, store_path,
};
use crate::error::StoreError;
use crate::local::LocalStore;
use crate::read::with_small_file;
use crate::scratch::TempRoot;
use model::derivation::{Derivation, name_of_path};
use model::hash::{Hash, HashAlgorithm, Hasher};
use model::nar;
use model::path::StorePath;
use model::tree::union::{Layer, Overlap, Union};
use model::tree::{Digest, Node};
use os::SysError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Most derivations fit into a buffer of this size, and so are read in one call.
const DERIVATION_BYTES: usize = 16 << 10;

impl LocalStore {
    /// Returns the store path that contains `text`, a path on this machine or a logical one, and
    /// the rest of `text`.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] when it is outside of this store.
    pub fn parse_any(&self, text: &str) -> Result<(StorePath, String), StoreError> {
        let physical = self.root().join("store");
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

    /// Returns true when the store has this object, complete.
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool, StoreError> {
        self.database.read(|session| session.is_valid(path))
    }

    /// Returns those of `paths` that are valid, at one moment. One query for many paths takes a
    /// fraction of the time, and few reads of a database that is larger than its cache.
    ///
    /// # Errors
    /// When the database fails.
    pub fn valid_among(&self, paths: impl IntoIterator<Item = StorePath>) -> Result<BTreeSet<StorePath>, StoreError> {
        // Sorted paths are neighbours in the index too.
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

    /// Returns the record of a valid path, or `None` when it is not valid.
    ///
    /// # Errors
    /// When the database fails.
    pub fn path_info(&self, path: &StorePath) -> Result<Option<ValidPath>, StoreError> {
        self.database.read(|session| session.path_info(path))
    }

    /// Returns the tree of a valid path.
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
        rows.iter().map(|text| store_path(text)).collect()
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

    /// Returns the closure of `path`, itself included.
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

    /// Returns the closure of several paths, themselves included.
    ///
    /// # Errors
    /// [`StoreError::NotValid`] when one of them is not valid.
    pub fn closure_of(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, StoreError> {
        let mut all = BTreeSet::new();
        for path in paths {
            if !all.contains(path) {
                all.extend(self.closure(path)?);
            }
        }
        Ok(all)
    }

    /// Returns the valid derivations that have `path` as an output.
    ///
    /// # Errors
    /// When the database fails.
    pub fn derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, StoreError> {
        self.database.read(|session| session.neighbours(DERIVERS_OF_PATH, path))
    }

    /// Returns for each derivation the paths of the given outputs, when the derivation and all of
    /// these are valid; `None` when they are not, or when no output is given. Reads no derivation:
    /// the outputs of each were recorded when it became valid.
    ///
    /// # Errors
    /// When the database fails.
    pub fn valid_outputs(
        &self,
        wanted: &[(&StorePath, &BTreeSet<String>)],
    ) -> Result<Vec<Option<BTreeMap<String, StorePath>>>, StoreError> {
        let mut found = vec![None; wanted.len()];
        // Sorted derivations are neighbours in the index too.
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
    /// [`StoreError::NotValid`] when it is not in the store; or when it is not a derivation.
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

    /// Returns the union of trees, which is stored; the collector keeps it while this process
    /// lives.
    ///
    /// # Errors
    /// The errors of [`model::tree::union::union`].
    pub fn union(&self, layers: &[Layer], overlap: &Overlap) -> Result<Union, StoreError> {
        let _shared = self.lock_shared()?;
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

    /// Returns the SHA-256 hash and the size of a valid path's NAR, which are computed once and
    /// recorded.
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

    /// Returns the recorded result of `action`, if there is one; the collector keeps it while this
    /// process lives.
    ///
    /// # Errors
    /// When the database fails.
    pub fn action_result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError> {
        let _shared = self.lock_shared()?;
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

    /// Returns the compressed log of the last run for a derivation that was registered with the run
    /// ([`crate::Run::log`]).
    ///
    /// # Errors
    /// When the database fails.
    pub fn short_log(&self, derivation: &StorePath) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.read(|session| session.log(derivation))
    }

    /// Returns the last runs for derivations of this name (`hello-2.12.drv`), latest first, as an
    /// estimate of durations.
    ///
    /// # Errors
    /// When the database fails.
    pub fn builds_of_name(&self, name: &str) -> Result<Vec<BuildRecord>, StoreError> {
        self.database.read(|session| session.builds(BUILDS_OF_NAME, name))
    }

    /// Checks the database itself for damage, which reads need not show.
    ///
    /// # Errors
    /// When it is damaged or cannot be read; see [`StoreError::is_database_damage`].
    pub fn check_database(&self) -> Result<(), StoreError> {
        self.database.check()?;
        self.each_path(|_, path, _| store_path(path).map(drop))
    }
}

/// A writer that hashes and counts bytes.
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
