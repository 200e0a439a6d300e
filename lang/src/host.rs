//! What the language asks of the world.
//!
//! This crate reads no file, clock or environment; whoever embeds it implements [`Host`]. All methods are synchronous
//! and take `&self`, since several threads may evaluate over one host. Paths are *logical*: a path below the store
//! directory of the chosen [`StoreModel`] means the store object, wherever the host really keeps it. Which paths may be looked at
//! in pure mode is decided here in `lang`, before the host is asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::path::Ingestion;
use model::{Derivation, Hash, StoreModel, StorePath, StorePathName};

use crate::syntax::Lints;

/// Failure of the host to do what the language asked of it.
///
/// An error of the builder or the store passes through evaluation as it is: `cause` is that error, and `code` and `help`
/// are its own, so the embedding program can end as if it had met the error without the language in between.
#[derive(Debug, Clone)]
pub struct HostError {
    pub kind: HostErrorKind,
    /// One sentence, lower case, no final period: the attempt, its object and the reason.
    pub message: String,
    /// Stable name of the situation; `lang::host` when there is none.
    pub code: Option<&'static str>,
    /// The next step.
    pub help: Option<String>,
    /// The error that the host met, for callers that downcast it.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostErrorKind {
    NotFound,
    Denied,
    /// A filter callback failed; the evaluator knows the reason.
    Stopped,
    /// This host has no such ability (no network, no builder).
    Unsupported,
    /// The content does not fit into memory.
    TooLarge,
    Other,
}

impl HostError {
    pub fn new(kind: HostErrorKind, message: impl Into<String>) -> Self {
        HostError { kind, message: message.into(), code: None, help: None, cause: None }
    }

    pub fn unsupported(what: &str) -> Self {
        HostError::new(HostErrorKind::Unsupported, format!("{what} is not possible here"))
    }

    /// Wraps an error of another library whose text says everything.
    pub fn from_cause(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        let message = cause.to_string();
        HostError { cause: Some(Arc::new(cause)), ..HostError::new(HostErrorKind::Other, message) }
    }

    #[must_use]
    pub fn code(self, code: &'static str) -> Self {
        HostError { code: Some(code), ..self }
    }

    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        HostError { help: Some(help.into()), ..self }
    }
}

impl std::fmt::Display for HostError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

pub type HostResult<T> = Result<T, HostError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileType {
    Regular,
    Directory,
    Symlink,
    /// Sockets, devices, pipes.
    Unknown,
}

impl FileType {
    /// The word `readDir` and source filters use.
    pub const fn name(self) -> &'static str {
        match self {
            FileType::Regular => "regular",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
            FileType::Unknown => "unknown",
        }
    }
}

/// Decides which files of a source are taken; gets the path as it stands in the source tree.
pub type SourceFilter<'a> = &'a mut dyn FnMut(&Path, FileType) -> HostResult<bool>;

/// What to fetch.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchRequest {
    pub kind: FetchKind,
    /// Name of the store object.
    pub name: Option<String>,
    /// What the result must hash to: of the file for [`FetchKind::File`], of the tree otherwise.
    pub expected: Option<Hash>,
    /// `url`, `rev`, `ref`, `type`, `owner` … as the expression gave them.
    pub attributes: BTreeMap<String, FetchValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchKind {
    /// `fetchurl`: the bytes of one URL.
    File,
    /// `fetchTarball`: an archive, unpacked, its single top folder stripped.
    Tarball,
    Git,
    Mercurial,
    /// `fetchTree` and flake inputs: what `type` says.
    Tree,
}

#[derive(Debug, Clone, PartialEq)]
pub enum FetchValue {
    String(String),
    Int(i64),
    Bool(bool),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    pub path: StorePath,
    /// `rev`, `shortRev`, `revCount`, `lastModified`, `narHash` … as far as known.
    pub attributes: BTreeMap<String, FetchValue>,
    /// The branch of a Git repository that was taken as neither `ref` nor `rev` was given, such as `refs/heads/main`, if it is
    /// known. Expressions do not see it; lock files do.
    pub branch: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `builtins.trace`
    Trace,
    /// `builtins.warn`
    Warn,
    /// Of the evaluator itself, or of a fetcher.
    Warning,
}

/// The world, as far as expressions can see it.
pub trait Host: Send + Sync {
    /// The bytes of a file, symbolic links followed. More than `bytes_max` are [`HostErrorKind::TooLarge`], and not read.
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>>;

    /// Gives the bytes of a file, symbolic links followed, piece by piece; ends with the error of `take` if it has one.
    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()>;

    /// Names and types of a folder's entries, in any order.
    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>>;

    /// The type of what stands at `path` itself (lstat), `None` when nothing does. Missing or non-directory parents are `None`.
    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>>;

    /// The text of a symbolic link.
    fn read_link(&self, path: &Path) -> HostResult<PathBuf>;

    /// Copies a file or tree to the store, leaving out what `filter` refuses. `expected`, when given, is the hash it must have, checked by the host.
    fn add_source(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath>;

    /// Writes a text to the store, with the store paths it refers to. `path` is what it will be called.
    fn add_text(&self, path: &StorePath, text: &[u8], references: &[StorePath]) -> HostResult<()>;

    /// Writes a `.drv`; `text` is its ATerm and `path` its name.
    fn write_derivation(&self, path: &StorePath, derivation: &Derivation, text: &[u8]) -> HostResult<()>;

    /// Reads a `.drv` back.
    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation>;

    /// Makes outputs of derivations valid, because the evaluation wants to read them (import from derivation).
    fn realise(&self, wanted: &[(StorePath, Vec<String>)]) -> HostResult<()>;

    /// Makes a store path valid, if need be by substituting it.
    fn ensure_path(&self, path: &StorePath) -> HostResult<()>;

    /// The references of a valid path, for `readFile` of a store object; empty when not known.
    fn references(&self, path: &StorePath) -> HostResult<Vec<StorePath>>;

    fn fetch(&self, request: &FetchRequest) -> HostResult<Fetched>;

    /// An environment variable; never asked in pure or restricted mode.
    fn env_var(&self, name: &[u8]) -> Option<Vec<u8>>;

    /// Seconds since 1970. Never asked in pure mode.
    fn current_time(&self) -> i64;

    /// What `~/` stands for.
    fn home_dir(&self) -> Option<PathBuf>;

    /// The search path for `<name>`: prefix (perhaps empty) and path or URL, in order.
    fn nix_path(&self) -> Vec<(String, String)>;

    /// Shows a line to the user while the evaluation goes on.
    fn message(&self, severity: Severity, text: &str);

    /// Shows what the language itself warns of, which has a place in a text.
    fn notice(&self, report: &crate::error::Report) {
        self.message(Severity::Warning, &report.message);
    }
}

/// Keeps the code of files from one process to the next. What it gives makes an evaluation faster, never another: the evaluator
/// looks at the bytes, and compiles where there are none or damaged ones.
pub trait CodeCache: Send + Sync {
    /// The bytes kept under a key.
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>>;

    /// Keeps bytes, instead of those under the same key before; or does not, if there is any trouble.
    fn put(&self, rows: &[([u8; 32], Vec<u8>)]);
}

/// How to evaluate. What is fixed for one evaluator.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// No environment, clock, search path, unlocked fetches, or paths outside `allowed_roots`.
    pub pure: bool,
    /// No environment, and no paths but those of `allowed_roots` and the search path, nor URLs but those of `allowed_uris`.
    pub restrict: bool,
    /// With `pure` or `restrict`: what may be read besides the store, such as the flake's folder.
    pub allowed_roots: Vec<PathBuf>,
    /// With `restrict`: URLs that may be fetched, with everything below them.
    pub allowed_uris: Vec<String>,
    pub store_model: StoreModel,
    /// `builtins.currentSystem`; `None` (or pure mode) leaves it out.
    pub system: Option<String>,
    /// `|>` and `<|`
    pub pipe_operators: bool,
    /// The most calls within calls.
    pub depth_max: u32,
    /// The most bytes of memory for values of this evaluator and its workers; `None` for no limit.
    pub memory_max: Option<usize>,
    /// Write `.drv`s and texts through the host; off, everything is computed and nothing is written.
    pub write: bool,
    /// `builtins.traceVerbose` prints.
    pub trace_verbose: bool,
    /// `builtins.warn` ends the evaluation.
    pub abort_on_warn: bool,
    /// What to say of literals that are better not used.
    pub lints: Lints,
    /// `fromTOML` gives dates and times as sets `{ _type = "timestamp"; value = "…"; }`; off, they are errors.
    pub toml_timestamps: bool,
    pub features: Features,
}

/// Experimental features of Nix that change what expressions can ask for. What one of them brings is absent, or an error, while
/// it is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `getFlake`, and all of `fetch_tree`
    pub flakes: bool,
    /// `fetchTree`
    pub fetch_tree: bool,
    /// `fetchClosure`, which then says that nothing here can do it.
    pub fetch_closure: bool,
    /// `outputOf`
    pub dynamic_derivations: bool,
    /// `__contentAddressed`
    pub ca_derivations: bool,
    /// `__impure`
    pub impure_derivations: bool,
    /// The hash algorithm `blake3`.
    pub blake3_hashes: bool,
    /// `exec` and `importNative`, which then say that nothing here will do it.
    pub native_code: bool,
}

impl Default for Features {
    /// Everything that works.
    fn default() -> Self {
        Features {
            flakes: true,
            fetch_tree: true,
            fetch_closure: false,
            dynamic_derivations: true,
            ca_derivations: true,
            impure_derivations: true,
            blake3_hashes: true,
            native_code: false,
        }
    }
}

impl Default for EvalOptions {
    fn default() -> Self {
        EvalOptions {
            pure: true,
            restrict: false,
            allowed_roots: Vec::new(),
            allowed_uris: Vec::new(),
            store_model: StoreModel::Native,
            system: None,
            pipe_operators: true,
            depth_max: 10_000,
            memory_max: None,
            write: true,
            trace_verbose: false,
            abort_on_warn: false,
            lints: Lints::default(),
            toml_timestamps: false,
            features: Features::default(),
        }
    }
}
