//! What compiling a file gives: code for every function and thunk, and the tables they share.

use std::sync::OnceLock;

use super::lazy::Lazy;
use super::op::{Op, Reg};
use crate::error::Result;
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::attrs::{Shape, ShapeCache};
use crate::value::{Attrs, Value};
use crate::vm::Evaluator;

/// A suspended computation written in Rust; gets the thunk's captures.
pub(crate) type Native = fn(&mut Evaluator, &[Value]) -> Result<Value>;

#[derive(Clone, Copy)]
pub(crate) enum Body {
    Ops(&'static [Op]),
    Native(Native),
    /// Not compiled yet, see [`Code::compiled`].
    Lazy(&'static Lazy),
}

/// The code of one function or thunk. Aligned, since a thunk keeps its state in the low bits of the address.
#[repr(align(8))]
pub struct Code {
    pub(crate) body: Body,
    /// The registers *of the enclosing code* that are copied when the function or thunk is made.
    pub(crate) captures: &'static [Reg],
    pub(crate) module: &'static Module,
    /// Arguments taken at once; 0 for thunks.
    pub(crate) arity: u8,
    /// The last argument is a pattern.
    pub(crate) pattern: Option<u32>,
    /// Registers from 0 up.
    pub(crate) frame: u16,
    /// Where `body` starts in the module's row of operations, for `Module::span`.
    pub(crate) first_op: u32,
    /// What it is bound to, if anything.
    pub(crate) name: Option<Symbol>,
    pub(crate) pos: Pos,
    /// Each argument's name (of a pattern, that after the `@`) and where the function that takes it begins.
    pub(crate) arguments: Vec<(Option<Symbol>, Pos)>,
}

impl Code {
    /// The code that runs: this, or what it is compiled to now. Captures and arity are the same.
    #[inline(always)]
    pub(crate) fn compiled(&'static self) -> &'static Code {
        match self.body {
            Body::Lazy(lazy) => lazy.code(),
            _ => self,
        }
    }

    /// Code for thunks that run a Rust function on `captures.len()` values.
    pub(crate) const fn native(captures: &'static [Reg], run: Native) -> Code {
        Code {
            body: Body::Native(run),
            captures,
            module: &NO_MODULE,
            arity: 0,
            pattern: None,
            frame: 0,
            first_op: 0,
            name: None,
            pos: Pos::NONE,
            arguments: Vec::new(),
        }
    }
}

/// The tables of one file.
pub struct Module {
    pub(crate) constants: Vec<Value>,
    pub(crate) codes: OnceLock<&'static [Code]>,
    pub(crate) shapes: Vec<&'static Shape>,
    /// Of shapes whose values are made in another order than theirs: by the order of making, where each belongs. Empty for
    /// what was compiled in this process.
    pub(crate) orders: Vec<Option<Box<[u32]>>>,
    pub(crate) sites: Vec<Site>,
    pub(crate) withs: Vec<WithSite>,
    pub(crate) patterns: Vec<Pattern>,
    /// Operation, start and length of what it was compiled from; ascending.
    pub(crate) spans: Vec<(u32, u32, u32)>,
    /// Position of the file's first byte.
    pub(crate) base: Pos,
}

static NO_MODULE: Module = Module {
    constants: Vec::new(),
    codes: OnceLock::new(),
    shapes: Vec::new(),
    orders: Vec::new(),
    sites: Vec::new(),
    withs: Vec::new(),
    patterns: Vec::new(),
    spans: Vec::new(),
    base: Pos::NONE,
};

impl Module {
    #[inline(always)]
    pub(crate) fn code(&self, index: u32) -> &'static Code {
        &self.codes.get().expect("codes are set before anything runs")[index as usize]
    }

    /// Where the values of sets of this shape belong, by the order in which they are made, when that is another.
    #[inline(always)]
    pub(crate) fn order(&self, shape: u32) -> Option<&[u32]> {
        self.orders.get(shape as usize)?.as_deref()
    }

    /// Place of an operation, by its number in the module.
    pub(crate) fn span(&self, op: u32) -> (Pos, u32) {
        match self.spans.binary_search_by_key(&op, |&(at, ..)| at) {
            Ok(index) => {
                let (_, start, len) = self.spans[index];
                (Pos(self.base.0 + start), len)
            }
            Err(_) => (Pos::NONE, 0),
        }
    }
}

/// A selection `.name` with its inline cache.
pub(crate) struct Site {
    pub name: Symbol,
    cache: ShapeCache,
}

impl Site {
    pub fn new(name: Symbol) -> Site {
        Site { name, cache: ShapeCache::new() }
    }

    /// Returns the attribute of a set.
    #[inline(always)]
    pub fn get(&self, set: Attrs) -> Option<Value> {
        self.cache.get(set, self.name)
    }
}

/// A name that only `with` can give, and the registers of the scopes around it, innermost first.
pub(crate) struct WithSite {
    pub name: Symbol,
    pub scopes: Box<[Reg]>,
}

/// `{ a, b ? 1, ... }`
pub(crate) struct Pattern {
    /// Sorted by symbol.
    pub formals: Box<[FormalSlot]>,
    pub ellipsis: bool,
    /// First register of the masks that say which defaults are in use (48 to a register).
    pub mask: Reg,
    pub masks: u16,
}

pub(crate) const MASK_BITS: usize = 48;

pub(crate) struct FormalSlot {
    pub name: Symbol,
    pub pos: Pos,
    /// Register, counted from the pattern's first.
    pub slot: u16,
    pub default: DefaultValue,
}

pub(crate) enum DefaultValue {
    Required,
    Constant(Value),
    /// A thunk or function of this code; its captures are written by `FillDefault`.
    Thunk(u32),
    Lambda(u32),
}
