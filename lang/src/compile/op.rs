//! The operations of the machine.
//!
//! A register machine: operands are registers of the current frame. Registers from 0 up are
//! arguments, variables and temporaries; those below 0 are captures, copied there on entry. A
//! register may hold a thunk; an operation that needs the value forces it and writes the value
//! back. An operation whose name ends in `Else` or starts with `Spec` skips the next operation when
//! it succeeds: that one holds the alternative (a jump, or making a thunk).

use serde::{Deserialize, Serialize};

/// A register of the current frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Reg(i16);

impl Reg {
    /// The register of the first argument or variable.
    pub const FIRST: Reg = Reg(0);

    /// Returns register `index`, counted from the first argument.
    #[inline(always)]
    pub fn new(index: usize) -> Reg {
        Reg(index as i16)
    }

    /// Returns the register of capture `index`.
    #[inline(always)]
    pub fn of_capture(index: usize) -> Reg {
        Reg(-1 - index as i16)
    }

    /// Returns register k for that of capture k, and the other way round. Where code is compiled
    /// later ([`super::lazy`]), the registers of a function stand for its captures.
    pub fn swapped(self) -> Reg {
        Reg(-1 - self.0)
    }

    /// Returns the register that follows after `count` others. (It wraps after an error, when the
    /// code is not used.)
    #[inline(always)]
    pub fn plus(self, count: usize) -> Reg {
        Reg(self.0.wrapping_add(count as i16))
    }

    /// Returns the distance from the base of the frame.
    #[inline(always)]
    pub fn number(self) -> isize {
        self.0 as isize
    }
}

macro_rules! indexes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(transparent)]
        pub struct $name(u32);

        impl $name {
            #[inline(always)]
            pub fn new(index: usize) -> $name {
                $name(index as u32)
            }

            #[inline(always)]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

indexes! {
    /// A constant of the module.
    ConstantIndex;
    /// The code of a function or thunk in the module.
    CodeIndex;
    /// A shape of the module.
    ShapeIndex;
    /// A selection of the module, with its inline cache.
    SiteIndex;
    /// A name of the module that only `with` can give.
    WithIndex;
    /// A pattern of the module.
    PatternIndex;
    /// An operation of the same code, as the target of a jump.
    OpIndex;
}

impl OpIndex {
    /// Target of a jump that is not patched yet: an operation that every code has.
    pub const UNPATCHED: OpIndex = OpIndex(0);
}

const _: () = assert!(size_of::<Op>() == 16, "operations are small, since they are copied one by one");

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Op {
    Const {
        dst: Reg,
        index: ConstantIndex,
    },
    Move {
        dst: Reg,
        src: Reg,
    },
    /// Makes a thunk of a code, copying its captures.
    Thunk {
        dst: Reg,
        code: CodeIndex,
    },
    Lambda {
        dst: Reg,
        code: CodeIndex,
    },
    /// Makes a thunk or function that others of a recursive group refer to before its captures are
    /// known.
    AllocThunk {
        dst: Reg,
        code: CodeIndex,
    },
    AllocLambda {
        dst: Reg,
        code: CodeIndex,
    },
    /// Writes the captures of a thunk that `AllocThunk` made.
    FillThunk {
        dst: Reg,
        code: CodeIndex,
    },
    FillLambda {
        dst: Reg,
        code: CodeIndex,
    },

    /// `src.name` if `src` is a set already and has it; makes the thunk unnecessary.
    SpecSelect {
        dst: Reg,
        src: Reg,
        site: SiteIndex,
    },
    SpecAdd {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    SpecSub {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    SpecMul {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    SpecAddInt {
        dst: Reg,
        a: Reg,
        value: i32,
    },
    SpecMulInt {
        dst: Reg,
        a: Reg,
        value: i32,
    },
    /// A name under `with` if the scopes that decide it are sets already.
    SpecWith {
        dst: Reg,
        site: WithIndex,
    },

    /// Makes a set of a shape, with values from consecutive registers.
    Attrs {
        dst: Reg,
        first: Reg,
        shape: ShapeIndex,
    },
    /// Makes a set too big for registers, which is filled in parts.
    AttrsUnfilled {
        dst: Reg,
        shape: ShapeIndex,
    },
    AttrsFill {
        dst: Reg,
        first: Reg,
        count: u8,
        shape: ShapeIndex,
        at: u32,
    },
    /// Adds `count` pairs of name and value, from consecutive registers, to set `dst`.
    AttrsDynamic {
        dst: Reg,
        first: Reg,
        count: u32,
    },
    /// `rec` with `__overrides`: `dst = dst // dst.__overrides`.
    Overrides {
        dst: Reg,
        site: SiteIndex,
    },
    List {
        dst: Reg,
        first: Reg,
        count: u32,
    },
    ListUnfilled {
        dst: Reg,
        count: u32,
    },
    ListFill {
        dst: Reg,
        first: Reg,
        count: u8,
        at: u32,
    },

    /// Makes a string from `count` consecutive registers.
    Interpolate {
        dst: Reg,
        first: Reg,
        count: u32,
    },
    /// The same, where `numbers` has a bit for each register that may hold an integer, which is
    /// written in digits.
    InterpolateNumbers {
        dst: Reg,
        first: Reg,
        count: u16,
        numbers: u16,
    },
    /// Lets `dst` be `src` if that is an integer already, which need not become a string before it
    /// is part of one.
    SpecInt {
        dst: Reg,
        src: Reg,
    },
    InterpolatePath {
        dst: Reg,
        first: Reg,
        count: u32,
    },

    Select {
        dst: Reg,
        src: Reg,
        site: SiteIndex,
    },
    SelectElse {
        dst: Reg,
        src: Reg,
        site: SiteIndex,
    },
    SelectDynamic {
        dst: Reg,
        src: Reg,
        name: Reg,
    },
    SelectDynamicElse {
        dst: Reg,
        src: Reg,
        name: Reg,
    },
    Has {
        dst: Reg,
        src: Reg,
        site: SiteIndex,
    },
    HasDynamic {
        dst: Reg,
        src: Reg,
        name: Reg,
    },
    With {
        dst: Reg,
        site: WithIndex,
    },

    Add {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    AddInt {
        dst: Reg,
        a: Reg,
        value: i32,
    },
    Subtract {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    SubtractInt {
        dst: Reg,
        a: Reg,
        value: i32,
    },
    Multiply {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Divide {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Equal {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    NotEqual {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Less {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    /// `!(a < b)`
    NotLess {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Update {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Concat {
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    /// Adds the values in `count` consecutive registers, from the first to the last.
    AddMany {
        dst: Reg,
        first: Reg,
        count: u32,
    },
    /// Merges the sets in `count` consecutive registers; the first has precedence.
    UpdateMany {
        dst: Reg,
        first: Reg,
        count: u32,
    },
    /// Concatenates the lists in `count` consecutive registers.
    ConcatMany {
        dst: Reg,
        first: Reg,
        count: u32,
    },
    Not {
        dst: Reg,
        src: Reg,
    },
    Negate {
        dst: Reg,
        src: Reg,
    },

    Jump {
        target: OpIndex,
    },
    JumpIfFalse {
        condition: Reg,
        target: OpIndex,
    },
    JumpIfTrue {
        condition: Reg,
        target: OpIndex,
    },
    /// Jumps unless `a == value`.
    JumpUnlessInt {
        a: Reg,
        value: i32,
        target: OpIndex,
    },
    JumpUnlessLess {
        a: Reg,
        b: Reg,
        target: OpIndex,
    },
    /// Forces a register, before the operations that follow.
    Force {
        reg: Reg,
    },
    CheckBool {
        reg: Reg,
    },
    /// Fails unless `condition`; the message is constant `text`.
    Assert {
        condition: Reg,
        text: ConstantIndex,
    },

    /// Binds the formals of a pattern to the attributes of set `argument`, in registers from
    /// `first`.
    Formals {
        argument: Reg,
        first: Reg,
        pattern: PatternIndex,
    },
    /// Lets a default that `Formals` used be the variable `src`.
    FillAlias {
        dst: Reg,
        mask: Reg,
        bit: u8,
        src: Reg,
    },
    /// Writes the captures of a default that `Formals` used.
    FillDefault {
        dst: Reg,
        mask: Reg,
        bit: u8,
        code: CodeIndex,
    },

    Call {
        dst: Reg,
        function: Reg,
        first: Reg,
        count: u8,
    },
    TailCall {
        function: Reg,
        first: Reg,
        count: u8,
    },
    CallBuiltin {
        dst: Reg,
        first: Reg,
        id: u16,
    },
    Return {
        src: Reg,
    },
}
