//! Evaluation sessions: from the arguments of a command to values, derivations and builds.
//!
//! ```text
//!   Settings ──▶ Session ──▶ Installable ──▶ Value ──▶ Wanted ──▶ (builder)
//!                   │
//!                   ├─ host          the world as expressions see it, over store, builder and sources
//!                   ├─ eval_cache    results of evaluations, valid while what they read is unchanged
//!                   ├─ code_cache    bytecode of files
//!                   └─ sources       downloads, unpacked archives, trees of Git repositories
//! ```
//!
//! Invariant: this crate has no process-wide state of its own, so that a service can open sessions
//! for several users in one process. Directory, environment and program arrive in [`Settings`];
//! warnings and traces leave through a [`Reporter`], progress through a [`builder::EventSink`];
//! interrupts come through [`Interrupts`]. `clippy.toml` forbids the calls that would break this.
//! Parsing arguments, printing, signals and exit statuses are the command's.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod session;
pub mod settings;

pub mod environment;
pub mod error;
pub mod hooks;
pub mod installable;

pub mod code_cache;
pub mod eval_cache;
pub mod host;
pub mod lock_file;
pub mod outputs;
pub mod registry;
pub mod sources;
pub mod walk;

mod resolve;
mod runnable;

pub use environment::Environment;
pub use error::Error;
pub use hooks::{Hooks, Interrupts, Reporter, Silent};
pub use runnable::{Runnable, RunnableProgram};
pub use session::{EditableFiles, Session, Wanted};
pub use settings::{Access, Argument, EvalSettings, ExpressionSource, Settings, StoreSettings};
