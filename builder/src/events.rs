//! What a realisation tells while it runs.
//!
//! A [`Plan`](crate::Plan) is announced first, so that a renderer knows every node, what it needs and how long it took
//! the last time; after that each event names its node by its index in the plan. Every node that is started ends with
//! exactly one of `Finished` or `Failed`; a node that never starts because something below it failed gets `Blocked`.
//!
//! Events are sent from many threads. Showing them is the root crate's work: nothing here prints.

use crate::DerivationFailure;
use std::{sync::Arc, time::Duration};
use store::StorePath;

/// Index of a node in [`Plan::nodes`](crate::Plan::nodes).
pub type NodeId = usize;

/// How an output came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A builder ran, in the sandbox or in-process.
    Built,
    /// The action with these very input contents had been run before: its recorded trees were taken and nothing ran.
    CutOff,
    /// Bytes came from a URL.
    Fetched,
    /// Another process, or another derivation with the same output, made it while we waited.
    Found,
    /// It was built again and came out the same.
    Reproduced,
}

/// Who holds the lock that a node waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Process id, when the lock tells it.
    pub pid: Option<u32>,
    /// The command line of that process, for people.
    pub command: String,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// What is going to be done; sent once, before anything is started.
    Planned { plan: Arc<crate::Plan> },
    /// A node has left the queue.
    Started { node: NodeId },
    /// Its builder runs now: nothing that was built before could be taken instead.
    Building { node: NodeId },
    /// The node cannot go on until another process lets go of it.
    Waiting { node: NodeId, holder: LockHolder },
    /// The builder printed `@phase NAME`.
    Phase { node: NodeId, phase: String },
    /// A line of the build's log, without control characters.
    LogLine { node: NodeId, line: String },
    /// Bytes fetched so far, of how many when the server said.
    Progress { node: NodeId, done_bytes: u64, total_bytes: Option<u64> },
    /// The outputs are registered.
    Finished { node: NodeId, origin: Origin, duration: Duration },
    /// The node could not be realised, or was stopped ([`BuildError::Cancelled`](crate::BuildError::Cancelled)); the
    /// same failure is in the report.
    Failed { node: NodeId, failure: Arc<DerivationFailure> },
    /// The node is not started since `by`, which it needs, failed.
    Blocked { node: NodeId, by: NodeId },
    /// Something a person should know which fails nothing.
    Warning { node: Option<NodeId>, drv: Option<StorePath>, text: String },
}

/// Where events go. Implementations return quickly: the sender may hold a build slot.
pub trait EventSink: Send + Sync {
    fn event(&self, event: Event);
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn event(&self, _event: Event) {}
}

impl<F: Fn(Event) + Send + Sync> EventSink for F {
    fn event(&self, event: Event) {
        self(event)
    }
}
