//! Code to bytes.

use super::rows::*;
use super::{CHECKSUM_BYTES, surroundings};
use crate::compile::File;
use crate::compile::code::{Body, Code, DefaultValue, Pattern};
use crate::compile::lazy::{Lazy, Meaning};
use crate::compile::op::ShapeIndex;
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::{Value, View};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Returns the bytes of a file's code, and of its pieces that have run; `None` when a constant
/// cannot be stored.
pub(crate) fn encode(root: &'static Code, file: &File) -> Option<Vec<u8>> {
    let globals = &file.globals;
    // A member that is a global variable too is found by either name.
    let members = globals.builtins.as_attrs()?;
    let globals: HashMap<u64, Global, FxBuildHasher> = members
        .iter()
        .map(|attr| (attr.value.identity(), Global::Member(attr.name)))
        .chain(globals.names.iter().map(|(&name, value)| (value.identity(), Global::Variable(name))))
        .collect();
    let mut encoder = Encoder { file, globals, numbers: HashMap::default(), names: Vec::new(), pieces: Vec::new() };
    let root = encoder.piece(root)?;
    let mut by_age: Vec<Name> = (0..encoder.names.len() as Name).collect();
    by_age.sort_unstable_by_key(|&name| encoder.names[name as usize]);
    let surroundings = surroundings(&file.base_dir, file.home.as_deref());
    let head = Head {
        bound: file.kept.is_bound().then_some(Bytes(&surroundings)),
        names: encoder.names.iter().map(|name| Bytes(name.name())).collect(),
        by_age,
        root,
    };
    let mut bytes = postcard::to_extend(&head, vec![0; CHECKSUM_BYTES]).ok()?;
    bytes.extend_from_slice(&encoder.pieces);
    let checksum = blake3::hash(&bytes[CHECKSUM_BYTES..]);
    bytes[..CHECKSUM_BYTES].copy_from_slice(checksum.as_bytes());
    Some(bytes)
}

enum Global {
    Variable(Symbol),
    Member(Symbol),
}

struct Encoder<'e> {
    file: &'e File,
    /// Globals by [`Value::identity`].
    globals: HashMap<u64, Global, FxBuildHasher>,
    numbers: HashMap<Symbol, Name, FxBuildHasher>,
    names: Vec<Symbol>,
    pieces: Vec<u8>,
}

impl Encoder<'_> {
    fn name(&mut self, symbol: Symbol) -> Name {
        *self.numbers.entry(symbol).or_insert_with(|| {
            self.names.push(symbol);
            (self.names.len() - 1) as Name
        })
    }

    fn stored_pos(&self, pos: Pos) -> StoredPos {
        if pos.is_none() { 0 } else { pos.0 - self.file.base.0 + 1 }
    }

    fn constant(&mut self, value: Value) -> Option<Constant<'static>> {
        Some(match value.view() {
            View::Null => Constant::Null,
            View::Bool(value) => Constant::Bool(value),
            View::Int(value) => Constant::Int(value),
            View::Float(value) => Constant::Float(value),
            View::Builtin(index) => Constant::Builtin(index as u32),
            View::List(list) if list.is_empty() => Constant::EmptyList,
            View::Attrs(set) if set.is_empty() => Constant::EmptyAttrs,
            // Searched for each path, since pieces that only an earlier process ran are read during
            // this encoding.
            View::Path(path) => match self.file.kept.range_of_path(value) {
                Some((start, end)) => Constant::RelativePath(start, end),
                None => Constant::Path(Bytes(path.bytes())),
            },
            view => match (self.globals.get(&value.identity()), view) {
                // Strings of one byte exist once.
                (Some(_), View::String(text)) if text.bytes().len() < 2 => Constant::Text(Bytes(text.bytes())),
                (Some(&Global::Variable(name)), _) => Constant::Global(self.name(name)),
                (Some(&Global::Member(name)), _) => Constant::Member(self.name(name)),
                (None, View::String(text)) if text.context().is_empty() => Constant::Text(Bytes(text.bytes())),
                (None, View::Attrs(set)) => {
                    let attr = set.iter().next()?;
                    Constant::CurrentPosition(self.stored_pos(attr.pos).checked_sub(1)?)
                }
                _ => return None,
            },
        })
    }

    fn pattern(&mut self, pattern: &Pattern) -> Option<Formals<'static>> {
        let mut formals = Vec::with_capacity(pattern.formals.len());
        for formal in &pattern.formals {
            formals.push(Formal {
                name: self.name(formal.name),
                pos: self.stored_pos(formal.pos),
                slot: formal.slot,
                default: match formal.default {
                    DefaultValue::Required => DefaultRow::Required,
                    DefaultValue::Constant(value) => DefaultRow::Constant(self.constant(value)?),
                    DefaultValue::Alias => DefaultRow::Alias,
                    DefaultValue::Thunk(code) => DefaultRow::Thunk(code),
                    DefaultValue::Lambda(code) => DefaultRow::Lambda(code),
                },
            });
        }
        Some(Formals { formals, ellipsis: pattern.ellipsis, mask: pattern.mask, masks: pattern.masks })
    }

    fn lazy(&mut self, lazy: &Lazy) -> Option<LazyRow<'static>> {
        // Pieces that ran in an earlier process, and not in this one, are kept too.
        let code = lazy.code.get().copied().or_else(|| lazy.piece.map(|_| lazy.code()));
        let piece = match code {
            Some(code) => Some(self.piece(code)?),
            None => None,
        };
        let mut names = Vec::with_capacity(lazy.names.len());
        for (name, meaning) in &lazy.names {
            let meaning = match *meaning {
                Meaning::Captured(register) => MeaningRow::Captured(register),
                Meaning::Member(register) => MeaningRow::Member(register),
                Meaning::Constant(value) => MeaningRow::Constant(self.constant(value)?),
            };
            names.push((self.name(*name), meaning));
        }
        Some(LazyRow {
            start: lazy.span.start,
            end: lazy.span.end,
            name: lazy.name.map(|name| self.name(name)),
            names,
            captures: lazy.captures,
            withs: lazy.withs.to_vec(),
            piece,
        })
    }

    /// Writes the module of a code, after those of the pieces in it, and returns its offset.
    fn piece(&mut self, root: &'static Code) -> Option<u32> {
        let module = root.module;
        let codes = *module.codes.get()?;
        let (mut ops, mut captures, mut rows) = (Vec::new(), Vec::new(), Vec::with_capacity(codes.len()));
        for code in codes {
            let body = match code.body {
                Body::Ops(own) if code.first_op as usize == ops.len() => {
                    ops.extend_from_slice(own);
                    RowBody::Ops(own.len() as u32)
                }
                Body::Lazy(lazy) if code.first_op as usize == ops.len() => RowBody::Lazy(self.lazy(lazy)?),
                _ => return None,
            };
            captures.extend_from_slice(code.captures);
            rows.push(Row {
                body,
                captures: code.captures.len() as u32,
                arity: code.arity,
                pattern: code.pattern,
                frame: code.frame,
                name: code.name.map(|name| self.name(name)),
                pos: self.stored_pos(code.pos),
                arguments: code
                    .arguments
                    .iter()
                    .map(|&(name, pos)| (name.map(|name| self.name(name)), self.stored_pos(pos)))
                    .collect(),
            });
        }
        let mut shapes = Vec::with_capacity(module.shapes.len());
        for (index, shape) in module.shapes.iter().enumerate() {
            let at = |index: usize| (shape.names()[index], shape.positions()[index]);
            let entries: Vec<_> = match module.order(ShapeIndex::new(index)) {
                Some(order) => order.iter().map(|&index| at(index as usize)).collect(),
                None => (0..shape.len()).map(at).collect(),
            };
            shapes.push(entries.into_iter().map(|(name, pos)| (self.name(name), self.stored_pos(pos))).collect());
        }
        let mut patterns = Vec::with_capacity(module.patterns.len());
        for pattern in &module.patterns {
            patterns.push(self.pattern(pattern)?);
        }
        let mut constants = Vec::with_capacity(module.constants.len());
        for &value in &module.constants {
            constants.push(self.constant(value)?);
        }
        let piece = Piece {
            root: codes.iter().position(|code| std::ptr::eq(code, root))? as u32,
            ops,
            captures,
            constants,
            codes: rows,
            shapes,
            sites: module.sites.iter().map(|site| self.name(site.name)).collect(),
            withs: module.withs.iter().map(|site| (self.name(site.name), site.scopes.to_vec())).collect(),
            patterns,
            spans: module.spans.clone(),
        };
        let at = u32::try_from(self.pieces.len()).ok()?;
        self.pieces = postcard::to_extend(&piece, std::mem::take(&mut self.pieces)).ok()?;
        Some(at)
    }
}
