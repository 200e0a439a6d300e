//! A [`Host`] over the plain file system, for tests and examples: it reads files, writes nothing,
//! builds nothing and fetches nothing. Store paths are computed; derivations and texts are held in
//! memory.

use lang::host::*;
use model::path::{Ingestion, References};
use model::{Derivation, Hash, HashAlgorithm, StoreModel, StorePath, StorePathName};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The file system as it is, and a store of names without files.
pub struct Files {
    model: StoreModel,
    derivations: Mutex<BTreeMap<StorePath, Derivation>>,
    /// Texts by path, as the language writes it.
    texts: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    messages: Mutex<Vec<String>>,
    /// Directories of the trees that were copied, by their paths in the store.
    trees: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Files {
    pub fn new(model: StoreModel) -> Files {
        Files {
            model,
            derivations: Mutex::default(),
            texts: Mutex::default(),
            messages: Mutex::default(),
            trees: Mutex::default(),
        }
    }

    /// Returns the place on disk of a path.
    fn place(&self, path: &Path) -> PathBuf {
        let trees = self.trees.lock().expect(LOCK);
        let within = trees.iter().find_map(|(copy, root)| Some(root.join(path.strip_prefix(copy).ok()?)));
        within.unwrap_or_else(|| path.to_owned())
    }

    /// Returns the traces and warnings since the last call.
    pub fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock().expect(LOCK))
    }
}

const LOCK: &str = "no thread panics while it holds a table of the host";

fn failed(what: &str, path: &Path, error: &std::io::Error) -> HostError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => HostErrorKind::NotFound,
        std::io::ErrorKind::FileTooLarge => HostErrorKind::TooLarge,
        _ => HostErrorKind::Other,
    };
    HostError::new(kind, format!("cannot {what} '{}': {error}", path.display()))
}

fn kind_of(kind: std::fs::FileType) -> FileType {
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

/// Appends the NAR of a tree, for its hash.
fn nar(path: &Path, filter: &mut Option<SourceFilter<'_>>, out: &mut Vec<u8>) -> HostResult<()> {
    fn text(bytes: &[u8], out: &mut Vec<u8>) {
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
        out.extend(std::iter::repeat_n(0, bytes.len().wrapping_neg() % 8));
    }
    let io = |error: std::io::Error| failed("read", path, &error);
    let meta = std::fs::symlink_metadata(path).map_err(io)?;
    text(b"(", out);
    text(b"type", out);
    if meta.is_symlink() {
        text(b"symlink", out);
        text(b"target", out);
        text(&std::fs::read_link(path).map_err(io)?.into_os_string().into_vec(), out);
    } else if meta.is_dir() {
        text(b"directory", out);
        let mut entries: Vec<_> =
            std::fs::read_dir(path).map_err(io)?.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
        entries.sort();
        for name in entries {
            let child = path.join(&name);
            let kind = kind_of(std::fs::symlink_metadata(&child).map_err(io)?.file_type());
            if let Some(filter) = filter
                && !filter(&child, kind)?
            {
                continue;
            }
            text(b"entry", out);
            text(b"(", out);
            text(b"name", out);
            text(&name.into_vec(), out);
            text(b"node", out);
            nar(&child, filter, out)?;
            text(b")", out);
        }
    } else {
        text(b"regular", out);
        if std::os::unix::fs::MetadataExt::mode(&meta) & 0o100 != 0 {
            text(b"executable", out);
            text(b"", out);
        }
        text(b"contents", out);
        text(&std::fs::read(path).map_err(io)?, out);
    }
    text(b")", out);
    Ok(())
}

impl Host for Files {
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>> {
        match self.texts.lock().expect(LOCK).get(path) {
            Some(text) => Ok(text.clone()),
            None => match std::fs::read(self.place(path)) {
                Ok(bytes) if bytes.len() > bytes_max => {
                    Err(failed("read", path, &std::io::ErrorKind::FileTooLarge.into()))
                }
                read => read.map_err(|error| failed("read", path, &error)),
            },
        }
    }

    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()> {
        take(&self.read_file(path, usize::MAX)?)
    }

    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
        let entries = std::fs::read_dir(self.place(path)).map_err(|error| failed("read directory", path, &error))?;
        entries
            .map(|entry| {
                let entry = entry.map_err(|error| failed("read directory", path, &error))?;
                let kind = entry.file_type().map_err(|error| failed("read directory", path, &error))?;
                Ok((entry.file_name().into_vec(), kind_of(kind)))
            })
            .collect()
    }

    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>> {
        if self.texts.lock().expect(LOCK).contains_key(path) {
            return Ok(Some(FileType::Regular));
        }
        Ok(std::fs::symlink_metadata(self.place(path)).ok().map(|meta| kind_of(meta.file_type())))
    }

    fn read_link(&self, path: &Path) -> HostResult<PathBuf> {
        std::fs::read_link(self.place(path)).map_err(|error| failed("read link", path, &error))
    }

    fn add_source(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        mut filter: Option<SourceFilter<'_>>,
        _expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        let mut bytes = Vec::new();
        if ingestion == Ingestion::Recursive {
            let mut header = 13u64.to_le_bytes().to_vec();
            header.extend(b"nix-archive-1\0\0\0");
            bytes.extend(header);
            nar(source, &mut filter, &mut bytes)?;
        } else {
            bytes = self.read_file(source, usize::MAX)?;
        }
        let hash = HashAlgorithm::Sha256.hash(&bytes);
        self.model
            .make_fixed_output_path(ingestion, &hash, name.clone(), &References::default())
            .map_err(|error| HostError::new(HostErrorKind::Other, error.to_string()))
    }

    fn add_text(&self, path: &StorePath, text: &[u8], _references: &[StorePath]) -> HostResult<()> {
        self.texts.lock().expect(LOCK).insert(self.model.print(path).into(), text.to_vec());
        Ok(())
    }

    fn write_derivation(&self, path: &StorePath, derivation: &Derivation, _text: &[u8]) -> HostResult<()> {
        self.derivations.lock().expect(LOCK).insert(path.clone(), derivation.clone());
        Ok(())
    }

    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation> {
        let known = self.derivations.lock().expect(LOCK).get(path).cloned();
        known.ok_or_else(|| HostError::new(HostErrorKind::NotFound, format!("no derivation '{path}'")))
    }

    fn realise(&self, _wanted: &[(StorePath, Vec<String>)]) -> HostResult<()> {
        Err(HostError::unsupported("building"))
    }

    fn ensure_path(&self, _path: &StorePath) -> HostResult<()> {
        Ok(())
    }

    fn references(&self, _path: &StorePath) -> HostResult<Vec<StorePath>> {
        Ok(Vec::new())
    }

    fn fetch(&self, _request: &FetchRequest) -> HostResult<Fetched> {
        Err(HostError::unsupported("fetching"))
    }

    /// Trees are plain directories, whose newest file is from 1970.
    fn local(&self, tree: &LocalTree, fact: LocalFact) -> HostResult<LocalFacts> {
        let mut facts = LocalFacts::default();
        match fact {
            LocalFact::Opened | LocalFact::RevCount => {}
            LocalFact::Attributes => {
                facts.attributes.insert("lastModified".to_owned(), FetchValue::Int(0));
                facts.attributes.insert("lastModifiedDate".to_owned(), FetchValue::String("19700101000000".to_owned()));
            }
            LocalFact::StorePath => {
                let name = "source".parse().expect("it is a name");
                let path = self.add_source(&tree.root, &name, Ingestion::Recursive, None, None)?;
                self.trees.lock().expect(LOCK).insert(self.model.print(&path).into(), tree.root.clone());
                facts.path = Some(path);
            }
            LocalFact::NarHash => return Err(HostError::unsupported("hashing a tree")),
        }
        Ok(facts)
    }

    fn env_var(&self, name: &[u8]) -> Option<Vec<u8>> {
        std::env::var_os(String::from_utf8_lossy(name).as_ref()).map(OsStringExt::into_vec)
    }

    fn current_time(&self) -> i64 {
        1_700_000_000
    }

    fn home_dir(&self) -> Option<PathBuf> {
        std::env::var_os("HOME").map(PathBuf::from)
    }

    fn nix_path(&self) -> Vec<(String, String)> {
        let text = std::env::var("NIX_PATH").unwrap_or_default();
        let cwd = std::env::current_dir().unwrap_or_default();
        let entries = text.split(':').filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                let (prefix, path) = entry.split_once('=').unwrap_or(("", entry));
                (prefix.to_owned(), cwd.join(path).to_string_lossy().into_owned())
            })
            .collect()
    }

    fn message(&self, severity: Severity, text: &str) {
        let kind = match severity {
            Severity::Trace => "trace",
            Severity::Warn => "evaluation warning",
            Severity::Warning => "warning",
        };
        self.messages.lock().expect(LOCK).push(format!("{kind}: {text}"));
    }
}
