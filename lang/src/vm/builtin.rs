//! Functions of the language that are written in Rust, as the machine calls them.

use super::Evaluator;
use crate::error::Result;
use crate::value::Value;

/// A row of the table of builtins. Values and operations name a builtin by its index in the table.
pub struct Builtin {
    pub name: &'static str,
    pub arity: u8,
    /// True when it is in scope under its bare name; otherwise it is as `__name`.
    pub global: bool,
    /// Bit n is set when argument n is always evaluated.
    pub(crate) strict: u8,
    pub(crate) run: fn(&mut Evaluator, &[Value]) -> Result<Value>,
    /// Description in one line.
    pub doc: &'static str,
}
