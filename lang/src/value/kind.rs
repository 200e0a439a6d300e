//! Names of the types of values.

use super::{Value, View};

/// Returns the type of a value in head form, with its article, as messages use it.
pub fn type_with_article(value: Value) -> &'static str {
    match value.view() {
        View::Thunk(_) => "a thunk",
        View::Null => "null",
        View::Bool(_) => "a Boolean",
        View::Int(_) => "an integer",
        View::Float(_) => "a float",
        View::String(text) if text.context().is_empty() => "a string",
        View::String(_) => "a string with context",
        View::Path(_) => "a path",
        View::List(_) => "a list",
        View::Attrs(_) => "a set",
        View::Function(_) => "a function",
        View::Builtin(_) => "a built-in function",
        View::Partial(partial) => match partial.function().view() {
            View::Builtin(_) => "a partially applied built-in function",
            _ => "a function",
        },
    }
}

/// Returns the name that `typeOf` gives a value in head form.
pub fn type_name(value: Value) -> &'static str {
    match value.view() {
        View::Thunk(_) => "thunk",
        View::Null => "null",
        View::Bool(_) => "bool",
        View::Int(_) => "int",
        View::Float(_) => "float",
        View::String(_) => "string",
        View::Path(_) => "path",
        View::List(_) => "list",
        View::Attrs(_) => "set",
        View::Function(_) | View::Builtin(_) | View::Partial(_) => "lambda",
    }
}
