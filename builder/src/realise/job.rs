//! A job: one node of the plan while it is realised, the locks it waits for, and the way it fails.

use super::{BuildDirectories, Realiser, ResourceUsage};
use crate::attributes::Attributes;
use crate::error::{KeptDirectories, LogSummary};
use crate::events::{Event, LockHolder, NodeId};
use crate::plan::PlanNode;
use crate::schedule::{Load, Slot};
use crate::{BuildError, derivation, failed, log};
use model::{Derivation, StorePath};
use os::lock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use store::{Lock, StoreError};

/// A wait for a lock that is shorter than this is not reported: no person would notice it.
const UNNOTICED_WAIT: Duration = Duration::from_millis(60);

/// Codes of failures of the builder or of its outputs.
const AT_THE_BUILDER: [&str; 4] = ["build::failed", "build::timed_out", "build::output", "build::not_deterministic"];

/// One node while it is worked on.
pub(crate) struct Job<'a> {
    pub id: NodeId,
    pub node: &'a PlanNode,
    pub derivation: &'a Derivation,
    pub attributes: Attributes<'a>,
    /// The paths of its inputs.
    pub direct: BTreeSet<StorePath>,
    pub started: SystemTime,
    pub begin: Instant,
    pub load: Load,
    pub slot: &'a Slot<'a>,
}

impl Job<'_> {
    /// Returns true when the builder is one of this program's own.
    pub fn is_built_in(&self) -> bool {
        self.derivation.builder.starts_with(b"builtin:")
    }
}

/// The failure of a job, with facts that were found during the run.
pub(super) struct Stopped {
    pub error: BuildError,
    pub log: Option<LogSummary>,
    pub kept: Option<KeptDirectories>,
}

impl From<BuildError> for Box<Stopped> {
    fn from(error: BuildError) -> Box<Stopped> {
        Box::new(Stopped { error, log: None, kept: None })
    }
}

impl From<StoreError> for Box<Stopped> {
    fn from(error: StoreError) -> Box<Stopped> {
        BuildError::from(error).into()
    }
}

/// The cost of a build, for its record.
#[derive(Default)]
pub(super) struct Cost {
    pub usage: ResourceUsage,
    /// The log's file name, when it is a file.
    pub log: Option<String>,
    /// The log itself, compressed, when it is short.
    pub short_log: Option<Vec<u8>>,
}

impl Cost {
    pub fn new(usage: ResourceUsage, log: &log::FinishedLog, drv: &StorePath) -> Cost {
        Cost { usage, log: log.short.is_none().then(|| format!("{drv}.zst")), short_log: log.short.clone() }
    }
}

impl Realiser<'_> {
    /// Returns an error once the caller has asked to stop.
    pub(super) fn check_cancelled(&self) -> Result<(), BuildError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(BuildError::Cancelled) } else { Ok(()) }
    }

    /// Locks the outputs of a node, and protects them from the collector.
    pub(super) fn lock_outputs(&self, id: NodeId) -> Result<Lock, Box<Stopped>> {
        let outputs = &self.plan.nodes[id].outputs;
        // Two derivations share an output only when it is fixed, and then it is their only one: one
        // lock is enough.
        let first = outputs.values().next().expect("a derivation has outputs");
        let lock = self.lock(id, || self.store.try_lock_path(first))?;
        for path in outputs.values() {
            self.store.temp_root(path)?;
        }
        Ok(lock)
    }

    pub(super) fn outputs_are_valid(&self, node: &PlanNode) -> Result<bool, BuildError> {
        Ok(self.store.valid_among(node.outputs.values().cloned())?.len() == node.outputs.len())
    }

    /// Waits for a lock, and reports its holder.
    pub(super) fn lock(
        &self,
        id: NodeId,
        mut attempt: impl FnMut() -> Result<Result<Lock, Option<store::LockHolder>>, StoreError>,
    ) -> Result<Lock, Box<Stopped>> {
        let mut reported = false;
        let mut wait = Duration::from_millis(2);
        loop {
            self.check_cancelled()?;
            match attempt()? {
                Ok(lock) => return Ok(lock),
                Err(holder) => {
                    if !reported && wait > UNNOTICED_WAIT {
                        reported = true;
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

    /// Returns the paths of all inputs of `derivation`, and protects them from the collector.
    pub(super) fn protected_inputs(&self, derivation: &Derivation) -> Result<BTreeSet<StorePath>, BuildError> {
        let mut paths = derivation.input_sources.clone();
        for (drv, wanted) in &derivation.input_derivations {
            let known = self.outputs_of(drv)?;
            for name in wanted {
                let path = known.get(name).ok_or_else(|| BuildError::UnknownOutput {
                    drv: drv.clone(),
                    output: name.clone(),
                    known: known.keys().cloned().collect(),
                })?;
                paths.insert(path.clone());
            }
        }
        for path in &paths {
            self.store.temp_root(path)?;
        }
        Ok(paths)
    }

    fn outputs_of(&self, drv: &StorePath) -> Result<Arc<BTreeMap<String, StorePath>>, BuildError> {
        if let Some(known) = lock(&self.services.outputs).get(drv) {
            return Ok(Arc::clone(known));
        }
        let derivation = self.store.derivation(drv)?;
        let paths = Arc::new(derivation::output_paths(drv, &derivation)?);
        lock(&self.services.outputs).insert(drv.clone(), Arc::clone(&paths));
        Ok(paths)
    }

    /// Keeps the directories of a failed build for the user: if that was asked for, or within the
    /// bounds for those that were not. Then the very sandbox can be entered again ([`crate::failed`]).
    ///
    /// Without being asked for, none is kept of a build that failed for a reason outside of it, such
    /// as a full disk.
    pub(super) fn keep(
        &self,
        job: &Job<'_>,
        directories: Option<Box<dyn BuildDirectories + '_>>,
        mut stopped: Box<Stopped>,
    ) -> Box<Stopped> {
        let Some(directories) = directories else { return stopped };
        let on_request = self.options.keep_failed;
        let bounds = match stopped.error {
            BuildError::Cancelled => return stopped,
            _ if on_request => None,
            // A look at the sandbox explains no other failure.
            ref error if !AT_THE_BUILDER.contains(&error.code()) => return stopped,
            _ if self.options.keep_latest_failed.count == 0 => return stopped,
            _ => Some(self.options.keep_latest_failed),
        };
        let path = self.store.root().join("failed").join(job.node.drv.to_string());
        let kept = directories.keep(&path, bounds.map(|bounds| bounds.bytes)).and_then(|kept| match bounds {
            Some(bounds) if kept => failed::prune(self.store, bounds).map(|()| kept),
            _ => Ok(kept),
        });
        match kept {
            Ok(false) => {}
            Ok(true) => stopped.kept = Some(KeptDirectories { path, on_request }),
            Err(error) => self.sink.event(Event::Warning {
                node: Some(job.id),
                drv: Some(job.node.drv.clone()),
                text: format!("the failed build's directories could not be kept: {error}"),
            }),
        }
        stopped
    }
}
