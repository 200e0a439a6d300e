//! Operators that take more than a few instructions.

use super::Evaluator;
use super::coerce::Coercion;
use crate::error::{Error, ErrorKind, Result};
use crate::symbol::Symbol;
use crate::text::number::decimal;
use crate::text::path;
use crate::value::{Attr, Context, ContextBuilder, List, Str, Value, View, type_with_article};
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

impl Evaluator {
    /// Returns the error "expected X but found Y".
    #[cold]
    pub(crate) fn mismatch(&mut self, expected: &str, found: Value) -> Error {
        let shown = self.show(found);
        Error::type_mismatch(format!("expected {expected} but found {}: {shown}", type_with_article(found)))
    }

    #[inline]
    pub(crate) fn expect_bool(&mut self, value: Value) -> Result<bool> {
        match value.as_bool() {
            Some(value) => Ok(value),
            None => Err(self.mismatch("a Boolean", value)),
        }
    }

    #[cold]
    pub(super) fn assert_failed(&mut self, value: Value, text: Value) -> Result<()> {
        if self.expect_bool(value)? {
            return Ok(());
        }
        let text = text.as_string().map_or_else(String::new, |text| String::from_utf8_lossy(text.bytes()).into_owned());
        Err(ErrorKind::Assertion(format!("assertion '{text}' failed")).into())
    }

    pub(crate) fn no_context(&mut self, text: Str) -> Result<()> {
        let Some(element) = text.context().elements().first() else { return Ok(()) };
        let path = String::from_utf8_lossy(element.path()).into_owned();
        let shown = self.show(text.value());
        Err(Error::other(
            "lang::context_not_allowed",
            format!("the string {shown} is not allowed to refer to a store path (such as '{path}')"),
        ))
    }

    /// Returns `a + b`; `a` is in head form.
    #[inline(never)]
    pub(crate) fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        let b = self.force(b)?;
        match (a.view(), b.view()) {
            (View::Int(a), View::Int(b)) => match a.checked_add(b) {
                Some(sum) => Ok(Value::int(sum)),
                None => Err(overflow("adding", a, "+", b)),
            },
            (View::Int(a), View::Float(b)) => Ok(Value::float(a as f64 + b)),
            (View::Float(a), View::Int(b)) => Ok(Value::float(a + b as f64)),
            (View::Float(a), View::Float(b)) => Ok(Value::float(a + b)),
            (View::String(a), View::String(b)) => {
                let len = a.bytes().len().saturating_add(b.bytes().len());
                self.expect_room(len)?;
                Ok(Value::string_joined(len, a.context().union(b.context()), a, [], b))
            }
            (View::Int(_) | View::Float(_), _) => {
                Err(Error::type_mismatch(format!("cannot add {} to {}", type_with_article(b), type_with_article(a))))
            }
            (View::Path(a), _) => {
                let mut text = a.bytes().to_vec();
                let mut context = ContextBuilder::default();
                self.coerce(b, Coercion { copy_to_store: false, more: false }, &mut text, &mut context)?;
                if let Some(element) = context.finish().elements().first() {
                    return Err(appended_reference(element.path()));
                }
                Ok(Value::path(&path::normalise(&text)))
            }
            _ => {
                let coercion = Coercion { copy_to_store: a.as_string().is_some(), more: false };
                let a = self.coerce_to_string(a, coercion)?;
                let b = self.coerce_to_string(b, coercion)?;
                self.add(a.value(), b.value())
            }
        }
    }

    #[inline(never)]
    pub(super) fn interpolate(&mut self, parts: &mut [Value]) -> Result<Value> {
        // All lengths are known before the text is written, so the parts are copied once.
        let mut len = 0usize;
        let mut context = Context::EMPTY;
        for part in &mut *parts {
            let text = self.coerce_to_string(*part, Coercion { copy_to_store: true, more: false })?;
            *part = text.value();
            len = len.saturating_add(text.bytes().len());
            context = context.union(text.context());
        }
        self.expect_room(len)?;
        let mut texts = parts.iter().filter_map(|part| part.as_string());
        match (texts.next(), texts.next_back()) {
            (Some(first), Some(last)) => {
                Ok(Value::string_joined(len, context, first, texts.map(|text| text.bytes()), last))
            }
            (Some(only), None) => Ok(only.value()),
            (None, _) => Ok(Value::string(b"")),
        }
    }

    /// Like [`Evaluator::interpolate`], where some parts may be integers: those with a bit in
    /// `numbers`.
    #[inline(never)]
    pub(super) fn interpolate_numbers(&mut self, parts: &mut [Value], numbers: u16) -> Result<Value> {
        let mut digits = [0; 20];
        for index in 0..parts.len() {
            if numbers >> index & 1 == 1
                && let Some(number) = parts[index].as_int()
            {
                // Most often there is one number, and one text beside it.
                if parts.len() == 2
                    && let Some(text) = self.force(parts[1 - index])?.as_string()
                {
                    let number = decimal(number, &mut digits);
                    let parts = if index == 0 { [number, text.bytes()] } else { [text.bytes(), number] };
                    let len = number.len() + text.bytes().len();
                    self.expect_room(len)?;
                    if len < Str::JOINED_MIN {
                        return Ok(Value::string_from_parts(len, text.context(), parts));
                    }
                }
                parts[index] = Value::string(decimal(number, &mut digits));
            }
        }
        self.interpolate(parts)
    }

    #[inline(never)]
    pub(super) fn interpolate_path(&mut self, parts: &[Value]) -> Result<Value> {
        let mut text = Vec::new();
        let mut context = ContextBuilder::default();
        for &part in parts {
            let value = self.force(part)?;
            // The text before the first `${` is a path whose last slash matters, so it is a string.
            self.coerce(value, Coercion { copy_to_store: false, more: false }, &mut text, &mut context)?;
        }
        if let Some(element) = context.finish().elements().first() {
            return Err(appended_reference(element.path()));
        }
        Ok(Value::path(&path::normalise(&text)))
    }

    #[inline(never)]
    pub(crate) fn subtract(&mut self, a: Value, b: Value) -> Result<Value> {
        match self.numbers(a, b)? {
            Numbers::Ints(a, b) => match a.checked_sub(b) {
                Some(difference) => Ok(Value::int(difference)),
                None => Err(overflow("subtracting", a, "-", b)),
            },
            Numbers::Floats(a, b) => Ok(Value::float(a - b)),
        }
    }

    #[inline(never)]
    pub(crate) fn multiply(&mut self, a: Value, b: Value) -> Result<Value> {
        match self.numbers(a, b)? {
            Numbers::Ints(a, b) => match a.checked_mul(b) {
                Some(product) => Ok(Value::int(product)),
                None => Err(overflow("multiplying", a, "*", b)),
            },
            Numbers::Floats(a, b) => Ok(Value::float(a * b)),
        }
    }

    #[inline(never)]
    pub(crate) fn divide(&mut self, a: Value, b: Value) -> Result<Value> {
        // As in Nix, the divisor is checked first.
        let (a, b) = (self.force(a)?, self.force(b)?);
        match b.view() {
            View::Int(0) | View::Float(0.0) => {
                return Err(Error::other("lang::division_by_zero", "division by zero"));
            }
            View::Int(_) | View::Float(_) => {}
            _ => return Err(self.mismatch("a float", b)),
        }
        match self.numbers(a, b)? {
            Numbers::Ints(a, b) => match a.checked_div(b) {
                Some(quotient) => Ok(Value::int(quotient)),
                None => Err(overflow("dividing", a, "/", b)),
            },
            Numbers::Floats(a, b) => Ok(Value::float(a / b)),
        }
    }

    /// Returns two numbers, both as floats when one is.
    pub(crate) fn numbers(&mut self, a: Value, b: Value) -> Result<Numbers> {
        let (a, b) = (self.force(a)?, self.force(b)?);
        match (a.view(), b.view()) {
            (View::Int(a), View::Int(b)) => Ok(Numbers::Ints(a, b)),
            (View::Int(a), View::Float(b)) => Ok(Numbers::Floats(a as f64, b)),
            (View::Float(a), View::Int(b)) => Ok(Numbers::Floats(a, b as f64)),
            (View::Float(a), View::Float(b)) => Ok(Numbers::Floats(a, b)),
            (View::Int(_), _) => Err(self.mismatch("an integer", b)),
            (View::Float(_), _) => Err(self.mismatch("a float", b)),
            (_, View::Float(_)) => Err(self.mismatch("a float", a)),
            _ => Err(self.mismatch("an integer", a)),
        }
    }

    #[inline(never)]
    pub(crate) fn update(&mut self, a: Value, b: Value) -> Result<Value> {
        let Some(left) = a.as_attrs() else { return Err(self.mismatch("a set", a)) };
        let Some(right) = b.as_attrs() else { return Err(self.mismatch("a set", b)) };
        Ok(left.update(right))
    }

    #[inline(never)]
    pub(crate) fn concat(&mut self, a: Value, b: Value) -> Result<Value> {
        let Some(left) = a.as_list() else { return Err(self.mismatch("a list", a)) };
        let Some(right) = b.as_list() else { return Err(self.mismatch("a list", b)) };
        if left.is_empty() {
            return Ok(b);
        }
        if right.is_empty() {
            return Ok(a);
        }
        self.expect_room_for(left.len().saturating_add(right.len()))?;
        Ok(Value::list_concat(&[left, right]))
    }

    /// Returns the sum of values in head form, added from the left.
    #[inline(never)]
    pub(super) fn add_many(&mut self, values: &[Value]) -> Result<Value> {
        let texts: Vec<Str> = values.iter().map_while(|value| value.as_string()).collect();
        let (mut sum, rest) = match (texts.len(), values.split_first()) {
            (0 | 1, Some((&first, rest))) => (first, rest),
            _ => {
                let len = texts.iter().fold(0, |sum: usize, text| sum.saturating_add(text.bytes().len()));
                self.expect_room(len)?;
                let context = texts.iter().fold(Context::EMPTY, |all, text| all.union(text.context()));
                let middle = texts[1..texts.len() - 1].iter().map(|text| text.bytes());
                let sum = Value::string_joined(len, context, texts[0], middle, texts[texts.len() - 1]);
                (sum, &values[texts.len()..])
            }
        };
        for &value in rest {
            sum = match sum.small_add(value) {
                Some(sum) => sum,
                None => self.add(sum, value)?,
            };
        }
        Ok(sum)
    }

    /// Returns the union of sets in head form; earlier ones have precedence. As the operator groups
    /// to the right, and checks its left side first, the second is checked first.
    #[inline(never)]
    pub(super) fn update_many(&mut self, sets: &[Value]) -> Result<Value> {
        let (last, before) = sets.split_at(sets.len().min(2));
        if let Some(&wrong) = last.iter().rev().chain(before).find(|set| set.as_attrs().is_none()) {
            return Err(self.mismatch("a set", wrong));
        }
        let mut attrs: Vec<Attr> = Vec::new();
        let mut seen: HashSet<Symbol, FxBuildHasher> = HashSet::default();
        for set in sets.iter().filter_map(|set| set.as_attrs()) {
            attrs.extend(set.iter().filter(|attr| seen.insert(attr.name)));
        }
        Ok(Value::attrs(attrs))
    }

    /// Returns the concatenation of lists in head form. As the operator groups to the right, the
    /// last two are checked first.
    #[inline(never)]
    pub(super) fn concat_many(&mut self, lists: &[Value]) -> Result<Value> {
        let (before, last) = lists.split_at(lists.len().saturating_sub(2));
        if let Some(&wrong) = last.iter().chain(before.iter().rev()).find(|list| list.as_list().is_none()) {
            return Err(self.mismatch("a list", wrong));
        }
        let parts: Vec<List> = lists.iter().filter_map(|list| list.as_list()).filter(|list| !list.is_empty()).collect();
        if let [only] = parts[..] {
            return Ok(only.value());
        }
        self.expect_room_for(parts.iter().fold(0, |sum, part| part.len().saturating_add(sum)))?;
        Ok(Value::list_concat(&parts))
    }
}

pub(crate) enum Numbers {
    Ints(i64, i64),
    Floats(f64, f64),
}

#[cold]
fn overflow(doing: &str, a: i64, sign: &str, b: i64) -> Error {
    Error::other("lang::integer_overflow", format!("integer overflow in {doing} {a} {sign} {b}"))
}

#[cold]
fn appended_reference(path: &[u8]) -> Error {
    Error::other(
        "lang::context_not_allowed",
        format!(
            "a string that refers to a store path cannot be appended to a path (it refers to '{}')",
            String::from_utf8_lossy(path)
        ),
    )
}
