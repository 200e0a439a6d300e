//! The collector: removes all objects and blobs that no root keeps alive.
//!
//! Roots are the links of [`roots`] and the objects in use by running processes. Their closures are
//! alive, and so are the derivations of live paths, so that users can ask how a path was made.
//! Blobs are alive in the trees of live paths. Everything else is removed, in this order: leftovers
//! of dead processes; dead paths in batches, first their rows, then their objects; blobs. A crash
//! during the run leaves garbage for the next collection. Leftovers go first, before the database
//! is opened, since they may have filled the disk, and the database needs some space.
//!
//! Paths are numbers here ([`liveness`]) and live blobs 64-bit keys ([`blobs`]), a few dozen bytes
//! of memory for each path, reference and live blob. Removed names are reported one by one, and not
//! stored.
//!
//! The collector has its lock exclusively until the end: no process adds to the store while it
//! runs.

mod blobs;
mod leftovers;
mod liveness;
mod records;
pub mod roots;

use crate::db::{
    ALL_ACTIONS, DELETE_ACTION, DELETE_PATH, DELETE_REFERENCES, PATH_BY_ID, PATH_ID, PATHS_AFTER, store_path,
};
use crate::error::StoreError;
use crate::local::LocalStore;
use crate::scratch::{TempRoot, survey};
use blobs::Marked;
use liveness::{Graph, Index};
use model::path::StorePath;
use model::tree::Node;
use os::dir::Dir;
use os::{Context, SysError};
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::time::Duration;

/// Options of a collection.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcOptions {
    /// Removes nothing, and only reports dead paths.
    pub dry_run: bool,
    /// Removes, oldest first, only until the objects in the store have at most this many bytes
    /// together.
    pub max_bytes: Option<u64>,
    /// Removes only paths that were registered at least this long ago.
    pub older_than: Option<Duration>,
    /// The age of logs and records of builds whose derivations are gone, and of the directories of
    /// failed builds, at which they are removed. `None` keeps them all.
    pub keep_logs: Option<Duration>,
}

/// The result of a collection, or of a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The number of paths that are no longer valid.
    pub removed: u64,
    pub removed_blobs: u64,
    pub removed_logs: u64,
    /// Freed space on disk; an estimate in a dry run.
    pub freed_bytes: u64,
    /// Unregistered files of crashes, or of failed work.
    pub leftovers: u64,
    pub kept: u64,
    /// Bytes of all objects kept, each counted whole although they share files.
    pub kept_bytes: u64,
}

/// The number of paths looked up, or deleted, in one transaction.
const AT_ONCE: usize = 10_000;

/// 64-bit fingerprints of path names. A collision keeps a dead path until the next collection.
struct Fingerprints(Vec<u64>);

impl Fingerprints {
    fn with_capacity(count: usize) -> Fingerprints {
        Fingerprints(Vec::with_capacity(count))
    }

    fn of(name: &[u8]) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(name);
        hasher.finish()
    }

    fn add(&mut self, name: &[u8]) {
        self.0.push(Self::of(name));
    }

    /// Sorts them, after the last is added and before the first is looked up.
    fn sort(&mut self) {
        self.0.sort_unstable();
    }

    fn have(&self, name: &[u8]) -> bool {
        self.0.binary_search(&Self::of(name)).is_ok()
    }
}

impl LocalStore {
    /// Removes the given paths and all that refer to them, if no root keeps one of those alive.
    /// Otherwise the same as [`LocalStore::gc`].
    ///
    /// # Errors
    /// [`StoreError::Alive`]; those of [`LocalStore::gc`].
    pub fn delete(
        &self,
        paths: &BTreeSet<StorePath>,
        dry_run: bool,
        removed: &mut dyn FnMut(&StorePath),
    ) -> Result<GcReport, StoreError> {
        self.collect_with(GcOptions { dry_run, ..GcOptions::default() }, Some(paths), removed)
    }

    /// Removes everything that no root keeps alive. Waits until no process adds to the store; the
    /// caller must not hold [`LocalStore::lock_shared`]. Calls `removed` with each removed path, or
    /// dead path of a dry run, in order.
    ///
    /// Works on a disk with no free byte: leftovers of dead processes go before the database is
    /// opened, and the database has space reserved.
    ///
    /// # Errors
    /// When the database fails or a file cannot be removed; a later collection continues.
    pub fn gc(&self, options: GcOptions, removed: &mut dyn FnMut(&StorePath)) -> Result<GcReport, StoreError> {
        self.collect_with(options, None, removed)
    }

    /// Collects dead paths: all, or those of `only` and what refers to them.
    fn collect_with(
        &self,
        options: GcOptions,
        only: Option<&BTreeSet<StorePath>>,
        removed: &mut dyn FnMut(&StorePath),
    ) -> Result<GcReport, StoreError> {
        let _exclusive = self.collector.lock_exclusive()?;
        let mut report = GcReport::default();
        let tmp = Dir::open(self.root().join("tmp")).map_err(SysError::of_store)?;
        let (temp_roots, dead) = survey(&tmp)?;
        leftovers::sweep(&tmp, dead, options.dry_run, &mut report)?;
        self.step("leftovers swept");
        let rows_at_once = if options.dry_run { AT_ONCE } else { self.database.save_space(AT_ONCE)? };
        let collected = self.collect(options, only, temp_roots, rows_at_once, &mut report, removed);
        if !options.dry_run {
            let restored = self.database.spend_space();
            collected.and(restored)?;
        } else {
            collected?;
        }
        Ok(report)
    }

    fn collect(
        &self,
        options: GcOptions,
        only: Option<&BTreeSet<StorePath>>,
        temp_roots: Vec<TempRoot>,
        rows_at_once: usize,
        report: &mut GcReport,
        removed: &mut dyn FnMut(&StorePath),
    ) -> Result<(), StoreError> {
        let roots = self.find_roots()?;
        let graph = self.database.read(Graph::load)?;

        let mut named: Vec<StorePath> = roots.live.iter().map(|root| root.path.clone()).collect();
        let mut nodes = Vec::new();
        for root in temp_roots {
            match root {
                TempRoot::Path(path) => named.push(path),
                TempRoot::Node(node) => nodes.push(node),
            }
        }
        let mut start = self.indices(&graph, &named)?;
        if let Some(age) = options.older_than {
            let limit = self.now().saturating_sub(age.as_secs());
            start.extend(graph.all().filter(|&at| graph.registered_at(at) > limit));
        }
        let chosen = {
            let mut alive = graph.alive(start.into_iter());
            if let Some(only) = only {
                let wanted = self.indices(&graph, &only.iter().cloned().collect::<Vec<_>>())?;
                let going = graph.with_referrers(wanted.into_iter());
                if let Some(needed) = graph.all().find(|&at| going[at as usize] && alive[at as usize]) {
                    let path = self.names_of(&graph, &[needed])?.remove(0);
                    return Err(StoreError::Alive { path });
                }
                alive = going.into_iter().map(|going| !going).collect();
            }
            graph.choose(&alive, options.max_bytes)
        };
        let mut gone = vec![false; graph.all().count()];
        chosen.iter().for_each(|&at| gone[at as usize] = true);
        let is_gone = |at: Index| gone[at as usize];

        let mut marked = Marked::default();
        nodes.into_iter().try_for_each(|node| marked.mark(self, node))?;
        let mut kept_names = Fingerprints::with_capacity(graph.all().count() - chosen.len());
        self.each_path(|id, path, node| {
            let Some(at) = graph.index(id).filter(|&at| !is_gone(at)) else { return Ok(()) };
            report.kept += 1;
            report.kept_bytes += graph.bytes(at);
            kept_names.add(path.as_bytes());
            marked.mark(self, node)
        })?;
        kept_names.sort();
        self.step("marked");
        if !options.dry_run {
            for link in &roots.stale {
                std::fs::remove_file(link).context("remove", link)?;
            }
        }
        let mut would_go = Fingerprints::with_capacity(if options.dry_run { chosen.len() } else { 0 });
        for chosen in chosen.chunks(rows_at_once) {
            let paths = self.names_of(&graph, chosen)?;
            if !options.dry_run {
                self.delete_rows(&chosen.iter().map(|&at| graph.id(at)).collect::<Vec<_>>())?;
                self.step("rows deleted");
            }
            for path in paths {
                if options.dry_run {
                    would_go.add(path.to_string().as_bytes());
                } else {
                    report.freed_bytes += self.objects.remove_all(path.to_string().as_bytes())?;
                    self.step("object removed");
                }
                report.removed += 1;
                removed(&path);
            }
        }
        would_go.sort();
        self.sweep_objects(|name| kept_names.have(name), &would_go, options.dry_run, report)?;
        self.step("objects swept");
        if !options.dry_run {
            self.delete_actions(&marked, rows_at_once)?;
        }
        blobs::sweep(self, &marked, options.dry_run, report)?;
        self.step("blobs swept");
        if let Some(keep) = options.keep_logs {
            let valid = |path: &StorePath| kept_names.have(path.to_string().as_bytes());
            records::sweep(self, valid, keep, options.dry_run, report)?;
            self.step("logs swept");
        }
        if !options.dry_run {
            self.sweep_locks()?;
        }
        Ok(())
    }

    /// Returns the positions of the valid ones of `paths` in the graph.
    fn indices(&self, graph: &Graph, paths: &[StorePath]) -> Result<Vec<Index>, StoreError> {
        self.database.read(|session| {
            let id = |path: &StorePath| session.row(PATH_ID, [path.to_string()], |row| row.get::<_, i64>(0));
            let ids = paths.iter().map(id).collect::<Result<Vec<_>, StoreError>>()?;
            Ok(ids.into_iter().flatten().filter_map(|id| graph.index(id)).collect())
        })
    }

    fn names_of(&self, graph: &Graph, chosen: &[Index]) -> Result<Vec<StorePath>, StoreError> {
        self.database.read(|session| {
            let mut names = Vec::with_capacity(chosen.len());
            for &at in chosen {
                let text = session.row(PATH_BY_ID, [graph.id(at)], |row| row.get::<_, String>(0))?;
                names.extend(text.map(|text| store_path(&text)).transpose()?);
            }
            Ok(names)
        })
    }

    /// Calls `each` with id, name and tree of every valid path.
    pub(crate) fn each_path(
        &self,
        mut each: impl FnMut(i64, &str, Node) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut last = i64::MIN;
        loop {
            // Rows are read in batches, since `each` may query the database.
            let rows = self.database.read(|session| {
                session.rows(PATHS_AFTER, [last], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
                })
            })?;
            let Some((id, ..)) = rows.last() else { return Ok(()) };
            last = *id;
            for (id, path, node) in rows {
                let node = Node::from_bytes(&node)
                    .ok_or_else(|| StoreError::Record { what: format!("the tree of `{path}`") })?;
                each(id, &path, node)?;
            }
        }
    }

    /// Removes the rows of paths.
    fn delete_rows(&self, ids: &[i64]) -> Result<(), StoreError> {
        self.database.write(|session| {
            for id in ids {
                session.execute(DELETE_REFERENCES, [id])?;
                session.execute(DELETE_PATH, [id])?;
            }
            Ok(())
        })
    }

    /// Removes the rows of actions whose results are gone.
    fn delete_actions(&self, marked: &Marked, rows_at_once: usize) -> Result<(), StoreError> {
        let mut lost: Vec<Vec<u8>> = Vec::new();
        self.database.read(|session| {
            session.each(ALL_ACTIONS, [], |row| {
                let (action, node): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                if !Node::from_bytes(&node).is_some_and(|node| marked.has(&node)) {
                    lost.push(action);
                }
                Ok(())
            })
        })?;
        for lost in lost.chunks(rows_at_once) {
            self.database.write(|session| {
                lost.iter().try_for_each(|action| session.execute(DELETE_ACTION, [action]).map(drop))
            })?;
        }
        Ok(())
    }

    /// Removes all objects but the kept ones: those that were never registered. A dry run leaves
    /// the others too.
    fn sweep_objects(
        &self,
        kept: impl Fn(&[u8]) -> bool,
        would_go: &Fingerprints,
        dry_run: bool,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        for name in self.objects.names_but(|name| kept(name) || would_go.have(name))? {
            report.leftovers += 1;
            if !dry_run {
                report.freed_bytes += self.objects.remove_all(&name)?;
                self.step("leftover removed");
            }
        }
        Ok(())
    }

    /// Removes all files but the present locks: earlier versions had a file for each lock.
    fn sweep_locks(&self) -> Result<(), StoreError> {
        let locks = Dir::open(self.root().join("locks"))?;
        for name in locks.names()?.iter().filter(|name| !crate::lock::FILES.contains(&name.as_slice())) {
            locks.remove_all(name)?;
        }
        Ok(())
    }

    /// Invalidates paths and all that refer to them, and leaves their files to the next collection.
    pub(crate) fn invalidate(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, StoreError> {
        let graph = self.database.read(Graph::load)?;
        let start = self.indices(&graph, &paths.iter().cloned().collect::<Vec<_>>())?;
        let going = graph.with_referrers(start.into_iter());
        let going: Vec<Index> = graph.all().filter(|&at| going[at as usize]).collect();
        let names = self.names_of(&graph, &going)?;
        self.database.write(|session| {
            for &at in &going {
                session.execute(DELETE_REFERENCES, [graph.id(at)])?;
            }
            for &at in &going {
                session.execute(DELETE_PATH, [graph.id(at)])?;
            }
            Ok(())
        })?;
        Ok(names.into_iter().chain(paths.iter().cloned()).collect())
    }
}
