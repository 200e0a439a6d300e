//! The executor of this machine: builds in the sandbox, on the store's file system.

use super::{
    BuildDirectories, Executed, ExecutionFailure, ExecutionWatcher, Executor, MadeOutput, PreparedAction, ResourceUsage,
};
use crate::attributes::Attributes;
use crate::derivation::{BUILD_DIR, Invocation, OUTPUT_DIR};
use crate::error::{BuilderFailure, attribute, io_error};
use crate::inputs::Inputs;
use crate::jobserver::{ServedTokens, TokenPool};
use crate::rootfs::Roots;
use crate::schedule::{Load, cpus};
use crate::scratch::{IdleScratch, Scratch};
use crate::{BuildError, Options, disk};
use model::StoreModel;
use sandbox::request::{Bind, Jobserver, JobserverForm, Limits, OutputPlace, Request};
use sandbox::{Outcome, Sandbox, SandboxError, Status, Streams, Visit};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::LocalStore;

/// Runs actions in the sandbox of this machine.
pub struct LocalExecutor {
    store: Arc<LocalStore>,
    roots: Arc<Roots>,
    options: Options,
    cancelled: Arc<AtomicBool>,
    sandbox: Sandbox,
    tokens: TokenPool,
    idle_scratch: IdleScratch,
}

impl LocalExecutor {
    pub(crate) fn new(store: &Arc<LocalStore>, roots: &Arc<Roots>, options: &Options) -> LocalExecutor {
        let sandbox = options.sandbox_child.clone().map_or_else(Sandbox::default, Sandbox::new);
        // As many tokens as the user asks for, so that none of these builds waits.
        let tokens = TokenPool::new(options.jobs.max(options.cores).max(cpus()));
        LocalExecutor {
            store: Arc::clone(store),
            roots: Arc::clone(roots),
            options: options.clone(),
            cancelled: Arc::clone(&options.fetch.cancel),
            sandbox,
            tokens,
            idle_scratch: IdleScratch::default(),
        }
    }
}

impl Executor for LocalExecutor {
    fn execute<'a>(
        &'a self,
        action: &PreparedAction<'_>,
        watcher: &mut dyn ExecutionWatcher,
    ) -> Result<Executed<'a>, ExecutionFailure<'a>> {
        let _cache = self.roots.hold_cache(&self.store)?;
        let layers = match (&action.inputs.roots, &action.united) {
            (Some(trees), Some(united)) => self.roots.layers(trees, united)?,
            _ => Vec::new(),
        };
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(BuildError::Cancelled.into());
        }
        let scratch = Scratch::take(&self.store, &self.idle_scratch)?;
        let attributes = &action.job.attributes;
        self.write_build_files(&action.invocation, &scratch.build)?;
        let mut request = self.request(SandboxParts {
            invocation: &action.invocation,
            inputs: &action.inputs,
            attributes,
            cores: self.cores(action.job.load),
            root_layers: layers,
            build_dir: scratch.build.clone(),
            output_dir: scratch.output.clone(),
        })?;
        let token = self.tokens.take(&self.cancelled);
        let form = jobserver_form(attributes)?;
        let served = form.map(|form| self.serve_tokens_at(Some(form), &mut request, &scratch.fifo())).transpose()?;
        let ran = self.run(action, &request, watcher);
        // Other builds can run while this one waits to be registered.
        drop((served, token));
        let directories: Option<Box<dyn BuildDirectories>> = Some(Box::new(LocalDirectories { scratch, request }));
        match ran {
            Ok((outputs, usage)) => Ok(Executed { outputs, usage, directories }),
            Err(error) => Err(ExecutionFailure { error: Box::new(error), directories }),
        }
    }
}

/// The parts that a sandbox is made of.
pub(super) struct SandboxParts<'a> {
    pub invocation: &'a Invocation,
    pub inputs: &'a Inputs,
    pub attributes: &'a Attributes<'a>,
    pub cores: u32,
    pub root_layers: Vec<PathBuf>,
    pub build_dir: PathBuf,
    pub output_dir: PathBuf,
}

impl LocalExecutor {
    /// Writes the files that a build directory starts with.
    pub(super) fn write_build_files(&self, invocation: &Invocation, build_dir: &Path) -> Result<(), BuildError> {
        for (name, bytes) in &invocation.build_files {
            let path = build_dir.join(name);
            fs::write(&path, bytes).map_err(|e| io_error("write", &path, e))?;
        }
        Ok(())
    }

    /// Runs a command of the user in the sandbox of a build.
    pub(super) fn visit(&self, visit: &Visit, streams: &Streams) -> Result<Outcome, SandboxError> {
        self.sandbox.visit(visit, streams, &self.cancelled)
    }

    /// Returns the request of a build.
    pub(super) fn request(&self, parts: SandboxParts<'_>) -> Result<Request, BuildError> {
        let SandboxParts { invocation, inputs, attributes, cores, root_layers, build_dir, output_dir } = parts;
        let host_dir = output_dir;
        let mut binds: Vec<Bind> = inputs
            .mounted
            .keys()
            .map(|path| Bind::read_only(self.store.physical_path(path), StoreModel::Native.print(path)))
            .collect();
        binds.extend(
            inputs
                .sources
                .iter()
                .map(|(name, tree)| Bind::read_only(tree.host(&self.store), format!("/source/{name}"))),
        );
        let outputs = if inputs.roots.is_some() {
            OutputPlace::Rooted { host_dir }
        } else {
            OutputPlace::InStore { host_dir, store_dir: StoreModel::Native.store_dir().into() }
        };
        let variable =
            |(name, value): (&Vec<u8>, &Vec<u8>)| (OsString::from_vec(name.clone()), OsString::from_vec(value.clone()));
        Ok(Request {
            root_layers,
            binds,
            store: Some(self.store.root().join("store")),
            outputs,
            build_dir,
            argv: invocation.argv.iter().cloned().map(OsString::from_vec).collect(),
            env: invocation.env.iter().map(variable).collect(),
            working_dir: BUILD_DIR.into(),
            system: self.options.system.clone(),
            cores,
            jobserver: None,
            limits: self.limits(attributes)?,
            mode: self.options.sandbox_mode,
        })
    }

    /// Returns the limits of a build: those of the user, or shorter times that its derivation sets.
    fn limits(&self, attributes: &Attributes<'_>) -> Result<Limits, BuildError> {
        let seconds = |name: &str| -> Result<Option<Duration>, BuildError> {
            Ok(attributes.number(name)?.filter(|&number| number > 0).map(Duration::from_secs))
        };
        let shorter = |a: Option<Duration>, b: Option<Duration>| a.into_iter().chain(b).min();
        let options = &self.options;
        Ok(Limits {
            timeout: shorter(options.timeout, seconds("timeout")?),
            max_silent: shorter(options.max_silent, seconds("maxSilent")?),
            max_log_bytes: options.max_log_bytes,
            memory_max_bytes: options.memory_max_bytes,
            processes_max: options.processes_max,
            processes_counted: false,
            disk_reserve_bytes: options.disk_reserve_bytes.and_then(|bytes| disk::reserve(self.store.root(), bytes)),
            niceness: options.niceness,
        })
    }

    /// Gives a build that asks for it a share of the job tokens, over a FIFO that it makes.
    pub(super) fn serve_tokens_at(
        &self,
        form: Option<JobserverForm>,
        request: &mut Request,
        fifo: &Path,
    ) -> Result<Option<ServedTokens<'_>>, BuildError> {
        let Some(form) = form else { return Ok(None) };
        let jobs = if self.options.cores > 0 { self.options.cores } else { cpus() };
        let served = self.tokens.serve(fifo, jobs - 1).map_err(|e| io_error("mkfifo", fifo, e))?;
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        request.jobserver = Some(Jobserver { fifo: fifo.to_owned(), form, jobs });
        Ok(Some(served))
    }

    /// Returns how many cores a build that starts under `load` is asked to use: the user's number,
    /// or its share of the machine and half as much again, since hardly a build keeps all its cores
    /// busy.
    pub(super) fn cores(&self, load: Load) -> u32 {
        let cores = if self.options.cores > 0 {
            self.options.cores
        } else {
            let cpus = cpus();
            let slots = if self.options.jobs == 0 { cpus } else { self.options.jobs };
            let rivals = (load.running + load.ready).min(slots).max(1);
            (cpus * 3 / 2).div_ceil(rivals).clamp(1, cpus)
        };
        u32::try_from(cores).unwrap_or(u32::MAX)
    }

    /// Runs the builder and adopts its outputs.
    fn run(
        &self,
        action: &PreparedAction<'_>,
        request: &Request,
        watcher: &mut dyn ExecutionWatcher,
    ) -> Result<(BTreeMap<String, MadeOutput>, ResourceUsage), BuildError> {
        watcher.started();
        let outcome = self.sandbox.run(request, &mut |bytes| watcher.printed(bytes), &self.cancelled)?;
        if !outcome.skipped.is_empty() {
            watcher.warning(format!("the sandbox was relaxed: {} missing", outcome.skipped.join(", ")));
        }
        self.check_status(outcome.status, &request.limits)?;
        let usage = ResourceUsage {
            cpu: Some(outcome.usage.user + outcome.usage.system),
            memory_peak_bytes: Some(outcome.usage.max_rss_bytes),
        };
        Ok((self.collect(action, request.outputs.host_dir())?, usage))
    }

    fn check_status(&self, status: Status, limits: &Limits) -> Result<(), BuildError> {
        let secs = |limit: Option<Duration>| limit.map_or(0, |limit| limit.as_secs());
        Err(BuildError::Builder(match status {
            Status::Exited(0) => return Ok(()),
            Status::Exited(status) => BuilderFailure::Exited(status),
            Status::Signalled(signal) => BuilderFailure::Signalled(signal),
            Status::TimedOut => BuilderFailure::TimedOut { secs: secs(limits.timeout) },
            Status::Silent => BuilderFailure::Silent { secs: secs(limits.max_silent) },
            Status::LogTooLong => BuilderFailure::LogTooLong { bytes: limits.max_log_bytes.unwrap_or(0) },
            Status::OutOfMemory => BuilderFailure::OutOfMemory { bytes: limits.memory_max_bytes.unwrap_or(0) },
            Status::MachineOutOfMemory => BuilderFailure::MachineOutOfMemory,
            Status::TooManyProcesses => BuilderFailure::TooManyProcesses { max: limits.processes_max.unwrap_or(0) },
            Status::MachineTooManyProcesses => BuilderFailure::MachineTooManyProcesses,
            Status::DiskFull => {
                let reserve_bytes = limits.disk_reserve_bytes.unwrap_or(0);
                return Err(BuildError::DiskReserve { reserve_bytes, root: self.store.root().to_owned() });
            }
            Status::Cancelled => return Err(BuildError::Cancelled),
        }))
    }

    /// Adopts each declared output from the directory in which the builder made it.
    fn collect(
        &self,
        action: &PreparedAction<'_>,
        host_dir: &Path,
    ) -> Result<BTreeMap<String, MadeOutput>, BuildError> {
        let places = action.places();
        if action.is_rooted() {
            for entry in fs::read_dir(host_dir).map_err(|e| io_error("readdir", host_dir, e))? {
                let name = entry.map_err(|e| io_error("readdir", host_dir, e))?.file_name();
                if !name.to_str().is_some_and(|name| places.contains_key(name)) {
                    let place = format!("{OUTPUT_DIR}/{}", name.to_string_lossy());
                    return Err(BuildError::OutputUnknown { place, known: places.keys().cloned().collect() });
                }
            }
        }
        let mut outputs = BTreeMap::new();
        for (output, path) in &*action.job.node.outputs {
            let host = host_dir.join(if action.is_rooted() { output.clone() } else { path.to_string() });
            if fs::symlink_metadata(&host).is_err() {
                return Err(BuildError::OutputMissing { output: output.clone(), place: places[output].clone() });
            }
            outputs.insert(output.clone(), MadeOutput::adopt(&self.store, &self.cancelled, &host)?);
        }
        Ok(outputs)
    }
}

/// The scratch directory of a build, and the request that enters its sandbox again.
struct LocalDirectories<'a> {
    scratch: Scratch<'a>,
    request: Request,
}

impl BuildDirectories for LocalDirectories<'_> {
    fn keep(self: Box<Self>, dest: &Path, bytes_max: Option<u64>) -> Result<bool, BuildError> {
        self.scratch.keep(dest, &self.request, bytes_max)
    }
}

/// Returns the form in which a derivation asks for job tokens.
pub(super) fn jobserver_form(attributes: &Attributes<'_>) -> Result<Option<JobserverForm>, BuildError> {
    const NAME: &str = "__jobserver";
    match attributes.text(NAME)?.as_deref() {
        None | Some("") => Ok(None),
        Some("fifo") => Ok(Some(JobserverForm::Fifo)),
        Some("descriptors") => Ok(Some(JobserverForm::Descriptors)),
        Some(other) => Err(attribute(NAME, format!("expected `fifo` or `descriptors`, found `{other}`"))),
    }
}
