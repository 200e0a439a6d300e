//! `toJSON` and `fromJSON`.

use crate::error::{Error, FrameKind, Result};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::text::{json, number};
use crate::value::{Attr, ContextBuilder, Str, Value, View, type_with_article};
use crate::vm::{Ahead, Evaluator};
use std::borrow::Cow;

pub(super) fn to_json(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let mut out = Str::buffer();
    let mut context = ContextBuilder::default();
    ev.write_json(arguments[0], true, &mut out, &mut context)?;
    Ok(Value::string_from_buffer(out, context.finish()))
}

/// Appends a string in quotes.
pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    json::write_string(text, out).map_err(|offset| {
        Error::other("lang::json_utf8", format!("the string is not UTF-8 at byte {offset}, so JSON cannot hold it"))
    })
}

impl Evaluator {
    /// Evaluates a value deeply and returns it as JSON.
    pub fn json(&mut self, value: Value) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut context = ContextBuilder::default();
        self.on_large_stack(|ev| ev.write_json(value, true, &mut out, &mut context))?;
        Ok(out)
    }

    pub(super) fn write_json(
        &mut self,
        value: Value,
        copy_to_store: bool,
        out: &mut Vec<u8>,
        context: &mut ContextBuilder,
    ) -> Result<()> {
        let value = self.force(value)?;
        match value.view() {
            View::Null => out.extend(b"null"),
            View::Bool(true) => out.extend(b"true"),
            View::Bool(false) => out.extend(b"false"),
            View::Int(number) => {
                let mut digits = [0; 20];
                out.extend_from_slice(number::decimal(number, &mut digits));
            }
            View::Float(value) => out.extend_from_slice(number::json(value).as_bytes()),
            View::String(text) => {
                context.add(text.context());
                self.expect_room(out.len().saturating_add(text.bytes().len()))?;
                write_text(text.bytes(), out)?;
            }
            View::Path(path) => {
                if copy_to_store {
                    let (path, path_context) = self.copy_to_store(path.bytes())?;
                    context.add(path_context);
                    write_text(path.as_bytes(), out)?;
                } else {
                    write_text(path.bytes(), out)?;
                }
            }
            View::List(list) => {
                self.expect_room(out.len())?;
                let covered = self.begin_ahead(list.values().iter().copied());
                Str::make_room(out);
                out.push(b'[');
                let result = self.nested(|ev| {
                    list.values().iter().enumerate().try_for_each(|(index, &element)| {
                        if index > 0 {
                            out.push(b',');
                        }
                        ev.write_json(element, copy_to_store, out, context)
                            .map_err(|error| error.note(format!("while evaluating list element at index {index}")))
                    })
                });
                self.covered = covered;
                result?;
                out.push(b']');
            }
            View::Attrs(set) => {
                self.expect_room(out.len())?;
                if let Some(to_string) = set.get(self.shared.names.to_string) {
                    let text = self.call(to_string, &[value])?;
                    let text = self.text_of(text)?;
                    context.add(text.context());
                    return write_text(text.bytes(), out);
                }
                if let Some(out_path) = set.get(self.shared.names.out_path) {
                    return self.nested(|ev| ev.write_json(out_path, copy_to_store, out, context));
                }
                let covered = self.begin_ahead(set.iter().map(|attr| attr.value));
                Str::make_room(out);
                out.push(b'{');
                let result = self.nested(|ev| {
                    set.sorted().enumerate().try_for_each(|(index, attr)| {
                        if index > 0 {
                            out.push(b',');
                        }
                        write_text(attr.name.name(), out)?;
                        out.push(b':');
                        ev.write_json(attr.value, copy_to_store, out, context)
                            .map_err(|error| error.frame(attr.pos, FrameKind::Attribute(attr.name)))
                    })
                });
                self.covered = covered;
                result?;
                out.push(b'}');
            }
            _ => {
                return Err(Error::type_mismatch(format!("cannot convert {} to JSON", type_with_article(value))));
            }
        }
        Ok(())
    }

    /// Starts to evaluate members on other threads, unless that is done for a value around them.
    /// Returns the former `covered`.
    fn begin_ahead(&mut self, values: impl Iterator<Item = Value>) -> bool {
        let covered = self.covered;
        if !covered {
            self.covered = self.ahead(values, Ahead::Json);
        }
        covered
    }
}

pub(super) fn from_json(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.expect_plain(arguments[0])?;
    let mut builder = ValueBuilder::default();
    match json::read(text, &mut builder) {
        Ok(()) => builder.root.ok_or_else(|| Error::other("lang::json", "the JSON text is empty")),
        Err(json::ReadError::Visitor(error)) => Err(error),
        Err(json::ReadError::Syntax { line, column, message, .. }) => {
            Err(Error::other("lang::json", format!("cannot parse JSON: {message} at line {line}, column {column}")))
        }
    }
}

/// Makes values from the events of a document. Consecutive objects with the same keys share one
/// shape.
#[derive(Default)]
struct ValueBuilder {
    open: Vec<OpenContainer>,
    values: Vec<Value>,
    keys: Vec<Symbol>,
    root: Option<Value>,
    shapes: hashbrown::HashMap<Vec<Symbol>, Layout, rustc_hash::FxBuildHasher>,
}

/// Layout of objects with given keys: their shape, and the index of each key in it.
struct Layout {
    shape: &'static crate::value::attrs::Shape,
    /// For each name of the shape, the index of the last key with that name.
    order: Box<[u32]>,
}

struct OpenContainer {
    values: usize,
    keys: usize,
}

/// Makes the error for a text with bytes that strings of the language cannot contain.
#[cold]
pub(super) fn nul_byte(text: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(text).replace('\0', "␀");
    Error::other(
        "lang::nul_byte",
        format!("input string '{shown}' cannot be represented as Nix string because it contains null bytes"),
    )
}

impl ValueBuilder {
    fn add(&mut self, value: Value) -> Result<()> {
        if self.open.is_empty() {
            self.root = Some(value);
        } else {
            self.values.push(value);
        }
        Ok(())
    }

    fn text(text: &[u8]) -> Result<Value> {
        match memchr::memchr(0, text) {
            Some(_) => Err(nul_byte(text)),
            None => Ok(Value::string(text)),
        }
    }
}

impl json::Visitor for ValueBuilder {
    type Error = Error;

    fn null(&mut self) -> Result<()> {
        self.add(Value::NULL)
    }

    fn boolean(&mut self, value: bool) -> Result<()> {
        self.add(Value::bool(value))
    }

    fn int(&mut self, value: i64) -> Result<()> {
        self.add(Value::int(value))
    }

    fn unsigned(&mut self, value: u64) -> Result<()> {
        Err(Error::other(
            "lang::integer_overflow",
            format!("unsigned json number {value} outside of Nix integer range"),
        ))
    }

    fn float(&mut self, value: f64) -> Result<()> {
        self.add(Value::float(value))
    }

    fn string(&mut self, value: Cow<'_, [u8]>) -> Result<()> {
        let value = ValueBuilder::text(&value)?;
        self.add(value)
    }

    fn key(&mut self, value: Cow<'_, [u8]>) -> Result<()> {
        ValueBuilder::text(&value)?;
        self.keys.push(Symbol::new(&value));
        Ok(())
    }

    fn begin_array(&mut self) -> Result<()> {
        self.open.push(OpenContainer { values: self.values.len(), keys: self.keys.len() });
        Ok(())
    }

    fn end_array(&mut self) -> Result<()> {
        let open = self.open.pop().expect("the reader closes what it opened");
        let value = Value::list(&self.values[open.values..]);
        self.values.truncate(open.values);
        self.add(value)
    }

    fn begin_object(&mut self) -> Result<()> {
        self.begin_array()
    }

    fn end_object(&mut self) -> Result<()> {
        let open = self.open.pop().expect("the reader closes what it opened");
        let (keys, values) = (&self.keys[open.keys..], &self.values[open.values..]);
        let layout = self.shapes.entry_ref(keys).or_insert_with(|| {
            let mut places: Vec<(Symbol, u32)> =
                keys.iter().enumerate().map(|(index, &key)| (key, index as u32)).collect();
            places.sort_unstable_by_key(|&(key, index)| (key, std::cmp::Reverse(index)));
            places.dedup_by_key(|(key, _)| *key);
            let shape = crate::value::attrs::Shape::new(places.len(), places.iter().map(|&(key, _)| (key, Pos::NONE)));
            Layout { shape, order: places.into_iter().map(|(_, index)| index).collect() }
        });
        let value = Value::attrs_from_fn(layout.shape, |index| values[layout.order[index] as usize]);
        self.values.truncate(open.values);
        self.keys.truncate(open.keys);
        self.add(value)
    }
}

/// Makes a set of plain data.
pub(crate) fn plain_attrs(members: Vec<(String, Value)>) -> Value {
    Value::attrs(
        members
            .into_iter()
            .map(|(name, value)| Attr { name: Symbol::new(name.as_bytes()), pos: Pos::NONE, value })
            .collect(),
    )
}
