//! Realising one node of a plan: from a derivation whose inputs are valid to registered outputs.
//!
//! The steps, each of which may end it:
//! 1. the lock of the output, so that one process at a time makes it; outputs that are valid by then are taken as they are;
//! 2. the action: what is run, on what contents. When its result is known, the recorded trees become the outputs;
//! 3. a built-in builder, or the sandbox;
//! 4. the checks, and registration of outputs and references, then of the action and the build record.
//!
//! Invariant: nothing is registered whose checks have not passed, and nothing registered is changed.

use crate::{
    BuildError, Options, action,
    attributes::Attributes,
    builtin::{FetchTask, Task, TaskOutput},
    derivation::{self, BUILD_DIR, Invocation, OUTPUT_DIR},
    disk,
    error::{self, BuilderFailure, DerivationFailure, cause, io_error},
    events::{Event, EventSink, LockHolder, NodeId, Origin},
    fetch::{Fetch, FetchError, Fetcher},
    inputs::Inputs,
    jobserver::{ServedTokens, TokenPool},
    log::{self, Line, LogWriter},
    outputs,
    plan::{self, Plan, PlanNode},
    request::{Bind, Jobserver, JobserverForm, Limits, OutputPlace, Request},
    rootfs::Roots,
    sandbox::{Sandbox, Status},
    schedule::{Load, Slot},
    scratch::{self, Scratch},
};
use model::tree::SizedDigest;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use store::{
    ActionResult, BlobCheck, Bounds, BuildRecord, Derivation, Ingestion, LocalStore, Lock, Run, StoreError, StoreModel,
    StorePath, ValidPath, archive,
    references::ReferenceScanner,
    tree::{Digest, Node, TreeError, walk::walk},
};

/// Processors that this process may use.
pub(crate) fn cpus() -> usize {
    // Asked once, as the answer takes a reading of the control groups' files.
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What all nodes of a builder share.
pub(crate) struct Shared {
    fetcher: Fetcher,
    roots: Roots,
    sandbox: Sandbox,
    tokens: TokenPool,
    /// What directories of builds are made in and no build uses at the moment.
    idle_scratch: scratch::IdleScratch,
    /// Output paths by derivation, as far as they were needed.
    outputs: Mutex<HashMap<StorePath, Arc<BTreeMap<String, StorePath>>>>,
}

impl Shared {
    pub fn new(store: &Arc<LocalStore>, options: &Options) -> Shared {
        let mut fetch = options.fetch.clone();
        if fetch.partial_dir.as_os_str().is_empty() {
            fetch.partial_dir = store.root().join("cache").join("downloads");
        }
        let sandbox = options.sandbox_child.clone().map_or_else(Sandbox::default, Sandbox::new);
        // What the user asks for in words is never held back by tokens.
        let tokens = TokenPool::new(options.jobs.max(options.cores).max(cpus()));
        Shared {
            fetcher: Fetcher::new(fetch),
            roots: Roots::new(store),
            sandbox,
            tokens,
            idle_scratch: scratch::IdleScratch::default(),
            outputs: Mutex::default(),
        }
    }
}

/// Realises nodes of one plan; shared by all its threads.
pub(crate) struct Realiser<'a> {
    pub store: &'a LocalStore,
    pub options: &'a Options,
    pub sink: &'a dyn EventSink,
    pub cancelled: &'a Arc<AtomicBool>,
    pub shared: &'a Shared,
    pub plan: &'a Plan,
}

/// Why a node was given up, with what was found out on the way.
struct Stopped {
    error: BuildError,
    log: Option<log::LogSummary>,
    kept: Option<PathBuf>,
}

/// One node while it is worked on.
struct Job<'a> {
    id: NodeId,
    node: &'a PlanNode,
    derivation: Derivation,
    /// The paths of its inputs.
    direct: BTreeSet<StorePath>,
    started: SystemTime,
    begin: Instant,
    load: Load,
    slot: &'a Slot<'a>,
}

/// An output that has been made.
struct Output {
    node: Node,
    /// Where it lies, taken over by the store, to be moved into place; otherwise it is checked out from its node.
    adopted: Option<PathBuf>,
    bytes: u64,
}

/// What a build took, for the record.
#[derive(Default)]
struct Cost {
    cpu: Option<Duration>,
    memory_bytes: Option<u64>,
    log: Option<String>,
    short_log: Option<Vec<u8>>,
}

impl Realiser<'_> {
    /// Realises node `id`, and tells about it.
    ///
    /// The slot is given back when nothing is left but to register what was made.
    pub fn node(&self, id: NodeId, load: Load, slot: &Slot<'_>) -> Result<(Origin, Duration), Arc<DerivationFailure>> {
        let node = &self.plan.nodes[id];
        let begin = Instant::now();
        self.sink.event(Event::Started { node: id });
        match self.attempt(id, node, load, slot, begin) {
            Ok(origin) => {
                let duration = begin.elapsed();
                self.sink.event(Event::Finished { node: id, origin, duration });
                Ok((origin, duration))
            }
            Err(stopped) => {
                let Stopped { error, log, kept } = *stopped;
                let failure = Arc::new(DerivationFailure { drv: node.drv.clone(), error, log, kept });
                self.sink.event(Event::Failed { node: id, failure: Arc::clone(&failure) });
                Err(failure)
            }
        }
    }

    fn attempt(
        &self,
        id: NodeId,
        node: &PlanNode,
        load: Load,
        slot: &Slot<'_>,
        begin: Instant,
    ) -> Result<Origin, Box<Stopped>> {
        self.check_cancelled()?;
        let derivation = self.store.derivation(&node.drv).map_err(boxed)?;
        let own: Vec<StorePath> = node.outputs.values().cloned().collect();
        // Two derivations share an output only when it is fixed, and then it is their only one: one lock is enough.
        let first = node.outputs.values().next().expect("a derivation has outputs");
        let _lock = self.lock(id, || self.store.try_lock_path(first))?;
        for path in &own {
            self.store.temp_root(path).map_err(boxed)?;
        }
        if !node.rebuild && plan::valid_paths(self.store, own.iter().cloned()).map_err(boxed)?.len() == own.len() {
            return Ok(Origin::Found);
        }
        let direct = self.input_paths(&derivation)?;
        for path in &direct {
            self.store.temp_root(path).map_err(boxed)?;
        }
        let job = Job { id, node, derivation, direct, started: SystemTime::now(), begin, load, slot };
        let attributes = Attributes::of(&job.derivation).map_err(boxed)?;
        if job.derivation.builder.starts_with(b"builtin:") {
            self.built_in(&job, &attributes)
        } else {
            self.sandboxed(&job, &attributes)
        }
    }

    /// Waits for a lock, telling who has it.
    fn lock(
        &self,
        id: NodeId,
        mut attempt: impl FnMut() -> Result<Result<Lock, Option<store::Holder>>, StoreError>,
    ) -> Result<Lock, Box<Stopped>> {
        let mut told = false;
        let mut wait = Duration::from_millis(2);
        loop {
            self.check_cancelled()?;
            match attempt().map_err(boxed)? {
                Ok(lock) => return Ok(lock),
                Err(holder) => {
                    // Only a wait that a person could notice is worth a word.
                    if !told && wait > Duration::from_millis(60) {
                        told = true;
                        let holder = LockHolder {
                            pid: holder.as_ref().and_then(|holder| u32::try_from(holder.pid).ok()),
                            command: holder.map_or_else(String::new, |holder| holder.command),
                        };
                        self.sink.event(Event::Waiting { node: id, holder });
                    }
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(Duration::from_millis(100));
                }
            }
        }
    }

    fn check_cancelled(&self) -> Result<(), Box<Stopped>> {
        if self.cancelled.load(Ordering::Relaxed) { Err(boxed(BuildError::Cancelled)) } else { Ok(()) }
    }

    /// The paths of all inputs of `derivation`.
    fn input_paths(&self, derivation: &Derivation) -> Result<BTreeSet<StorePath>, Box<Stopped>> {
        let mut paths = derivation.input_sources.clone();
        for (drv, wanted) in &derivation.input_derivations {
            let known = self.outputs_of(drv)?;
            for name in wanted {
                let path = known.get(name).ok_or_else(|| {
                    boxed(BuildError::UnknownOutput {
                        drv: drv.clone(),
                        output: name.clone(),
                        known: known.keys().cloned().collect(),
                    })
                })?;
                paths.insert(path.clone());
            }
        }
        Ok(paths)
    }

    fn outputs_of(&self, drv: &StorePath) -> Result<Arc<BTreeMap<String, StorePath>>, Box<Stopped>> {
        let cache = || self.shared.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache().get(drv) {
            return Ok(Arc::clone(known));
        }
        let derivation = self.store.derivation(drv).map_err(boxed)?;
        let paths = Arc::new(derivation::output_paths(drv, &derivation).map_err(boxed)?);
        cache().insert(drv.clone(), Arc::clone(&paths));
        Ok(paths)
    }

    fn built_in(&self, job: &Job, attributes: &Attributes) -> Result<Origin, Box<Stopped>> {
        let task = Task::read(self.store, &job.derivation, attributes).map_err(boxed)?;
        let action = task.action(&job.derivation).map_err(boxed)?.digest();
        let candidates = task.reference_candidates(self.store, &job.direct).map_err(boxed)?;
        if !job.node.rebuild && self.cut_off(job, attributes, &action, &candidates)? {
            return Ok(Origin::CutOff);
        }
        let scratch = self.store.scratch_dir("made").map_err(boxed)?;
        let place = "out".to_owned();
        let made = match &task {
            Task::Fetch(fetch) => self.fetch(job, fetch, scratch.path())?,
            other => other.run(self.store, scratch.path(), self.cancelled).map_err(boxed)?,
        };
        let output = match made {
            TaskOutput::OnDisk(path) => self.take_over(&path)?,
            TaskOutput::Stored(node) => Output { node, adopted: None, bytes: 0 },
        };
        let origin = if matches!(task, Task::Fetch(_)) { Origin::Fetched } else { Origin::Built };
        let made = BTreeMap::from([("out".to_owned(), output)]);
        let places = BTreeMap::from([("out".to_owned(), place)]);
        self.complete(job, attributes, &action, made, &places, &candidates, Cost::default(), origin)
    }

    fn fetch(&self, job: &Job, task: &FetchTask, scratch: &Path) -> Result<TaskOutput, Box<Stopped>> {
        let dest = scratch.join("out");
        let flat = task.ingestion == Ingestion::Flat;
        let name = job.derivation.name.to_string();
        let fetch = Fetch { urls: task.urls.clone(), expected: flat.then_some(task.hash), name: name.clone() };
        let told = Mutex::new(Instant::now());
        let progress = |done_bytes, total_bytes| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= Duration::from_millis(80) {
                *told = Instant::now();
                self.sink.event(Event::Progress { node: job.id, done_bytes, total_bytes });
            }
        };
        self.shared.fetcher.fetch(&fetch, &dest, &progress).map_err(|error| match error.mismatch() {
            _ if matches!(error, FetchError::Cancelled { .. }) => boxed(BuildError::Cancelled),
            // Some URL has a whole file with another hash: that is worth more than what the unreachable ones said.
            Some((expected, got)) => {
                boxed(outputs::mismatch(&name, task.written.as_deref(), expected, got, task.urls.clone()))
            }
            None => boxed(cause(error)),
        })?;
        if task.executable {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&dest, mode).map_err(|e| boxed(io_error("chmod", &dest, e)))?;
        }
        Ok(TaskOutput::OnDisk(dest))
    }

    fn sandboxed(&self, job: &Job, attributes: &Attributes) -> Result<Origin, Box<Stopped>> {
        self.check_platform(&job.derivation, attributes)?;
        let inputs = Inputs::of(self.store, &job.derivation, attributes, &job.direct).map_err(boxed)?;
        let rooted = inputs.roots.is_some();
        let overlap = attributes.words("__overlap").map_err(boxed)?.unwrap_or_default().join(" ");
        let united = match &inputs.roots {
            Some(trees) => Some(self.shared.roots.unite(trees, &overlap).map_err(boxed)?),
            None => None,
        };
        let invocation =
            derivation::invocation(&job.derivation, attributes, &job.node.outputs, rooted).map_err(boxed)?;
        let root = inputs
            .root_directory(
                &self.shared.roots.forest,
                united.as_ref().map(|united| &united.node),
                &invocation.build_files,
            )
            .map_err(boxed)?;
        let root = SizedDigest::of(&root.encode());
        let (_, action) = action::sandboxed(&job.derivation, &invocation, root, self.options.sandbox_mode);
        let action = action.digest();
        let mut candidates: BTreeSet<StorePath> = inputs.mounted.keys().cloned().collect();
        if !rooted {
            candidates.extend(job.node.outputs.values().cloned());
        }
        let _lock = self.lock(job.id, || self.store.try_lock_action(&action))?;
        if !job.node.rebuild && self.cut_off(job, attributes, &action, &candidates)? {
            return Ok(Origin::CutOff);
        }
        let _cache = self.shared.roots.hold_cache(self.store).map_err(boxed)?;
        let layers = match (&inputs.roots, &united) {
            (Some(trees), Some(united)) => self.shared.roots.layers(trees, united).map_err(boxed)?,
            _ => Vec::new(),
        };
        self.check_cancelled()?;
        let scratch = Scratch::take(self.store, &self.shared.idle_scratch).map_err(boxed)?;
        let mut request = self.request(job, attributes, &inputs, &invocation, layers, &scratch, rooted)?;
        let token = self.shared.tokens.take(self.cancelled);
        let jobs = self.jobserver(attributes, &mut request, &scratch)?;
        let ran = self.run(job, &request, &invocation, rooted);
        // While it waits to be registered, others can run.
        drop((jobs, token));
        match ran {
            Ok((made, cost, log)) => {
                let places = &invocation.places;
                let done = self.complete(job, attributes, &action, made, places, &candidates, cost, Origin::Built);
                if job.node.rebuild {
                    log.write().map_err(boxed)?;
                } else if done.is_err() {
                    // What is wrong with the outputs is more worth telling than that there is no log.
                    let _ = log.write();
                }
                done.map_err(|stopped| self.keep(job, &request, scratch, stopped))
            }
            Err(stopped) => Err(self.keep(job, &request, scratch, stopped)),
        }
    }

    fn check_platform(&self, derivation: &Derivation, attributes: &Attributes) -> Result<(), Box<Stopped>> {
        let system = String::from_utf8_lossy(&derivation.system).into_owned();
        if system != self.options.system {
            return Err(boxed(BuildError::WrongSystem { system, host: self.options.system.clone() }));
        }
        let features = attributes.words("requiredSystemFeatures").map_err(boxed)?.unwrap_or_default();
        let missing: Vec<String> =
            features.into_iter().filter(|feature| !self.options.system_features.contains(feature)).collect();
        if !missing.is_empty() {
            return Err(boxed(BuildError::MissingFeatures { features: missing }));
        }
        // Leaving out what the recipe counts on would make a wrong output without a word.
        for name in ["__base", "__metadata"] {
            if attributes.text(name).map_err(boxed)?.is_some_and(|text| !text.is_empty()) {
                return Err(boxed(BuildError::Unsupported { what: format!("`{name}`") }));
            }
        }
        if attributes.flag("__network").map_err(boxed)? {
            return Err(boxed(BuildError::Unsupported {
                what: "`__network` (sources are fetched with `builtin:fetchurl`)".into(),
            }));
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each is one part of the request")]
    fn request(
        &self,
        job: &Job,
        attributes: &Attributes,
        inputs: &Inputs,
        invocation: &Invocation,
        root_layers: Vec<PathBuf>,
        scratch: &Scratch<'_>,
        rooted: bool,
    ) -> Result<Request, Box<Stopped>> {
        let (build_dir, host_dir) = (scratch.build.clone(), scratch.output.clone());
        for (name, bytes) in &invocation.build_files {
            let path = build_dir.join(name);
            fs::write(&path, bytes).map_err(|e| boxed(io_error("write", &path, e)))?;
        }
        let mut binds: Vec<Bind> = inputs
            .mounted
            .keys()
            .map(|path| Bind::read_only(self.store.physical_path(path), StoreModel::Native.print(path)))
            .collect();
        binds.extend(
            inputs.sources.iter().map(|(name, tree)| Bind::read_only(tree.host(self.store), format!("/source/{name}"))),
        );
        let seconds =
            |name: &str| attributes.number(name).map(|n| n.filter(|&n| n > 0).map(Duration::from_secs)).map_err(boxed);
        let shorter = |a: Option<Duration>, b: Option<Duration>| a.into_iter().chain(b).min();
        let outputs = if rooted {
            OutputPlace::Rooted { host_dir }
        } else {
            OutputPlace::InStore { host_dir, store_dir: StoreModel::Native.store_dir().into() }
        };
        Ok(Request {
            root_layers,
            binds,
            store: Some(self.store.root().join("store")),
            outputs,
            build_dir,
            argv: invocation.argv.iter().cloned().map(OsString::from_vec).collect(),
            env: invocation
                .env
                .iter()
                .map(|(n, v)| (OsString::from_vec(n.clone()), OsString::from_vec(v.clone())))
                .collect(),
            working_dir: BUILD_DIR.into(),
            system: self.options.system.clone(),
            cores: self.cores(job.load),
            jobserver: None,
            limits: Limits {
                timeout: shorter(self.options.timeout, seconds("timeout")?),
                max_silent: shorter(self.options.max_silent, seconds("maxSilent")?),
                max_log_bytes: self.options.max_log_bytes,
                memory_max_bytes: self.options.memory_max_bytes,
                processes_max: self.options.processes_max,
                processes_counted: false,
                disk_reserve_bytes: self
                    .options
                    .disk_reserve_bytes
                    .and_then(|bytes| disk::reserve(self.store.root(), bytes)),
                niceness: self.options.niceness,
            },
            mode: self.options.sandbox_mode,
        })
    }

    /// Gives the build a share in the tokens for processes, when it asks for that.
    fn jobserver(
        &self,
        attributes: &Attributes,
        request: &mut Request,
        scratch: &Scratch,
    ) -> Result<Option<ServedTokens<'_>>, Box<Stopped>> {
        let Some(form) = jobserver_form(attributes).map_err(boxed)? else { return Ok(None) };
        let jobs = if self.options.cores > 0 { self.options.cores } else { cpus() };
        let fifo = scratch.fifo();
        let served = self.shared.tokens.serve(&fifo, jobs - 1).map_err(|e| boxed(io_error("mkfifo", &fifo, e)))?;
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        request.jobserver = Some(Jobserver { fifo, form, jobs });
        Ok(Some(served))
    }

    /// How many cores a build that starts under `load` is told to use: what the user said, or its share of the machine
    /// and half as much again, since hardly a build keeps all its cores busy all the time.
    fn cores(&self, load: Load) -> u32 {
        let cores = if self.options.cores > 0 {
            self.options.cores
        } else {
            let cpus = cpus();
            let jobs = if self.options.jobs == 0 { cpus } else { self.options.jobs };
            let rivals = (load.running + load.ready).min(jobs).max(1);
            (cpus * 3 / 2).div_ceil(rivals).clamp(1, cpus)
        };
        u32::try_from(cores).unwrap_or(u32::MAX)
    }

    /// Runs the builder and takes over what it made.
    fn run(
        &self,
        job: &Job,
        request: &Request,
        invocation: &Invocation,
        rooted: bool,
    ) -> Result<(BTreeMap<String, Output>, Cost, log::FinishedLog), Box<Stopped>> {
        let drv_file = job.node.drv.to_string();
        let mut log = LogWriter::create(self.store.root(), &drv_file).map_err(boxed)?;
        self.sink.event(Event::Building { node: job.id });
        let on_line = &mut |line| {
            self.sink.event(match line {
                Line::Phase(phase) => Event::Phase { node: job.id, phase },
                Line::Text(line) => Event::LogLine { node: job.id, line },
            });
        };
        let mut log_error = None;
        let ran = self.shared.sandbox.run(
            request,
            &mut |bytes| {
                if log_error.is_none() {
                    log_error = log.write(bytes, on_line).err();
                }
            },
            self.cancelled,
        );
        let log = log.finish(on_line).map_err(boxed)?;
        let stop = |error: BuildError| match log.write() {
            Ok(()) => Box::new(Stopped { error, log: Some(log.summary.clone()), kept: None }),
            Err(error) => boxed(error),
        };
        if let Some(error) = log_error {
            return Err(stop(error));
        }
        let outcome = ran.map_err(|e| stop(cause(e)))?;
        if !outcome.skipped.is_empty() {
            let text = format!("the sandbox was relaxed: {} missing", outcome.skipped.join(", "));
            self.sink.event(Event::Warning { node: Some(job.id), drv: Some(job.node.drv.clone()), text });
        }
        let secs = |limit: Option<Duration>| limit.map_or(0, |limit| limit.as_secs());
        let limits = &request.limits;
        let failure = match outcome.status {
            Status::Exited(0) => None,
            Status::Exited(status) => Some(BuilderFailure::Exited(status)),
            Status::Signalled(signal) => Some(BuilderFailure::Signalled(signal)),
            Status::TimedOut => Some(BuilderFailure::TimedOut { secs: secs(limits.timeout) }),
            Status::Silent => Some(BuilderFailure::Silent { secs: secs(limits.max_silent) }),
            Status::LogTooLong => Some(BuilderFailure::LogTooLong { bytes: limits.max_log_bytes.unwrap_or(0) }),
            Status::OutOfMemory => Some(BuilderFailure::OutOfMemory { bytes: limits.memory_max_bytes.unwrap_or(0) }),
            Status::MachineOutOfMemory => Some(BuilderFailure::MachineOutOfMemory),
            Status::MachineTooManyProcesses => Some(BuilderFailure::MachineTooManyProcesses),
            Status::TooManyProcesses => {
                Some(BuilderFailure::TooManyProcesses { max: limits.processes_max.unwrap_or(0) })
            }
            Status::DiskFull => {
                let reserve_bytes = limits.disk_reserve_bytes.unwrap_or(0);
                return Err(stop(BuildError::DiskReserve { reserve_bytes, root: self.store.root().to_owned() }));
            }
            Status::Cancelled => return Err(stop(BuildError::Cancelled)),
        };
        if let Some(failure) = failure {
            return Err(stop(match disk::no_space_left(self.store.root(), &log.summary) {
                Some(free_bytes) => BuildError::DiskFull { failure, root: self.store.root().to_owned(), free_bytes },
                None => BuildError::Builder(failure),
            }));
        }
        let made = self.collect(job, request, invocation, rooted).map_err(|stopped| stop(stopped.error))?;
        let cost = Cost {
            cpu: Some(outcome.usage.user + outcome.usage.system),
            memory_bytes: Some(outcome.usage.max_rss_bytes),
            log: log.short.is_none().then(|| format!("{drv_file}.zst")),
            short_log: log.short.clone(),
        };
        if !job.node.rebuild {
            log.supersede().map_err(boxed)?;
        }
        Ok((made, cost, log))
    }

    /// Takes over every declared output from where the builder made it.
    fn collect(
        &self,
        job: &Job,
        request: &Request,
        invocation: &Invocation,
        rooted: bool,
    ) -> Result<BTreeMap<String, Output>, Box<Stopped>> {
        let host_dir = request.outputs.host_dir();
        if rooted {
            for entry in fs::read_dir(host_dir).map_err(|e| boxed(io_error("readdir", host_dir, e)))? {
                let name = entry.map_err(|e| boxed(io_error("readdir", host_dir, e)))?.file_name();
                if !name.to_str().is_some_and(|name| invocation.places.contains_key(name)) {
                    let place = format!("{OUTPUT_DIR}/{}", name.to_string_lossy());
                    return Err(boxed(BuildError::OutputUnknown {
                        place,
                        known: invocation.places.keys().cloned().collect(),
                    }));
                }
            }
        }
        let mut made = BTreeMap::new();
        for (output, path) in &*job.node.outputs {
            let host = host_dir.join(if rooted { output.clone() } else { path.to_string() });
            if fs::symlink_metadata(&host).is_err() {
                let place = invocation.places[output].clone();
                return Err(boxed(BuildError::OutputMissing { output: output.clone(), place }));
            }
            made.insert(output.clone(), self.take_over(&host)?);
        }
        Ok(made)
    }

    fn take_over(&self, host: &Path) -> Result<Output, Box<Stopped>> {
        // What is larger than the file system has to be holes.
        let bytes_max = os::space::capacity_bytes_at(self.store.root()).unwrap_or(u64::MAX);
        let bounds = Bounds { bytes_max, cancelled: self.cancelled };
        let imported = self.store.import_tree_within(host, bounds);
        let imported = imported.map_err(|error| self.check_cancelled().err().unwrap_or_else(|| boxed(error)))?;
        Ok(Output { node: imported.node, adopted: Some(host.to_owned()), bytes: imported.bytes })
    }

    /// Takes the recorded result of `action`, when there is one and all of it is still there.
    fn cut_off(
        &self,
        job: &Job,
        attributes: &Attributes,
        action: &Digest,
        candidates: &BTreeSet<StorePath>,
    ) -> Result<bool, Box<Stopped>> {
        let Some(known) = self.store.action_result(action).map_err(boxed)? else { return Ok(false) };
        let names = |outputs: &BTreeMap<String, Node>| outputs.keys().cloned().collect::<BTreeSet<_>>();
        if names(&known.outputs) != job.node.outputs.keys().cloned().collect() {
            return Ok(false);
        }
        let made =
            known.outputs.into_iter().map(|(name, node)| (name, Output { node, adopted: None, bytes: 0 })).collect();
        let places = job.node.outputs.keys().map(|name| (name.clone(), name.clone())).collect();
        match self.complete(job, attributes, action, made, &places, candidates, Cost::default(), Origin::CutOff) {
            Ok(_) => Ok(true),
            // A collection has taken some of it, or somebody has written to it: then it is made again.
            Err(stopped) if is_missing(&stopped.error) => Ok(false),
            Err(stopped) => Err(stopped),
        }
    }
}

impl Realiser<'_> {
    /// Checks what was made and registers it; or, for a second build, compares it with the first.
    #[expect(clippy::too_many_arguments, reason = "each is one part of what is registered")]
    fn complete(
        &self,
        job: &Job,
        attributes: &Attributes,
        action: &Digest,
        made: BTreeMap<String, Output>,
        places: &BTreeMap<String, String>,
        candidates: &BTreeSet<StorePath>,
        cost: Cost,
        origin: Origin,
    ) -> Result<Origin, Box<Stopped>> {
        if job.node.rebuild {
            return self.compare(job, &made);
        }
        let blobs = blobs_of(origin, &made);
        // Only what has to be read is laid out before it is known to be good.
        let fixed = job.derivation.fixed_output().is_some();
        let mut scratch = None;
        let mut references = BTreeMap::new();
        for (name, output) in &made {
            let host = match &output.adopted {
                Some(path) => Some(path.clone()),
                None if fixed || !candidates.is_empty() => {
                    let scratch = match &mut scratch {
                        Some(scratch) => scratch,
                        none => none.insert(self.store.scratch_dir("check").map_err(boxed)?),
                    };
                    let path = scratch.path().join(name);
                    self.store.checkout(&output.node, &path, blobs).map_err(boxed)?;
                    Some(path)
                }
                None => None,
            };
            if let Some(host) = &host {
                outputs::check_fixed(&job.derivation, attributes, &output.node, host, &places[name]).map_err(boxed)?;
            }
            let found = host.map_or_else(|| Ok(BTreeSet::new()), |host| scan(&host, candidates));
            references.insert(name.clone(), found.map_err(boxed)?);
        }
        if let (Some(_), Some(paths)) =
            (job.derivation.fixed_output(), references.values().find(|paths| !paths.is_empty()))
        {
            let paths = paths.iter().map(|path| StoreModel::Native.print(path)).collect();
            return Err(boxed(BuildError::FixedReference { paths }));
        }
        let mut bytes = BTreeMap::new();
        for (name, output) in &made {
            let count = match output.adopted {
                Some(_) => output.bytes,
                None => tree_bytes(self.store, &output.node).map_err(boxed)?,
            };
            bytes.insert(name.clone(), count);
        }
        outputs::check_references(self.store, attributes, &job.node.outputs, &references, &bytes).map_err(boxed)?;
        self.register(job, action, made, references, bytes, cost, origin)?;
        Ok(origin)
    }

    /// Moves the outputs to their places and makes them known, together with the action and what it took.
    #[expect(clippy::too_many_arguments, reason = "each is one part of what is registered")]
    fn register(
        &self,
        job: &Job,
        action: &Digest,
        made: BTreeMap<String, Output>,
        mut references: BTreeMap<String, BTreeSet<StorePath>>,
        bytes: BTreeMap<String, u64>,
        cost: Cost,
        origin: Origin,
    ) -> Result<(), Box<Stopped>> {
        let infos: Vec<ValidPath> = made
            .iter()
            .map(|(name, output)| {
                let mut info = ValidPath::new(job.node.outputs[name].clone(), output.node.clone(), bytes[name]);
                info.references = references.remove(name).unwrap_or_default();
                info.deriver = Some(job.node.drv.clone());
                info
            })
            .collect();
        let blobs = blobs_of(origin, &made);
        // The action of a cut-off is known, and how long it took to find that out says nothing about building it.
        let run = (origin != Origin::CutOff).then(|| {
            let outputs = made.iter().map(|(name, output)| (name.clone(), output.node.clone())).collect();
            let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let record = BuildRecord {
                derivation: job.node.drv.clone(),
                action: *action,
                started_at: job.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
                duration_ms: millis(job.begin.elapsed()),
                cpu_ms: millis(cost.cpu.unwrap_or_default()),
                memory_peak_bytes: cost.memory_bytes,
                log: cost.log,
                status: plan::SUCCEEDED.to_owned(),
            };
            Run { result: ActionResult { outputs }, record, log: cost.short_log, patient: job.load.ready > 0 }
        });
        let placed = || job.slot.release();
        match (infos.as_slice(), made.values().next().and_then(|output| output.adopted.as_ref())) {
            // What lies on the store's file system already is moved; several outputs may refer to each other and are
            // registered together, which takes a checkout.
            ([info], Some(staged)) => self.store.install_with_run(staged, info, run, &placed).map_err(boxed),
            _ => self.store.add_trees_with_run(&infos, blobs, run, &placed).map_err(boxed),
        }
    }

    fn compare(&self, job: &Job, made: &BTreeMap<String, Output>) -> Result<Origin, Box<Stopped>> {
        let mut differences = Vec::new();
        for (name, output) in made {
            let path = &job.node.outputs[name];
            let Some(first) = self.store.path_info(path).map_err(boxed)? else {
                return Err(boxed(BuildError::NothingToCompare { path: path.clone() }));
            };
            differences.extend(outputs::differences(self.store, name, &first.node, &output.node).map_err(boxed)?);
        }
        if differences.is_empty() {
            Ok(Origin::Reproduced)
        } else {
            Err(boxed(BuildError::NotReproducible { differences }))
        }
    }

    /// Leaves the directories of a failed build where the user can look at them, if that was asked for.
    ///
    /// `<root>/failed/<derivation>/` then holds `build`, `output` and `request.json`: everything it takes to enter the
    /// very sandbox again.
    fn keep(&self, job: &Job, request: &Request, scratch: Scratch<'_>, mut stopped: Box<Stopped>) -> Box<Stopped> {
        if !self.options.keep_failed || matches!(stopped.error, BuildError::Cancelled) {
            return stopped;
        }
        let dest = self.store.root().join("failed").join(job.node.drv.to_string());
        match scratch.keep(&dest, request) {
            Ok(()) => stopped.kept = Some(dest),
            Err(error) => self.sink.event(Event::Warning {
                node: Some(job.id),
                drv: Some(job.node.drv.clone()),
                text: format!("the failed build's directories could not be kept: {error}"),
            }),
        }
        stopped
    }
}

/// What a derivation says about the way in which its programs share the cores with those of other builds.
fn jobserver_form(attributes: &Attributes) -> Result<Option<JobserverForm>, BuildError> {
    const NAME: &str = "__jobserver";
    match attributes.text(NAME)?.as_deref() {
        None | Some("") => Ok(None),
        Some("fifo") => Ok(Some(JobserverForm::Fifo)),
        Some("descriptors") => Ok(Some(JobserverForm::Descriptors)),
        Some(other) => Err(error::attribute(NAME, format!("expected `fifo` or `descriptors`, found `{other}`"))),
    }
}

/// Trees that were not made just now may have been written to since: those of inputs that are united, and those of known results,
/// which need not be of valid paths any more.
fn blobs_of(origin: Origin, made: &BTreeMap<String, Output>) -> BlobCheck {
    if origin == Origin::CutOff {
        BlobCheck::Whole
    } else if made.values().any(|output| output.adopted.is_none()) {
        BlobCheck::Written
    } else {
        BlobCheck::Skip
    }
}

/// Finds which of `candidates` are mentioned in the tree at `host`, in names, contents and targets of links.
fn scan(host: &Path, candidates: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, BuildError> {
    if candidates.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut scanner = ReferenceScanner::new(candidates.iter().cloned());
    archive::write(host, &mut scanner).map_err(cause)?;
    Ok(scanner.finish())
}

/// Whether a recorded result could not be used since parts of it are gone or were changed.
fn is_missing(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::Store(
            StoreError::MissingBlob { .. }
                | StoreError::Tree(TreeError::Missing { .. } | TreeError::Encoding { .. })
                | StoreError::DanglingReference { .. }
        )
    )
}

/// The bytes of all files of a tree.
fn tree_bytes(store: &LocalStore, node: &Node) -> Result<u64, BuildError> {
    let mut total = 0;
    walk(store, node, |_, node| -> Result<bool, TreeError> {
        if let Node::File { size, .. } = node {
            total += size;
        }
        Ok(true)
    })
    .map_err(StoreError::from)?;
    Ok(total)
}

fn boxed(error: impl Into<BuildError>) -> Box<Stopped> {
    Box::new(Stopped { error: error.into(), log: None, kept: None })
}
