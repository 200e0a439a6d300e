//! [`lang::Host`] over the store and the builder.
//!
//! With the native store model, sources, texts and derivations are written to the local store. With
//! Nix's model nothing is written, because those paths belong to a store that is not ours: they are
//! computed, and kept in memory for reading back.

use super::disk::{self, failed, source_type};
use super::{Surroundings, build_failed, current_time, other, store_failed};
use crate::sources::{self, LocalTrees, Obtained, git_tree_of};
use builder::Builder;
use lang::host::{
    FetchKind, FetchRequest, FetchValue, Fetched, FileType, Host, HostError, HostErrorKind, HostResult, LocalFact,
    LocalFacts, LocalTree, Severity, SourceFilter,
};
use model::path::{Ingestion, References};
use model::{Derivation, Hash, HashAlgorithm, Hasher, StoreModel, StorePath, StorePathName};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use store::{LocalStore, SourceKind, StoreError, Text, ValidPath};

/// The world of one session.
pub struct StoreHost {
    store: Arc<LocalStore>,
    model: StoreModel,
    /// Runs the builds and fetches that an evaluation waits for.
    builder: Arc<Builder>,
    surroundings: Surroundings,
    unwritten: Mutex<Unwritten>,
    pub(crate) trees: LocalTrees,
    /// Sources whose paths belong to a store that is not ours: they are read where they are.
    named: Mutex<HashMap<StorePath, Named>>,
}

/// A source that has a store path in name only.
#[derive(Clone)]
struct Named {
    from: PathBuf,
    /// The paths in it that its filter refused.
    refused: BTreeSet<PathBuf>,
}

/// Texts of derivations that are not in the store: not yet, or never when the store model is Nix's.
#[derive(Default)]
struct Unwritten {
    texts: HashMap<StorePath, Arc<[u8]>>,
    /// Texts that the next batch writes, inputs before the derivations that need them.
    batch: Vec<Text>,
}

/// Most derivations written together, so that a large evaluation does not keep them all in memory.
const BATCH_LEN_MAX: usize = 4096;

impl StoreHost {
    pub fn new(
        store: Arc<LocalStore>,
        builder: Arc<Builder>,
        model: StoreModel,
        surroundings: Surroundings,
    ) -> StoreHost {
        let trees = LocalTrees::new(surroundings.sources.as_ref());
        StoreHost { store, model, builder, surroundings, unwritten: Mutex::default(), trees, named: Mutex::default() }
    }

    /// Writes the derivations made since the last call in one transaction: each of its own would
    /// wait for the disk.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub fn write_derivations(&self) -> Result<(), StoreError> {
        let mut unwritten = self.unwritten();
        if !unwritten.batch.is_empty() {
            self.store.add_texts(&unwritten.batch)?;
            *unwritten = Unwritten::default();
        }
        Ok(())
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        os::lock(&self.unwritten)
    }

    /// Returns the physical path of a logical one. Symbolic links from a store object to another
    /// are followed here, because the kernel does not know the logical store directory.
    ///
    /// # Errors
    /// When there are too many links.
    pub fn physical(&self, path: &Path) -> HostResult<PathBuf> {
        if let Some(named) = self.named(path) {
            return named;
        }
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let Some((object, rest)) = self.in_store(&path) else { return Ok(path) };
            match self.first_link_out(&object, &rest) {
                Some(target) => path = target,
                // Joining nothing would leave a slash at the end, which no file may have.
                None if rest.as_os_str().is_empty() => return Ok(self.store.physical_path(&object)),
                None => return Ok(self.store.physical_path(&object).join(rest)),
            }
        }
        Err(HostError::new(HostErrorKind::Other, format!("too many symbolic links at `{}`", path.display())))
    }

    /// Returns the physical path of a logical one that may be a link itself: only links above it
    /// are followed.
    fn unfollowed(&self, path: &Path) -> HostResult<PathBuf> {
        if let Some(named) = self.named(path) {
            return named;
        }
        Ok(match (self.in_store(path), path.parent(), path.file_name()) {
            (Some((object, rest)), _, _) if rest.as_os_str().is_empty() => self.store.physical_path(&object),
            (Some(_), Some(parent), Some(name)) => self.physical(parent)?.join(name),
            _ => path.to_owned(),
        })
    }

    /// Returns where the content of a path is that has a store path in name only.
    fn named(&self, path: &Path) -> Option<HostResult<PathBuf>> {
        if self.write_to_store() {
            return None;
        }
        let (object, rest) = self.model.split(path.to_str()?).ok()?;
        let named = os::lock(&self.named);
        let Named { from, refused } = named.get(&object)?;
        let rest = rest.trim_start_matches('/');
        let real = if rest.is_empty() { from.clone() } else { from.join(rest) };
        let is_refused = !refused.is_empty() && real.ancestors().any(|above| refused.contains(above));
        Some(if is_refused { Err(disk::missing(path)) } else { Ok(real) })
    }

    fn in_store(&self, path: &Path) -> Option<(StorePath, PathBuf)> {
        let text = path.to_str()?;
        let (object, rest) = StoreModel::Native.split(text).ok()?;
        Some((object, PathBuf::from(rest.trim_start_matches('/'))))
    }

    /// Walks `rest` below a store object; when a component is a link into the store directory,
    /// returns the path that it leads to, with the components after it.
    fn first_link_out(&self, object: &StorePath, rest: &Path) -> Option<PathBuf> {
        let mut at = self.store.physical_path(object);
        let mut components = rest.components();
        loop {
            if let Ok(target) = std::fs::read_link(&at)
                && target.starts_with(StoreModel::Native.store_dir())
            {
                return Some(target.join(components.as_path()));
            }
            match components.next()? {
                Component::Normal(name) => at.push(name),
                Component::ParentDir => drop(at.pop()),
                _ => {}
            }
        }
    }

    /// Returns the physical path of one that an expression may read.
    fn visible(&self, path: &Path) -> HostResult<PathBuf> {
        if self.trees.hides(path) { Err(disk::missing(path)) } else { self.physical(path) }
    }

    fn add_filtered(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<&mut store::SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        if self.write_to_store() && ingestion == Ingestion::Recursive && expected.is_none() {
            return self.store.add_source(source, name.clone(), filter).map_err(store_failed);
        }
        // The path follows from a hash that others know too, of the file's bytes or of the tree's
        // NAR.
        let algorithm = expected.map_or(HashAlgorithm::Sha256, Hash::algorithm);
        let imported = match filter.is_some() || self.write_to_store() {
            true => Some(self.store.copy_in(source, filter).map_err(store_failed)?),
            false => None,
        };
        let scratch = self.store.scratch_dir("source").map_err(store_failed)?;
        let copy = scratch.path().join("source");
        let hashed = match &imported {
            Some(imported) => {
                self.store.checkout(&imported.node, &copy, store::BlobCheck::Skip).map_err(store_failed)?;
                copy.as_path()
            }
            None => source,
        };
        let mut hasher = Hasher::new(algorithm);
        match ingestion {
            Ingestion::Recursive => store::archive::write(hashed, &mut hasher).map_err(other)?,
            Ingestion::Flat | Ingestion::Text => {
                let copied = std::fs::File::open(hashed).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
                copied.map_err(|cause| failed("cannot read", source, &cause))?;
            }
        }
        let hash = hasher.finish();
        if let Some(expected) = expected.filter(|expected| **expected != hash) {
            let message = format!(
                "`{}` has another hash than the expression says\n  specified: {}\n  got:       {}",
                source.display(),
                expected.sri(),
                hash.sri()
            );
            return Err(HostError::new(HostErrorKind::Other, message));
        }
        let path =
            self.model.make_fixed_output_path(ingestion, &hash, name.clone(), &References::default()).map_err(other)?;
        if let (true, Some(imported)) = (self.write_to_store(), imported) {
            self.store.add_tree(&ValidPath::new(path.clone(), imported.node, imported.bytes)).map_err(store_failed)?;
        }
        Ok(path)
    }

    fn write_to_store(&self) -> bool {
        self.model == StoreModel::Native
    }
}

/// Most symbolic links followed in one path, as many as the kernel follows.
const LINKS_MAX: usize = 40;

impl Host for StoreHost {
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>> {
        let real = self.visible(path)?;
        let bytes = disk::read(&real, path, bytes_max)?;
        self.trees.note_read(path);
        Ok(bytes)
    }

    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()> {
        let real = self.visible(path)?;
        disk::read_pieces(&real, path, take)?;
        self.trees.note_read(path);
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
        let real = self.visible(path)?;
        let mut entries = disk::entries(&real, path)?;
        self.trees.retain_visible(path, &mut entries)?;
        if !self.write_to_store() && self.named(path).is_some() {
            entries
                .retain(|(name, _)| self.named(&path.join(OsStr::from_bytes(name))).is_none_or(|found| found.is_ok()));
        }
        Ok(entries)
    }

    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>> {
        match self.unfollowed(path) {
            Ok(real) if !self.trees.hides(path) => disk::file_type(&real, path),
            Err(error) if error.kind != HostErrorKind::NotFound => Err(error),
            _ => Ok(None),
        }
    }

    fn read_link(&self, path: &Path) -> HostResult<PathBuf> {
        disk::read_link(&self.unfollowed(path)?, path)
    }

    fn add_source(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        let physical = self.visible(source)?;
        let members = self.trees.members_of(source)?;
        let (mut stopped, mut refused) = (None, BTreeSet::new());
        let added = match (filter, members) {
            (None, None) => self.add_filtered(&physical, name, ingestion, None, expected),
            (mut filter, members) => {
                let mut adapted = |below: &Path, kind: SourceKind| {
                    let is_member =
                        members.as_ref().is_none_or(|members| members.has(below, kind == SourceKind::Directory));
                    let kept = match (&stopped, &mut filter) {
                        (None, Some(filter)) if is_member => filter(&source.join(below), source_type(kind)),
                        (None, None) => Ok(is_member),
                        _ => Ok(false),
                    };
                    let kept = kept.unwrap_or_else(|error| {
                        stopped = Some(error);
                        false
                    });
                    if !kept && !self.write_to_store() {
                        refused.insert(physical.join(below));
                    }
                    Ok(kept)
                };
                self.add_filtered(&physical, name, ingestion, Some(&mut adapted), expected)
            }
        };
        match (stopped, added) {
            (Some(error), _) => Err(error),
            (None, Ok(path)) => {
                if !self.write_to_store() {
                    os::lock(&self.named).insert(path.clone(), Named { from: physical, refused });
                }
                Ok(path)
            }
            (None, Err(error)) => Err(error),
        }
    }

    fn add_text(&self, path: &StorePath, text: &[u8], references: &[StorePath]) -> HostResult<()> {
        if self.write_to_store() {
            let references = references.iter().cloned().collect();
            let written = self.store.add_text(path.name().clone(), text, &references).map_err(store_failed)?;
            debug_assert_eq!(&written, path, "the language and the store name texts in the same way");
        }
        Ok(())
    }

    fn write_derivation(&self, path: &StorePath, derivation: &Derivation, text: &[u8]) -> HostResult<()> {
        let mut unwritten = self.unwritten();
        if unwritten.texts.contains_key(path) {
            return Ok(());
        }
        unwritten.texts.insert(path.clone(), text.into());
        if self.write_to_store() {
            let references = derivation.references();
            unwritten.batch.push(Text { name: path.name().clone(), text: text.to_vec(), references });
        }
        let full = unwritten.batch.len() >= BATCH_LEN_MAX;
        drop(unwritten);
        if full { self.write_derivations().map_err(store_failed) } else { Ok(()) }
    }

    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation> {
        let unwritten = self.unwritten().texts.get(path).cloned();
        match unwritten {
            Some(text) => {
                let name = model::derivation::name_of_path(path).map_err(other)?;
                Derivation::from_aterm(self.model, name, &text).map_err(other)
            }
            None => self.store.derivation(path).map_err(store_failed),
        }
    }

    fn realise(&self, wanted: &[(StorePath, Vec<String>)]) -> HostResult<()> {
        if !self.write_to_store() {
            return Err(HostError::unsupported("import from derivation with a store model other than `native`"));
        }
        self.write_derivations().map_err(store_failed)?;
        let _cooperating = self.surroundings.interrupts.cooperate();
        for (drv, outputs) in wanted {
            let outputs: BTreeSet<String> = outputs.iter().cloned().collect();
            self.builder.realise_now(drv, &outputs).map_err(build_failed)?;
        }
        Ok(())
    }

    fn ensure_path(&self, path: &StorePath) -> HostResult<()> {
        self.write_derivations().map_err(store_failed)?;
        if os::lock(&self.named).contains_key(path) || self.store.is_valid(path).map_err(store_failed)? {
            return Ok(());
        }
        Err(HostError::new(HostErrorKind::NotFound, format!("`{}` is not in the store", self.model.print(path))))
    }

    fn references(&self, path: &StorePath) -> HostResult<Vec<StorePath>> {
        match self.store.path_info(path).map_err(store_failed)? {
            Some(info) => Ok(info.references.into_iter().collect()),
            None => Ok(Vec::new()),
        }
    }

    fn fetch(&self, request: &FetchRequest) -> HostResult<Fetched> {
        let fetched = || self.surroundings.fetch(self, request);
        let Some(expected) = &request.expected else { return fetched() };
        let ingestion = if request.kind == FetchKind::File { Ingestion::Flat } else { Ingestion::Recursive };
        let name = request.name.as_deref().unwrap_or("source");
        let name = StorePathName::new(name).map_err(other)?;
        let path = self
            .model
            .make_fixed_output_path(ingestion, expected, name.clone(), &References::default())
            .map_err(other)?;
        // A request that says everything about its result needs no fetch when that is in the store,
        // or only named.
        let is_known = match request.kind {
            FetchKind::File => !self.write_to_store() || self.store.is_valid(&path).map_err(store_failed)?,
            _ => self.write_to_store() && self.store.is_valid(&path).map_err(store_failed)?,
        };
        let url = match request.attributes.get("url") {
            Some(FetchValue::String(url)) => url,
            _ => "",
        };
        match request.kind {
            FetchKind::File | FetchKind::Tarball if is_known => {
                Ok(Fetched { path, attributes: BTreeMap::new(), branch: None })
            }
            FetchKind::Tree if is_known && sources::is_locked(request) => {
                Ok(Fetched { path, attributes: sources::locked_attributes(request), branch: None })
            }
            // A file is a derivation like any other: the same code fetches, verifies and registers.
            FetchKind::File => {
                let derivation = fetch_derivation(name.as_str(), url, expected)?;
                let drv = self.store.add_derivation(&derivation).map_err(store_failed)?;
                self.realise(&[(drv, vec!["out".to_owned()])])?;
                Ok(Fetched { path, attributes: BTreeMap::new(), branch: None })
            }
            _ => fetched(),
        }
    }

    fn git_tree_of(&self, directory: &Path) -> Option<LocalTree> {
        git_tree_of(directory)
    }

    fn local(&self, tree: &LocalTree, fact: LocalFact) -> HostResult<LocalFacts> {
        let _cooperating = self.surroundings.interrupts.cooperate();
        let add = |obtained: &Obtained| obtained.add_to(self, &StorePathName::new("source").map_err(other)?, None);
        self.trees.fact(self.surroundings.sources.as_ref(), tree, fact, &add)
    }

    fn env_var(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.surroundings.variable(name)
    }

    fn current_time(&self) -> i64 {
        current_time()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.surroundings.home()
    }

    fn nix_path(&self) -> Vec<(String, String)> {
        self.surroundings.search_path.clone()
    }

    fn message(&self, severity: Severity, text: &str) {
        self.surroundings.reporter.message(severity, text);
    }

    fn notice(&self, report: &lang::Report) {
        self.surroundings.reporter.notice(report);
    }
}

/// Returns the derivation that fetches one file of a known hash.
fn fetch_derivation(name: &str, url: &str, expected: &Hash) -> HostResult<Derivation> {
    let output = model::Output::Fixed { ingestion: Ingestion::Flat, hash: *expected };
    let text = |value: &str| value.as_bytes().to_vec();
    let env = [("name", name), ("urls", url), ("builder", "builtin:fetchurl"), ("system", "builtin")];
    Ok(Derivation {
        name: StorePathName::new(name).map_err(other)?,
        outputs: BTreeMap::from([("out".to_owned(), output)]),
        input_derivations: BTreeMap::new(),
        input_sources: BTreeSet::new(),
        system: text("builtin"),
        builder: text("builtin:fetchurl"),
        args: Vec::new(),
        env: env.iter().map(|(name, value)| (text(name), text(value))).collect(),
    })
}
