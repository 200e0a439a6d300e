//! Compiled code as bytes, so that a text that was compiled once need not be lexed, parsed and
//! compiled again.
//!
//! The bytes of a text hold the code of the text itself and of every piece of it that has run so
//! far ([`super::lazy`]); other pieces are compiled from the text when needed, as usual. The bytes
//! belong to one text and one build of this crate ([`key`]); they hold no address and no symbol of
//! the process that wrote them:
//!
//! ```text
//! [blake3 of the rest] [head: surroundings, names, root] [piece] [piece] …
//! ```
//!
//! Names are numbers in the table of the head. Sets are laid out in symbol order, and symbols are
//! numbered as they are interned. Loading interns names in their stored order, so layouts usually
//! match; where they do not, [`Module::orders`] holds the permutation.
//!
//! A checksum protects against damage, not against a writer of the cache's directory: that is the
//! user.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};

use super::code::{Body, Code, DefaultValue, FormalSlot, Module, Pattern, Site, WithSite};
use super::lazy::{Lazy, Meaning};
use super::op::{CodeIndex, Op, PatternIndex, Reg, ShapeIndex};
use super::{File, Globals};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::text::path::{join, normalise};
use crate::value::attrs::Shape;
use crate::value::{Value, View};

/// Digest of the source of this crate.
const BUILD: &str = env!("LANG_SOURCE_HASH");

/// The bytes are written again when more than one part in so many of the text was compiled since.
const GROWTH: usize = 50;

const CHECKSUM_BYTES: usize = blake3::OUT_LEN;

/// Key of the code of a text.
pub(crate) type Key = [u8; blake3::OUT_LEN];

/// Returns the key of a text, compiled with these names by this build of the crate.
pub(crate) fn key(text: &[u8], globals: &Globals, pipe_operators: bool) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(BUILD.as_bytes());
    hasher.update(&[u8::from(pipe_operators), u8::from(cfg!(debug_assertions))]);
    hasher.update(&globals.fingerprint());
    hasher.update(text);
    *hasher.finalize().as_bytes()
}

/// Number of a name in the table of the head.
type Name = u32;

/// Bytes that are read in place.
#[derive(Deserialize, Clone, Copy)]
struct Bytes<'a>(#[serde(borrow)] &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    /// Directory and home that the code is valid for, where it depends on them.
    #[serde(borrow)]
    bound: Option<Bytes<'a>>,
    #[serde(borrow)]
    names: Vec<Bytes<'a>>,
    /// The numbers of the names, oldest symbol first.
    by_age: Vec<Name>,
    /// Offset of the piece of the whole text, counted from the first piece.
    root: u32,
}

/// One module.
#[derive(Serialize, Deserialize)]
struct Piece<'a> {
    /// Number of the code that runs.
    root: u32,
    ops: Vec<Op>,
    captures: Vec<Reg>,
    #[serde(borrow)]
    constants: Vec<Constant<'a>>,
    #[serde(borrow)]
    codes: Vec<Row<'a>>,
    shapes: Vec<Vec<(Name, StoredPos)>>,
    sites: Vec<Name>,
    withs: Vec<(Name, Vec<Reg>)>,
    #[serde(borrow)]
    patterns: Vec<Formals<'a>>,
    spans: Vec<(u32, u32, u32)>,
}

/// A position: 0 for none, others are counted from 1 at the start of the text.
type StoredPos = u32;

#[derive(Serialize, Deserialize)]
enum Constant<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    #[serde(borrow)]
    Text(Bytes<'a>),
    /// The text from the first byte to the second, relative to the directory of the file.
    RelativePath(u32, u32),
    Path(Bytes<'a>),
    EmptyList,
    EmptyAttrs,
    Builtin(u32),
    /// A global variable that is none of the above.
    Global(Name),
    /// A member of `builtins` that is none of the above.
    Member(Name),
    /// `__curPos` at this byte of the text.
    CurrentPosition(u32),
}

#[derive(Serialize, Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    body: RowBody<'a>,
    captures: u32,
    arity: u8,
    pattern: Option<PatternIndex>,
    frame: u16,
    name: Option<Name>,
    pos: StoredPos,
    arguments: Vec<(Option<Name>, StoredPos)>,
}

#[derive(Serialize, Deserialize)]
enum RowBody<'a> {
    /// So many operations, after those of the row before.
    Ops(u32),
    #[serde(borrow)]
    Lazy(LazyRow<'a>),
}

#[derive(Serialize, Deserialize)]
struct LazyRow<'a> {
    start: u32,
    end: u32,
    name: Option<Name>,
    #[serde(borrow)]
    names: Vec<(Name, MeaningRow<'a>)>,
    captures: u16,
    withs: Vec<Reg>,
    /// Offset of its piece, if it has run.
    piece: Option<u32>,
}

#[derive(Serialize, Deserialize)]
enum MeaningRow<'a> {
    Captured(Reg),
    Member(Reg),
    #[serde(borrow)]
    Constant(Constant<'a>),
}

#[derive(Serialize, Deserialize)]
struct Formals<'a> {
    #[serde(borrow)]
    formals: Vec<Formal<'a>>,
    ellipsis: bool,
    mask: Reg,
    masks: u16,
}

#[derive(Serialize, Deserialize)]
struct Formal<'a> {
    name: Name,
    pos: StoredPos,
    slot: u16,
    #[serde(borrow)]
    default: DefaultRow<'a>,
}

#[derive(Serialize, Deserialize)]
enum DefaultRow<'a> {
    Required,
    #[serde(borrow)]
    Constant(Constant<'a>),
    Thunk(CodeIndex),
    Lambda(CodeIndex),
}

/// Returns directory and home of a file as one row of bytes.
fn surroundings(base_dir: &[u8], home: Option<&[u8]>) -> Vec<u8> {
    [base_dir, b"\0", &[u8::from(home.is_some())], home.unwrap_or_default()].concat()
}

/// The bytes of a text's code, read as far as the names.
pub(crate) struct Stored {
    bytes: Vec<u8>,
    /// Offset of the first piece.
    pieces: usize,
    symbols: Box<[Symbol]>,
    root: u32,
    /// Directory and home that it is valid for, when it depends on them.
    bound: Option<Vec<u8>>,
}

impl Stored {
    /// Opens bytes that [`encode`] made; `None` when they are damaged.
    pub(crate) fn open(bytes: Vec<u8>) -> Option<Stored> {
        let (checksum, rest) = bytes.split_at_checked(CHECKSUM_BYTES)?;
        if checksum != blake3::hash(rest).as_bytes() {
            return None;
        }
        let (head, pieces): (Head<'_>, &[u8]) = postcard::take_from_bytes(rest).ok()?;
        let mut symbols: Vec<Option<Symbol>> = vec![None; head.names.len()];
        for &name in &head.by_age {
            *symbols.get_mut(name as usize)? = Some(Symbol::new(head.names.get(name as usize)?.0));
        }
        let symbols = symbols.into_iter().collect::<Option<Box<[Symbol]>>>()?;
        let (root, bound) = (head.root, head.bound.map(|bound| bound.0.to_vec()));
        let pieces = bytes.len() - pieces.len();
        Some(Stored { bytes, pieces, symbols, root, bound })
    }

    /// Returns true when the code is valid for this directory and home.
    pub(crate) fn is_for(&self, base_dir: &[u8], home: Option<&[u8]>) -> bool {
        self.bound.as_ref().is_none_or(|bound| *bound == surroundings(base_dir, home))
    }

    /// Returns the code of the piece at this offset.
    fn piece(&self, at: u32, file: &Arc<File>) -> Option<&'static Code> {
        let bytes = self.bytes.get(self.pieces + at as usize..)?;
        let (piece, _): (Piece<'_>, &[u8]) = postcard::take_from_bytes(bytes).ok()?;
        Decoder { symbols: &self.symbols, file }.piece(piece)
    }
}

/// Code of a file that an earlier process stored, and notes taken while the file is compiled, for
/// [`encode`].
#[derive(Default)]
pub(crate) struct Kept {
    stored: Option<Stored>,
    /// Relative paths by [`Value::identity`]: their start and end in the text.
    paths: Mutex<HashMap<u64, (u32, u32), FxBuildHasher>>,
    /// Set when the code holds the directory of the file, or the home, other than as a relative
    /// path.
    bound: AtomicBool,
    /// Bytes of text compiled in this process.
    compiled: AtomicUsize,
}

const LOCK: &str = "no thread panics while it notes a path";

impl Kept {
    pub(crate) fn new(stored: Option<Stored>) -> Kept {
        let bound = stored.as_ref().is_some_and(|stored| stored.bound.is_some());
        Kept { stored, bound: AtomicBool::new(bound), ..Kept::default() }
    }

    pub(super) fn bind(&self) {
        self.bound.store(true, Ordering::Relaxed);
    }

    fn is_bound(&self) -> bool {
        self.bound.load(Ordering::Relaxed)
    }

    pub(super) fn compiled(&self, bytes: usize) {
        self.compiled.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns true when enough of the text was compiled in this process to store it.
    pub(crate) fn has_grown(&self, text_bytes: usize) -> bool {
        self.compiled.load(Ordering::Relaxed) > text_bytes / GROWTH
    }

    fn note_path(&self, value: Value, start: u32, end: u32) {
        self.paths.lock().expect(LOCK).insert(value.identity(), (start, end));
    }

    /// Returns start and end of a relative path in the text.
    fn range_of_path(&self, value: Value) -> Option<(u32, u32)> {
        self.paths.lock().expect(LOCK).get(&value.identity()).copied()
    }

    /// Returns the code of the text itself, if an earlier process stored it.
    pub(crate) fn root(&self, file: &Arc<File>) -> Option<&'static Code> {
        let stored = self.stored.as_ref()?;
        stored.piece(stored.root, file)
    }

    /// Returns the code of a piece of it, likewise.
    pub(super) fn piece(&self, at: u32, file: &Arc<File>) -> Option<&'static Code> {
        self.stored.as_ref()?.piece(at, file)
    }
}

impl File {
    /// Notes that a value is that of a relative path in the text.
    pub(super) fn note_path(&self, value: Value, path: &[u8]) {
        let start = (path.as_ptr() as usize).wrapping_sub(self.source.text.as_ptr() as usize);
        if self.source.text.get(start..start.saturating_add(path.len())) == Some(path) {
            self.kept.note_path(value, start as u32, (start + path.len()) as u32);
        } else {
            self.kept.bind();
        }
    }
}

struct Decoder<'d> {
    symbols: &'d [Symbol],
    file: &'d Arc<File>,
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

    fn piece(&self, piece: Piece<'_>) -> Option<&'static Code> {
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
    /// By [`Value::identity`].
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
