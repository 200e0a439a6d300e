//! Checks of arguments, each with the message of Nix.

use crate::error::{Error, Result};
use crate::value::{Attrs, List, Str, Value, View, type_with_article};
use crate::vm::{Coercion, Evaluator};

impl Evaluator {
    pub(crate) fn expect_attrs(&mut self, value: Value) -> Result<Attrs> {
        let value = self.force(value)?;
        match value.as_attrs() {
            Some(set) => Ok(set),
            None => Err(self.mismatch("a set", value)),
        }
    }

    pub(crate) fn expect_list(&mut self, value: Value) -> Result<List> {
        let value = self.force(value)?;
        match value.as_list() {
            Some(list) => Ok(list),
            None => Err(self.mismatch("a list", value)),
        }
    }

    pub(crate) fn expect_string(&mut self, value: Value) -> Result<Str> {
        let value = self.force(value)?;
        match value.as_string() {
            Some(text) => Ok(text),
            None => Err(self.mismatch("a string", value)),
        }
    }

    /// Returns a string that must have no context.
    pub(crate) fn expect_plain(&mut self, value: Value) -> Result<&'static [u8]> {
        let text = self.expect_string(value)?;
        self.no_context(text)?;
        Ok(text.bytes())
    }

    pub(crate) fn expect_int(&mut self, value: Value) -> Result<i64> {
        let value = self.force(value)?;
        match value.view() {
            View::Int(number) => Ok(number),
            _ => Err(self.mismatch("an integer", value)),
        }
    }

    pub(crate) fn expect_forced_bool(&mut self, value: Value) -> Result<bool> {
        let value = self.force(value)?;
        self.expect_bool(value)
    }

    /// Fails when `bytes` more would exceed the memory limit. Builtins that allocate a lot at once
    /// call it first.
    pub(crate) fn expect_room(&self, bytes: usize) -> Result<()> {
        if self.account.has_room(bytes) { Ok(()) } else { Err(self.out_of_memory()) }
    }

    /// Does the same as [`Evaluator::expect_room`], for a number of values.
    pub(crate) fn expect_room_for(&self, values: usize) -> Result<()> {
        self.expect_room(values.saturating_mul(size_of::<Value>()))
    }

    /// Returns a value that can be called, in head form.
    pub(crate) fn expect_function(&mut self, value: Value) -> Result<Value> {
        let value = self.force(value)?;
        match value.view() {
            View::Function(_) | View::Builtin(_) | View::Partial(_) => Ok(value),
            View::Attrs(set) if set.contains(self.shared.names.functor) => Ok(value),
            _ => Err(self.mismatch("a function", value)),
        }
    }

    /// Returns a string, coerced as by interpolation, but without copying paths to the store.
    pub(crate) fn text_of(&mut self, value: Value) -> Result<Str> {
        self.coerce_to_string(value, Coercion { copy_to_store: false, more: false })
    }

    /// Returns a string, coerced as by interpolation: a path is copied to the store.
    pub(crate) fn text_in_store(&mut self, value: Value) -> Result<Str> {
        self.coerce_to_string(value, Coercion { copy_to_store: true, more: false })
    }

    /// Returns the attribute `name` of a set that is the argument of a builtin.
    pub(crate) fn required(&mut self, set: Attrs, name: &str, builtin: &str) -> Result<Value> {
        match set.get(crate::symbol::Symbol::new(name.as_bytes())) {
            Some(value) => Ok(value),
            None => Err(Error::other(
                "lang::missing_attribute",
                format!("attribute '{name}' required in the argument of 'builtins.{builtin}'"),
            )),
        }
    }

    /// Makes the error for an attribute that a builtin does not know.
    pub(crate) fn unsupported_attribute(&mut self, name: &[u8], builtin: &str) -> Error {
        Error::other(
            "lang::unsupported_argument",
            format!("unsupported argument '{}' to '{builtin}'", String::from_utf8_lossy(name)),
        )
    }

    pub(crate) fn wrong_type(&mut self, value: Value, what: &str) -> Error {
        Error::type_mismatch(format!("{what} is {}", type_with_article(value)))
    }
}

/// Returns bytes as UTF-8 for messages and host calls, with invalid ones replaced.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
