//! From what the user names to values and derivations: one session of evaluator, store and builder.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use builder::{Builder, EventSink};
use lang::flake::FlakeRef;
use lang::host::EvalOptions;
use lang::source::Origin;
use lang::symbol::Symbol;
use lang::{Evaluator, Value};
use serde::{Deserialize, Serialize};
use store::tree::Digest;
use store::{LocalStore, StoreModel, StorePath};

use crate::cli::{Building, Global, ProgressStyle, Source};
use crate::config;
use crate::eval_cache::{self, EvalCache, Observer};
use crate::host::StoreHost;
use crate::installable::{FlakeAttr, Installable, Outputs};
use crate::report::Failure;
use crate::sources::Sources;

/// Everything a command that evaluates works with.
pub struct Session {
    pub store: Arc<LocalStore>,
    pub builder: Arc<Builder>,
    evaluator: RefCell<Evaluator>,
    host: Arc<StoreHost>,
    /// Stands between the evaluator and the host.
    observer: Arc<Observer>,
    cache: EvalCache,
    /// Where the profile of the evaluation goes in the end.
    profile: Option<PathBuf>,
    cwd: PathBuf,
    system: String,
    model: StoreModel,
    /// Folders whose files the user can edit: flakes, folders of `-f` files.
    folders: RefCell<Vec<PathBuf>>,
}

/// What an installable came to.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Outputs of a derivation; no names for all of them.
    Derivation { drv: StorePath, outputs: BTreeSet<String> },
    /// A store path that nothing has to be built for.
    Path(StorePath),
}

/// The same, as the evaluation cache writes it down.
#[derive(Debug, Serialize, Deserialize)]
enum WantedRecord {
    Derivation { drv: String, outputs: BTreeSet<String> },
    Path(String),
}

impl Wanted {
    fn to_record(&self) -> WantedRecord {
        match self {
            Wanted::Derivation { drv, outputs } => {
                WantedRecord::Derivation { drv: drv.to_string(), outputs: outputs.clone() }
            }
            Wanted::Path(path) => WantedRecord::Path(path.to_string()),
        }
    }

    fn from_record(record: WantedRecord) -> Option<Wanted> {
        Some(match record {
            WantedRecord::Derivation { drv, outputs } => {
                Wanted::Derivation { drv: StorePath::parse(&drv).ok()?, outputs }
            }
            WantedRecord::Path(path) => Wanted::Path(StorePath::parse(&path).ok()?),
        })
    }

    fn path(&self) -> &StorePath {
        match self {
            Wanted::Derivation { drv: path, .. } | Wanted::Path(path) => path,
        }
    }
}

/// How evaluations of a command differ from the usual.
#[derive(Default)]
pub struct Mode {
    pub model: StoreModel,
    /// Build again what is valid.
    pub rebuild: bool,
    /// Ask what URLs and branches are, even those asked for in the last hour.
    pub anew: bool,
}

/// What a profile's numbers count.
const PROFILE_TICK: std::time::Duration = std::time::Duration::from_millis(1);

impl Drop for Session {
    fn drop(&mut self) {
        self.evaluator.get_mut().keep_code();
        let Some(file) = &self.profile else { return };
        if let Err(cause) = std::fs::write(file, self.evaluator.get_mut().folded_profile()) {
            Failure::io("cannot write", file, cause).print(false);
        }
    }
}

impl Session {
    /// # Errors
    /// When the store cannot be opened or an option makes no sense.
    pub fn open(
        global: &Global,
        source: &Source,
        building: &Building,
        mode: &Mode,
        sink: Arc<dyn EventSink>,
    ) -> Result<Session, Failure> {
        let store = Arc::new(config::open_store(global)?);
        let cwd = std::env::current_dir()
            .map_err(|cause| Failure::io("cannot tell", Path::new("the current folder"), cause))?;
        let fetch = config::fetch_config(&store)?;
        let for_sources = fetch.clone();
        let builder = Arc::new(Builder::new(store.clone(), building.options(mode.rebuild, fetch), sink));
        let sources = config::cached_sources(global.progress != ProgressStyle::None, move || for_sources.clone());
        let sources = if mode.anew { sources.map(Sources::asking_anew) } else { sources };
        let host = Arc::new(StoreHost::new(store.clone(), builder.clone(), mode.model, search_path(source), sources));
        let system = config::current_system();
        let mut folders = Vec::new();
        let mut allowed_roots = Vec::new();
        if let Some(file) = &source.file {
            let file = std::path::absolute(cwd.join(file))
                .map_err(|cause| Failure::io("cannot make absolute", file, cause))?;
            folders.push(if file.is_dir() { file } else { file.parent().unwrap_or(Path::new("/")).to_owned() });
        }
        // A file or an expression that the user names may read what stands beside it, wherever it is.
        allowed_roots.extend(folders.iter().cloned());
        allowed_roots.push(cwd.clone());
        let options = EvalOptions {
            pure: !source.impure && !source.restrict,
            restrict: source.restrict,
            allowed_roots: if source.restrict { Vec::new() } else { allowed_roots },
            allowed_uris: source.allowed_uris.clone(),
            store_model: mode.model,
            system: Some(system.clone()),
            memory_max: global.max_eval_memory.or_else(config::free_memory_bytes),
            ..EvalOptions::default()
        };
        let observer = Arc::new(Observer::new(host.clone()));
        let cache = EvalCache::new(store.root());
        let mut evaluator = Evaluator::new(observer.clone(), options);
        let profile = global.eval_profile.clone();
        if profile.is_some() {
            evaluator.start_profile();
            std::thread::spawn(|| {
                loop {
                    std::thread::sleep(PROFILE_TICK);
                    lang::tick();
                }
            });
        }
        if let Some(cache) = config::code_cache().filter(|_| !source.no_eval_cache) {
            evaluator.use_code_cache(Arc::new(cache));
        }
        // Helpers would do the work unseen.
        let jobs = if profile.is_some() { 1 } else { source.eval_jobs };
        evaluator
            .set_jobs(jobs)
            .map_err(|cause| Failure::new(format!("cannot start threads to evaluate with: {cause}")))?;
        let evaluator = RefCell::new(evaluator);
        Ok(Session {
            store,
            builder,
            evaluator,
            host,
            observer,
            cache,
            profile,
            cwd,
            system,
            model: mode.model,
            folders: RefCell::new(folders),
        })
    }

    /// A session that shows no progress.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn quiet(global: &Global, source: &Source, building: &Building) -> Result<Session, Failure> {
        Session::open(global, source, building, &Mode::default(), Arc::new(builder::Silent))
    }

    pub fn evaluator(&self) -> RefMut<'_, Evaluator> {
        self.evaluator.borrow_mut()
    }

    /// Runs `work` and gives its error places and source lines.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn evaluate<T>(&self, work: impl FnOnce(&mut Evaluator) -> lang::error::Result<T>) -> Result<T, Failure> {
        let mut evaluator = self.evaluator();
        match evaluator.on_large_stack(work) {
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::from(evaluator.report(&error))),
        }
    }

    /// Finds out what `names` (and `-A`) mean.
    ///
    /// # Errors
    /// When something does not exist, does not evaluate, or is nothing that can be built.
    pub fn resolve(&self, source: &Source, names: &[String]) -> Result<Vec<Wanted>, Failure> {
        let installables = self.installables(source, names)?;
        let key = self.cache_key(source, &installables);
        if let Some(wanted) = key.and_then(|key| self.remembered(&key)) {
            self.folders.borrow_mut().extend(installables.iter().filter_map(|installable| match installable {
                Installable::Flake { reference, .. } => reference.local_path().map(PathBuf::from),
                _ => None,
            }));
            return Ok(wanted);
        }
        let mut wanted = Vec::new();
        for installable in &installables {
            match installable {
                Installable::StorePath { path, outputs } => wanted.push(self.store_path(path, outputs)?),
                Installable::Flake { outputs, .. } | Installable::Attr { outputs, .. } => {
                    let value = self.value(source, installable)?;
                    self.wanted_of(value, outputs, &describe(installable), &mut wanted)?;
                }
            }
        }
        self.write_derivations()?;
        if let (Some(key), Some(seen)) = (key, self.observer.seen()) {
            self.cache.remember(&key, seen, wanted.iter().map(Wanted::to_record).collect::<Vec<_>>());
        }
        Ok(wanted)
    }

    /// What decides the evaluation of `installables`, besides what it sees of the world; nothing when it cannot be
    /// remembered, or should not.
    fn cache_key(&self, source: &Source, installables: &[Installable]) -> Option<Digest> {
        let standard_input = source.file.as_ref().is_some_and(|file| file.as_os_str() == "-");
        let evaluated = installables.iter().all(|installable| !matches!(installable, Installable::StorePath { .. }));
        if source.no_eval_cache || self.profile.is_some() || standard_input || !evaluated {
            return None;
        }
        // With any number of threads the result is the same.
        let source = Source { eval_jobs: 1, ..source.clone() };
        let search_path = search_path(&source);
        Some(eval_cache::key(&format!(
            "{:?} {} {source:?} {search_path:?} {:?} {installables:?}",
            self.model, self.system, self.cwd
        )))
    }

    /// The remembered result under `key`, kept from collection, if all of it is still there.
    fn remembered(&self, key: &Digest) -> Option<Vec<Wanted>> {
        let records: Vec<WantedRecord> = self.cache.look_up(key, &self.host)?;
        let wanted: Vec<Wanted> = records.into_iter().map(Wanted::from_record).collect::<Option<_>>()?;
        if self.model == StoreModel::Native {
            let paths = || wanted.iter().map(|wanted| wanted.path().clone());
            // First rooted, then looked for: what is there stays.
            self.store.temp_roots(paths()).ok()?;
            let valid = self.store.valid_among(paths()).ok()?;
            if !wanted.iter().all(|wanted| valid.contains(wanted.path())) {
                return None;
            }
        }
        Some(wanted)
    }

    /// Writes the derivations that were made so far, so that they can be read and built.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub fn write_derivations(&self) -> Result<(), Failure> {
        Ok(self.host.write_derivations()?)
    }

    /// Parses the arguments of a command, together with the attributes given by `-A`.
    ///
    /// # Errors
    /// When one cannot be understood.
    pub fn installables(&self, source: &Source, names: &[String]) -> Result<Vec<Installable>, Failure> {
        let attr_mode = source.file.is_some() || source.expr.is_some();
        if !attr_mode && !source.attr.is_empty() {
            return Err(Failure::usage(
                "`-A` takes attributes of a file or an expression: give one with `-f` or `--expr`",
            ));
        }
        let mut texts: Vec<&str> = source.attr.iter().map(String::as_str).collect();
        texts.extend(names.iter().map(String::as_str).filter(|name| !attr_mode || *name != "."));
        if texts.is_empty() {
            texts.push(if attr_mode { "" } else { "." });
        }
        texts.into_iter().map(|text| Ok(Installable::parse(text, attr_mode, &self.cwd)?)).collect()
    }

    /// Evaluates what an installable names to head form.
    ///
    /// # Errors
    /// When it does not exist or does not evaluate.
    pub fn value(&self, source: &Source, installable: &Installable) -> Result<Value, Failure> {
        match installable {
            Installable::Flake { reference, attr, .. } => self.flake_value(reference, attr),
            Installable::Attr { path, .. } => {
                let root = self.source_value(source)?;
                self.evaluate(|evaluator| evaluator.select_path(root, path))
            }
            Installable::StorePath { path, .. } => {
                Err(Failure::usage(format!("`{}` is a store path, and an expression is wanted here", path.display())))
            }
        }
    }

    fn flake_value(&self, reference: &FlakeRef, attr: &FlakeAttr) -> Result<Value, Failure> {
        self.folders.borrow_mut().extend(reference.local_path().map(PathBuf::from));
        let outputs = self.evaluate(|evaluator| evaluator.eval_flake(reference))?;
        let candidates = attr.candidates(&self.system);
        for candidate in &candidates {
            if let Some(value) = self.evaluate(|evaluator| select(evaluator, outputs, candidate))? {
                return Ok(value);
            }
        }
        let shown = candidates.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
        let place = match (reference.local_path(), reference.text("dir")) {
            (Some(path), None) => path.to_owned(),
            _ => reference.to_url().unwrap_or_default(),
        };
        let failure = Failure::new(format!("the flake at `{place}` has no {shown}"));
        Err(match self.similar_output(outputs, attr) {
            Some(name) => failure.help(format!("did you mean `{name}`?")),
            None => failure,
        })
    }

    fn similar_output(&self, outputs: Value, attr: &FlakeAttr) -> Option<String> {
        let FlakeAttr::Search(wanted) = attr else { return None };
        let packages = format!("packages.{}", self.system);
        let mut evaluator = self.evaluator();
        let packages = evaluator.select_path(outputs, &packages).ok()?;
        let names: Vec<String> =
            packages.as_attrs()?.iter().map(|attr| String::from_utf8_lossy(attr.name.name()).into_owned()).collect();
        lang::error::suggest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The value of `-f` or `--expr`, called with `--arg`s when it is a function.
    fn source_value(&self, source: &Source) -> Result<Value, Failure> {
        let arguments = self.arguments(source)?;
        let value = match (&source.file, &source.expr) {
            (Some(file), _) if file.as_os_str() == "-" => {
                let mut text = Vec::new();
                std::io::Read::read_to_end(&mut std::io::stdin(), &mut text)
                    .map_err(|cause| Failure::io("cannot read", Path::new("standard input"), cause))?;
                self.evaluate(|evaluator| evaluator.eval_text(&text, Origin::StandardInput, &self.cwd))?
            }
            (Some(file), _) => {
                let path = self.cwd.join(file);
                self.evaluate(|evaluator| evaluator.eval_file(&path))?
            }
            (None, Some(expr)) => {
                self.evaluate(|evaluator| evaluator.eval_text(expr.as_bytes(), Origin::CommandLine, &self.cwd))?
            }
            (None, None) => return Err(Failure::usage("nothing to evaluate: give `-f FILE` or `--expr EXPRESSION`")),
        };
        self.evaluate(|evaluator| evaluator.auto_call(value, &arguments))
    }

    fn arguments(&self, source: &Source) -> Result<Vec<(Symbol, Value)>, Failure> {
        let mut arguments = Vec::new();
        for pair in source.arg.chunks_exact(2) {
            let value =
                self.evaluate(|evaluator| evaluator.eval_text(pair[1].as_bytes(), Origin::CommandLine, &self.cwd))?;
            arguments.push((Symbol::new(pair[0].as_bytes()), value));
        }
        for pair in source.argstr.chunks_exact(2) {
            arguments.push((Symbol::new(pair[0].as_bytes()), Value::string(pair[1].as_bytes())));
        }
        Ok(arguments)
    }

    /// What a value stands for that can be built; `name` is for messages.
    ///
    /// # Errors
    /// When it is nothing that can be built, or does not evaluate.
    pub fn wanted_of(
        &self,
        value: Value,
        outputs: &Outputs,
        name: &str,
        wanted: &mut Vec<Wanted>,
    ) -> Result<(), Failure> {
        // A list or a set of derivations stands for all of them, as with `-f` in Nix.
        let found = self.evaluate(|evaluator| crate::walk::derivations(evaluator, value, &[]))?;
        let Some(found) = found else {
            let text = self.evaluate(|evaluator| evaluator.string_of(value));
            if let Ok(path) =
                text.as_deref().map(|text| self.model.parse(text)).unwrap_or_else(|_| self.model.parse(""))
            {
                wanted.push(Wanted::Path(path));
                return Ok(());
            }
            return Err(Failure::new(format!("`{name}` is nothing that can be built: a derivation is wanted")));
        };
        if found.is_empty() {
            return Err(Failure::new(format!("`{name}` holds no derivation")));
        }
        for derivation in found {
            let drv = self.model.parse(&derivation.drv_path).map_err(|error| Failure::new(error.to_string()))?;
            let outputs = match outputs {
                Outputs::Default => BTreeSet::from([derivation.output_name]),
                Outputs::All => BTreeSet::new(),
                Outputs::Named(names) => names.iter().cloned().collect(),
            };
            wanted.push(Wanted::Derivation { drv, outputs });
        }
        Ok(())
    }

    /// A store path as it was typed: logical, physical, or a link such as `./result`.
    fn store_path(&self, path: &Path, outputs: &Outputs) -> Result<Wanted, Failure> {
        let mut at = path.to_owned();
        for _ in 0..40 {
            match std::fs::read_link(&at) {
                Ok(target) if self.parse_store_path(&at).is_none() => {
                    at = at.parent().unwrap_or(Path::new("/")).join(target);
                }
                _ => break,
            }
        }
        let Some(found) = self.parse_store_path(&at) else {
            return Err(Failure::new(format!(
                "`{}` is not in the store at `{}`",
                path.display(),
                self.store.root().display()
            )));
        };
        if found.is_derivation() {
            let outputs = match outputs {
                Outputs::Named(names) => names.iter().cloned().collect(),
                Outputs::Default | Outputs::All => BTreeSet::new(),
            };
            return Ok(Wanted::Derivation { drv: found, outputs });
        }
        if self.store.is_valid(&found)? {
            return Ok(Wanted::Path(found));
        }
        Err(Failure::new(format!(
            "`{}` is not in the store, and a path does not say how to make it",
            StoreModel::Native.print(&found)
        ))
        .help("build the derivation or the flake output it comes from"))
    }

    fn parse_store_path(&self, path: &Path) -> Option<StorePath> {
        let inside = path
            .strip_prefix(StoreModel::Native.store_dir())
            .or_else(|_| path.strip_prefix(self.store.root().join("store")))
            .ok()?;
        StorePath::parse(inside.components().next()?.as_os_str().to_str()?).ok()
    }

    /// `file:line` of each place in the user's files where a text stands.
    pub fn places_of(&self, text: &str) -> Vec<String> {
        const FILE_LEN_MAX: u64 = 16 << 20;
        let mut places = Vec::new();
        let mut folders: Vec<PathBuf> = self.folders.borrow().clone();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, hidden) = (entry.path(), entry.file_name().as_encoded_bytes().starts_with(b"."));
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() && !hidden && entry.file_name() != "target" {
                    folders.push(path);
                } else if kind.is_file()
                    && path.extension().is_some_and(|extension| extension == "nix" || extension == "json")
                    && entry.metadata().is_ok_and(|meta| meta.len() <= FILE_LEN_MAX)
                    && let Ok(content) = std::fs::read_to_string(&path)
                {
                    let lines = content.lines().enumerate().filter(|(_, line)| line.contains(text));
                    places.extend(lines.map(|(number, _)| format!("{}:{}", path.display(), number + 1)));
                }
            }
        }
        places.sort();
        places
    }
}

/// The member at a path, or nothing when a set on the way has no such attribute.
fn select(evaluator: &mut Evaluator, mut value: Value, path: &str) -> lang::error::Result<Option<Value>> {
    if path.contains('"') {
        return evaluator.select_path(value, path).map(Some);
    }
    for name in path.split('.') {
        match evaluator.attr(value, name)? {
            Some(member) => value = member,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn describe(installable: &Installable) -> String {
    match installable {
        Installable::Flake { attr: FlakeAttr::Search(attr) | FlakeAttr::Exact(attr), .. } => attr.clone(),
        Installable::Attr { path, .. } if path.is_empty() => "the expression".to_owned(),
        Installable::Attr { path, .. } => path.clone(),
        Installable::StorePath { path, .. } => path.display().to_string(),
    }
}

/// `-I` before `$NIX_PATH`; the latter counts only where the environment may be seen.
fn search_path(source: &Source) -> Vec<(String, String)> {
    let here = std::env::current_dir().unwrap_or_default();
    let split = |entry: &str| {
        let (name, place) = entry.split_once('=').unwrap_or(("", entry));
        let is_url = place.contains("://") || place.starts_with("channel:") || place.starts_with("flake:");
        let place = if is_url { place.to_owned() } else { here.join(place).to_string_lossy().into_owned() };
        (name.to_owned(), place)
    };
    let mut entries: Vec<_> = source.include.iter().map(|entry| split(entry)).collect();
    if source.impure
        && let Ok(path) = std::env::var("NIX_PATH")
    {
        entries.extend(path.split(':').filter(|entry| !entry.is_empty()).map(split));
    }
    entries
}
