//! Step 3: gives an action to an executor and follows it until it ends.
//!
//! An executor runs a prepared action to its end and returns the trees that it made. It knows
//! nothing of derivations that wait, of the action cache, of checks or registration. So a further
//! executor is one implementation of [`Executor`]: an engine on other machines gets its input by
//! [`PreparedAction::upload`] and stores the outputs it downloads.

use super::job::{Job, Stopped};
use super::{PreparedAction, Realiser};
use crate::events::{Event, EventSink, NodeId};
use crate::log::{self, Line, LogWriter};
use crate::{BuildError, disk};
use model::StorePath;
use model::tree::Node;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Bounds, LocalStore};

/// Runs actions.
pub trait Executor: Send + Sync {
    /// Runs one action to its end. Called from many threads at a time.
    ///
    /// Returns an output for each of [`PreparedAction::places`], with all its blobs and directories
    /// in the store that is built in. Returns soon after the builder's cancel flag was set.
    ///
    /// # Errors
    /// When the action could not be run, did not succeed, or lacks an output.
    fn execute<'a>(
        &'a self,
        action: &PreparedAction<'_>,
        watcher: &mut dyn ExecutionWatcher,
    ) -> Result<Executed<'a>, ExecutionFailure<'a>>;
}

/// Receives reports of an execution.
pub trait ExecutionWatcher {
    /// The command starts now. Until then the executor prepared its environment, or waited.
    fn started(&mut self);

    /// The command has printed `bytes`, which need not end with a line. They may be empty, in calls
    /// that only let the watcher notice that time passes.
    fn printed(&mut self, bytes: &[u8]);

    /// Warns the user with `text`; the execution continues.
    fn warning(&mut self, text: String);
}

/// The result of an action that succeeded.
pub struct Executed<'a> {
    pub outputs: BTreeMap<String, MadeOutput>,
    pub usage: ResourceUsage,
    /// Directories that exist until the outputs are registered.
    pub directories: Option<Box<dyn BuildDirectories + 'a>>,
}

/// The end of an action that did not succeed.
pub struct ExecutionFailure<'a> {
    pub error: Box<BuildError>,
    pub directories: Option<Box<dyn BuildDirectories + 'a>>,
}

impl<E: Into<BuildError>> From<E> for ExecutionFailure<'_> {
    fn from(error: E) -> Self {
        ExecutionFailure { error: Box::new(error.into()), directories: None }
    }
}

/// The directories in which a build worked. Dropping them removes them.
pub trait BuildDirectories {
    /// Moves them to `dest` for the user, in place of others there. With `bytes_max`, only when they
    /// are not larger; returns whether they were moved.
    ///
    /// # Errors
    /// When that cannot be done.
    fn keep(self: Box<Self>, dest: &Path, bytes_max: Option<u64>) -> Result<bool, BuildError>;
}

/// Resources that a build used, as far as they were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceUsage {
    pub cpu: Option<Duration>,
    pub memory_peak_bytes: Option<u64>,
}

/// An output that was made and not checked yet. Its blobs are in the store.
pub struct MadeOutput {
    pub(super) node: Node,
    /// The output on the store's file system, ready to be renamed to its path. Other outputs are
    /// checked out from their nodes.
    pub(super) adopted: Option<PathBuf>,
    pub(super) bytes: u64,
}

impl MadeOutput {
    /// Returns an output whose blobs and directories are in the store.
    pub fn stored(node: Node) -> MadeOutput {
        MadeOutput { node, adopted: None, bytes: 0 }
    }

    /// Imports a tree on the store's file system, which becomes the store's own.
    pub(crate) fn adopt(store: &LocalStore, cancelled: &AtomicBool, host: &Path) -> Result<MadeOutput, BuildError> {
        // A tree that is larger than the file system consists of holes.
        let bytes_max = os::space::capacity_bytes_at(store.root()).unwrap_or(u64::MAX);
        let imported = store.import_tree_within(host, Bounds { bytes_max, cancelled });
        let imported = imported.map_err(|error| match cancelled.load(Ordering::Relaxed) {
            true => BuildError::Cancelled,
            false => error.into(),
        })?;
        Ok(MadeOutput { node: imported.node, adopted: Some(host.to_owned()), bytes: imported.bytes })
    }
}

impl Realiser<'_> {
    /// Has the executor run an action; its log is written and passed on line by line.
    pub(super) fn execute(
        &self,
        job: &Job<'_>,
        prepared: &PreparedAction<'_>,
    ) -> Result<(Executed<'_>, log::FinishedLog), Box<Stopped>> {
        let drv = &job.node.drv;
        let log = LogWriter::create(self.store.root(), &drv.to_string())?;
        let mut watcher = LogWatcher { sink: self.sink, node: job.id, drv, log, started: false, error: None };
        let executed = self.services.executor.execute(prepared, &mut watcher);
        let started = watcher.started;
        let (log, log_error) = watcher.finish()?;
        let (error, directories) = match (executed, log_error) {
            (Ok(executed), None) => {
                if !job.node.rebuild {
                    log.supersede()?;
                }
                return Ok((executed, log));
            }
            (Ok(executed), Some(error)) => (error, executed.directories),
            (Err(failure), log_error) => (log_error.unwrap_or(*failure.error), failure.directories),
        };
        if !started {
            return Err(error.into());
        }
        let error = match error {
            BuildError::Builder(failure) => match disk::no_space_left(self.store.root(), &log.summary) {
                Some(free_bytes) => BuildError::DiskFull { failure, root: self.store.root().to_owned(), free_bytes },
                None => BuildError::Builder(failure),
            },
            other => other,
        };
        let stopped = match log.write() {
            Ok(()) => Box::new(Stopped { error, log: Some(log.summary), kept: None }),
            Err(error) => error.into(),
        };
        Err(self.keep(job, directories, stopped))
    }
}

/// Writes the log of an execution and sends its lines as events.
struct LogWatcher<'a> {
    sink: &'a dyn EventSink,
    node: NodeId,
    drv: &'a StorePath,
    log: LogWriter,
    started: bool,
    /// The first error in writing the log. The execution goes on without it.
    error: Option<BuildError>,
}

impl LogWatcher<'_> {
    fn finish(self) -> Result<(log::FinishedLog, Option<BuildError>), BuildError> {
        let log = self.log.finish(&mut |line| self.sink.event(event_of(self.node, line)))?;
        Ok((log, self.error))
    }
}

impl ExecutionWatcher for LogWatcher<'_> {
    fn started(&mut self) {
        self.started = true;
        self.sink.event(Event::Building { node: self.node });
    }

    fn printed(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            let (sink, node) = (self.sink, self.node);
            self.error = self.log.write(bytes, &mut |line| sink.event(event_of(node, line))).err();
        }
    }

    fn warning(&mut self, text: String) {
        self.sink.event(Event::Warning { node: Some(self.node), drv: Some(self.drv.clone()), text });
    }
}

fn event_of(node: NodeId, line: Line) -> Event {
    match line {
        Line::Phase(phase) => Event::Phase { node, phase },
        Line::Text(line) => Event::LogLine { node, line },
    }
}
