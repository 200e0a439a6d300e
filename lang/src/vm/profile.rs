//! Sampling profile of an evaluation: the active calls at every tick of a clock.
//!
//! The clock is the embedder's, which calls [`tick`] from a thread of its own. A profiled evaluator
//! keeps the active calls in a list, and adds the ticks since the last change to the innermost call
//! whenever a call begins or ends. So a long step is counted in full, and short ones as often as
//! the clock met them. The clock is the process's: one evaluator at a time can be profiled.
//!
//! An evaluator that is not profiled pays nothing: the list is kept in the path for a native stack
//! that is used up, and the limit of a profiled evaluator pretends that it always is
//! ([`super::run`]).

use super::Evaluator;
use crate::compile::code::Code;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Counts a unit of time for the active call of the profiled evaluator.
pub fn tick() {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// A call of the profile.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Code(&'static Code),
    Builtin(&'static str),
}

impl Call {
    fn id(self) -> usize {
        match self {
            Call::Code(code) => std::ptr::from_ref(code) as usize,
            Call::Builtin(name) => name.as_ptr() as usize,
        }
    }
}

/// A call in the tree of calls: the same call from elsewhere is another node.
struct Node {
    call: Call,
    parent: usize,
    ticks: u64,
}

/// The tree of calls so far.
pub(super) struct Profile {
    nodes: Vec<Node>,
    children: HashMap<(usize, usize), usize, FxBuildHasher>,
    /// Node of the active call; 0 for none.
    at: usize,
    /// Lowest usable address of the native stack, while the evaluator's own limit pretends that
    /// none is left.
    pub native_limit: usize,
}

impl Profile {
    fn count(&mut self) {
        let ticks = TICKS.swap(0, Ordering::Relaxed);
        self.nodes[self.at].ticks += ticks;
    }

    /// Begins a call; returns its caller.
    pub fn enter(&mut self, call: Call) -> usize {
        if TICKS.load(Ordering::Relaxed) > 0 {
            self.count();
        }
        let parent = self.at;
        let next = self.nodes.len();
        self.at = *self.children.entry((parent, call.id())).or_insert(next);
        if self.at == next {
            self.nodes.push(Node { call, parent, ticks: 0 });
        }
        parent
    }

    /// Ends a call.
    pub fn leave(&mut self, parent: usize) {
        if TICKS.load(Ordering::Relaxed) > 0 {
            self.count();
        }
        self.at = parent;
    }

    /// Replaces the active call, for a tail call.
    pub fn replace(&mut self, call: Call) {
        let parent = self.nodes[self.at].parent;
        self.leave(parent);
        self.enter(call);
    }
}

impl Evaluator {
    /// Starts the profile. Only this evaluator is profiled, so it should have no helpers.
    pub fn start_profile(&mut self) {
        let root = Node { call: Call::Builtin(""), parent: 0, ticks: 0 };
        TICKS.store(0, Ordering::Relaxed);
        self.profile = Some(Box::new(Profile {
            nodes: vec![root],
            children: HashMap::default(),
            at: 0,
            native_limit: usize::MAX,
        }));
    }

    /// Returns the profile so far in the format of flame graph programs: a line for each stack of
    /// calls, outermost first and separated by `;`, then a space and the ticks. Sorted; empty
    /// without [`Evaluator::start_profile`].
    pub fn folded_profile(&mut self) -> String {
        let Some(mut profile) = self.profile.take() else { return String::new() };
        profile.count();
        let mut lines: Vec<String> = Vec::new();
        for (index, node) in profile.nodes.iter().enumerate().filter(|(_, node)| node.ticks > 0) {
            let mut names = Vec::new();
            let mut at = index;
            while at != 0 {
                names.push(self.name_of(profile.nodes[at].call));
                at = profile.nodes[at].parent;
            }
            if names.is_empty() {
                names.push("(reading and printing)".to_owned());
            }
            names.reverse();
            lines.push(format!("{} {}", names.join(";"), node.ticks));
        }
        self.profile = Some(profile);
        lines.sort();
        lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }

    fn name_of(&self, call: Call) -> String {
        let name = match call {
            Call::Builtin(name) => format!("builtins.{name}"),
            Call::Code(code) => {
                let place = self.describe_pos(code.pos);
                match code.name {
                    Some(name) => format!("{} ({place})", String::from_utf8_lossy(name.name())),
                    None => place,
                }
            }
        };
        // The separators of the format.
        name.replace([';', '\n'], ",")
    }
}
