//! `toXML` and `--xml`.

use crate::error::{FrameKind, Result};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::text::number;
use crate::text::xml::Writer;
use crate::value::{Attrs, ContextBuilder, Str, Value, View};
use crate::vm::Evaluator;
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

pub(super) fn to_xml(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let mut context = ContextBuilder::default();
    let printer = Printer::new(Str::buffer(), false, true, &mut context);
    let text = printer.document(ev, arguments[0])?;
    Ok(Value::string_from_buffer(text, context.finish()))
}

impl Evaluator {
    /// Returns a value as XML, with positions of attributes and functions if `location` is set.
    /// With `strict` it is evaluated deeply; otherwise thunks are printed as `unevaluated`.
    pub fn xml(&mut self, value: Value, location: bool, strict: bool) -> Result<Vec<u8>> {
        let mut context = ContextBuilder::default();
        let printer = Printer::new(Vec::new(), location, strict, &mut context);
        self.on_large_stack(|ev| printer.document(ev, value))
    }
}

struct Printer<'c> {
    writer: Writer,
    /// Print positions.
    location: bool,
    /// Evaluate thunks.
    strict: bool,
    context: &'c mut ContextBuilder,
    /// `drvPath`s of derivations that are printed already.
    derivations: HashSet<Vec<u8>, FxBuildHasher>,
}

impl<'c> Printer<'c> {
    /// Prints to the end of `out`.
    fn new(out: Vec<u8>, location: bool, strict: bool, context: &'c mut ContextBuilder) -> Printer<'c> {
        Printer { writer: Writer::after(out), location, strict, context, derivations: HashSet::default() }
    }

    fn document(mut self, ev: &mut Evaluator, value: Value) -> Result<Vec<u8>> {
        self.writer.open("expr", &[]);
        self.value(ev, value)?;
        self.writer.close();
        Ok(self.writer.finish())
    }
}

impl Printer<'_> {
    fn value(&mut self, ev: &mut Evaluator, value: Value) -> Result<()> {
        ev.check_native_stack()?;
        ev.expect_room(self.writer.written())?;
        let value = match value.view() {
            View::Thunk(_) if self.strict => ev.force(value)?,
            View::Thunk(thunk) => match thunk.done() {
                Some(value) => value,
                None => {
                    self.writer.empty("unevaluated", &[]);
                    return Ok(());
                }
            },
            _ => value,
        };
        match value.view() {
            View::Thunk(_) => {}
            View::Null => self.writer.empty("null", &[]),
            View::Bool(flag) => {
                self.writer.empty("bool", &[("value", if flag { b"true" } else { b"false" })]);
            }
            View::Int(number) => self.writer.empty("int", &[("value", number.to_string().as_bytes())]),
            View::Float(value) => self.writer.empty("float", &[("value", number::general(value, 6).as_bytes())]),
            View::String(text) => {
                self.context.add(text.context());
                ev.expect_room(self.writer.written().saturating_add(text.bytes().len()))?;
                self.writer.empty("string", &[("value", text.bytes())]);
            }
            View::Path(path) => self.writer.empty("path", &[("value", path.bytes())]),
            View::List(list) => {
                self.writer.open("list", &[]);
                ev.nested(|ev| list.values().iter().try_for_each(|&element| self.value(ev, element)))?;
                // Deep end tags are indented, so they take as much room as their contents.
                ev.expect_room(self.writer.written())?;
                self.writer.close();
            }
            View::Attrs(set) => ev.nested(|ev| self.set(ev, value, set))?,
            View::Function(_) | View::Partial(_) => self.function(ev, value),
            View::Builtin(_) => self.writer.empty("unevaluated", &[]),
        }
        Ok(())
    }

    fn set(&mut self, ev: &mut Evaluator, value: Value, set: Attrs) -> Result<()> {
        if !ev.is_derivation(value)? {
            self.writer.open("attrs", &[]);
            self.members(ev, set)?;
            ev.expect_room(self.writer.written())?;
            self.writer.close();
            return Ok(());
        }
        let (drv_path, out_path) = (ev.shared.names.drv_path, ev.shared.names.out_path);
        let mut path_of = |name: Symbol| -> Result<Option<Vec<u8>>> {
            let Some(member) = set.get(name) else { return Ok(None) };
            let member = if self.strict { ev.force(member)? } else { member };
            let member = match member.view() {
                View::Thunk(thunk) => thunk.done().unwrap_or(member),
                _ => member,
            };
            let Some(text) = member.as_string() else { return Ok(None) };
            self.context.add(text.context());
            Ok(Some(text.bytes().to_vec()))
        };
        let drv_path = path_of(drv_path)?;
        let out_path = path_of(out_path)?;
        let mut attributes: Vec<(&str, &[u8])> = Vec::new();
        if let Some(path) = &drv_path {
            attributes.push(("drvPath", path));
        }
        if let Some(path) = &out_path {
            attributes.push(("outPath", path));
        }
        self.writer.open("derivation", &attributes);
        if let Some(path) = &drv_path
            && self.derivations.insert(path.clone())
        {
            self.members(ev, set)?;
        } else {
            self.writer.empty("repeated", &[]);
        }
        self.writer.close();
        Ok(())
    }

    fn members(&mut self, ev: &mut Evaluator, set: Attrs) -> Result<()> {
        for attr in set.sorted() {
            let place = self.place(ev, attr.pos);
            let mut attributes: Vec<(&str, &[u8])> = Vec::new();
            if let Some((line, column, path)) = &place {
                attributes.push(("column", column.as_bytes()));
                attributes.push(("line", line.as_bytes()));
                attributes.push(("name", attr.name.name()));
                attributes.push(("path", path.as_bytes()));
            } else {
                attributes.push(("name", attr.name.name()));
            }
            self.writer.open("attr", &attributes);
            self.value(ev, attr.value).map_err(|error| error.frame(attr.pos, FrameKind::Attribute(attr.name)))?;
            self.writer.close();
        }
        Ok(())
    }

    fn place(&self, ev: &Evaluator, pos: Pos) -> Option<(String, String, String)> {
        if !self.location {
            return None;
        }
        let (file, line, column) = ev.locate(pos)?;
        Some((line.to_string(), column.to_string(), file))
    }

    fn function(&mut self, ev: &mut Evaluator, value: Value) {
        let Some(info) = ev.function_info(value) else {
            self.writer.empty("unevaluated", &[]);
            return;
        };
        let place = self.place(ev, info.pos);
        let mut attributes: Vec<(&str, &[u8])> = Vec::new();
        if let Some((line, column, path)) = &place {
            attributes.push(("column", column.as_bytes()));
            attributes.push(("line", line.as_bytes()));
            attributes.push(("path", path.as_bytes()));
        }
        self.writer.open("function", &attributes);
        match info.formals {
            Some((mut names, ellipsis)) => {
                names.sort_unstable_by_key(|name| name.name());
                let mut attributes: Vec<(&str, &[u8])> = Vec::new();
                if ellipsis {
                    attributes.push(("ellipsis", b"1"));
                }
                if let Some(argument) = info.argument {
                    attributes.push(("name", argument.name()));
                }
                self.writer.open("attrspat", &attributes);
                for name in names {
                    self.writer.empty("attr", &[("name", name.name())]);
                }
                self.writer.close();
            }
            None => {
                let name = info.argument.map_or(&b"_"[..], |name| name.name());
                self.writer.empty("varpat", &[("name", name)]);
            }
        }
        self.writer.close();
    }
}
