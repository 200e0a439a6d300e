//! Realises one node of a plan: from a derivation whose inputs are valid to registered outputs.
//!
//! Four steps, each of which may be the last:
//!
//! 1. **Lock** (`job`). One process at a time makes an output. Outputs that are valid once the lock is
//!    taken are used as they are.
//! 2. **Action** (`prepare`, `cutoff`). The key of an action is a digest of its command and of the
//!    contents that it sees. When its result is recorded, the recorded trees become the outputs.
//! 3. **Execution** (`built_in`, `execute`, `local`). A built-in builder runs in this process. All other
//!    actions are given to an [`Executor`]; the sandbox on this machine is one.
//! 4. **Checks and registration** (`outputs`, `register`). Outputs are scanned for references and held
//!    to the derivation's rules. Paths, action and build record are registered together.
//!
//! Invariant: nothing is registered whose checks have not passed, and nothing registered is
//! changed.

mod built_in;
mod cutoff;
mod differences;
mod enter;
mod execute;
mod job;
mod local;
mod outputs;
mod prepare;
mod register;
mod rules;

pub use enter::{Entry, EntryPlace, VisitorCommand};
pub use execute::{
    BuildDirectories, Executed, ExecutionFailure, ExecutionWatcher, Executor, MadeOutput, ResourceUsage,
};
pub use local::LocalExecutor;
pub use prepare::PreparedAction;

use crate::attributes::Attributes;
use crate::events::{Event, EventSink, NodeId, Origin};
use crate::plan::Plan;
use crate::rootfs::Roots;
use crate::schedule::{Load, Slot};
use crate::{DerivationFailure, Options};
use fetch::Fetcher;
use job::{Job, Stopped};
use model::StorePath;
use register::Product;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use store::LocalStore;

/// Services that all nodes of a builder use.
pub(crate) struct Services {
    fetcher: Fetcher,
    roots: Arc<Roots>,
    executor: Arc<dyn Executor>,
    /// Output paths by derivation, as far as they were needed.
    outputs: Mutex<HashMap<StorePath, Arc<BTreeMap<String, StorePath>>>>,
}

impl Services {
    /// Makes the services for builds in `store`. Without an executor, builds run in the sandbox.
    pub fn new(store: &Arc<LocalStore>, options: &Options, executor: Option<Arc<dyn Executor>>) -> Services {
        let mut fetch = options.fetch.clone();
        if fetch.partial_dir.as_os_str().is_empty() {
            fetch.partial_dir = store.root().join("cache").join("downloads");
        }
        let roots = Arc::new(Roots::new(store));
        let executor = executor.unwrap_or_else(|| Arc::new(LocalExecutor::new(store, &roots, options)));
        Services { fetcher: Fetcher::new(fetch), roots, executor, outputs: Mutex::default() }
    }
}

/// Realises nodes of one plan; shared by all its threads.
pub(crate) struct Realiser<'a> {
    pub store: &'a LocalStore,
    pub options: &'a Options,
    pub sink: &'a dyn EventSink,
    pub cancelled: &'a Arc<AtomicBool>,
    pub services: &'a Services,
    pub plan: &'a Plan,
}

impl Realiser<'_> {
    /// Realises node `id` and reports how that ends.
    ///
    /// The slot is released as soon as only the registration of outputs is left.
    pub fn node(&self, id: NodeId, load: Load, slot: &Slot<'_>) -> Result<(Origin, Duration), Arc<DerivationFailure>> {
        let begin = Instant::now();
        self.sink.event(Event::Started { node: id });
        match self.attempt(id, load, slot, begin) {
            Ok(origin) => {
                let duration = begin.elapsed();
                self.sink.event(Event::Finished { node: id, origin, duration });
                Ok((origin, duration))
            }
            Err(stopped) => {
                let Stopped { error, log, kept } = *stopped;
                let drv = self.plan.nodes[id].drv.clone();
                let failure = Arc::new(DerivationFailure { drv, error, log, kept });
                self.sink.event(Event::Failed { node: id, failure: Arc::clone(&failure) });
                Err(failure)
            }
        }
    }

    /// Step 1, and the choice of how the others are done.
    fn attempt(&self, id: NodeId, load: Load, slot: &Slot<'_>, begin: Instant) -> Result<Origin, Box<Stopped>> {
        self.check_cancelled()?;
        let node = &self.plan.nodes[id];
        let derivation = self.store.derivation(&node.drv)?;
        let _lock = self.lock_outputs(id)?;
        if !node.rebuild && self.outputs_are_valid(node)? {
            return Ok(Origin::Found);
        }
        let direct = self.protected_inputs(&derivation)?;
        let attributes = Attributes::of(&derivation)?;
        let started = SystemTime::now();
        let job = Job { id, node, derivation: &derivation, attributes, direct, started, begin, load, slot };
        if job.is_built_in() { self.built_in(&job) } else { self.executed(&job) }
    }

    /// Steps 2 to 4 of a build that an executor runs.
    fn executed(&self, job: &Job<'_>) -> Result<Origin, Box<Stopped>> {
        let prepared = self.prepare(job)?;
        let candidates = prepared.reference_candidates();
        let _lock = self.lock(job.id, || self.store.try_lock_action(&prepared.key))?;
        if !job.node.rebuild && self.cut_off(job, prepared.key, &candidates)? {
            return Ok(Origin::CutOff);
        }
        let (executed, log) = self.execute(job, &prepared)?;
        let Executed { outputs, usage, directories } = executed;
        let places = &prepared.invocation.places;
        let cost = job::Cost::new(usage, &log, &job.node.drv);
        let product =
            Product { action: prepared.key, outputs, places, candidates: &candidates, cost, origin: Origin::Built };
        let completed = self.complete(job, product);
        if job.node.rebuild {
            log.write()?;
        } else if completed.is_err() {
            // The reason why the outputs are refused is worth more than that the log is missing.
            let _ = log.write();
        }
        completed.map_err(|stopped| self.keep(job, directories, stopped))
    }

    /// Step 4: checks the outputs and registers them. A second build is compared with the first
    /// instead.
    fn complete(&self, job: &Job<'_>, product: Product<'_>) -> Result<Origin, Box<Stopped>> {
        if job.node.rebuild {
            return self.compare(job, &product.outputs);
        }
        let checked = self.check(job, &product)?;
        self.register(job, product, checked)
    }
}
