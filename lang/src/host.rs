//! The interface between the language and the world.
//!
//! This crate reads no file, clock or environment; the embedding program implements [`Host`]. All
//! methods are synchronous and take `&self`, since several threads may evaluate over one host.
//! Paths are *logical*: a path below the store directory of the chosen [`StoreModel`] means the
//! store object, regardless of its physical location. Pure mode is enforced here in `lang`: the
//! host receives only paths that may be read.

use crate::syntax::Lints;
use model::path::Ingestion;
use model::{Derivation, Hash, StoreModel, StorePath, StorePathName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Failure of the host to do what the language asked of it.
///
/// An error of the builder or the store passes through evaluation as it is: `cause` is that error,
/// and `code` and `help` are its own, so the embedding program can end as if it had met the error
/// without the language in between.
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
    /// Returns the word that `readDir` and source filters use.
    pub const fn name(self) -> &'static str {
        match self {
            FileType::Regular => "regular",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
            FileType::Unknown => "unknown",
        }
    }
}

/// Decides which files of a source are copied; receives the path in the source tree.
pub type SourceFilter<'a> = &'a mut dyn FnMut(&Path, FileType) -> HostResult<bool>;

/// Request for a file or a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchRequest {
    pub kind: FetchKind,
    /// Name of the store object.
    pub name: Option<String>,
    /// The hash that the result must have: of the file for [`FetchKind::File`], of the tree
    /// otherwise.
    pub expected: Option<Hash>,
    /// `url`, `rev`, `ref`, `type`, `owner` … as the expression gave them.
    pub attributes: BTreeMap<String, FetchValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchKind {
    /// `fetchurl`: the bytes of one URL.
    File,
    /// `fetchTarball`: an archive, unpacked, without its single top directory.
    Tarball,
    Git,
    Mercurial,
    /// `fetchTree` and flake inputs: the tree that the attribute `type` describes.
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
    /// `rev`, `shortRev`, `revCount`, `lastModified`, `narHash` …, those that are known.
    pub attributes: BTreeMap<String, FetchValue>,
    /// The default branch of a Git repository, such as `refs/heads/main`, when neither `ref` nor
    /// `rev` was given and it is known. Expressions do not see it; lock files store it.
    pub branch: Option<String>,
}

/// A source tree of this machine that a flake is read in place, without a copy in the
/// store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTree {
    /// An absolute path without symbolic links.
    pub root: PathBuf,
    /// True for the working tree of a Git repository: its tracked files belong to it.
    pub is_git: bool,
    /// With `is_git`: the working trees of its submodules belong to it too.
    pub submodules: bool,
}

/// A fact about a [`LocalTree`]. Each has its own cost, so each is asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalFact {
    /// Nothing. From now on, sources that are copied from the tree have its own files only.
    Opened,
    /// `lastModified` and `lastModifiedDate`; for Git also `rev` or `dirtyRev`, their short forms
    /// and `submodules`.
    Attributes,
    /// The path of the tree in the store, which it is copied to.
    StorePath,
    /// `narHash`
    NarHash,
    /// `revCount`
    RevCount,
}

/// The answer to a question for a [`LocalFact`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocalFacts {
    pub attributes: BTreeMap<String, FetchValue>,
    pub path: Option<StorePath>,
    /// Set when the tree has a `revCount`: a commit without changes, whose whole history is here.
    pub has_rev_count: bool,
    /// Set when a submodule is wanted that is not checked out, so that the tree cannot be read in
    /// place.
    pub is_incomplete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `builtins.trace`
    Trace,
    /// `builtins.warn`
    Warn,
    /// A warning of the evaluator itself, or of a fetcher.
    Warning,
}

/// Everything outside of the evaluation that expressions can see.
pub trait Host: Send + Sync {
    /// Returns the bytes of a file, following symbolic links. A file of more than `bytes_max` is
    /// [`HostErrorKind::TooLarge`], and is not read.
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>>;

    /// Passes the bytes of a file to `take` in pieces, following symbolic links. Returns an error
    /// of `take` as it is.
    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()>;

    /// Returns names and types of a directory's entries, in any order.
    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>>;

    /// Returns the type of `path` without following it (lstat); `None` when it, or a directory
    /// above it, does not exist.
    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>>;

    /// Returns the target of a symbolic link.
    fn read_link(&self, path: &Path) -> HostResult<PathBuf>;

    /// Copies a file or tree to the store, without the files that `filter` refuses. The host checks
    /// `expected`, the hash of the result.
    fn add_source(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath>;

    /// Writes a text with its references to the store, as `path`.
    fn add_text(&self, path: &StorePath, text: &[u8], references: &[StorePath]) -> HostResult<()>;

    /// Writes a `.drv`; `text` is its ATerm and `path` its name.
    fn write_derivation(&self, path: &StorePath, derivation: &Derivation, text: &[u8]) -> HostResult<()>;

    /// Reads a `.drv` back.
    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation>;

    /// Makes outputs of derivations valid, so that the evaluation can read them (import from
    /// derivation).
    fn realise(&self, wanted: &[(StorePath, Vec<String>)]) -> HostResult<()>;

    /// Makes a store path valid, by substitution if necessary.
    fn ensure_path(&self, path: &StorePath) -> HostResult<()>;

    /// Returns the references of a valid path, for `readFile` of a store object; empty when they
    /// are not known.
    fn references(&self, path: &StorePath) -> HostResult<Vec<StorePath>>;

    fn fetch(&self, request: &FetchRequest) -> HostResult<Fetched>;

    /// Returns the working tree of the Git repository that a directory belongs to, which must have
    /// no symbolic link in its path. A directory that the repository ignores does not belong to it.
    fn git_tree_of(&self, _directory: &Path) -> Option<LocalTree> {
        None
    }

    /// Returns a fact about a tree that is read in place.
    fn local(&self, tree: &LocalTree, _fact: LocalFact) -> HostResult<LocalFacts> {
        Err(HostError::unsupported(&format!("describing the tree at '{}'", tree.root.display())))
    }

    /// Returns an environment variable. Not called in pure or restricted mode.
    fn env_var(&self, name: &[u8]) -> Option<Vec<u8>>;

    /// Returns the time in seconds since 1970. Not called in pure mode.
    fn current_time(&self) -> i64;

    /// Returns the directory that `~/` means.
    fn home_dir(&self) -> Option<PathBuf>;

    /// Returns the search path for `<name>`, in order: a prefix, which may be empty, and a path or
    /// URL.
    fn nix_path(&self) -> Vec<(String, String)>;

    /// Shows a line to the user during the evaluation.
    fn message(&self, severity: Severity, text: &str);

    /// Shows a warning of the language itself, which has a position in a text.
    fn notice(&self, report: &crate::error::Report) {
        self.message(Severity::Warning, &report.message);
    }
}

/// Stores the code of files across processes. It affects the speed of an evaluation, not its
/// result: the evaluator checks the bytes, and compiles when they are missing or damaged.
pub trait CodeCache: Send + Sync {
    /// Returns the bytes stored under a key.
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>>;

    /// Stores bytes, replacing those under the same key. Errors are ignored.
    fn put(&self, rows: &[([u8; 32], Vec<u8>)]);
}

/// Settings of an evaluator.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// No environment, clock, search path, unlocked fetches, or paths outside `allowed_roots`.
    pub pure: bool,
    /// No environment, and no paths but those of `allowed_roots` and the search path, nor URLs but
    /// those of `allowed_uris`.
    pub restrict: bool,
    /// With `pure` or `restrict`: paths that may be read besides the store, such as the flake's
    /// directory.
    pub allowed_roots: Vec<PathBuf>,
    /// With `restrict`: URLs that may be fetched, together with those below them.
    pub allowed_uris: Vec<String>,
    pub store_model: StoreModel,
    /// `builtins.currentSystem`; `None` (or pure mode) leaves it out.
    pub system: Option<String>,
    /// `|>` and `<|`
    pub pipe_operators: bool,
    /// Suspends exactly the expressions that Nix suspends, so that a value printed before all of it
    /// is evaluated shows `<CODE>` where Nix does. It makes evaluation slower.
    pub exact_thunks: bool,
    /// The greatest depth of nested calls.
    pub depth_max: u32,
    /// The most bytes of memory for values of this evaluator and its workers; `None` for no limit.
    pub memory_max: Option<usize>,
    /// Write `.drv`s and texts through the host; when off, their paths are computed only.
    pub write: bool,
    /// `builtins.traceVerbose` prints.
    pub trace_verbose: bool,
    /// `builtins.warn` ends the evaluation.
    pub abort_on_warn: bool,
    /// Warnings and errors about discouraged literals.
    pub lints: Lints,
    /// `fromTOML` gives dates and times as sets `{ _type = "timestamp"; value = "…"; }`; when off,
    /// they are errors.
    pub toml_timestamps: bool,
    pub features: Features,
}

/// Experimental features of Nix that add builtins and arguments. While a feature is off, these are
/// absent or errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `getFlake`, and all of `fetch_tree`
    pub flakes: bool,
    /// `fetchTree`
    pub fetch_tree: bool,
    /// `fetchClosure`, which is then an error: closures are not copied here.
    pub fetch_closure: bool,
    /// `outputOf`
    pub dynamic_derivations: bool,
    /// `__contentAddressed`
    pub ca_derivations: bool,
    /// `__impure`
    pub impure_derivations: bool,
    /// The hash algorithm `blake3`.
    pub blake3_hashes: bool,
    /// `exec` and `importNative`, which are then errors: the evaluator refuses them.
    pub native_code: bool,
}

impl Default for Features {
    /// Returns the features that work.
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
            exact_thunks: false,
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
