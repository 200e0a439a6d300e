//! The sandbox: runs one builder so that it sees its declared inputs and nothing else.
//!
//! Three processes take part. The *caller* (this crate) starts its own executable again as the
//! *spawner* ([`child_entry`]), which is therefore single-threaded and may enter a user namespace.
//! It makes the parts that do not differ from build to build once (`base`); for each build it forks
//! the *init*, process 1 of a new process-id namespace, which
//!
//! 1. assembles the root from the layers, and everything beside it, as mounts that are attached
//!    nowhere yet (`mounts`, `devices`, `inputs`);
//! 2. enters the root with `pivot_root` and detaches the old one, or enters a copy of a root that
//!    is ready; and attaches `/proc`, `/dev`, `/tmp`, `/build`, the outputs and the binds;
//! 3. sets the hostname;
//! 4. enters the second user namespace, in which it is user 1000 and which owns none of the mounts
//!    (`namespaces`);
//! 5. fixes umask, resource limits and personality, drops all capabilities for good (`limits`);
//! 6. puts itself under Landlock (`landlock`) and seccomp (`filter`), in this order, as mounting is
//!    impossible afterwards;
//! 7. starts the builder, reaps orphans, and exits with the builder; the kernel then kills the rest
//!    of the namespace.
//!
//! Caller and spawner talk over a socket (`spawner`). The spawner watches the build: when the
//! caller says so, or is dead, it kills the init and with it everything inside; and when the
//! spawner dies, so does the init.
//!
//! Invariants: a step that fails ends the build with an error that names the call; the builder
//! starts only after all steps; when [`Sandbox::run`] returns, no process of the build lives. The
//! caller checks the outputs and removes the directories (with [`os::remove_tree`]).

pub mod memory;
pub mod request;

mod attach;
mod base;
mod cgroup;
mod child;
mod devices;
mod error;
mod filter;
mod inputs;
mod landlock;
mod limits;
mod message;
mod mounts;
mod namespaces;
mod probe;
mod run;
mod spawner;
mod sys;
mod unite;
mod visit;

pub use attach::{Attachment, Program};
use cgroup::Membership;
pub use child::child_entry;
pub use error::SandboxError;
pub use probe::{Feature, probe};
pub use run::{Outcome, Sandbox, Status, Usage, run};
pub use visit::{NewTerminal, Streams, Visit};

/// `argv[0]` by which the executable knows that it is the spawner, and the name of it and the inits
/// in lists of processes.
pub(crate) const SPAWNER_NAME: &str = "eval-sandbox";

/// `argv[0]` by which the executable knows that it has to attach trees and become a program.
pub(crate) const ATTACHING_NAME: &str = "eval-attach";

/// Trees that one root can be the union of; the kernel allows 500, and the mount points take one.
pub const LAYERS_MAX: usize = 480;
