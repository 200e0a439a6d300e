//! Settings of a session as plain data. The command makes them from its flags, a service from its
//! requests.

use crate::environment::Environment;
use crate::hooks::Reporter;
use crate::registry::RegistrySettings;
use lang::flake::{FlakeRef, InputPath};
use lang::source::Origin;
use model::StoreModel;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use store::{Durability, LocalStore, OpenOptions, StoreError};

/// Everything that decides what a session does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Absolute directory that relative paths start from.
    pub directory: PathBuf,
    pub environment: Environment,
    /// Executable that evaluates. Its status is part of the evaluation cache's keys, so that
    /// another build of it does not reuse results of this one.
    pub program: Option<PathBuf>,
    pub store: StoreSettings,
    pub evaluation: EvalSettings,
    pub locks: LockSettings,
    pub registry: RegistrySettings,
    /// Use the network for nothing: what is neither in the store nor in a cache is an error.
    pub offline: bool,
    /// Limits and priorities of builds. Its `fetch` is replaced by what `environment` says.
    pub building: builder::Options,
}

#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Physical root of the store.
    pub root: PathBuf,
    pub durability: Durability,
}

impl StoreSettings {
    pub fn options(&self) -> OpenOptions {
        OpenOptions { durability: self.durability }
    }

    /// Opens the store, and creates it if it does not exist.
    ///
    /// Warns when another user could replace what root builds and delivers. This is not an error:
    /// in containers and on machines with one user, root commonly works in the directory of
    /// another.
    ///
    /// # Errors
    /// When the store cannot be created or opened.
    pub fn open(&self, reporter: &dyn Reporter) -> Result<LocalStore, StoreError> {
        let store = LocalStore::open_with(&self.root, self.options())?;
        if os::public::is_root()
            && let Some(exposure) = os::public::exposure(&self.root)
        {
            let advice = "set EVAL_ROOT to a directory that only root can write, such as /eval";
            reporter.warning(&format!("{exposure}; {advice}"));
        }
        Ok(store)
    }
}

/// Treatment of the lock files of the flakes that a command uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LockSettings {
    pub mode: LockMode,
    /// References that inputs have instead of those that are declared, by their path. The lock file
    /// stays as it is then.
    pub overrides: BTreeMap<InputPath, FlakeRef>,
    /// Inputs to look up again.
    pub update: BTreeSet<InputPath>,
    /// Look all inputs up again.
    pub recreate: bool,
}

/// Treatment of inputs that are not locked, or are locked otherwise than they are declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockMode {
    /// Lock them, and write the lock file.
    #[default]
    Write,
    /// Lock them for this command only.
    Memory,
    /// Refuse them.
    Locked,
}

/// Settings of the evaluator.
#[derive(Debug, Clone)]
pub struct EvalSettings {
    pub source: ExpressionSource,
    /// Attribute paths of `source` to take, besides those named as installables.
    pub attributes: Vec<String>,
    /// Arguments for a function that `source` evaluates to.
    pub arguments: Vec<(String, Argument)>,
    /// Entries `[NAME=]PATH` of the search path, before those of `NIX_PATH`.
    pub search_path: Vec<String>,
    pub access: Access,
    pub store_model: StoreModel,
    /// System of flakes' outputs and of `builtins.currentSystem`; `None` for that of this machine.
    pub system: Option<String>,
    /// Most bytes of memory for values; `None` for nine tenths of the memory that is free.
    pub memory_max_bytes: Option<usize>,
    /// Threads to evaluate with. The result does not depend on their number.
    pub jobs: usize,
    /// Reuse results and bytecode of earlier evaluations.
    pub use_caches: bool,
    /// Resolve URLs and branches again, even those resolved within the last hour.
    pub refresh: bool,
    /// Warn about files of Git trees that are used and differ from the last commit, or are not
    /// tracked.
    pub warn_dirty: bool,
    /// Record stacks for [`Session::take_profile`](crate::Session::take_profile). Turns the caches
    /// and further threads off, whose work would not be seen.
    pub profile: bool,
}

impl Default for EvalSettings {
    fn default() -> EvalSettings {
        EvalSettings {
            source: ExpressionSource::default(),
            attributes: Vec::new(),
            arguments: Vec::new(),
            search_path: Vec::new(),
            access: Access::default(),
            store_model: StoreModel::default(),
            system: None,
            memory_max_bytes: None,
            jobs: 1,
            use_caches: true,
            refresh: false,
            warn_dirty: true,
            profile: false,
        }
    }
}

/// Source of the expression that attributes are taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExpressionSource {
    /// No expression: installables are flake outputs and store paths.
    #[default]
    Flake,
    /// A file, relative to the session's directory.
    File(PathBuf),
    /// A text, with its origin for messages.
    Text { text: Vec<u8>, origin: TextOrigin },
}

/// Origin of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextOrigin {
    CommandLine,
    StandardInput,
}

impl From<TextOrigin> for Origin {
    fn from(origin: TextOrigin) -> Origin {
        match origin {
            TextOrigin::CommandLine => Origin::CommandLine,
            TextOrigin::StandardInput => Origin::StandardInput,
        }
    }
}

/// Value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    Expression(String),
    Text(String),
}

/// Extent of the world that an expression sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// The tree of a flake and its locked inputs, the directory of a file that the user names, and
    /// the store; no clock and no environment.
    #[default]
    Pure,
    /// The clock, the environment and every path.
    Impure,
    /// The search path only, no environment, and the URLs below `uris`.
    Restricted { uris: Vec<String> },
}

/// Splits an entry `[NAME=]PATH` of the search path; makes a path absolute, and leaves a URL as it
/// is.
pub fn search_path_entry(entry: &str, directory: &Path) -> (String, String) {
    let (name, place) = entry.split_once('=').unwrap_or(("", entry));
    let is_url = place.contains("://") || place.starts_with("channel:") || place.starts_with("flake:");
    let place = if is_url { place.to_owned() } else { directory.join(place).to_string_lossy().into_owned() };
    (name.to_owned(), place)
}

impl Settings {
    /// Returns the search path: entries of the settings before those of `NIX_PATH`, which an impure
    /// evaluation sees.
    pub fn search_path(&self) -> Vec<(String, String)> {
        let own = self.evaluation.search_path.iter().map(String::as_str);
        let variable = match self.evaluation.access {
            Access::Impure => self.environment.text("NIX_PATH").unwrap_or_default(),
            Access::Pure | Access::Restricted { .. } => "",
        };
        let entries = own.chain(variable.split(':').filter(|entry| !entry.is_empty()));
        entries.map(|entry| search_path_entry(entry, &self.directory)).collect()
    }
}
