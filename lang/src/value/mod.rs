//! Values of the language, one word each.
//!
//! [`word`] is the word and its objects, [`attrs`] attribute sets, [`context`] string contexts, [`thunk`] suspended
//! expressions, [`heap`] their memory. What may fail or needs evaluation (comparing, coercing, printing) takes an
//! evaluator and lives in [`compare`], [`coerce`] and [`print`].

pub mod attrs;
pub mod coerce;
pub mod compare;
pub mod context;
pub mod heap;
pub mod print;
pub mod thunk;
mod word;

pub use attrs::{Attr, Attrs};
pub use context::{Context, ContextBuilder, ContextElement};
pub use word::{Function, List, Partial, PathValue, Str, Value, View};
