//! [`lang::Host`] over the plain file system, for commands that write to no store: store paths are computed as Nix names
//! them, and what they would hold is read where it lies.
//!
//! A source's store path stands for the folder it was taken from, less what its filter refused; texts and derivations
//! are kept in memory, derivations as their texts, and what is fetched lies in a cache. Nothing is built; an output that some
//! other program put into the store can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lang::host::{FetchRequest, Fetched, FileType, Host, HostError, HostErrorKind, HostResult, Severity, SourceFilter};
use store::archive;
use store::path::{Ingestion, References};
use store::{Derivation, Hash, HashAlgorithm, Hasher, Output, StoreModel, StorePath, StorePathName};

use crate::host::{machine, source_type};
use crate::nix_text;
use crate::reading;
use crate::sources::{self, Sources};

pub struct ReadOnlyHost {
    search_path: Vec<(String, String)>,
    sources: Option<Sources>,
    objects: Mutex<BTreeMap<StorePath, Object>>,
    keep_derivations: bool,
}

/// What a store path would hold.
#[derive(Debug, Clone)]
enum Object {
    Source { from: PathBuf, refused: BTreeSet<PathBuf> },
    Text(Arc<[u8]>),
}

/// Where a path is really read.
enum Place {
    Disk(PathBuf),
    Memory(Arc<[u8]>),
}

const MODEL: StoreModel = StoreModel::Nix;

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing(path: &Path) -> HostError {
    HostError::new(HostErrorKind::NotFound, format!("path '{}' does not exist", path.display()))
}

fn failed(what: &str, path: &Path, cause: &std::io::Error) -> HostError {
    match cause.kind() {
        std::io::ErrorKind::NotFound => missing(path),
        std::io::ErrorKind::NotADirectory => {
            HostError::new(HostErrorKind::NotFound, format!("'{}' is not a directory", path.display()))
        }
        std::io::ErrorKind::PermissionDenied => {
            HostError::new(HostErrorKind::Denied, format!("{what} '{}': {cause}", path.display()))
        }
        std::io::ErrorKind::FileTooLarge => {
            HostError::new(HostErrorKind::TooLarge, format!("{what} '{}': {cause}", path.display()))
        }
        _ => HostError::new(HostErrorKind::Other, format!("{what} '{}': {cause}", path.display())),
    }
}

fn other(error: impl std::fmt::Display) -> HostError {
    HostError::new(HostErrorKind::Other, error.to_string())
}

fn type_of(kind: std::fs::FileType) -> FileType {
    if kind.is_file() {
        FileType::Regular
    } else if kind.is_dir() {
        FileType::Directory
    } else if kind.is_symlink() {
        FileType::Symlink
    } else {
        FileType::Unknown
    }
}

impl ReadOnlyHost {
    /// What is fetched goes to `sources`; without them nothing can be.
    ///
    /// Without `keep_derivations` none can be read back, as Nix has it when it evaluates for a value: a large evaluation
    /// makes tens of thousands, and almost none reads one.
    pub fn new(search_path: Vec<(String, String)>, sources: Option<Sources>, keep_derivations: bool) -> ReadOnlyHost {
        ReadOnlyHost { search_path, sources, objects: Mutex::default(), keep_derivations }
    }

    fn place(&self, path: &Path) -> HostResult<Place> {
        let split = path.to_str().and_then(|text| MODEL.split(text).ok());
        let Some((object, rest)) = split else { return Ok(Place::Disk(path.to_owned())) };
        let rest = rest.trim_start_matches('/');
        match lock(&self.objects).get(&object) {
            Some(Object::Source { from, refused }) => {
                let real = if rest.is_empty() { from.clone() } else { from.join(rest) };
                if real.ancestors().any(|folder| refused.contains(folder)) {
                    return Err(missing(path));
                }
                Ok(Place::Disk(real))
            }
            Some(Object::Text(text)) if rest.is_empty() => Ok(Place::Memory(text.clone())),
            Some(Object::Text(_)) => Err(missing(path)),
            None => Ok(Place::Disk(path.to_owned())),
        }
    }

    fn remember(&self, path: &StorePath, object: Object) {
        lock(&self.objects).insert(path.clone(), object);
    }

    /// Whether the path is one of ours, or stands on this machine.
    fn is_there(&self, path: &StorePath) -> bool {
        lock(&self.objects).contains_key(path) || std::fs::symlink_metadata(MODEL.print(path)).is_ok()
    }
}

/// Why an archive could not be hashed: the tree, or the filter that the expression gave.
enum ArchiveError {
    Tree(archive::ArchiveError),
    Filter(HostError),
}

impl From<archive::ArchiveError> for ArchiveError {
    fn from(error: archive::ArchiveError) -> ArchiveError {
        ArchiveError::Tree(error)
    }
}

/// Hashes the archive of what lies at `real`, which the expression names `named`, and notes what `filter` refuses.
fn hash_archive(
    hasher: &mut Hasher,
    named: &Path,
    real: &Path,
    mut filter: Option<SourceFilter<'_>>,
) -> HostResult<BTreeSet<PathBuf>> {
    let mut refused = BTreeSet::new();
    let mut keep = |relative: &Path, kind| -> Result<bool, ArchiveError> {
        let Some(filter) = &mut filter else { return Ok(true) };
        let kept = filter(&named.join(relative), source_type(kind)).map_err(ArchiveError::Filter)?;
        if !kept {
            refused.insert(real.join(relative));
        }
        Ok(kept)
    };
    match archive::write_filtered(real, hasher, &mut keep) {
        Ok(()) => Ok(refused),
        Err(ArchiveError::Tree(error)) => Err(other(error)),
        Err(ArchiveError::Filter(error)) => Err(error),
    }
}

/// Names and types of what is in a folder, sorted.
fn entries(path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
    let read = || -> std::io::Result<Vec<(Vec<u8>, FileType)>> {
        std::fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name().into_vec(), type_of(entry.file_type()?)))
            })
            .collect()
    };
    let mut entries = read().map_err(|cause| failed("cannot list", path, &cause))?;
    entries.sort();
    Ok(entries)
}

impl Host for ReadOnlyHost {
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>> {
        match self.place(path)? {
            Place::Disk(real) => reading::read(&real, bytes_max).map_err(|cause| failed("cannot read", path, &cause)),
            Place::Memory(text) => Ok(text.to_vec()),
        }
    }

    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()> {
        match self.place(path)? {
            Place::Disk(real) => {
                reading::read_in_pieces(&real, take).map_err(|cause| failed("cannot read", path, &cause))?
            }
            Place::Memory(text) => take(&text),
        }
    }

    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
        match self.place(path)? {
            Place::Disk(real) => {
                let mut found = entries(&real)?;
                found.retain(|(name, _)| self.place(&path.join(std::ffi::OsStr::from_bytes(name))).is_ok());
                Ok(found)
            }
            Place::Memory(_) => {
                Err(HostError::new(HostErrorKind::NotFound, format!("'{}' is not a directory", path.display())))
            }
        }
    }

    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>> {
        let real = match self.place(path) {
            Ok(Place::Disk(real)) => real,
            Ok(Place::Memory(_)) => return Ok(Some(FileType::Regular)),
            Err(_) => return Ok(None),
        };
        match std::fs::symlink_metadata(real) {
            Ok(meta) => Ok(Some(type_of(meta.file_type()))),
            Err(cause) => match failed("cannot look at", path, &cause) {
                error if error.kind == HostErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    fn read_link(&self, path: &Path) -> HostResult<PathBuf> {
        match self.place(path)? {
            Place::Disk(real) => std::fs::read_link(real).map_err(|cause| failed("cannot read the link", path, &cause)),
            Place::Memory(_) => {
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
        let place = self.place(source)?;
        if let Place::Disk(real) = &place {
            std::fs::symlink_metadata(real).map_err(|cause| failed("cannot look at", source, &cause))?;
        }
        let mut hasher = Hasher::new(expected.map_or(HashAlgorithm::Sha256, Hash::algorithm));
        let mut refused = BTreeSet::new();
        match (&place, ingestion) {
            (Place::Disk(real), Ingestion::Recursive) => refused = hash_archive(&mut hasher, source, real, filter)?,
            (Place::Memory(text), Ingestion::Recursive) => model::nar::write_text(text, &mut hasher).map_err(other)?,
            (Place::Disk(real), Ingestion::Flat | Ingestion::Text) => {
                std::fs::File::open(real)
                    .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
                    .map_err(|cause| failed("cannot read", source, &cause))?;
            }
            (Place::Memory(text), Ingestion::Flat | Ingestion::Text) => hasher.update(text),
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
        let object = match place {
            Place::Disk(from) => Object::Source { from, refused },
            Place::Memory(text) => Object::Text(text),
        };
        self.remember(&path, object);
        Ok(path)
    }

    fn add_text(&self, path: &StorePath, text: &[u8], _references: &[StorePath]) -> HostResult<()> {
        self.remember(path, Object::Text(text.into()));
        Ok(())
    }

    fn write_derivation(&self, path: &StorePath, _derivation: &Derivation, text: &[u8]) -> HostResult<()> {
        if self.keep_derivations {
            self.remember(path, Object::Text(text.into()));
        }
        Ok(())
    }

    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation> {
        let text = match lock(&self.objects).get(path) {
            Some(Object::Text(text)) => text.clone(),
            _ => {
                let message = format!("path '{}' is not valid", MODEL.print(path));
                return Err(HostError::new(HostErrorKind::NotFound, message));
            }
        };
        let name = store::derivation::name_of_path(path).map_err(other)?;
        Derivation::from_aterm(MODEL, name, &text).map_err(other)
    }

    fn realise(&self, wanted: &[(StorePath, Vec<String>)]) -> HostResult<()> {
        for (drv, outputs) in wanted {
            let derivation = self.read_derivation(drv)?;
            let made = |name: &String| match derivation.outputs.get(name) {
                Some(Output::InputAddressed(path)) => self.is_there(path),
                _ => false,
            };
            if !outputs.iter().all(made) {
                return Err(HostError::unsupported(&format!(
                    "building '{}' during the evaluation, as nothing is written to a store,",
                    MODEL.print(drv)
                )));
            }
        }
        Ok(())
    }

    fn ensure_path(&self, path: &StorePath) -> HostResult<()> {
        if self.is_there(path) {
            return Ok(());
        }
        Err(HostError::new(HostErrorKind::NotFound, format!("path '{}' is not valid", MODEL.print(path))))
    }

    fn references(&self, _path: &StorePath) -> HostResult<Vec<StorePath>> {
        Ok(Vec::new())
    }

    fn fetch(&self, request: &FetchRequest) -> HostResult<Fetched> {
        let _orderly = crate::interrupt::orderly();
        sources::fetch(self.sources.as_ref(), self, request)
    }

    fn env_var(&self, name: &[u8]) -> Option<Vec<u8>> {
        machine::env_var(name)
    }

    fn current_time(&self) -> i64 {
        machine::current_time()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        machine::home_dir()
    }

    fn nix_path(&self) -> Vec<(String, String)> {
        self.search_path.clone()
    }

    fn message(&self, severity: Severity, text: &str) {
        let start = match severity {
            Severity::Trace => "trace: ",
            Severity::Warn => "evaluation warning: ",
            Severity::Warning => "warning: ",
        };
        nix_text::say(&nix_text::labelled(start, text));
    }

    fn notice(&self, report: &lang::Report) {
        nix_text::say(&nix_text::warning(report));
    }
}
