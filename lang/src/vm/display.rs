//! Values as people read them: derivations by path, functions by position, and lines for large
//! sets.

use super::Evaluator;
use super::parallel::Ahead;
use super::print::{attr_name, callable, quote};
use crate::error::{Error, ErrorKind, FrameKind, Result};
use crate::text::number;
use crate::value::{Attrs, List, Value, View};
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

/// Form in which [`Evaluator::display`] shows a value.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    /// Levels of sets and lists that are evaluated and shown; those below are `{ ... }` and
    /// `[ ... ]`.
    pub levels: usize,
    /// Each member of a large set or list is on a line of its own.
    pub lines: bool,
    /// An error of a member is shown where its value would be.
    pub shows_errors: bool,
}

/// Spaces of one level.
const INDENT: usize = 2;

struct Displayed {
    how: Display,
    out: Vec<u8>,
    /// Sets and lists that are shown already, at least in part, by address.
    seen: HashSet<usize, FxBuildHasher>,
}

impl Evaluator {
    /// Evaluates a value as far as it is shown, and returns it as text.
    ///
    /// # Errors
    /// Those of the evaluation, unless they are shown, and those of a value without an end.
    pub fn display(&mut self, value: Value, how: Display) -> Result<Vec<u8>> {
        let mut displayed = Displayed { how, out: Vec::new(), seen: HashSet::default() };
        self.on_large_stack(|ev| {
            let value = ev.force(value)?;
            displayed.value(ev, value, 0)
        })?;
        Ok(displayed.out)
    }
}

/// Returns true for an error that ends the evaluation as a whole.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::OutOfMemory(_) | ErrorKind::Interrupted)
}

impl Displayed {
    /// Shows a value in head form.
    fn value(&mut self, ev: &mut Evaluator, value: Value, level: usize) -> Result<()> {
        match value.view() {
            View::Thunk(_) => {}
            View::Null => self.out.extend(b"null"),
            View::Bool(value) => self.out.extend_from_slice(if value { b"true" } else { b"false" }),
            View::Int(value) => self.out.extend_from_slice(value.to_string().as_bytes()),
            View::Float(value) => self.out.extend_from_slice(number::general(value, 6).as_bytes()),
            View::String(text) => {
                ev.expect_room(self.out.len().saturating_add(text.bytes().len()))?;
                quote(text.bytes(), &mut self.out);
            }
            View::Path(path) => self.out.extend_from_slice(path.bytes()),
            View::List(list) => return self.list(ev, value, list, level),
            View::Attrs(set) => return self.set(ev, value, set, level),
            View::Function(_) | View::Builtin(_) | View::Partial(_) => callable(ev, value, &mut self.out),
        }
        Ok(())
    }

    /// Shows a member of a set or list.
    fn member(&mut self, ev: &mut Evaluator, member: Value, level: usize) -> Result<()> {
        let start = self.out.len();
        let shown = ev.fallible(|ev| {
            let value = ev.force(member)?;
            self.value(ev, value, level)
        });
        match shown {
            Err(error) if self.how.shows_errors && !is_final(&error) => {
                self.out.truncate(start);
                self.out.extend_from_slice(format!("«error: {error}»").as_bytes());
                Ok(())
            }
            other => other,
        }
    }

    /// Begins a set or list; returns false when its members are not shown.
    fn open(&mut self, ev: &mut Evaluator, value: Value, brackets: [&str; 2], level: usize) -> Result<bool> {
        if level >= self.how.levels {
            self.out.extend_from_slice(format!("{} ... {}", brackets[0], brackets[1]).as_bytes());
            return Ok(false);
        }
        if !self.seen.insert(value.address()) {
            self.out.extend_from_slice("«repeated»".as_bytes());
            return Ok(false);
        }
        ev.expect_room(self.out.len().saturating_add(self.seen.capacity() * size_of::<usize>()))?;
        self.out.extend_from_slice(brackets[0].as_bytes());
        Ok(true)
    }

    /// Begins the place of a member.
    fn separate(&mut self, on_lines: bool, level: usize) {
        self.out.push(if on_lines { b'\n' } else { b' ' });
        if on_lines {
            self.out.resize(self.out.len() + INDENT * level, b' ');
        }
    }

    fn list(&mut self, ev: &mut Evaluator, value: Value, list: List, level: usize) -> Result<()> {
        if list.is_empty() {
            self.out.extend(b"[ ]");
            return Ok(());
        }
        if !self.open(ev, value, ["[", "]"], level)? {
            return Ok(());
        }
        ev.ahead(list.values().iter().copied(), Ahead::Derivation);
        let on_lines = self.is_on_lines(ev, list.values().iter().copied());
        ev.nested(|ev| {
            list.values().iter().try_for_each(|&element| {
                self.separate(on_lines, level + 1);
                self.member(ev, element, level + 1)
            })
        })?;
        self.separate(on_lines, level);
        self.out.push(b']');
        Ok(())
    }

    fn set(&mut self, ev: &mut Evaluator, value: Value, set: Attrs, level: usize) -> Result<()> {
        if set.is_empty() {
            self.out.extend(b"{ }");
            return Ok(());
        }
        if ev.is_derivation(value)? {
            return self.derivation(ev, set);
        }
        if !self.open(ev, value, ["{", "}"], level)? {
            return Ok(());
        }
        ev.ahead(set.iter().map(|attr| attr.value), Ahead::Derivation);
        let on_lines = self.is_on_lines(ev, set.iter().map(|attr| attr.value));
        ev.nested(|ev| {
            set.sorted().try_for_each(|attr| {
                self.separate(on_lines, level + 1);
                attr_name(attr.name.name(), &mut self.out);
                self.out.extend(b" = ");
                self.member(ev, attr.value, level + 1)
                    .map_err(|error| error.frame(attr.pos, FrameKind::Attribute(attr.name)))?;
                self.out.push(b';');
                Ok(())
            })
        })?;
        self.separate(on_lines, level);
        self.out.push(b'}');
        Ok(())
    }

    fn derivation(&mut self, ev: &mut Evaluator, set: Attrs) -> Result<()> {
        self.out.extend_from_slice("«derivation".as_bytes());
        if let Some(path) = set.get(ev.shared.names.drv_path) {
            let path = ev.string_of(path)?;
            self.out.push(b' ');
            self.out.extend_from_slice(path.as_bytes());
        }
        self.out.extend_from_slice("»".as_bytes());
        Ok(())
    }

    /// Returns true when there are several members, or one that is a set or list itself.
    fn is_on_lines(&self, ev: &mut Evaluator, mut members: impl ExactSizeIterator<Item = Value>) -> bool {
        if !self.how.lines || members.len() > 1 {
            return self.how.lines;
        }
        let only = members.next().and_then(|only| ev.fallible(|ev| ev.force(only)).ok());
        only.is_some_and(|only| match only.view() {
            View::List(list) => !list.is_empty(),
            View::Attrs(set) => !set.is_empty() && !ev.fallible(|ev| ev.is_derivation(only)).unwrap_or(true),
            _ => false,
        })
    }
}
