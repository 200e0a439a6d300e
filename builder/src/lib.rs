//! The builder: makes store paths from derivations.
//!
//! ```text
//!   targets ──plan──▶ Plan ──schedule──▶ for each node, when all its needs are valid:
//!                                          lock its outputs   (another process may build them: wait, then ask again)
//!                                          action             (command + contents of the inputs; known? reuse its trees: cut off)
//!                                          builtin | Executor (makes trees)
//!                                          outputs            (checked, scanned, registered)
//! ```
//!
//! Nothing here prints, reads the environment or knows the language: events go to an [`EventSink`],
//! everything that depends on the user comes in [`Options`], and the targets are paths of `.drv`
//! files in the store.

pub mod error;
pub mod events;
pub mod plan;
pub mod report;

pub mod log;

mod action;
mod attributes;
mod builtin;
mod derivation;
mod disk;
mod failed;
mod inputs;
mod jobserver;
mod phases;
mod realise;
mod repair;
mod rootfs;
mod schedule;
mod scratch;
#[cfg(test)]
mod tests;

pub use error::{BuildError, BuilderFailure, DerivationFailure, HashMismatch, KeptDirectories};
pub use events::{Event, EventSink, LockHolder, NodeId, Origin, Silent};
pub use failed::{FailedBounds, FailedBuild, failed_builds};
pub use log::{open_log, open_unfinished_log};
pub use phases::{BuildFunctions, quoted};
pub use plan::{NodeKind, Plan, PlanNode, PlannedTarget, Target};
pub use realise::{
    BuildDirectories, Entry, EntryPlace, Executed, ExecutionFailure, ExecutionWatcher, Executor, LocalExecutor,
    MadeOutput, PreparedAction, ResourceUsage, VisitorCommand,
};
pub use repair::Repaired;
pub use report::BuildReport;

use model::StorePath;
use schedule::{Budgets, Ended, SchedulePolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::LocalStore;

/// Choices of a user about building. None of them is part of an action's key, except for a relaxed
/// sandbox.
#[derive(Clone, Debug)]
pub struct Options {
    /// Build slots; 0 for one a core.
    pub jobs: usize,
    /// Cores that each build is asked to use; 0 shares the machine among the running builds.
    pub cores: usize,
    /// Downloads at once; 0 for the default of 16.
    pub fetches: usize,
    /// Go on with all nodes that do not need a failed one.
    pub keep_going: bool,
    /// Stop what still runs at the first failure, unless it keeps going.
    pub fail_fast: bool,
    /// Build the first target before those after it, rather than the longest path first.
    pub in_order: bool,
    /// Build valid targets again and compare.
    pub rebuild: bool,
    /// Keep the directories of failed builds until a collection finds them old enough.
    pub keep_failed: bool,
    /// Without that, keep those of the latest failed builds within these bounds.
    pub keep_latest_failed: FailedBounds,
    /// Longest time without output; a derivation's `maxSilent` wins when it is shorter.
    pub max_silent: Option<Duration>,
    /// Longest time; a derivation's `timeout` wins when it is shorter.
    pub timeout: Option<Duration>,
    /// Most bytes of log.
    pub max_log_bytes: Option<u64>,
    /// Most memory of one build, in bytes.
    pub memory_max_bytes: Option<u64>,
    /// Memory for all builds together, which limits how many run at a time; `None` for the memory
    /// that the machine and the control groups of this process have available.
    pub memory_together_bytes: Option<u64>,
    /// Most processes and threads of one build at a time.
    pub processes_max: Option<u64>,
    /// Bytes that builds leave free where the store is; none are kept on file systems too small for
    /// it.
    pub disk_reserve_bytes: Option<u64>,
    /// By how much the priority of builds is below the caller's, 0 to 19.
    pub niceness: u8,
    /// The system for which this machine builds.
    pub system: String,
    /// Features that derivations may ask for in `requiredSystemFeatures`.
    pub system_features: BTreeSet<String>,
    /// Configuration of downloads. Its cancel flag is the builder's; unfinished downloads are kept
    /// in the store when it names no directory for them.
    pub fetch: fetch::FetchConfig,
    /// Relaxed when parts of the sandbox that the kernel lacks may be left out.
    pub sandbox_mode: sandbox::request::SandboxMode,
    /// The executable that has [`sandbox::child_entry`] first in its `main`; this one when `None`.
    pub sandbox_child: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            jobs: 0,
            cores: 0,
            fetches: 0,
            keep_going: false,
            fail_fast: false,
            in_order: false,
            rebuild: false,
            keep_failed: false,
            keep_latest_failed: FailedBounds { count: 0, bytes: 0 },
            max_silent: None,
            timeout: None,
            max_log_bytes: Some(4 << 30),
            memory_max_bytes: sandbox::memory::total_bytes().map(|bytes| bytes / 10 * 9),
            memory_together_bytes: None,
            processes_max: Some(16_384),
            disk_reserve_bytes: Some(256 << 20),
            niceness: 0,
            system: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            system_features: BTreeSet::new(),
            fetch: fetch::FetchConfig::new(PathBuf::new()),
            sandbox_mode: sandbox::request::SandboxMode::Strict,
            sandbox_child: None,
        }
    }
}

/// Makes derivations real in one store.
pub struct Builder {
    store: Arc<LocalStore>,
    options: Options,
    sink: Arc<dyn EventSink>,
    cancelled: Arc<AtomicBool>,
    /// Made when the first plan is realised: most commands only evaluate.
    services: OnceLock<realise::Services>,
    /// Runs the builds; the sandbox of this machine when `None`.
    executor: Option<Arc<dyn Executor>>,
}

impl Builder {
    pub fn new(store: Arc<LocalStore>, options: Options, sink: Arc<dyn EventSink>) -> Builder {
        let cancelled = Arc::clone(&options.fetch.cancel);
        Builder { store, options, sink, cancelled, services: OnceLock::new(), executor: None }
    }

    /// As [`Builder::new`], with builds that `executor` runs.
    pub fn with_executor(
        store: Arc<LocalStore>,
        options: Options,
        sink: Arc<dyn EventSink>,
        executor: Arc<dyn Executor>,
    ) -> Builder {
        Builder { executor: Some(executor), ..Builder::new(store, options, sink) }
    }

    /// Returns the flag that stops everything when it is set: no node starts, running builds are
    /// killed, and [`Builder::realise`] returns with the store in order. A signal handler may set
    /// it.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// Plans the realisation of `targets`. Changes nothing.
    ///
    /// # Errors
    /// When a derivation cannot be read, or lacks an output that is asked for.
    pub fn plan(&self, targets: &[Target]) -> Result<Plan, BuildError> {
        plan::plan(&self.store, targets, self.options.rebuild, self.options.in_order)
    }

    /// Realises a plan.
    ///
    /// # Errors
    /// [`BuildError::Failed`] with the whole report when anything failed or was stopped.
    pub fn realise(&self, plan: impl Into<Arc<Plan>>) -> Result<BuildReport, BuildError> {
        let plan = plan.into();
        self.sink.event(Event::Planned { plan: Arc::clone(&plan) });
        let mut report = BuildReport {
            targets: plan.targets.iter().map(|t| (t.drv.clone(), t.outputs.clone())).collect(),
            ..BuildReport::default()
        };
        if plan.is_empty() {
            return Ok(report);
        }
        let realiser = realise::Realiser {
            store: &self.store,
            options: &self.options,
            sink: &*self.sink,
            cancelled: &self.cancelled,
            services: self.services(),
            plan: &plan,
        };
        let policy = SchedulePolicy {
            budgets: self.budgets(),
            keep_going: self.options.keep_going,
            all_fetches: self.options.fetch.offline,
        };
        let gave_up = AtomicBool::new(false);
        let ended = schedule::run(
            &plan,
            policy,
            &self.cancelled,
            &|id, load, slot| {
                let ended = realiser.node(id, load, slot);
                let failed = ended.as_ref().is_err_and(|failure| !matches!(failure.error, BuildError::Cancelled));
                if failed && self.options.fail_fast && !self.options.keep_going {
                    // All that watches the flag ends, as for an interrupt.
                    gave_up.fetch_or(!self.cancelled.swap(true, Ordering::SeqCst), Ordering::SeqCst);
                }
                ended
            },
            &|node, by| self.sink.event(Event::Blocked { node, by }),
        );
        if gave_up.into_inner() {
            self.cancelled.store(false, Ordering::SeqCst);
        }
        for (node, ended) in plan.nodes.iter().zip(ended) {
            match ended {
                Ended::Done(how) => {
                    report.realised.insert(node.drv.clone(), how);
                }
                Ended::Failed(failure) if matches!(failure.error, BuildError::Cancelled) => {
                    report.not_started.push(node.drv.clone());
                }
                Ended::Failed(failure) => report.failures.push(failure),
                Ended::Blocked(by) => report.blocked.push((node.drv.clone(), plan.nodes[by].drv.clone())),
                Ended::NotStarted => report.not_started.push(node.drv.clone()),
            }
        }
        report.cancelled = self.cancelled.load(Ordering::SeqCst);
        let all_well = report.failures.is_empty() && report.blocked.is_empty() && report.not_started.is_empty();
        if all_well { Ok(report) } else { Err(BuildError::Failed(Box::new(report))) }
    }

    /// Makes outputs of one derivation valid and returns their paths, for import from derivation.
    ///
    /// # Errors
    /// As [`Builder::plan`] and [`Builder::realise`].
    pub fn realise_now(
        &self,
        drv: &StorePath,
        outputs: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, StorePath>, BuildError> {
        let plan = plan::plan(&self.store, &[Target { drv: drv.clone(), outputs: outputs.clone() }], false, false)?;
        let paths = plan.targets.iter().flat_map(|target| (*target.outputs).clone()).collect();
        if !plan.is_empty() {
            self.realise(plan)?;
        }
        Ok(paths)
    }

    /// Removes the cache that builds keep beside the store and can make again: checkouts of unions
    /// and private copies of shared files. Returns false, and removes nothing, while any build runs
    /// on the store.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear_cache(&self) -> Result<bool, BuildError> {
        rootfs::clear(&self.store)
    }

    pub(crate) fn services(&self) -> &realise::Services {
        self.services.get_or_init(|| realise::Services::new(&self.store, &self.options, self.executor.clone()))
    }

    /// Returns the store that is built in.
    pub fn store(&self) -> &Arc<LocalStore> {
        &self.store
    }

    fn budgets(&self) -> Budgets {
        let cpus = schedule::cpus();
        Budgets {
            builds: if self.options.jobs == 0 { cpus } else { self.options.jobs },
            fetches: if self.options.fetches == 0 { 16 } else { self.options.fetches },
            unpacks: cpus,
            trees: cpus,
            memory_bytes: self
                .options
                .memory_together_bytes
                .or_else(sandbox::memory::available_bytes)
                .unwrap_or(u64::MAX),
        }
    }
}
