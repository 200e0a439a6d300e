//! The collector: removes what no root leads to.
//!
//! Roots are the links of [`roots`] and what running processes have in use. Alive is what they lead to over references,
//! and the derivations of what is alive, so that one can ask how it was made. Blobs are alive in the trees of live paths.
//! All else goes, in this order: rows of the database in one transaction, objects, blobs, leftovers of dead processes. A
//! crash on the way leaves garbage for the next time.
//!
//! The collector has its lock alone from the first look to the last removal: nobody adds meanwhile.

mod mark;
mod records;
pub mod roots;

use crate::db::{
    ALL_ACTIONS, ALL_PATHS, ALL_REFERENCES, DELETE_ACTION, DELETE_PATH, DELETE_REFERENCES, Session, store_path,
};
use crate::error::{Context, StoreError};
use crate::local::LocalStore;
use crate::lock::Lock;
use crate::path::StorePath;
use crate::scratch::{TempRoot, survey};
use crate::sys::Dir;
use crate::tree::{Digest, Node};
use mark::Marked;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

/// What to collect.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcOptions {
    /// Remove nothing, say only what would go.
    pub dry_run: bool,
    /// Remove, oldest first, only until the objects in the store have at most this many bytes together.
    pub max_bytes: Option<u64>,
    /// Remove only what was registered at least this long ago.
    pub older_than: Option<Duration>,
    /// How long to keep logs and records of builds whose derivations are gone, and the directories of failed builds.
    /// `None` keeps them all.
    pub keep_logs: Option<Duration>,
}

/// What was collected, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The paths that are no longer valid, in the order in which they went.
    pub removed: Vec<StorePath>,
    pub removed_blobs: u64,
    pub removed_logs: u64,
    /// Space on disk. Of a dry run, an estimate.
    pub freed_bytes: u64,
    /// Things that were never registered: of crashes, or of work that failed.
    pub leftovers: u64,
    pub kept: u64,
    /// Bytes of all objects kept, each counted whole although they share files.
    pub kept_bytes: u64,
}

struct Known {
    node: Node,
    bytes: u64,
    registered_at: u64,
    references: BTreeSet<StorePath>,
}

impl LocalStore {
    /// Removes what no root leads to. Waits until nobody adds to the store; must not be called under [`LocalStore::hold`].
    ///
    /// # Errors
    /// When the database fails or something cannot be removed; then a later collection goes on.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, StoreError> {
        let _alone = self.collector.alone()?;
        let tmp = Dir::open(self.root().join("tmp"))?;
        let (temp_roots, dead) = survey(&tmp)?;
        let roots = self.find_roots()?;
        let known = self.database.read(known_paths)?;

        let mut start: BTreeSet<StorePath> = roots.live.iter().map(|root| root.path.clone()).collect();
        let mut nodes = Vec::new();
        for root in temp_roots {
            match root {
                TempRoot::Path(path) => {
                    start.insert(path);
                }
                TempRoot::Node(node) => nodes.push(node),
            }
        }
        if let Some(age) = options.older_than {
            let limit = self.now().saturating_sub(age.as_secs());
            start.extend(known.iter().filter(|(_, known)| known.registered_at > limit).map(|(path, _)| path.clone()));
        }
        let alive = self.alive(&known, start)?;
        let removed = choose(&known, &alive, options.max_bytes);
        let gone: BTreeSet<&StorePath> = removed.iter().collect();

        let kept = || known.iter().filter(|(path, _)| !gone.contains(path)).map(|(_, known)| known);
        nodes.extend(kept().map(|known| known.node.clone()));
        let marked = mark::mark(self, &nodes)?;
        let mut report = GcReport {
            kept: kept().count() as u64,
            kept_bytes: kept().map(|known| known.bytes).sum(),
            removed: removed.clone(),
            ..GcReport::default()
        };
        self.step("marked");
        if !options.dry_run {
            for link in &roots.stale {
                std::fs::remove_file(link).context("remove", link)?;
            }
            self.forget(&removed, &marked)?;
            self.step("forgotten");
        }
        self.sweep_objects(&known, &gone, options.dry_run, &mut report)?;
        self.step("objects swept");
        mark::sweep(self, &marked, options.dry_run, &mut report)?;
        self.step("blobs swept");
        if let Some(keep) = options.keep_logs {
            let valid = |path: &StorePath| known.contains_key(path) && !gone.contains(path);
            records::sweep(self, valid, keep, options.dry_run, &mut report)?;
            self.step("logs swept");
        }
        report.leftovers += dead.len() as u64;
        if !options.dry_run {
            for name in dead {
                report.freed_bytes += tmp.remove_all(&name)?;
            }
            self.sweep_locks()?;
        }
        Ok(report)
    }

    /// Returns what is reached from `start`: over references, and from outputs to their derivations.
    fn alive(
        &self,
        known: &BTreeMap<StorePath, Known>,
        start: BTreeSet<StorePath>,
    ) -> Result<BTreeSet<StorePath>, StoreError> {
        let mut todo: Vec<StorePath> = start.into_iter().filter(|path| known.contains_key(path)).collect();
        let mut alive: BTreeSet<StorePath> = todo.iter().cloned().collect();
        while let Some(path) = todo.pop() {
            let mut next = known.get(&path).map(|known| known.references.clone()).unwrap_or_default();
            next.extend(self.derivers(&path)?);
            for path in next {
                if known.contains_key(&path) && alive.insert(path.clone()) {
                    todo.push(path);
                }
            }
        }
        Ok(alive)
    }

    /// Removes rows: of the paths, and of actions whose results go with them.
    fn forget(&self, removed: &[StorePath], marked: &Marked) -> Result<(), StoreError> {
        self.database.write(|session| {
            for path in removed {
                session.execute(DELETE_REFERENCES, [path.to_string()])?;
                session.execute(DELETE_PATH, [path.to_string()])?;
            }
            let actions =
                session.rows(ALL_ACTIONS, [], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
            for (action, node) in actions {
                if !Node::from_bytes(&node).is_some_and(|node| marked.has(&node)) {
                    session.execute(DELETE_ACTION, [action])?;
                }
            }
            Ok(())
        })
    }

    /// Removes all objects that are not valid any more, or never were.
    fn sweep_objects(
        &self,
        known: &BTreeMap<StorePath, Known>,
        gone: &BTreeSet<&StorePath>,
        dry_run: bool,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        for name in self.objects.names()? {
            let path = std::str::from_utf8(&name).ok().and_then(|text| StorePath::parse(text).ok());
            let valid = path.as_ref().is_some_and(|path| known.contains_key(path));
            if valid && !path.as_ref().is_some_and(|path| gone.contains(path)) {
                continue;
            }
            report.leftovers += u64::from(!valid);
            if !dry_run {
                report.freed_bytes += self.objects.remove_all(&name)?;
                self.step("object removed");
            }
        }
        Ok(())
    }

    /// Removes lock files of dead processes.
    fn sweep_locks(&self) -> Result<(), StoreError> {
        for name in Dir::open(self.root().join("locks"))?.names()? {
            // A lock removes its file when dropped. The collector's own is in use by us.
            if name != b"collector" {
                let _ = Lock::try_take(&self.lock_file(&String::from_utf8_lossy(&name)))?;
            }
        }
        Ok(())
    }

    /// Makes paths invalid with all that refer to them, without removing anything yet; the next collection does.
    pub(crate) fn invalidate(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, StoreError> {
        let known = self.database.read(known_paths)?;
        let mut going = paths.clone();
        loop {
            let before = going.len();
            for (path, known) in &known {
                if known.references.iter().any(|reference| going.contains(reference)) {
                    going.insert(path.clone());
                }
            }
            if going.len() == before {
                break;
            }
        }
        self.database.write(|session| {
            for path in &going {
                session.execute(DELETE_REFERENCES, [path.to_string()])?;
            }
            for path in &going {
                session.execute(DELETE_PATH, [path.to_string()])?;
            }
            Ok(())
        })?;
        Ok(going)
    }
}

fn known_paths(session: &Session<'_>) -> Result<BTreeMap<StorePath, Known>, StoreError> {
    let rows = session.rows(ALL_PATHS, [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    let mut known = BTreeMap::new();
    for (path, node, bytes, registered_at) in rows {
        let node =
            Node::from_bytes(&node).ok_or_else(|| StoreError::Record { what: format!("the tree of `{path}`") })?;
        let references = BTreeSet::new();
        known.insert(
            store_path(&path)?,
            Known { node, bytes: bytes as u64, registered_at: registered_at as u64, references },
        );
    }
    let edges = session.rows(ALL_REFERENCES, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for (referrer, reference) in edges {
        if let Some(known) = known.get_mut(&store_path(&referrer)?) {
            known.references.insert(store_path(&reference)?);
        }
    }
    Ok(known)
}

/// Chooses what to remove of what is not alive, referrers before what they refer to, else the oldest first.
fn choose(known: &BTreeMap<StorePath, Known>, alive: &BTreeSet<StorePath>, max_bytes: Option<u64>) -> Vec<StorePath> {
    let mut referrers: BTreeMap<&StorePath, usize> = BTreeMap::new();
    for (path, info) in known {
        for reference in info.references.iter().filter(|&reference| reference != path) {
            *referrers.entry(reference).or_default() += 1;
        }
    }
    let mut total: u64 = known.values().map(|known| known.bytes).sum();
    let mut free: BinaryHeap<Reverse<(u64, &StorePath)>> = known
        .iter()
        .filter(|(path, _)| !alive.contains(path) && !referrers.contains_key(path))
        .map(|(path, info)| Reverse((info.registered_at, path)))
        .collect();
    let mut chosen = Vec::new();
    while let Some(Reverse((_, path))) = free.pop() {
        if max_bytes.is_some_and(|max| total <= max) {
            break;
        }
        let info = &known[path];
        total -= info.bytes;
        chosen.push(path.clone());
        for reference in info.references.iter().filter(|&reference| reference != path) {
            let left = referrers.get_mut(reference).expect("it has this referrer");
            *left -= 1;
            if *left == 0 && !alive.contains(reference) {
                free.push(Reverse((known[reference].registered_at, reference)));
            }
        }
    }
    chosen
}

/// Which digest and twin a blob's name stands for.
pub(crate) fn parse_blob_name(name: &[u8]) -> Option<(Digest, bool)> {
    let text = std::str::from_utf8(name).ok()?;
    let (hex, executable) = text.strip_suffix(".x").map_or((text, false), |hex| (hex, true));
    Some((hex.parse().ok()?, executable))
}
