//! The operations of the machine.
//!
//! A register machine: operands are registers of the current frame. Registers from 0 up are arguments, variables and
//! temporaries; those below 0 are captures, copied there on entry. A register may hold a thunk; an operation that needs the
//! value forces it and writes the value back. Operations whose name ends in `Else`, and those that start with `Spec`, skip the next
//! operation when they succeed: it holds what to do otherwise (a jump, or making a thunk).

use serde::{Deserialize, Serialize};

/// A register of the current frame.
pub type Reg = i16;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Op {
    Const {
        dst: Reg,
        index: u32,
    },
    Move {
        dst: Reg,
        src: Reg,
    },
    /// Makes a thunk of code number `code`, copying its captures.
    Thunk {
        dst: Reg,
        code: u32,
    },
    Lambda {
        dst: Reg,
        code: u32,
    },
    /// Makes a thunk or function that others of a recursive group refer to before its captures are known.
    AllocThunk {
        dst: Reg,
        code: u32,
    },
    AllocLambda {
        dst: Reg,
        code: u32,
    },
    /// Writes the captures of what `AllocThunk` made.
    FillThunk {
        dst: Reg,
        code: u32,
    },
    FillLambda {
        dst: Reg,
        code: u32,
    },

    /// `src.name` if `src` is a set by now and has it; needs no thunk then.
    SpecSelect {
        dst: Reg,
        src: Reg,
        site: u32,
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
    /// A name under `with` if the scopes that decide it are sets by now.
    SpecWith {
        dst: Reg,
        site: u32,
    },

    /// Set of a shape, with values from consecutive registers.
    Attrs {
        dst: Reg,
        first: Reg,
        shape: u32,
    },
    /// A set too big for registers, filled in parts.
    AttrsUnfilled {
        dst: Reg,
        shape: u32,
    },
    AttrsFill {
        dst: Reg,
        first: Reg,
        count: u8,
        shape: u32,
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
        site: u32,
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

    /// String from `count` consecutive registers.
    Interpolate {
        dst: Reg,
        first: Reg,
        count: u32,
    },
    /// The same, where `numbers` has a bit for each register that may hold an integer, to be written in digits.
    InterpolateNumbers {
        dst: Reg,
        first: Reg,
        count: u16,
        numbers: u16,
    },
    /// Lets `dst` be `src` if that is an integer by now, which need not become a string before it is part of one.
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
        site: u32,
    },
    SelectElse {
        dst: Reg,
        src: Reg,
        site: u32,
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
        site: u32,
    },
    HasDynamic {
        dst: Reg,
        src: Reg,
        name: Reg,
    },
    With {
        dst: Reg,
        site: u32,
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
    Not {
        dst: Reg,
        src: Reg,
    },
    Negate {
        dst: Reg,
        src: Reg,
    },

    Jump {
        target: u32,
    },
    JumpIfFalse {
        condition: Reg,
        target: u32,
    },
    JumpIfTrue {
        condition: Reg,
        target: u32,
    },
    /// Jumps unless `a == value`.
    JumpUnlessInt {
        a: Reg,
        value: i32,
        target: u32,
    },
    JumpUnlessLess {
        a: Reg,
        b: Reg,
        target: u32,
    },
    /// Evaluates what a register holds, before what comes next.
    Force {
        reg: Reg,
    },
    CheckBool {
        reg: Reg,
    },
    /// Fails unless `condition`; the message is constant `text`.
    Assert {
        condition: Reg,
        text: u32,
    },

    /// Takes set `argument` apart by pattern number `pattern` into registers from `first`.
    Formals {
        argument: Reg,
        first: Reg,
        pattern: u32,
    },
    /// Writes the captures of a default that `Formals` had to use.
    FillDefault {
        dst: Reg,
        mask: Reg,
        bit: u8,
        code: u32,
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
