//! The machine: forces thunks, calls functions, holds the state of an evaluation.
//!
//! - [`run`]: the loop, and forcing; [`call`]: calls
//! - [`frame`]: the stack of registers
//! - [`operators`]: `+`, `//`, `++` and other operators of more than a few instructions
//! - [`coerce`], [`compare`], [`print`], [`display`]: values to strings, order, text
//! - [`load`]: texts and files to values
//! - [`builtin`]: functions written in Rust; the table of them comes with the [`Globals`]
//! - [`pattern`]: binding of formals
//! - [`depth`]: limits of recursion
//! - [`parallel`]: several threads over one evaluation
//! - [`profile`]: account of the time
//! - [`inspect`]: queries of embedders about values
//!
//! # Soundness
//!
//! The values ([`crate::value`]) and the machine access memory unchecked. Their safe functions, and
//! the `unsafe` blocks in them, rely on these duties:
//!
//! 1. *A register is in its frame, and is written before it is read.* Kept by the compiler, which
//!    numbers the registers of each function ([`crate::compile`]). Debug builds check every access
//!    ([`frame`]).
//! 2. *Code ends in a return or tail call on every path, and jumps stay within it.* Kept by the
//!    compiler. Operations from the code cache are those that it wrote: a checksum detects damage,
//!    and the cache is as trusted as the program.
//! 3. *An object made unfilled is filled before anything runs it.* Kept by the compiler for
//!    recursive bindings and large sets and lists. Builtins fill a thunk through a claim
//!    ([`Evaluator::fill_thunk`]), which is safe at any time.
//! 4. *The words of captures go back to the heap when their thunk is finished, and only then.* Kept
//!    by the type [`Claimed`](crate::value::thunk::Claimed): one worker at a time has a claim, and
//!    finishing consumes it.
//! 5. *All other words, code and shapes are never freed.* So references to them are `'static`, and
//!    addresses are keys.
//! 6. *A value is used with the evaluator that made it, and with its workers.* Kept by embedders:
//!    an evaluator without workers forces thunks without synchronisation.
//!
//! `tests/soundness/run` checks the values with Miri, and the parallel tests with the thread
//! sanitizer.

mod builtin;
mod call;
mod coerce;
mod compare;
mod depth;
pub mod display;
mod frame;
pub(crate) mod inspect;
mod load;
mod operators;
mod parallel;
mod pattern;
mod print;
pub mod profile;
pub(crate) mod run;

use crate::compile::code::Code;
use crate::compile::{File, Globals, stored};
use crate::error::{Error, Report, Result};
use crate::host::{CodeCache, EvalOptions, Host, LocalTree};
use crate::source::{Pos, SourceMap};
use crate::symbol::Symbol;
use crate::value::account::Account;
use crate::value::thunk::Worker;
use crate::value::{Interrupter, Value};
use hashbrown::{HashMap, HashSet};
use model::{DerivationHashes, StorePath};
use rustc_hash::FxBuildHasher;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

pub use builtin::Builtin;
pub(crate) use coerce::Coercion;
pub use inspect::DerivationRef;
pub use parallel::Ahead;

/// Evaluates expressions over one host. One thread uses it at a time; [`Evaluator::worker`] makes
/// another one for another thread, which shares all values, files, caches and limits.
///
/// Values belong to the evaluator that made them, and to its workers: no other evaluator may use
/// them.
pub struct Evaluator {
    pub(crate) shared: Arc<Evaluation>,
    /// The table of builtins.
    builtins: &'static [Builtin],
    stack: frame::Stack,
    worker: Worker,
    /// Limits of the evaluation, shared with the other workers.
    pub(crate) account: Arc<Account>,
    /// Set when other workers may be forcing the same thunks.
    parallel: bool,
    /// Threads that share the work.
    pool: Option<Arc<parallel::Pool>>,
    /// Set in the evaluator that started the threads.
    leader: Option<parallel::Leader>,
    /// Store paths of contexts, by their text.
    pub(crate) store_paths: HashMap<Symbol, StorePath, FxBuildHasher>,
    /// Calls under way.
    calls: u32,
    on_own_stack: bool,
    /// Lowest address of the native stack that may be used.
    native_limit: usize,
    profile: Option<Box<profile::Profile>>,
    /// Set while a value is written as JSON that was evaluated ahead as a whole.
    pub(crate) covered: bool,
}

/// State that all workers of an evaluation share.
pub(crate) struct Evaluation {
    pub host: Arc<dyn Host>,
    pub options: EvalOptions,
    pub names: Names,
    pub globals: Arc<Globals>,
    pub sources: RwLock<SourceMap>,
    /// Directories that pure evaluation may read: those of the options, and those of flakes once
    /// they are named.
    pub allowed_roots: RwLock<Vec<PathBuf>>,
    /// Trees of flakes that are read in place.
    pub local_trees: RwLock<Vec<LocalTree>>,
    /// Warnings about flakes that were shown.
    pub warned: Mutex<HashSet<String, FxBuildHasher>>,
    /// Directories whose path has no symbolic link. Files are assumed not to change during an
    /// evaluation.
    pub plain_directories: RwLock<HashSet<PathBuf, FxBuildHasher>>,
    /// Thunks of imported files, by the path given to `import`.
    pub imports: Mutex<HashMap<Vec<u8>, Value, FxBuildHasher>>,
    /// Thunks of imported files, by resolved path.
    pub files: Mutex<HashMap<PathBuf, Value, FxBuildHasher>>,
    /// Paths copied to the store, by source path.
    pub copied: Mutex<HashMap<Vec<u8>, StorePath, FxBuildHasher>>,
    pub hashes: DerivationHashes,
    pub regexes: Mutex<HashMap<Vec<u8>, Arc<crate::text::regex::Regex>, FxBuildHasher>>,
    /// Resolved search path entries.
    pub lookups: Mutex<HashMap<Vec<u8>, Option<PathBuf>, FxBuildHasher>>,
    /// Texts that replace the lock files of flakes, by the directory.
    pub flake_locks: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    pub code_cache: OnceLock<Arc<dyn CodeCache>>,
    /// Files whose code is kept for the next process, with its key.
    pub compiled: Mutex<Vec<(stored::Key, Arc<File>, &'static Code)>>,
    workers: AtomicU32,
}

pub(crate) const LOCK: &str = "no thread panics while it holds a table of the evaluator";

/// Symbols that the machine itself uses.
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
    /// Makes an evaluator whose texts have these names in scope.
    pub(crate) fn with_globals(host: Arc<dyn Host>, options: EvalOptions, globals: Globals) -> Evaluator {
        let account = Account::new(options.memory_max);
        let globals = Arc::new(globals);
        let mut allowed_roots = options.allowed_roots.clone();
        if options.restrict && !options.pure {
            allowed_roots.extend(host.nix_path().into_iter().map(|(_, entry)| PathBuf::from(entry)));
        }
        let allowed_roots = RwLock::new(allowed_roots);
        let shared = Evaluation {
            host,
            options,
            names: Names::new(),
            globals,
            sources: RwLock::default(),
            allowed_roots,
            local_trees: RwLock::default(),
            warned: Mutex::default(),
            plain_directories: RwLock::default(),
            imports: Mutex::default(),
            files: Mutex::default(),
            copied: Mutex::default(),
            hashes: DerivationHashes::new(),
            regexes: Mutex::default(),
            lookups: Mutex::default(),
            flake_locks: Mutex::default(),
            code_cache: OnceLock::new(),
            compiled: Mutex::default(),
            workers: AtomicU32::new(1),
        };
        Evaluator::over(Arc::new(shared), account, false)
    }

    fn over(shared: Arc<Evaluation>, account: Arc<Account>, parallel: bool) -> Evaluator {
        Evaluator {
            builtins: shared.globals.table,
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

    /// Returns another evaluator over the same values and limits, for another thread. From now on
    /// both synchronise.
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

    /// Returns the builtin with an index in the table.
    #[inline(always)]
    pub(crate) fn builtin(&self, index: usize) -> &'static Builtin {
        &self.builtins[index]
    }

    pub fn options(&self) -> &EvalOptions {
        &self.shared.options
    }

    pub fn host(&self) -> &dyn Host {
        &*self.shared.host
    }

    /// Turns an error into text and positions.
    pub fn report(&self, error: &Error) -> Report {
        error.report(&self.shared.sources.read().expect(LOCK))
    }

    /// Returns a position as `file:line:column`.
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

    /// Returns file, line and column of a position.
    pub fn locate(&self, pos: Pos) -> Option<(String, u32, u32)> {
        let sources = self.shared.sources.read().expect(LOCK);
        let (source, offset) = sources.locate(pos)?;
        let (line, column) = source.position(offset);
        Some((crate::error::origin_name(&source.origin), line, column))
    }

    /// Runs `work` and resets the count of calls and the stack of registers afterwards, also when
    /// it fails.
    pub(crate) fn fallible<T>(&mut self, work: impl FnOnce(&mut Evaluator) -> Result<T>) -> Result<T> {
        let (calls, top) = (self.calls, self.stack.top());
        let result = work(self);
        self.calls = calls;
        self.stack.reset(top);
        result
    }
}
