//! Values as text: the output of `--eval`, and short forms for messages.

use super::{Ahead, Evaluator};
use crate::error::{FrameKind, Result};
use crate::text::number;
use crate::value::{Attrs, List, Value, View};

/// Writes a string literal of the language.
pub(super) fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            b'$' if text.get(index + 1) == Some(&b'{') => out.extend(b"\\$"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

const KEYWORDS: [&[u8]; 9] = [b"if", b"then", b"else", b"assert", b"with", b"let", b"in", b"rec", b"inherit"];

/// Writes an attribute name, quoted where the language needs it.
pub(super) fn attr_name(name: &[u8], out: &mut Vec<u8>) {
    let plain = name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_'-".contains(byte))
        && !KEYWORDS.contains(&name);
    if plain {
        out.extend_from_slice(name);
    } else {
        quote(name, out);
    }
}

/// Writes the name of a function or builtin, and the position of a function.
pub(super) fn callable(ev: &mut Evaluator, value: Value, out: &mut Vec<u8>) {
    let text = match value.view() {
        View::Function(function) => {
            let code = function.code();
            let name = code.name.map(|name| format!(" {}", String::from_utf8_lossy(name.name())));
            format!("«lambda{} @ {}»", name.unwrap_or_default(), ev.describe_pos(code.pos))
        }
        View::Builtin(index) => format!("«primop {}»", ev.builtin(index).name.trim_start_matches('_')),
        View::Partial(partial) => match partial.function().view() {
            View::Builtin(index) => {
                format!("«partially applied primop {}»", ev.builtin(index).name.trim_start_matches('_'))
            }
            _ => "«lambda»".to_owned(),
        },
        _ => return,
    };
    out.extend_from_slice(text.as_bytes());
}

/// Limits of a value in a message.
const SHOWN_ATTRS_MAX: usize = 10;
const SHOWN_BYTES_MAX: usize = 1024;
const SHOWN_DEPTH_MAX: usize = 10;

/// State of one printing.
#[derive(Default)]
struct Printer {
    out: Vec<u8>,
    /// Sets and lists that are printed already, at least in part, by address.
    seen: hashbrown::HashSet<usize, rustc_hash::FxBuildHasher>,
    /// Set for messages: shortens, and names functions by position.
    brief: bool,
    /// Numbers of attributes, and of elements of lists, that are printed already.
    attrs: usize,
    items: usize,
}

impl Evaluator {
    /// Returns the value as Nix prints it after `--eval`, with `<CODE>` for thunks.
    ///
    /// # Errors
    /// When it nests too deep for the stack, or its text is too long for the memory.
    pub fn print(&mut self, value: Value) -> Result<Vec<u8>> {
        let mut printer = Printer::default();
        self.on_large_stack(|ev| printer.value(ev, value, 0))?;
        Ok(printer.out)
    }

    /// Returns a short form of the value, for messages.
    pub(crate) fn show(&mut self, value: Value) -> String {
        let mut printer = Printer { brief: true, ..Printer::default() };
        if printer.value(self, value, 0).is_err() {
            // The stack is nearly used up, and the message is about that.
            return "…".to_owned();
        }
        String::from_utf8_lossy(&printer.out).into_owned()
    }

    /// Evaluates a value all the way down. Cycles are fine.
    pub fn force_deep(&mut self, value: Value) -> Result<()> {
        let mut seen = hashbrown::HashSet::default();
        self.on_large_stack(|ev| ev.force_deep_in(value, &mut seen))
    }

    fn force_deep_in(
        &mut self,
        value: Value,
        seen: &mut hashbrown::HashSet<usize, rustc_hash::FxBuildHasher>,
    ) -> Result<()> {
        let value = self.force(value)?;
        self.expect_room(seen.capacity() * size_of::<usize>())?;
        match value.view() {
            View::List(list) if !list.is_empty() && seen.insert(value.address()) => {
                self.ahead(list.values().iter().copied(), Ahead::Deep);
                self.nested(|ev| list.values().iter().try_for_each(|&element| ev.force_deep_in(element, seen)))?;
            }
            View::Attrs(set) if seen.insert(value.address()) => {
                self.ahead(set.iter().map(|attr| attr.value), Ahead::Deep);
                self.nested(|ev| {
                    set.sorted().try_for_each(|attr| {
                        ev.force_deep_in(attr.value, seen)
                            .map_err(|error| error.frame(attr.pos, FrameKind::Attribute(attr.name)))
                    })
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Printer {
    fn value(&mut self, ev: &mut Evaluator, slot: Value, depth: usize) -> Result<()> {
        let value = match slot.view() {
            View::Thunk(thunk) => match thunk.done() {
                Some(value) => value,
                None => {
                    self.out.extend_from_slice(if self.brief { "«thunk»".as_bytes() } else { b"<CODE>" });
                    return Ok(());
                }
            },
            _ => slot,
        };
        match value.view() {
            View::Thunk(_) => {}
            View::Null => self.out.extend(b"null"),
            View::Bool(value) => self.out.extend_from_slice(if value { b"true" } else { b"false" }),
            View::Int(value) => self.out.extend_from_slice(value.to_string().as_bytes()),
            View::Float(value) => self.out.extend_from_slice(number::general(value, 6).as_bytes()),
            View::String(text) => {
                let bytes = text.bytes();
                if self.brief && bytes.len() > SHOWN_BYTES_MAX {
                    quote(&bytes[..SHOWN_BYTES_MAX], &mut self.out);
                    let more = format!(" «{} bytes elided»", bytes.len() - SHOWN_BYTES_MAX);
                    self.out.extend_from_slice(more.as_bytes());
                } else {
                    ev.expect_room(self.out.len().saturating_add(bytes.len()))?;
                    quote(bytes, &mut self.out);
                }
            }
            View::Path(path) => self.out.extend_from_slice(path.bytes()),
            // As Nix detects repetition: a list by the slot that holds it, since variables are
            // copied to each slot, and a set by itself.
            View::List(list) => return self.list(ev, slot, list, depth),
            View::Attrs(set) => return self.attrs(ev, value, set, depth),
            View::Function(_) | View::Builtin(_) | View::Partial(_) if self.brief => callable(ev, value, &mut self.out),
            View::Function(_) => self.out.extend(b"<LAMBDA>"),
            View::Builtin(_) => self.out.extend(b"<PRIMOP>"),
            View::Partial(partial) => match partial.function().view() {
                View::Builtin(_) => self.out.extend(b"<PRIMOP-APP>"),
                _ => self.out.extend(b"<LAMBDA>"),
            },
        }
        Ok(())
    }

    /// Returns true when a set or list is left out; prints the reason.
    fn skip(&mut self, value: Value, depth: usize) -> bool {
        if !self.seen.insert(value.address()) {
            self.out.extend_from_slice("«repeated»".as_bytes());
            return true;
        }
        if self.brief && depth > SHOWN_DEPTH_MAX {
            self.out.extend_from_slice("«too deep»".as_bytes());
            return true;
        }
        false
    }

    fn list(&mut self, ev: &mut Evaluator, value: Value, list: List, depth: usize) -> Result<()> {
        if list.is_empty() {
            self.out.extend(b"[ ]");
            return Ok(());
        }
        // The outermost list has a slot of its own, which cannot be within it.
        if depth > 0 && self.skip(value, depth) {
            return Ok(());
        }
        self.room(ev)?;
        self.out.extend(b"[ ");
        for (index, &element) in list.values().iter().enumerate() {
            if self.brief && self.items >= SHOWN_ATTRS_MAX {
                self.elided(list.len() - index, "item");
                break;
            }
            self.value(ev, element, depth + 1)?;
            self.out.push(b' ');
            self.items += 1;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Fails when the stack is nearly used up, or when the text and the table of what is printed do
    /// not fit into the memory.
    fn room(&self, ev: &mut Evaluator) -> Result<()> {
        ev.check_native_stack()?;
        ev.expect_room(self.out.len().saturating_add(self.seen.capacity() * size_of::<usize>()))
    }

    fn attrs(&mut self, ev: &mut Evaluator, value: Value, set: Attrs, depth: usize) -> Result<()> {
        if set.is_empty() {
            self.out.extend(b"{ }");
            return Ok(());
        }
        if self.skip(value, depth) {
            return Ok(());
        }
        self.room(ev)?;
        self.out.extend(b"{ ");
        for (index, attr) in set.sorted().enumerate() {
            if self.brief && self.attrs >= SHOWN_ATTRS_MAX {
                self.elided(set.len() - index, "attribute");
                break;
            }
            attr_name(attr.name.name(), &mut self.out);
            self.out.extend(b" = ");
            self.value(ev, attr.value, depth + 1)?;
            self.out.extend(b"; ");
            self.attrs += 1;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn elided(&mut self, count: usize, what: &str) {
        let plural = if count == 1 { "" } else { "s" };
        self.out.extend_from_slice(format!("«{count} {what}{plural} elided» ").as_bytes());
    }
}
