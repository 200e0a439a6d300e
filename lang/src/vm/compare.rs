//! The operators `==` and `<`.

use super::Evaluator;
use crate::error::{Error, Result};
use crate::value::{Value, View, type_with_article};
use std::cmp::Ordering;

impl Evaluator {
    /// Returns `a == b`.
    pub fn equal(&mut self, a: Value, b: Value) -> Result<bool> {
        // Elements that are the same value are equal, even functions; as in Nix, the value is
        // forced first.
        if a.same(b) {
            self.force(a)?;
            return Ok(true);
        }
        let (a, b) = (self.force(a)?, self.force(b)?);
        self.equal_forced(a, b)
    }

    /// Returns `a == b` for values in head form, each from a slot of its own. As in Nix, a function
    /// is then not even equal to itself, and comparing a list or set with itself forces its
    /// members, but not theirs.
    #[inline(never)]
    pub(crate) fn equal_forced(&mut self, a: Value, b: Value) -> Result<bool> {
        Ok(match (a.view(), b.view()) {
            (View::Int(a), View::Int(b)) => a == b,
            (View::String(a), View::String(b)) => a.bytes() == b.bytes(),
            (View::Null, View::Null) => true,
            (View::Bool(a), View::Bool(b)) => a == b,
            (View::Int(a), View::Float(b)) => a as f64 == b,
            (View::Float(a), View::Int(b)) => a == b as f64,
            (View::Float(a), View::Float(b)) => a == b,
            (View::Path(a), View::Path(b)) => a.bytes() == b.bytes(),
            (View::List(left), View::List(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                self.nested(|ev| {
                    for (&a, &b) in left.values().iter().zip(right.values()) {
                        if !ev.equal(a, b)? {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                })?
            }
            (View::Attrs(left), View::Attrs(right)) => self.nested(|ev| {
                if ev.is_derivation(a)? && ev.is_derivation(b)? {
                    let out_path = ev.shared.names.out_path;
                    if let (Some(a), Some(b)) = (left.get(out_path), right.get(out_path)) {
                        return ev.equal(a, b);
                    }
                }
                let (left, right) = (left.flat(), right.flat());
                if left.shape.names() != right.shape.names() {
                    return Ok(false);
                }
                // In an order that does not depend on which files were read first.
                for &index in left.shape.by_text() {
                    if !ev.equal(left.values[index as usize], right.values[index as usize])? {
                        return Ok(false);
                    }
                }
                Ok(true)
            })?,
            _ => false,
        })
    }

    /// Returns true when a value in head form is a set with `type = "derivation"`.
    pub(crate) fn is_derivation(&mut self, value: Value) -> Result<bool> {
        let Some(kind) = value.as_attrs().and_then(|set| set.get(self.shared.names.r#type)) else { return Ok(false) };
        let kind = self.force(kind)?;
        Ok(kind.as_string().is_some_and(|kind| kind.bytes() == b"derivation"))
    }

    /// Returns `a < b`.
    pub(crate) fn less_than(&mut self, a: Value, b: Value) -> Result<bool> {
        Ok(self.compare(a, b)? == Some(Ordering::Less))
    }

    /// Returns the order of two values; `None` when one is NaN.
    pub(crate) fn compare(&mut self, a: Value, b: Value) -> Result<Option<Ordering>> {
        let (a, b) = (self.force(a)?, self.force(b)?);
        Ok(match (a.view(), b.view()) {
            (View::Int(a), View::Int(b)) => Some(a.cmp(&b)),
            (View::Int(a), View::Float(b)) => (a as f64).partial_cmp(&b),
            (View::Float(a), View::Int(b)) => a.partial_cmp(&(b as f64)),
            (View::Float(a), View::Float(b)) => a.partial_cmp(&b),
            (View::String(a), View::String(b)) => Some(a.bytes().cmp(b.bytes())),
            (View::Path(a), View::Path(b)) => Some(a.bytes().cmp(b.bytes())),
            (View::List(left), View::List(right)) => self.nested(|ev| {
                for (&a, &b) in left.values().iter().zip(right.values()) {
                    if !ev.equal(a, b)? {
                        return ev.compare(a, b);
                    }
                }
                Ok(Some(left.len().cmp(&right.len())))
            })?,
            _ => {
                let (a_shown, b_shown) = (self.show(a), self.show(b));
                let text = if type_with_article(a) == type_with_article(b) {
                    format!(
                        "cannot compare {} with {}; values of that type are incomparable (values are {a_shown} and {b_shown})",
                        type_with_article(a),
                        type_with_article(b)
                    )
                } else {
                    format!(
                        "cannot compare {} with {}; values are {a_shown} and {b_shown}",
                        type_with_article(a),
                        type_with_article(b)
                    )
                };
                return Err(Error::type_mismatch(text));
            }
        })
    }
}
