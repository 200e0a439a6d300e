//! [`lang::Host`] over the store and the builder: what expressions can see of the world.
//!
//! With the native store model, sources, texts and derivations are written to the local store. With Nix's model nothing
//! is written, since those paths lie in a store that is not ours: they are computed, and kept in memory for reading back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use builder::Builder;
use lang::host::{
    FetchKind, FetchRequest, FetchValue, Fetched, FileType, Host, HostError, HostErrorKind, HostResult, Severity,
    SourceFilter,
};
use store::path::{Ingestion, References};
use store::{
    Derivation, Hash, HashAlgorithm, Hasher, LocalStore, SourceKind, StoreError, StoreModel, StorePath, StorePathName,
    Text, ValidPath,
};

use crate::reading;
use crate::sources::{self, Sources};

/// The world as one command sees it.
pub struct StoreHost {
    store: Arc<LocalStore>,
    model: StoreModel,
    /// Runs what has to be built or fetched before the evaluation can go on.
    builder: Arc<Builder>,
    search_path: Vec<(String, String)>,
    sources: Option<Sources>,
    unwritten: Mutex<Unwritten>,
}

/// Texts of derivations that are not in the store: not yet, or never, when the store model is not kept on this machine.
#[derive(Default)]
struct Unwritten {
    texts: HashMap<StorePath, Arc<[u8]>>,
    /// What the next batch writes, inputs before what needs them.
    batch: Vec<Text>,
}

/// Derivations written together at the most, so that a large evaluation does not keep them all in memory.
const BATCH_LEN_MAX: usize = 4096;

impl StoreHost {
    pub fn new(
        store: Arc<LocalStore>,
        builder: Arc<Builder>,
        model: StoreModel,
        search_path: Vec<(String, String)>,
        sources: Option<Sources>,
    ) -> StoreHost {
        StoreHost { store, model, builder, search_path, sources, unwritten: Mutex::default() }
    }

    /// Writes the derivations made since the last call, all in one go: each for itself would wait for the disk.
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
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a logical path lies on this machine. Below a store object symbolic links to other store objects are
    /// followed here, as the kernel does not know the logical store directory.
    pub fn physical(&self, path: &Path) -> HostResult<PathBuf> {
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

    fn in_store(&self, path: &Path) -> Option<(StorePath, PathBuf)> {
        let text = path.to_str()?;
        let (object, rest) = StoreModel::Native.split(text).ok()?;
        Some((object, PathBuf::from(rest.trim_start_matches('/'))))
    }

    /// Walks `rest` below a store object; when a component is a link into the store directory, returns what the whole path means.
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

    fn add_filtered(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<&mut store::SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        if self.write_to_store() && ingestion == Ingestion::Recursive && expected.is_none() {
            return self.store.add_source(source, name.clone(), filter).map_err(other);
        }
        // Named by a hash that others know too, of the file's bytes or of the archive Nix would make of the tree.
        let algorithm = expected.map_or(HashAlgorithm::Sha256, Hash::algorithm);
        let imported = match filter.is_some() || self.write_to_store() {
            true => Some(self.store.copy_in(source, filter).map_err(other)?),
            false => None,
        };
        let scratch = self.store.scratch_dir("source").map_err(other)?;
        let copy = scratch.path().join("source");
        let hashed = match &imported {
            Some(imported) => {
                self.store.checkout(&imported.node, &copy, store::BlobCheck::Skip).map_err(other)?;
                copy.as_path()
            }
            None => source,
        };
        let mut hasher = Hasher::new(algorithm);
        match ingestion {
            Ingestion::Recursive => store::archive::write(hashed, &mut hasher).map_err(other)?,
            Ingestion::Flat | Ingestion::Text => {
                let copied = std::fs::File::open(hashed).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
                copied.map_err(|cause| io_error("cannot read", source, &cause))?;
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
            self.store.add_tree(&ValidPath::new(path.clone(), imported.node, imported.bytes)).map_err(other)?;
        }
        Ok(path)
    }

    fn write_to_store(&self) -> bool {
        self.model == StoreModel::Native
    }
}

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

fn io_error(what: &str, path: &Path, cause: &std::io::Error) -> HostError {
    let kind = match cause.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => HostErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => HostErrorKind::Denied,
        std::io::ErrorKind::FileTooLarge => HostErrorKind::TooLarge,
        _ => HostErrorKind::Other,
    };
    HostError::new(kind, format!("{what} `{}`: {cause}", path.display()))
}

fn other(error: impl std::fmt::Display) -> HostError {
    HostError::new(HostErrorKind::Other, error.to_string())
}

pub fn source_type(kind: SourceKind) -> FileType {
    match kind {
        SourceKind::File => FileType::Regular,
        SourceKind::Directory => FileType::Directory,
        SourceKind::Symlink => FileType::Symlink,
        SourceKind::Other(_) => FileType::Unknown,
    }
}

fn file_type(kind: std::fs::FileType) -> FileType {
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

impl Host for StoreHost {
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>> {
        reading::read(&self.physical(path)?, bytes_max).map_err(|cause| io_error("cannot read", path, &cause))
    }

    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()> {
        let read = reading::read_in_pieces(&self.physical(path)?, take);
        read.map_err(|cause| io_error("cannot read", path, &cause))?
    }

    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
        let entries = std::fs::read_dir(self.physical(path)?);
        entries
            .and_then(|entries| {
                entries
                    .map(|entry| {
                        let entry = entry?;
                        Ok((entry.file_name().into_vec(), file_type(entry.file_type()?)))
                    })
                    .collect()
            })
            .map_err(|cause| io_error("cannot list", path, &cause))
    }

    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>> {
        // The object itself may be a link; only what is above it is followed.
        let physical = match (self.in_store(path), path.parent(), path.file_name()) {
            (Some((object, rest)), _, _) if rest.as_os_str().is_empty() => self.store.physical_path(&object),
            (Some(_), Some(parent), Some(name)) => self.physical(parent)?.join(name),
            _ => path.to_owned(),
        };
        match std::fs::symlink_metadata(physical) {
            Ok(meta) => Ok(Some(file_type(meta.file_type()))),
            Err(cause) => match io_error("cannot look at", path, &cause) {
                error if error.kind == HostErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    fn read_link(&self, path: &Path) -> HostResult<PathBuf> {
        let physical = match (self.in_store(path), path.parent(), path.file_name()) {
            (Some((object, rest)), _, _) if rest.as_os_str().is_empty() => self.store.physical_path(&object),
            (Some(_), Some(parent), Some(name)) => self.physical(parent)?.join(name),
            _ => path.to_owned(),
        };
        std::fs::read_link(physical).map_err(|cause| io_error("cannot read the link", path, &cause))
    }

    fn add_source(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        let physical = self.physical(source)?;
        let mut stopped = None;
        let added = match filter {
            None => self.add_filtered(&physical, name, ingestion, None, expected),
            Some(filter) => {
                let mut adapted = |below: &Path, kind: SourceKind| {
                    let kept = match stopped {
                        None => filter(&source.join(below), source_type(kind)),
                        Some(_) => Ok(false),
                    };
                    Ok(kept.unwrap_or_else(|error| {
                        stopped = Some(error);
                        false
                    }))
                };
                self.add_filtered(&physical, name, ingestion, Some(&mut adapted), expected)
            }
        };
        match stopped {
            Some(error) => Err(error),
            None => added,
        }
    }

    fn add_text(&self, path: &StorePath, text: &[u8], references: &[StorePath]) -> HostResult<()> {
        if self.write_to_store() {
            let references = references.iter().cloned().collect();
            let written = self.store.add_text(path.name().clone(), text, &references).map_err(other)?;
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
        if full { self.write_derivations().map_err(other) } else { Ok(()) }
    }

    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation> {
        let unwritten = self.unwritten().texts.get(path).cloned();
        match unwritten {
            Some(text) => {
                let name = store::derivation::name_of_path(path).map_err(other)?;
                Derivation::from_aterm(self.model, name, &text).map_err(other)
            }
            None => self.store.derivation(path).map_err(other),
        }
    }

    fn realise(&self, wanted: &[(StorePath, Vec<String>)]) -> HostResult<()> {
        if !self.write_to_store() {
            return Err(HostError::unsupported("import from derivation with a store model other than `native`"));
        }
        self.write_derivations().map_err(other)?;
        let _orderly = crate::interrupt::orderly();
        for (drv, outputs) in wanted {
            let outputs: BTreeSet<String> = outputs.iter().cloned().collect();
            self.builder.realise_now(drv, &outputs).map_err(other)?;
        }
        Ok(())
    }

    fn ensure_path(&self, path: &StorePath) -> HostResult<()> {
        self.write_derivations().map_err(other)?;
        if self.store.is_valid(path).map_err(other)? {
            return Ok(());
        }
        Err(HostError::new(HostErrorKind::NotFound, format!("`{}` is not in the store", self.model.print(path))))
    }

    fn references(&self, path: &StorePath) -> HostResult<Vec<StorePath>> {
        match self.store.path_info(path).map_err(other)? {
            Some(info) => Ok(info.references.into_iter().collect()),
            None => Ok(Vec::new()),
        }
    }

    fn fetch(&self, request: &FetchRequest) -> HostResult<Fetched> {
        let fetched = || {
            let _orderly = crate::interrupt::orderly();
            sources::fetch(self.sources.as_ref(), self, request)
        };
        let Some(expected) = &request.expected else { return fetched() };
        let ingestion = if request.kind == FetchKind::File { Ingestion::Flat } else { Ingestion::Recursive };
        let name = request.name.as_deref().unwrap_or("source");
        let name = StorePathName::new(name).map_err(other)?;
        let path = self
            .model
            .make_fixed_output_path(ingestion, expected, name.clone(), &References::default())
            .map_err(other)?;
        // What is in the store, or is only to be named, need not be fetched when the request says all there is to know.
        let is_known = match request.kind {
            FetchKind::File => !self.write_to_store() || self.store.is_valid(&path).map_err(other)?,
            _ => self.write_to_store() && self.store.is_valid(&path).map_err(other)?,
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
            // A file is a derivation like any other: the same code fetches, verifies and remembers.
            FetchKind::File => {
                let derivation = fetch_derivation(name.as_str(), url, expected)?;
                let drv = self.store.add_derivation(&derivation).map_err(other)?;
                self.realise(&[(drv, vec!["out".to_owned()])])?;
                Ok(Fetched { path, attributes: BTreeMap::new(), branch: None })
            }
            _ => fetched(),
        }
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
        use std::io::Write;
        let start = match severity {
            Severity::Trace => "trace: ",
            Severity::Warn | Severity::Warning => "warning: ",
        };
        let _ = writeln!(std::io::stderr().lock(), "{start}{}", builder::terminal::visible(text));
    }
}

/// The derivation that fetches one file of a known hash.
fn fetch_derivation(name: &str, url: &str, expected: &Hash) -> HostResult<Derivation> {
    let output = store::Output::Fixed { ingestion: Ingestion::Flat, hash: *expected };
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

/// What every host tells of the machine and the user's environment.
pub mod machine {
    use super::{OsStrExt, OsStringExt, PathBuf, SystemTime, UNIX_EPOCH};

    pub fn env_var(name: &[u8]) -> Option<Vec<u8>> {
        std::env::var_os(std::ffi::OsStr::from_bytes(name)).map(OsStringExt::into_vec)
    }

    /// Seconds since 1970; 0 by a clock that stands before it.
    pub fn current_time() -> i64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
    }

    pub fn home_dir() -> Option<PathBuf> {
        std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    }
}
