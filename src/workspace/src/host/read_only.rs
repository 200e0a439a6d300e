//! [`lang::Host`] over the plain file system, for commands that write to no store.
//!
//! Store paths are computed as Nix names them, and their contents are read where they are. A
//! source's store path stands for the directory that it was taken from, less the files that its
//! filter refused; texts and derivations are kept in memory, and downloads in a cache. Nothing is
//! built; an output that another program put into Nix's store can be read.

use super::disk::{self, failed, missing, source_type};
use super::{Surroundings, current_time, other};
use crate::sources::{LocalTrees, Members, Obtained, git_tree_of};
use lang::host::{
    FetchRequest, Fetched, FileType, Host, HostError, HostErrorKind, HostResult, LocalFact, LocalFacts, LocalTree,
    Severity, SourceFilter,
};
use model::path::{Ingestion, References};
use model::{Derivation, Hash, HashAlgorithm, Hasher, Output, StoreModel, StorePath, StorePathName, nar};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store::{SourceKind, archive};

pub struct ReadOnlyHost {
    surroundings: Surroundings,
    objects: Mutex<BTreeMap<StorePath, Object>>,
    keep_derivations: bool,
    trees: LocalTrees,
}

/// Content that a store path would have.
#[derive(Debug, Clone)]
enum Object {
    Source { from: PathBuf, refused: BTreeSet<PathBuf> },
    Text(Arc<[u8]>),
}

/// Source that a path is read from.
enum ReadFrom {
    Disk(PathBuf),
    Memory(Arc<[u8]>),
}

const MODEL: StoreModel = StoreModel::Nix;

impl ReadOnlyHost {
    /// Without `keep_derivations` no derivation can be read back, as when Nix evaluates for a
    /// value: a large evaluation makes tens of thousands, and reads almost none.
    pub fn new(surroundings: Surroundings, keep_derivations: bool) -> ReadOnlyHost {
        let trees = LocalTrees::new(surroundings.sources.as_ref());
        ReadOnlyHost { surroundings, objects: Mutex::default(), keep_derivations, trees }
    }

    fn locate(&self, path: &Path) -> HostResult<ReadFrom> {
        if self.trees.hides(path) {
            return Err(missing(path));
        }
        let split = path.to_str().and_then(|text| MODEL.split(text).ok());
        let Some((object, rest)) = split else { return Ok(ReadFrom::Disk(path.to_owned())) };
        let rest = rest.trim_start_matches('/');
        match os::lock(&self.objects).get(&object) {
            Some(Object::Source { from, refused }) => {
                let real = if rest.is_empty() { from.clone() } else { from.join(rest) };
                if real.ancestors().any(|above| refused.contains(above)) {
                    return Err(missing(path));
                }
                Ok(ReadFrom::Disk(real))
            }
            Some(Object::Text(text)) if rest.is_empty() => Ok(ReadFrom::Memory(text.clone())),
            Some(Object::Text(_)) => Err(missing(path)),
            None => Ok(ReadFrom::Disk(path.to_owned())),
        }
    }

    fn record(&self, path: &StorePath, object: Object) {
        os::lock(&self.objects).insert(path.clone(), object);
    }

    /// Returns whether this host computed the path, or it exists on this machine.
    fn exists(&self, path: &StorePath) -> bool {
        os::lock(&self.objects).contains_key(path) || std::fs::symlink_metadata(MODEL.print(path)).is_ok()
    }
}

/// Reason that a NAR could not be hashed: the tree, or the filter of the expression.
enum FilteredError {
    Tree(archive::ArchiveError),
    Filter(HostError),
}

impl From<archive::ArchiveError> for FilteredError {
    fn from(error: archive::ArchiveError) -> FilteredError {
        FilteredError::Tree(error)
    }
}

/// Hashes the NAR of the tree at `real`, which the expression calls `named`; returns the paths that
/// `filter` refused, or that are not among `members`.
fn hash_archive(
    hasher: &mut Hasher,
    named: &Path,
    real: &Path,
    mut filter: Option<SourceFilter<'_>>,
    members: Option<&Members>,
) -> HostResult<BTreeSet<PathBuf>> {
    let mut refused = BTreeSet::new();
    let mut keep = |relative: &Path, kind: SourceKind| -> Result<bool, FilteredError> {
        let is_member = members.is_none_or(|members| members.has(relative, kind == SourceKind::Directory));
        let kept = match &mut filter {
            Some(filter) if is_member => {
                filter(&named.join(relative), source_type(kind)).map_err(FilteredError::Filter)?
            }
            _ => is_member,
        };
        if !kept {
            refused.insert(real.join(relative));
        }
        Ok(kept)
    };
    match archive::write_filtered(real, hasher, &mut keep) {
        Ok(()) => Ok(refused),
        Err(FilteredError::Tree(error)) => Err(other(error)),
        Err(FilteredError::Filter(error)) => Err(error),
    }
}

impl Host for ReadOnlyHost {
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>> {
        match self.locate(path)? {
            ReadFrom::Disk(real) => disk::read(&real, path, bytes_max),
            ReadFrom::Memory(text) => Ok(text.to_vec()),
        }
    }

    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()> {
        match self.locate(path)? {
            ReadFrom::Disk(real) => disk::read_pieces(&real, path, take),
            ReadFrom::Memory(text) => take(&text),
        }
    }

    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
        match self.locate(path)? {
            ReadFrom::Disk(real) => {
                let mut found = disk::entries(&real, path)?;
                found.sort();
                self.trees.retain_visible(path, &mut found)?;
                found.retain(|(name, _)| self.locate(&path.join(std::ffi::OsStr::from_bytes(name))).is_ok());
                Ok(found)
            }
            ReadFrom::Memory(_) => {
                Err(HostError::new(HostErrorKind::NotFound, format!("'{}' is not a directory", path.display())))
            }
        }
    }

    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>> {
        match self.locate(path) {
            Ok(ReadFrom::Disk(real)) => disk::file_type(&real, path),
            Ok(ReadFrom::Memory(_)) => Ok(Some(FileType::Regular)),
            Err(_) => Ok(None),
        }
    }

    fn read_link(&self, path: &Path) -> HostResult<PathBuf> {
        match self.locate(path)? {
            ReadFrom::Disk(real) => disk::read_link(&real, path),
            ReadFrom::Memory(_) => {
                Err(HostError::new(HostErrorKind::Other, format!("'{}' is not a symbolic link", path.display())))
            }
        }
    }

    fn add_source(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        let from = self.locate(source)?;
        let members = self.trees.members_of(source)?;
        if let ReadFrom::Disk(real) = &from {
            std::fs::symlink_metadata(real).map_err(|cause| failed("cannot access", source, &cause))?;
        }
        let mut hasher = Hasher::new(expected.map_or(HashAlgorithm::Sha256, Hash::algorithm));
        let mut refused = BTreeSet::new();
        match (&from, ingestion) {
            (ReadFrom::Disk(real), Ingestion::Recursive) => {
                refused = hash_archive(&mut hasher, source, real, filter, members.as_ref())?
            }
            (ReadFrom::Memory(text), Ingestion::Recursive) => nar::write_text(text, &mut hasher).map_err(other)?,
            (ReadFrom::Disk(real), Ingestion::Flat | Ingestion::Text) => {
                std::fs::File::open(real)
                    .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
                    .map_err(|cause| failed("cannot read", source, &cause))?;
            }
            (ReadFrom::Memory(text), Ingestion::Flat | Ingestion::Text) => hasher.update(text),
        }
        let hash = hasher.finish();
        if let Some(expected) = expected.filter(|expected| **expected != hash) {
            let message = format!(
                "hash mismatch in path '{}': specified: {}, got: {}",
                source.display(),
                expected.sri(),
                hash.sri()
            );
            return Err(HostError::new(HostErrorKind::Other, message));
        }
        let path =
            MODEL.make_fixed_output_path(ingestion, &hash, name.clone(), &References::default()).map_err(other)?;
        let object = match from {
            ReadFrom::Disk(from) => Object::Source { from, refused },
            ReadFrom::Memory(text) => Object::Text(text),
        };
        self.record(&path, object);
        Ok(path)
    }

    fn add_text(&self, path: &StorePath, text: &[u8], _references: &[StorePath]) -> HostResult<()> {
        self.record(path, Object::Text(text.into()));
        Ok(())
    }

    fn write_derivation(&self, path: &StorePath, _derivation: &Derivation, text: &[u8]) -> HostResult<()> {
        if self.keep_derivations {
            self.record(path, Object::Text(text.into()));
        }
        Ok(())
    }

    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation> {
        let text = match os::lock(&self.objects).get(path) {
            Some(Object::Text(text)) => text.clone(),
            _ => {
                let message = format!("path '{}' is not valid", MODEL.print(path));
                return Err(HostError::new(HostErrorKind::NotFound, message));
            }
        };
        let name = model::derivation::name_of_path(path).map_err(other)?;
        Derivation::from_aterm(MODEL, name, &text).map_err(other)
    }

    fn realise(&self, wanted: &[(StorePath, Vec<String>)]) -> HostResult<()> {
        for (drv, outputs) in wanted {
            let derivation = self.read_derivation(drv)?;
            let made = |name: &String| match derivation.outputs.get(name) {
                Some(Output::InputAddressed(path)) => self.exists(path),
                _ => false,
            };
            if !outputs.iter().all(made) {
                return Err(HostError::unsupported(&format!(
                    "building '{}' during an evaluation that writes to no store",
                    MODEL.print(drv)
                )));
            }
        }
        Ok(())
    }

    fn ensure_path(&self, path: &StorePath) -> HostResult<()> {
        if self.exists(path) {
            return Ok(());
        }
        Err(HostError::new(HostErrorKind::NotFound, format!("path '{}' is not valid", MODEL.print(path))))
    }

    fn references(&self, _path: &StorePath) -> HostResult<Vec<StorePath>> {
        Ok(Vec::new())
    }

    fn fetch(&self, request: &FetchRequest) -> HostResult<Fetched> {
        self.surroundings.fetch(self, request)
    }

    fn git_tree_of(&self, directory: &Path) -> Option<LocalTree> {
        git_tree_of(directory)
    }

    fn local(&self, tree: &LocalTree, fact: LocalFact) -> HostResult<LocalFacts> {
        let _cooperating = self.surroundings.interrupts.cooperate();
        let add = |obtained: &Obtained| obtained.add_to(self, &StorePathName::new("source").map_err(other)?, None);
        let facts = self.trees.fact(self.surroundings.sources.as_ref(), tree, fact, &add)?;
        if facts.attributes.contains_key("dirtyRev") && self.surroundings.warns_of_changes() {
            self.message(Severity::Warning, &format!("Git tree '{}' is dirty", tree.root.display()));
        }
        Ok(facts)
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
