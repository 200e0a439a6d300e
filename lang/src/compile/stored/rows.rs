//! The format: rows of plain data, as serde writes them.

use crate::compile::op::{CodeIndex, Op, PatternIndex, Reg};
use serde::{Deserialize, Serialize};

/// Number of a name in the table of the head.
pub(super) type Name = u32;

/// Bytes that are read in place.
#[derive(Deserialize, Clone, Copy)]
pub(super) struct Bytes<'a>(#[serde(borrow)] pub(super) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Head<'a> {
    /// Directory and home that the code is valid for, where it depends on them.
    #[serde(borrow)]
    pub(super) bound: Option<Bytes<'a>>,
    #[serde(borrow)]
    pub(super) names: Vec<Bytes<'a>>,
    /// The numbers of the names, oldest symbol first.
    pub(super) by_age: Vec<Name>,
    /// Offset of the piece of the whole text, counted from the first piece.
    pub(super) root: u32,
}

/// One module.
#[derive(Serialize, Deserialize)]
pub(super) struct Piece<'a> {
    /// Number of the code that runs.
    pub(super) root: u32,
    pub(super) ops: Vec<Op>,
    pub(super) captures: Vec<Reg>,
    #[serde(borrow)]
    pub(super) constants: Vec<Constant<'a>>,
    #[serde(borrow)]
    pub(super) codes: Vec<Row<'a>>,
    pub(super) shapes: Vec<Vec<(Name, StoredPos)>>,
    pub(super) sites: Vec<Name>,
    pub(super) withs: Vec<(Name, Vec<Reg>)>,
    #[serde(borrow)]
    pub(super) patterns: Vec<Formals<'a>>,
    pub(super) spans: Vec<(u32, u32, u32)>,
}

/// A position: 0 for none, others are counted from 1 at the start of the text.
pub(super) type StoredPos = u32;

#[derive(Serialize, Deserialize)]
pub(super) enum Constant<'a> {
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
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub(super) body: RowBody<'a>,
    pub(super) captures: u32,
    pub(super) arity: u8,
    pub(super) pattern: Option<PatternIndex>,
    pub(super) frame: u16,
    pub(super) name: Option<Name>,
    pub(super) pos: StoredPos,
    pub(super) arguments: Vec<(Option<Name>, StoredPos)>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum RowBody<'a> {
    /// So many operations, after those of the row before.
    Ops(u32),
    #[serde(borrow)]
    Lazy(LazyRow<'a>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct LazyRow<'a> {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) name: Option<Name>,
    #[serde(borrow)]
    pub(super) names: Vec<(Name, MeaningRow<'a>)>,
    pub(super) captures: u16,
    pub(super) withs: Vec<Reg>,
    /// Offset of its piece, if it has run.
    pub(super) piece: Option<u32>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum MeaningRow<'a> {
    Captured(Reg),
    Member(Reg),
    #[serde(borrow)]
    Constant(Constant<'a>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Formals<'a> {
    #[serde(borrow)]
    pub(super) formals: Vec<Formal<'a>>,
    pub(super) ellipsis: bool,
    pub(super) mask: Reg,
    pub(super) masks: u16,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Formal<'a> {
    pub(super) name: Name,
    pub(super) pos: StoredPos,
    pub(super) slot: u16,
    #[serde(borrow)]
    pub(super) default: DefaultRow<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum DefaultRow<'a> {
    Required,
    #[serde(borrow)]
    Constant(Constant<'a>),
    Alias,
    Thunk(CodeIndex),
    Lambda(CodeIndex),
}
