//! The language: text → tokens → AST → bytecode → value → derivation.
//!
//! This crate does no input or output of its own; the trait [`Host`] is its interface to the world.
//!
//! ```text
//! Evaluator::new(host, options)
//!     .eval_file(path)            syntax::parse → compile::compile → vm, a value in head form
//!     .select_path(value, "a.b")  more queries of values: vm::inspect, vm::print
//! ```

pub mod source;
pub mod symbol;
pub mod syntax;
pub mod text;

mod compile;
pub mod value;
mod vm;

pub mod builtins;
pub mod flake;

pub mod error;
pub mod host;

pub use error::{Error, ErrorKind, Report, Result};
pub use host::{EvalOptions, Host};
pub use symbol::Symbol;
pub use value::{Attrs, Interrupter, Value, View, interrupt, resume};
pub use vm::display::Display;
pub use vm::profile::tick;
pub use vm::{Ahead, DerivationRef, Evaluator};
