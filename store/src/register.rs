//! Makes paths valid: moves the tree into place, makes its bytes durable, then writes the row.
//!
//! Concurrent registrations share one sync and one transaction; see [`crate::batch`].

use crate::batch::{Registration, Results, Run};
use crate::blob::blob_name;
use crate::checkout::BlobCheck;
use crate::db::ValidPath;
use crate::error::StoreError;
use crate::local::LocalStore;
use crate::lock::Lock;
use crate::scratch::TempRoot;
use model::path::StorePath;
use model::tree::{Digest, Node};
use nix::errno::Errno;
use os::dir::{Dir, FileKind, kind};
use os::mode;
use std::path::Path;

impl LocalStore {
    /// Makes `info.path` valid by moving the tree at `staged` there, which
    /// [`LocalStore::import_tree`] has adopted.
    ///
    /// When the path is valid already, `staged` is removed.
    ///
    /// # Errors
    /// [`StoreError::DanglingReference`]; or when the tree cannot be moved or registered.
    pub fn install(&self, staged: &Path, info: &ValidPath) -> Result<(), StoreError> {
        self.install_with_run(staged, info, None, &|| {})
    }

    /// Does the same as [`LocalStore::install`]; also records the run that made the tree, with the
    /// same registration. Calls `placed` when the tree is in place and only the sync to disk is
    /// left.
    ///
    /// # Errors
    /// The errors of [`LocalStore::install`].
    pub fn install_with_run(
        &self,
        staged: &Path,
        info: &ValidPath,
        run: Option<Run>,
        placed: &dyn Fn(),
    ) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        self.scratch.root(&TempRoot::Path(info.path.clone()))?;
        let (parent, name) = Dir::open_parent(staged)?;
        let lock = self.move_into_place(&parent, &name, &info.path)?;
        placed();
        self.register(if lock.is_some() { vec![info.clone()] } else { Vec::new() }, run)
    }

    /// Makes `info.path` valid by checking out `info.node`, whose blobs are in the store.
    ///
    /// # Errors
    /// The errors of [`LocalStore::install`]; [`StoreError::MissingBlob`].
    pub fn add_tree(&self, info: &ValidPath) -> Result<(), StoreError> {
        self.add_trees(std::slice::from_ref(info))
    }

    /// Does the same as [`LocalStore::add_tree`], for several paths with one registration.
    ///
    /// # Errors
    /// The errors of [`LocalStore::add_tree`]; none of the paths is registered then.
    pub fn add_trees(&self, infos: &[ValidPath]) -> Result<(), StoreError> {
        self.add_trees_with_run(infos, BlobCheck::Skip, None, &|| {})
    }

    /// Does the same as [`LocalStore::add_trees`]; also records the run that made the trees, with
    /// the same registration. Calls `placed` when all are in place and only the sync to disk is
    /// left.
    ///
    /// # Errors
    /// The errors of [`LocalStore::add_trees`].
    pub fn add_trees_with_run(
        &self,
        infos: &[ValidPath],
        blobs: BlobCheck,
        run: Option<Run>,
        placed: &dyn Fn(),
    ) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        // All callers take the locks in the same order, so that no deadlock is possible.
        let mut sorted: Vec<&ValidPath> = infos.iter().collect();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        let (mut new, mut locks) = (Vec::new(), Vec::new());
        for info in sorted {
            self.scratch.root(&TempRoot::Path(info.path.clone()))?;
            if self.is_valid(&info.path)? {
                continue;
            }
            new.push(info.clone());
            if let Node::File { digest, executable, size } = &info.node
                && self.passes(blobs, digest, *executable, *size)?
                && self.link_object(digest, *executable, &info.path)?
            {
                continue;
            }
            let name = self.scratch.fresh("checkout");
            let checked_out = self.check_out(&info.node, self.scratch.dir()?, &name, mode::DIRECTORY, blobs);
            self.step("checked out");
            let done = checked_out.and_then(|()| self.move_into_place(self.scratch.dir()?, &name, &info.path));
            if done.is_err() {
                // The first error is the one to report; the collector removes the rest.
                let _ = self.scratch.dir()?.remove_all(&name);
            }
            locks.extend(done?);
        }
        placed();
        self.register(new, run)
    }

    /// Links a blob to the name of a store object; `false` when the object needs more than a link.
    /// A link that exists already is used.
    fn link_object(&self, digest: &Digest, executable: bool, path: &StorePath) -> Result<bool, StoreError> {
        let name = path.to_string();
        match self.link_blob(digest, executable, &self.objects, name.as_bytes()) {
            Err(StoreError::Sys(error)) if error.errno == Errno::EEXIST => {
                let blob = self.cas.stat(&blob_name(digest, executable))?;
                let there = self.objects.find(name.as_bytes())?;
                Ok(there.is_some_and(|there| (there.st_dev, there.st_ino) == (blob.st_dev, blob.st_ino)))
            }
            other => other,
        }
    }

    /// Moves a finished tree to its name in `store/`, and removes leftovers of a crash there.
    ///
    /// The caller keeps the returned lock until the path is registered: a process that takes it and finds
    /// the path not valid knows that a file there is a leftover. Returns `None` when the path is
    /// valid already.
    fn move_into_place(&self, from: &Dir, name: &[u8], path: &StorePath) -> Result<Option<Lock>, StoreError> {
        let target = path.to_string();
        let directory = kind(&from.stat(name)?) == FileKind::Directory;
        let lock = self.locks.take(&format!("{path}.place"))?;
        if self.is_valid(path)? {
            from.remove_all(name)?;
            return Ok(None);
        }
        loop {
            match from.rename_new(name, &self.objects, target.as_bytes()) {
                Ok(()) => break,
                Err(error) if error.errno == Errno::EEXIST => {
                    let scratch = self.scratch.fresh("leftover");
                    self.objects.make_movable(target.as_bytes())?;
                    self.objects.rename(target.as_bytes(), self.scratch.dir()?, &scratch)?;
                    self.scratch.dir()?.remove_all(&scratch)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.step("in place");
        if directory {
            self.objects.open_dir(target.as_bytes())?.finish(mode::OBJECT_DIRECTORY)?;
        }
        self.step("read-only");
        Ok(Some(lock))
    }

    /// Registers paths whose trees are in place, in one transaction. They may refer to each other.
    ///
    /// Bytes are made durable first. The caller has shared the collector's lock since the trees
    /// came into place.
    ///
    /// # Errors
    /// [`StoreError::DanglingReference`]; or when the database fails. None of them is registered
    /// then.
    pub fn register_paths(&self, infos: &[ValidPath]) -> Result<(), StoreError> {
        self.register(infos.to_vec(), None)
    }

    fn register(&self, paths: Vec<ValidPath>, run: Option<Run>) -> Result<(), StoreError> {
        if paths.is_empty() && run.is_none() {
            return Ok(());
        }
        self.registrar.register(Registration { paths, run }, &|batch| self.commit(batch))
    }

    /// Commits a batch; when that fails, commits each part by itself, so that the error of one does
    /// not fail another.
    fn commit(&self, batch: &[&Registration]) -> Results {
        match self.commit_all(batch) {
            Ok(()) => batch.iter().map(|_| Ok(())).collect(),
            Err(error) if batch.len() == 1 => vec![Err(error)],
            Err(_) => batch.iter().map(|registration| self.commit_all(&[registration])).collect(),
        }
    }

    fn commit_all(&self, all: &[&Registration]) -> Result<(), StoreError> {
        let infos = || all.iter().flat_map(|registration| &registration.paths);
        self.make_durable()?;
        self.step("durable");
        let now = self.now();
        self.database.write(|session| {
            for info in infos() {
                let registered_at = if info.registered_at == 0 { now } else { info.registered_at };
                session.insert_path(&ValidPath { registered_at, ..info.clone() })?;
            }
            for info in infos() {
                session.insert_references(info)?;
                if info.path.is_derivation() {
                    self.insert_outputs(session, &info.path)?;
                }
            }
            for Run { result, record, log, .. } in all.iter().filter_map(|registration| registration.run.as_ref()) {
                session.insert_action(&record.action, &result.outputs, now)?;
                session.insert_build(record)?;
                if let Some(frame) = log {
                    session.insert_log(&record.derivation, frame, now)?;
                }
            }
            self.step("written");
            Ok(())
        })?;
        self.step("registered");
        Ok(())
    }

    fn insert_outputs(&self, session: &crate::db::Session<'_>, path: &StorePath) -> Result<(), StoreError> {
        // A source may be called `x.drv` and not be a derivation.
        let Ok(derivation) = self.derivation(path) else { return Ok(()) };
        for (output, output_path) in derivation.output_paths(self.model())? {
            if let Some(output_path) = output_path {
                let values = [path.to_string(), output, output_path.to_string()];
                session.execute(crate::db::INSERT_DERIVATION_OUTPUT, values)?;
            }
        }
        Ok(())
    }
}
