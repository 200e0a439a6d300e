//! Result of compiling a file: code for every function and thunk, and the tables they share.

use super::lazy::Lazy;
use super::op::{CodeIndex, ConstantIndex, Op, PatternIndex, Reg, ShapeIndex, SiteIndex, WithIndex};
use crate::error::Result;
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::attrs::{Shape, ShapeCache};
use crate::value::{Attrs, Value};
use crate::vm::Evaluator;
use std::sync::OnceLock;

/// A suspended computation written in Rust; takes the thunk's captures.
pub(crate) type Native = fn(&mut Evaluator, &[Value]) -> Result<Value>;

#[derive(Clone, Copy)]
pub(crate) enum Body {
    Ops(&'static [Op]),
    Native(Native),
    /// Not compiled yet, see [`Code::compiled`].
    Lazy(&'static Lazy),
}

/// The code of one function or thunk. Aligned, since a thunk keeps its state in the low bits of the
/// address.
#[repr(align(8))]
pub struct Code {
    pub(crate) body: Body,
    /// Registers *of the enclosing code* that are copied when the function or thunk is made.
    pub(crate) captures: &'static [Reg],
    pub(crate) module: &'static Module,
    /// Number of arguments of a call; 0 for thunks.
    pub(crate) arity: u8,
    /// Pattern of the last argument, if it has one.
    pub(crate) pattern: Option<PatternIndex>,
    /// Number of registers from 0 up.
    pub(crate) frame: u16,
    /// Index of `body`'s first operation among those of the module, for `Module::span`.
    pub(crate) first_op: u32,
    /// Name that it is bound to.
    pub(crate) name: Option<Symbol>,
    pub(crate) pos: Pos,
    /// Name of each argument (of a pattern, the name after the `@`), and start of the function that
    /// takes it.
    pub(crate) arguments: Vec<(Option<Symbol>, Pos)>,
}

impl Code {
    /// Returns the code that runs, compiled now if it was not before. Captures and arity are the
    /// same.
    #[inline(always)]
    pub(crate) fn compiled(&'static self) -> &'static Code {
        match self.body {
            Body::Lazy(lazy) => lazy.code(),
            _ => self,
        }
    }

    /// Makes code for thunks that run a Rust function on so many captures.
    pub(crate) const fn native(captures: usize, run: Native) -> Code {
        /// Thunks of native code are made from values, so only the number of registers matters.
        static REGISTERS: [Reg; 4] = [Reg::FIRST; 4];
        Code {
            body: Body::Native(run),
            captures: REGISTERS.split_at(captures).0,
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
    /// For shapes whose values are made in another order: the index of each value in the shape, by
    /// the order of making. Empty for code that this process compiled.
    pub(crate) orders: Vec<Option<Box<[u32]>>>,
    pub(crate) sites: Vec<Site>,
    pub(crate) withs: Vec<WithSite>,
    pub(crate) patterns: Vec<Pattern>,
    /// Operation, and start and length of the text that it was compiled from; ascending.
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
    pub(crate) fn constant(&self, index: ConstantIndex) -> Value {
        self.constants[index.index()]
    }

    #[inline(always)]
    pub(crate) fn code(&self, index: CodeIndex) -> &'static Code {
        &self.codes.get().expect("codes are set before anything runs")[index.index()]
    }

    #[inline(always)]
    pub(crate) fn shape(&self, index: ShapeIndex) -> &'static Shape {
        self.shapes[index.index()]
    }

    #[inline(always)]
    pub(crate) fn site(&self, index: SiteIndex) -> &Site {
        &self.sites[index.index()]
    }

    #[inline(always)]
    pub(crate) fn with_site(&self, index: WithIndex) -> &WithSite {
        &self.withs[index.index()]
    }

    #[inline(always)]
    pub(crate) fn pattern(&self, index: PatternIndex) -> &Pattern {
        &self.patterns[index.index()]
    }

    /// Returns the index of each value of a set in its shape, by the order of making, when that is
    /// another order.
    #[inline(always)]
    pub(crate) fn order(&self, shape: ShapeIndex) -> Option<&[u32]> {
        self.orders.get(shape.index())?.as_deref()
    }

    /// Returns the text that an operation was compiled from, by its number in the module.
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

    /// Returns the attribute of a set, if it has one of this name.
    #[inline(always)]
    pub fn get(&self, set: Attrs) -> Option<Value> {
        self.cache.get(set, self.name)
    }
}

/// A name that only `with` can give, and the registers of the enclosing scopes, innermost first.
pub(crate) struct WithSite {
    pub name: Symbol,
    pub scopes: Box<[Reg]>,
}

/// `{ a, b ? 1, ... }`
pub(crate) struct Pattern {
    /// Sorted by symbol.
    pub formals: Box<[FormalSlot]>,
    pub ellipsis: bool,
    /// First register of the masks of used defaults ([`MASK_BITS`] per register).
    pub mask: Reg,
    pub masks: u16,
}

pub(crate) const MASK_BITS: usize = 48;

pub(crate) struct FormalSlot {
    pub name: Symbol,
    pub pos: Pos,
    /// Register, counted from the first of the pattern.
    pub slot: u16,
    pub default: DefaultValue,
}

pub(crate) enum DefaultValue {
    Required,
    Constant(Value),
    /// A variable, copied by `FillAlias`.
    Alias,
    /// A thunk or function of this code; its captures are written by `FillDefault`.
    Thunk(CodeIndex),
    Lambda(CodeIndex),
}
