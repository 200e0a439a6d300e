//! A session: one evaluator, store and builder with the settings of one user.

use crate::code_cache::CodeCache;
use crate::environment::{current_system, free_memory_bytes};
use crate::error::Error;
use crate::eval_cache::{EvalCache, Observer};
use crate::hooks::{Hooks, Reporter};
use crate::host::{StoreHost, Surroundings};
use crate::registry::LazyRegistries;
use crate::settings::{Access, Argument, EvalSettings, ExpressionSource, Settings, TextOrigin};
use crate::sources::Sources;
use builder::Builder;
use fetch::FetchConfig;
use lang::host::EvalOptions;
use lang::{Evaluator, Symbol, Value};
use model::{StoreModel, StorePath};
use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::LocalStore;

/// Everything that a command or a request evaluates and builds with.
pub struct Session {
    pub store: Arc<LocalStore>,
    pub builder: Arc<Builder>,
    evaluator: RefCell<Evaluator>,
    pub(crate) host: Arc<StoreHost>,
    /// Records the evaluator's questions to `host`.
    pub(crate) observer: Arc<Observer>,
    pub(crate) cache: EvalCache,
    pub(crate) settings: Settings,
    pub(crate) system: String,
    pub(crate) registries: Arc<LazyRegistries>,
    pub(crate) reporter: Arc<dyn Reporter>,
    /// Directories whose files the user can edit: flakes, and those of files named in the settings.
    pub(crate) editable: RefCell<Vec<PathBuf>>,
}

/// Meaning of an installable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Outputs of a derivation; an empty set means all of them.
    Derivation { drv: StorePath, outputs: BTreeSet<String> },
    /// A valid store path, which needs no build.
    Path(StorePath),
}

impl Drop for Session {
    fn drop(&mut self) {
        self.evaluator.get_mut().keep_code();
    }
}

impl Session {
    /// Opens the store and sets up an evaluator.
    ///
    /// # Errors
    /// When the store cannot be opened, threads cannot be started, or `EVAL_MIRRORS` is malformed.
    pub fn open(settings: Settings, hooks: &Hooks) -> Result<Session, Error> {
        let store = Arc::new(settings.store.open(&*hooks.reporter)?);
        let partial = store.root().join("tmp").join("partial");
        let fetch = settings.environment.fetch_config(partial, &hooks.interrupts)?;
        let fetch = FetchConfig { offline: settings.offline, ..fetch };
        let fetch = FetchConfig { offline: settings.offline, ..fetch };
        let options = builder::Options { fetch: fetch.clone(), ..settings.building.clone() };
        let (owned, events) = (store.clone(), hooks.events.clone());
        let builder = Arc::new(match &hooks.executor {
            Some(executor) => Builder::with_executor(owned, options, events, executor.clone()),
            None => Builder::new(owned, options, events),
        });
        let model = settings.evaluation.store_model;
        let registries = Arc::new(LazyRegistries::new(settings.registry.clone(), settings.environment.clone()));
        let surroundings = surroundings(&settings, hooks, fetch, &registries);
        let host = Arc::new(StoreHost::new(store.clone(), builder.clone(), model, surroundings));
        let system = settings.evaluation.system.clone().unwrap_or_else(current_system);
        let editable: Vec<PathBuf> = directory_of_source(&settings).into_iter().collect();
        let observer = Arc::new(Observer::new(host.clone()));
        let mut evaluator = Evaluator::new(observer.clone(), evaluator_options(&settings, &editable, &system));
        hooks.interrupts.watch(evaluator.interrupter());
        let EvalSettings { profile, use_caches, jobs, .. } = settings.evaluation;
        if profile {
            evaluator.start_profile();
        }
        if let Some(cache) = settings.environment.cache().filter(|_| use_caches) {
            evaluator.use_code_cache(Arc::new(CodeCache::new(cache)));
        }
        evaluator.set_jobs(if profile { 1 } else { jobs }).map_err(Error::Threads)?;
        Ok(Session {
            cache: EvalCache::new(store.root()),
            store,
            builder,
            evaluator: RefCell::new(evaluator),
            host,
            observer,
            settings,
            system,
            registries,
            reporter: hooks.reporter.clone(),
            editable: RefCell::new(editable),
        })
    }

    pub fn evaluator(&self) -> RefMut<'_, Evaluator> {
        self.evaluator.borrow_mut()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn model(&self) -> StoreModel {
        self.settings.evaluation.store_model
    }

    /// Runs `work`, and adds positions and source lines to its error.
    ///
    /// # Errors
    /// The errors of `work`.
    pub fn evaluate<T>(&self, work: impl FnOnce(&mut Evaluator) -> lang::Result<T>) -> Result<T, Error> {
        let mut evaluator = self.evaluator();
        match evaluator.on_large_stack(work) {
            Ok(value) => Ok(value),
            Err(error) => Err(Error::Evaluation(Box::new(evaluator.report(&error)))),
        }
    }

    /// Ends the recording of a profile, and returns its stacks with their milliseconds, in the
    /// format that flame graph programs read.
    pub fn take_profile(&self) -> String {
        self.evaluator().folded_profile()
    }

    /// Writes the derivations made so far, so that they can be read and built.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub fn write_derivations(&self) -> Result<(), Error> {
        if self.settings.evaluation.warn_dirty {
            self.observer.warn_of_changes();
        }
        Ok(self.host.write_derivations()?)
    }

    /// Evaluates the expression of the settings, and calls it with their arguments when it is a
    /// function.
    ///
    /// # Errors
    /// When there is none, or it does not evaluate.
    pub(crate) fn source_value(&self, arguments: &[(Symbol, Value)]) -> Result<Value, Error> {
        let directory = &self.settings.directory;
        let value = match &self.settings.evaluation.source {
            ExpressionSource::Flake => return Err(Error::NothingToEvaluate),
            ExpressionSource::File(file) => {
                let path = directory.join(file);
                self.evaluate(|evaluator| evaluator.eval_file(&path))?
            }
            ExpressionSource::Text { text, origin } => {
                self.evaluate(|evaluator| evaluator.eval_text(text, (*origin).into(), directory))?
            }
        };
        self.evaluate(|evaluator| evaluator.auto_call(value, arguments))
    }

    /// Returns the values of `--arg` and `--argstr`.
    ///
    /// # Errors
    /// When one does not evaluate.
    pub(crate) fn arguments(&self) -> Result<Vec<(Symbol, Value)>, Error> {
        let mut arguments = Vec::new();
        for (name, argument) in &self.settings.evaluation.arguments {
            let value = match argument {
                Argument::Text(text) => Value::string(text.as_bytes()),
                Argument::Expression(text) => {
                    let origin = lang::source::Origin::CommandLine;
                    let directory = &self.settings.directory;
                    self.evaluate(|evaluator| evaluator.eval_text(text.as_bytes(), origin, directory))?
                }
            };
            arguments.push((Symbol::new(name.as_bytes()), value));
        }
        Ok(arguments)
    }

    /// Returns the files that the user can edit, as far as they are known by now.
    pub fn editable(&self) -> EditableFiles {
        EditableFiles(self.editable.borrow().as_slice().into())
    }
}

/// Directories whose files the user can edit.
#[derive(Debug, Clone, Default)]
pub struct EditableFiles(Arc<[PathBuf]>);

impl EditableFiles {
    /// Returns `file:line` of each occurrence of a hash, in order; of the empty hash, of each
    /// attribute for a hash that is empty.
    pub fn occurrences_of(&self, hash: &str) -> Vec<String> {
        let occurs = |line: &str| if hash.is_empty() { has_empty_hash(line) } else { line.contains(hash) };
        const FILE_LEN_MAX: u64 = 16 << 20;
        let mut places = Vec::new();
        let mut directories = self.0.to_vec();
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let (path, hidden) = (entry.path(), entry.file_name().as_encoded_bytes().starts_with(b"."));
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() && !hidden && entry.file_name() != "target" {
                    directories.push(path);
                } else if kind.is_file()
                    && path.extension().is_some_and(|extension| extension == "nix" || extension == "json")
                    && entry.metadata().is_ok_and(|meta| meta.len() <= FILE_LEN_MAX)
                    && let Ok(content) = std::fs::read_to_string(&path)
                {
                    let lines = content.lines().enumerate().filter(|(_, line)| occurs(line));
                    places.extend(lines.map(|(number, _)| format!("{}:{}", path.display(), number + 1)));
                }
            }
        }
        places.sort();
        // One directory may be below another.
        places.dedup();
        places
    }
}

/// Returns true for a line such as `hash = "";`, in the language or in JSON.
fn has_empty_hash(line: &str) -> bool {
    let dense: String = line.split_whitespace().collect();
    ["ash", "sha256", "sha512", "sha1", "md5"]
        .iter()
        .any(|name| dense.contains(&format!("{name}=\"\"")) || dense.contains(&format!("{name}\":\"\"")))
}

fn surroundings(
    settings: &Settings,
    hooks: &Hooks,
    fetch: FetchConfig,
    registries: &Arc<LazyRegistries>,
) -> Surroundings {
    let sources = settings.environment.cache().map(|cache| {
        let sources = Sources::new(cache, hooks.reporter.clone(), move || fetch.clone());
        let sources = sources.with_registries(registries.clone()).offline(settings.offline);
        let sources = sources.warning_of_changes(settings.evaluation.warn_dirty);
        if settings.evaluation.refresh { sources.refreshed() } else { sources }
    });
    Surroundings {
        environment: settings.environment.clone(),
        search_path: settings.search_path(),
        sources,
        reporter: hooks.reporter.clone(),
        interrupts: hooks.interrupts.clone(),
    }
}

/// Returns the directory of the file that the settings name; that of standard input is the
/// session's.
fn directory_of_source(settings: &Settings) -> Option<PathBuf> {
    let file = match &settings.evaluation.source {
        ExpressionSource::File(file) => settings.directory.join(file).components().collect::<PathBuf>(),
        ExpressionSource::Text { origin: TextOrigin::StandardInput, .. } => return Some(settings.directory.clone()),
        ExpressionSource::Text { .. } | ExpressionSource::Flake => return None,
    };
    Some(if file.is_dir() { file } else { file.parent().unwrap_or(Path::new("/")).to_owned() })
}

fn evaluator_options(settings: &Settings, editable: &[PathBuf], system: &str) -> EvalOptions {
    let EvalSettings { access, store_model, memory_max_bytes, .. } = &settings.evaluation;
    let (restrict, allowed_uris) = match access {
        Access::Restricted { uris } => (true, uris.clone()),
        Access::Pure | Access::Impure => (false, Vec::new()),
    };
    // A file that the user names may read the files beside it, wherever it is. Nothing else follows
    // from the directory that the user is in.
    let allowed_roots = if restrict { Vec::new() } else { editable.to_vec() };
    EvalOptions {
        pure: *access == Access::Pure,
        restrict,
        allowed_roots,
        allowed_uris,
        store_model: *store_model,
        system: Some(system.to_owned()),
        memory_max: memory_max_bytes.or_else(free_memory_bytes),
        ..EvalOptions::default()
    }
}
