//! Bytes to code.

use super::rows::*;
use crate::compile::File;
use crate::compile::code::{Body, Code, DefaultValue, FormalSlot, Module, Pattern, Site, WithSite};
use crate::compile::lazy::{Lazy, Meaning};
use crate::compile::op::{Op, Reg};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::text::path::{join, normalise};
use crate::value::Value;
use crate::value::attrs::Shape;
use std::sync::Arc;

/// Makes the code of one file, with the symbols of this process.
pub(super) struct Decoder<'d> {
    pub(super) symbols: &'d [Symbol],
    pub(super) file: &'d Arc<File>,
}

impl Decoder<'_> {
    fn symbol(&self, name: Name) -> Option<Symbol> {
        self.symbols.get(name as usize).copied()
    }

    /// Returns the symbol of an optional name; `None` when the name is not in the table.
    fn optional(&self, name: Option<Name>) -> Option<Option<Symbol>> {
        name.map_or(Some(None), |name| self.symbol(name).map(Some))
    }

    fn pos(&self, pos: StoredPos) -> Pos {
        if pos == 0 { Pos::NONE } else { Pos(self.file.base.0 + pos - 1) }
    }

    fn constant(&self, constant: &Constant<'_>) -> Option<Value> {
        let globals = &self.file.globals;
        Some(match *constant {
            Constant::Null => Value::NULL,
            Constant::Bool(value) => Value::bool(value),
            Constant::Int(value) => Value::int(value),
            Constant::Float(value) => Value::float(value),
            Constant::Text(text) => Value::string(text.0),
            Constant::RelativePath(start, end) => {
                let text = self.file.source.text.get(start as usize..end as usize)?;
                let value = Value::path(&join(&self.file.base_dir, text));
                self.file.kept.note_path(value, start, end);
                value
            }
            Constant::Path(path) => Value::path(&normalise(path.0)),
            Constant::EmptyList => Value::empty_list(),
            Constant::EmptyAttrs => Value::empty_attrs(),
            Constant::Builtin(index) => Value::builtin(index as usize),
            Constant::Global(name) => *globals.names.get(&self.symbol(name)?)?,
            Constant::Member(name) => globals.builtins.as_attrs()?.get(self.symbol(name)?)?,
            Constant::CurrentPosition(start) => self.file.current_position(start),
        })
    }

    fn shape(&self, row: &[(Name, StoredPos)]) -> Option<(&'static Shape, Option<Box<[u32]>>)> {
        let entries: Vec<(Symbol, Pos)> =
            row.iter().map(|&(name, pos)| Some((self.symbol(name)?, self.pos(pos)))).collect::<Option<_>>()?;
        if entries.is_sorted_by_key(|(name, _)| *name) {
            return Some((Shape::new(entries.len(), entries.iter().copied()), None));
        }
        let mut sorted: Vec<u32> = (0..entries.len() as u32).collect();
        sorted.sort_unstable_by_key(|&index| entries[index as usize].0);
        let mut order = vec![0; entries.len()];
        for (at, &index) in sorted.iter().enumerate() {
            order[index as usize] = at as u32;
        }
        let shape = Shape::new(entries.len(), sorted.iter().map(|&index| entries[index as usize]));
        Some((shape, Some(order.into_boxed_slice())))
    }

    fn pattern(&self, row: &Formals<'_>) -> Option<Pattern> {
        let formal = |formal: &Formal<'_>| {
            Some(FormalSlot {
                name: self.symbol(formal.name)?,
                pos: self.pos(formal.pos),
                slot: formal.slot,
                default: match &formal.default {
                    DefaultRow::Required => DefaultValue::Required,
                    DefaultRow::Constant(constant) => DefaultValue::Constant(self.constant(constant)?),
                    DefaultRow::Alias => DefaultValue::Alias,
                    DefaultRow::Thunk(code) => DefaultValue::Thunk(*code),
                    DefaultRow::Lambda(code) => DefaultValue::Lambda(*code),
                },
            })
        };
        let mut formals: Vec<FormalSlot> = row.formals.iter().map(formal).collect::<Option<_>>()?;
        formals.sort_unstable_by_key(|formal| formal.name);
        Some(Pattern { formals: formals.into(), ellipsis: row.ellipsis, mask: row.mask, masks: row.masks })
    }

    fn lazy(&self, row: LazyRow<'_>) -> Option<Lazy> {
        let meaning = |(name, meaning): &(Name, MeaningRow<'_>)| {
            let meaning = match meaning {
                MeaningRow::Captured(register) => Meaning::Captured(*register),
                MeaningRow::Member(register) => Meaning::Member(*register),
                MeaningRow::Constant(constant) => Meaning::Constant(self.constant(constant)?),
            };
            Some((self.symbol(*name)?, meaning))
        };
        Some(Lazy {
            file: self.file.clone(),
            span: crate::source::Span::new(row.start, row.end),
            name: self.optional(row.name)?,
            names: row.names.iter().map(meaning).collect::<Option<_>>()?,
            captures: row.captures,
            withs: row.withs.into(),
            piece: row.piece,
            code: std::sync::OnceLock::new(),
        })
    }

    pub(super) fn piece(&self, piece: Piece<'_>) -> Option<&'static Code> {
        let mut orders = Vec::new();
        let mut shapes = Vec::with_capacity(piece.shapes.len());
        for (index, row) in piece.shapes.iter().enumerate() {
            let (shape, order) = self.shape(row)?;
            shapes.push(shape);
            if let Some(order) = order {
                orders.resize_with(index, || None);
                orders.push(Some(order));
            }
        }
        let with = |(name, scopes): (Name, Vec<Reg>)| {
            Some(WithSite { name: self.symbol(name)?, scopes: scopes.into_boxed_slice() })
        };
        let module: &'static Module = Box::leak(Box::new(Module {
            constants: piece.constants.iter().map(|constant| self.constant(constant)).collect::<Option<_>>()?,
            codes: std::sync::OnceLock::new(),
            shapes,
            orders,
            sites: piece.sites.iter().map(|&name| self.symbol(name).map(Site::new)).collect::<Option<_>>()?,
            withs: piece.withs.into_iter().map(with).collect::<Option<_>>()?,
            patterns: piece.patterns.iter().map(|row| self.pattern(row)).collect::<Option<_>>()?,
            spans: piece.spans,
            base: self.file.base,
        }));
        let ops: &'static [Op] = Box::leak(piece.ops.into_boxed_slice());
        let captures: &'static [Reg] = Box::leak(piece.captures.into_boxed_slice());
        let (mut first_op, mut first_capture) = (0, 0);
        let mut codes = Vec::with_capacity(piece.codes.len());
        for row in piece.codes {
            let own = captures.get(first_capture..first_capture + row.captures as usize)?;
            let at = first_op;
            let body = match row.body {
                RowBody::Ops(count) => {
                    first_op += count as usize;
                    Body::Ops(ops.get(at..first_op)?)
                }
                RowBody::Lazy(lazy) => Body::Lazy(Box::leak(Box::new(self.lazy(lazy)?))),
            };
            first_capture += own.len();
            let argument = |(name, pos)| Some((self.optional(name)?, self.pos(pos)));
            codes.push(Code {
                body,
                captures: own,
                module,
                arity: row.arity,
                pattern: row.pattern,
                frame: row.frame,
                first_op: at as u32,
                name: self.optional(row.name)?,
                pos: self.pos(row.pos),
                arguments: row.arguments.into_iter().map(argument).collect::<Option<_>>()?,
            });
        }
        let codes: &'static [Code] = Box::leak(codes.into_boxed_slice());
        let root = codes.get(piece.root as usize)?;
        module.codes.set(codes).ok()?;
        Some(root)
    }
}
