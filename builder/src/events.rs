//! Events of a realisation while it runs.
//!
//! A [`Plan`](crate::Plan) is sent first, so that a renderer knows every node, its needs and its
//! last duration. Each later event names its node by the index in the plan. Every node that starts
//! ends with exactly one of `Finished` or `Failed`; a node that never starts because one below it
//! failed gets `Blocked`.
//!
//! Events are sent from many threads. The root crate shows them: nothing here prints.

use crate::DerivationFailure;
use model::StorePath;
use std::sync::Arc;
use std::time::Duration;

/// Index of a node in [`Plan::nodes`](crate::Plan::nodes).
pub type NodeId = usize;

/// The origin of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A builder ran, in the sandbox or in-process.
    Built,
    /// The action with these very input contents had been run before: its recorded trees were
    /// reused and nothing ran.
    CutOff,
    /// Bytes came from a URL.
    Fetched,
    /// Another process, or another derivation with the same output, made it while this one waited.
    Found,
    /// The output was built again and has the same contents.
    Reproduced,
}

/// The holder of the lock that a node waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Process id, when the lock records it.
    pub pid: Option<u32>,
    /// The command line of that process, for people.
    pub command: String,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The plan; sent once, before any node starts.
    Planned { plan: Arc<crate::Plan> },
    /// A node has left the queue.
    Started { node: NodeId },
    /// The node's builder runs now: no earlier result could be reused.
    Building { node: NodeId },
    /// The node waits until another process releases its lock.
    Waiting { node: NodeId, holder: LockHolder },
    /// The builder printed `@phase NAME`.
    Phase { node: NodeId, phase: String },
    /// A line of the build's log, without control characters.
    LogLine { node: NodeId, line: String },
    /// Bytes fetched so far, of how many when the server said.
    Progress { node: NodeId, done_bytes: u64, total_bytes: Option<u64> },
    /// The outputs are registered.
    Finished { node: NodeId, origin: Origin, duration: Duration },
    /// The node could not be realised, or was stopped
    /// ([`BuildError::Cancelled`](crate::BuildError::Cancelled)); the same failure is in the
    /// report.
    Failed { node: NodeId, failure: Arc<DerivationFailure> },
    /// The node is not started since `by`, which it needs, failed.
    Blocked { node: NodeId, by: NodeId },
    /// A warning for the user; no node fails because of it.
    Warning { node: Option<NodeId>, drv: Option<StorePath>, text: String },
}

/// A receiver of events. Implementations return quickly: the sender may have a build slot.
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
