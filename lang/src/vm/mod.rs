//! The machine: forces thunks, calls functions, keeps what one evaluation knows.
//!
//! - [`run`]: the loop, calls and forcing
//! - [`frame`]: the stack of registers
//! - [`operators`]: `+`, `//`, `++` and what else needs a function
//! - [`load`]: texts and files to values
//! - [`pattern`]: arguments taken apart
//! - [`parallel`]: several threads over one evaluation
//! - [`profile`]: where the time goes
//! - [`inspect`]: what embedders ask of values

mod depth;
mod frame;
mod inspect;
mod load;
mod operators;
mod parallel;
mod pattern;
pub mod profile;
pub(crate) mod run;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use hashbrown::{HashMap, HashSet};
use model::{DerivationHashes, StorePath};
use rustc_hash::FxBuildHasher;

use crate::compile::code::Code;
use crate::compile::{File, Globals, stored};
use crate::error::{Error, Report, Result};
use crate::host::{CodeCache, EvalOptions, Host};
use crate::source::{Pos, SourceMap};
use crate::symbol::Symbol;
use crate::value::account::Account;
use crate::value::thunk::Worker;
use crate::value::{Interrupter, Value};

pub use inspect::DerivationRef;
pub use parallel::Ahead;

/// Evaluates expressions over one host. One thread uses it at a time; [`Evaluator::worker`] makes another for another
/// thread that shares all values, files and caches.
pub struct Evaluator {
    pub(crate) shared: Arc<Shared>,
    stack: frame::Stack,
    worker: Worker,
    /// Limits of the evaluation, shared with the other workers.
    pub(crate) account: Arc<Account>,
    /// Set when other workers may be forcing the same thunks.
    parallel: bool,
    /// Threads to share work with.
    pool: Option<Arc<parallel::Pool>>,
    /// Only in the evaluator that started them.
    leader: Option<parallel::Leader>,
    /// Store paths that contexts named, by their text.
    pub(crate) store_paths: HashMap<Symbol, StorePath, FxBuildHasher>,
    /// Calls under way.
    calls: u32,
    on_own_stack: bool,
    /// Lowest address of the native stack that may be used.
    native_limit: usize,
    profile: Option<Box<profile::Profile>>,
    /// What is being written as JSON was evaluated ahead, all of it.
    pub(crate) covered: bool,
}

/// What all workers of an evaluation share.
pub(crate) struct Shared {
    pub host: Arc<dyn Host>,
    pub options: EvalOptions,
    pub names: Names,
    pub globals: Arc<Globals>,
    pub sources: RwLock<SourceMap>,
    /// What pure evaluation may read: the folders of the options, and those of flakes as they are named.
    pub allowed_roots: RwLock<Vec<PathBuf>>,
    /// Folders that are no symbolic links and lie in none. Files are taken not to change during an evaluation.
    pub plain_folders: RwLock<HashSet<PathBuf, FxBuildHasher>>,
    /// Thunks of imported files, by the path as it was asked for.
    pub imports: Mutex<HashMap<Vec<u8>, Value, FxBuildHasher>>,
    /// Thunks of imported files, by resolved path.
    pub files: Mutex<HashMap<PathBuf, Value, FxBuildHasher>>,
    /// Paths copied to the store, by source path.
    pub copied: Mutex<HashMap<Vec<u8>, StorePath, FxBuildHasher>>,
    pub hashes: DerivationHashes,
    pub regexes: Mutex<HashMap<Vec<u8>, Arc<crate::text::regex::Regex>, FxBuildHasher>>,
    /// Search path entries resolved already.
    pub lookups: Mutex<HashMap<Vec<u8>, Option<PathBuf>, FxBuildHasher>>,
    pub code_cache: OnceLock<Arc<dyn CodeCache>>,
    /// Files whose code is kept for the next process, and under what.
    pub compiled: Mutex<Vec<(stored::Key, Arc<File>, &'static Code)>>,
    workers: AtomicU32,
}

pub(crate) const LOCK: &str = "no thread panics while it holds a table of the evaluator";

/// Symbols the machine itself asks for.
pub(crate) struct Names {
    pub functor: Symbol,
    pub to_string: Symbol,
    pub out_path: Symbol,
    pub drv_path: Symbol,
    pub r#type: Symbol,
    pub name: Symbol,
    pub value: Symbol,
    pub key: Symbol,
    pub outputs: Symbol,
    pub output_name: Symbol,
    pub path: Symbol,
    pub derivation: Symbol,
    pub out: Symbol,
}

impl Names {
    fn new() -> Names {
        Names {
            functor: Symbol::new(b"__functor"),
            to_string: Symbol::new(b"__toString"),
            out_path: Symbol::new(b"outPath"),
            drv_path: Symbol::new(b"drvPath"),
            r#type: Symbol::new(b"type"),
            name: Symbol::new(b"name"),
            value: Symbol::new(b"value"),
            key: Symbol::new(b"key"),
            outputs: Symbol::new(b"outputs"),
            output_name: Symbol::new(b"outputName"),
            path: Symbol::new(b"path"),
            derivation: Symbol::new(b"derivation"),
            out: Symbol::new(b"out"),
        }
    }
}

/// Numbers for workers, unique in the process since thunks may outlive evaluators.
static WORKERS: AtomicU32 = AtomicU32::new(1);

impl Evaluator {
    pub fn new(host: Arc<dyn Host>, options: EvalOptions) -> Evaluator {
        let account = Account::new(options.memory_max);
        let globals = Arc::new(crate::builtins::globals(&*host, &options));
        let mut allowed_roots = options.allowed_roots.clone();
        if options.restrict && !options.pure {
            allowed_roots.extend(host.nix_path().into_iter().map(|(_, place)| PathBuf::from(place)));
        }
        let allowed_roots = RwLock::new(allowed_roots);
        let shared = Shared {
            host,
            options,
            names: Names::new(),
            globals,
            sources: RwLock::default(),
            allowed_roots,
            plain_folders: RwLock::default(),
            imports: Mutex::default(),
            files: Mutex::default(),
            copied: Mutex::default(),
            hashes: DerivationHashes::new(),
            regexes: Mutex::default(),
            lookups: Mutex::default(),
            code_cache: OnceLock::new(),
            compiled: Mutex::default(),
            workers: AtomicU32::new(1),
        };
        Evaluator::over(Arc::new(shared), account, false)
    }

    fn over(shared: Arc<Shared>, account: Arc<Account>, parallel: bool) -> Evaluator {
        Evaluator {
            shared,
            stack: frame::Stack::new(),
            worker: Worker(WORKERS.fetch_add(1, Ordering::Relaxed)),
            account,
            parallel,
            pool: None,
            leader: None,
            store_paths: HashMap::default(),
            calls: 0,
            on_own_stack: false,
            native_limit: usize::MAX,
            profile: None,
            covered: false,
        }
    }

    /// Returns another evaluator over the same values and limits, for another thread. From now on this one expects company.
    pub fn worker(&mut self) -> Evaluator {
        self.parallel = true;
        self.shared.workers.fetch_add(1, Ordering::Relaxed);
        Evaluator::over(self.shared.clone(), self.account.clone(), true)
    }

    /// Returns a handle that ends the evaluation from another thread.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(&self.account)
    }

    /// The account, when other threads may force the same thunks.
    #[inline(always)]
    fn company(&self) -> Option<&Account> {
        if self.parallel { Some(&self.account) } else { None }
    }

    pub fn options(&self) -> &EvalOptions {
        &self.shared.options
    }

    pub fn host(&self) -> &dyn Host {
        &*self.shared.host
    }

    /// Turns an error into text and places.
    pub fn report(&self, error: &Error) -> Report {
        error.report(&self.shared.sources.read().expect(LOCK))
    }

    /// A position as `file:line:column`.
    pub(crate) fn describe_pos(&self, pos: Pos) -> String {
        let sources = self.shared.sources.read().expect(LOCK);
        match sources.locate(pos) {
            Some((source, offset)) => {
                let (line, column) = source.position(offset);
                format!("{}:{line}:{column}", crate::error::origin_name(&source.origin))
            }
            None => "«none»".to_owned(),
        }
    }

    /// File, line and column of a position.
    pub fn locate(&self, pos: Pos) -> Option<(String, u32, u32)> {
        let sources = self.shared.sources.read().expect(LOCK);
        let (source, offset) = sources.locate(pos)?;
        let (line, column) = source.position(offset);
        Some((crate::error::origin_name(&source.origin), line, column))
    }

    /// Runs `work` and stops counting its calls afterwards, also when it fails.
    pub(crate) fn fallible<T>(&mut self, work: impl FnOnce(&mut Evaluator) -> Result<T>) -> Result<T> {
        let (calls, top) = (self.calls, self.stack.top());
        let result = work(self);
        self.calls = calls;
        self.stack.reset(top);
        result
    }
}
