//! Values of the language, one word each.
//!
//! [`word`] is the word and its objects, [`attrs`] attribute sets, [`list`] lists, [`string`]
//! strings, [`context`] string contexts, [`buffer`] the room in which lists and strings grow,
//! [`thunk`] suspended expressions, [`heap`] their memory, [`account`] the limits of one
//! evaluation. Operations that may fail or evaluate (comparing, coercing, printing) take an
//! evaluator and are in [`crate::vm`].

pub(crate) mod account;
pub mod attrs;
mod buffer;
pub mod context;
mod heap;
mod kind;
mod list;
mod merge;
mod string;
#[cfg(test)]
#[allow(unsafe_code, reason = "tests of unsafe functions")]
mod tests;
pub mod thunk;
mod word;

pub use account::{Interrupter, interrupt, resume};
pub use attrs::{Attr, Attrs};
pub use context::{Context, ContextBuilder, ContextElement};
pub(crate) use heap::Exhausted;
pub use kind::{type_name, type_with_article};
pub use list::List;
pub use string::Str;
pub(crate) use word::AtomicValue;
pub use word::{Function, Partial, PathValue, Value, View};
