//! One function (or thunk) being compiled: its registers, captures and operations.

use super::op::{CodeIndex, Op, OpIndex, PatternIndex, Reg};
use super::{CodeDraft, Compiler, Location, ScopeEntry};
use crate::error::Error;
use crate::source::{Pos, Span};
use crate::symbol::Symbol;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

#[derive(Default)]
pub(super) struct FunctionState {
    pub ops: Vec<Op>,
    /// Operation, start, length.
    pub spans: Vec<(u32, u32, u32)>,
    /// Registers of the enclosing function; the number of a capture is its index here.
    captures: Vec<Reg>,
    /// Indexes in `captures`, once there are so many that searching takes long.
    captured: HashMap<Reg, usize, FxBuildHasher>,
    /// Own registers of variables of distant functions, by function and register.
    distant: HashMap<(usize, Reg), Reg, FxBuildHasher>,
    next: u16,
    frame: u16,
}

const REGISTERS_MAX: u16 = i16::MAX as u16 - 64;

/// Variables of functions that are at least so many levels out are remembered.
const DISTANT: usize = 16;

/// Up to this many captures are searched one by one.
const SEARCHED_MAX: usize = 24;

impl FunctionState {
    /// Empties it, and keeps its memory.
    fn clear(&mut self) {
        self.ops.clear();
        self.spans.clear();
        self.captures.clear();
        self.captured.clear();
        self.distant.clear();
        self.next = 0;
        self.frame = 0;
    }

    fn capture(&mut self, outer: Reg) -> Reg {
        let captures = &mut self.captures;
        let index = if captures.len() <= SEARCHED_MAX {
            let known = captures.iter().position(|&each| each == outer);
            known.unwrap_or_else(|| {
                captures.push(outer);
                captures.len() - 1
            })
        } else {
            if self.captured.is_empty() {
                self.captured.extend(captures.iter().enumerate().map(|(index, &register)| (register, index)));
            }
            *self.captured.entry(outer).or_insert_with(|| {
                captures.push(outer);
                captures.len() - 1
            })
        };
        Reg::of_capture(index.min(REGISTERS_MAX as usize))
    }
}

impl Compiler<'_> {
    pub(super) fn function(&mut self) -> &mut FunctionState {
        self.functions.last_mut().expect("code is compiled inside a function")
    }

    pub(super) fn emit(&mut self, op: Op) -> OpIndex {
        let ops = &mut self.function().ops;
        ops.push(op);
        OpIndex::new(ops.len() - 1)
    }

    /// Emits an operation that can fail, with the text to point to then.
    pub(super) fn emit_at(&mut self, span: Span, op: Op) -> OpIndex {
        let at = self.emit(op);
        self.function().spans.push((at.index() as u32, span.start, span.end - span.start));
        at
    }

    /// Lets the jump at `at` go to the operation that comes next.
    pub(super) fn patch_jump(&mut self, at: OpIndex) {
        let ops = &mut self.function().ops;
        let next = OpIndex::new(ops.len());
        match &mut ops[at.index()] {
            Op::Jump { target }
            | Op::JumpIfFalse { target, .. }
            | Op::JumpIfTrue { target, .. }
            | Op::JumpUnlessInt { target, .. }
            | Op::JumpUnlessLess { target, .. } => *target = next,
            other => unreachable!("only jumps are patched, not {other:?}"),
        }
    }

    pub(super) fn registers(&mut self, count: usize) -> Reg {
        let function = self.function();
        let first = function.next;
        if count > REGISTERS_MAX as usize || first as usize + count > REGISTERS_MAX as usize {
            let error = Error::other("lang::too_many_variables", "one function has more than 32,000 variables")
                .help("split the bindings into several sets or files");
            self.fail(Span::default(), error);
            return Reg::FIRST;
        }
        function.next += count as u16;
        function.frame = function.frame.max(function.next);
        Reg::new(first as usize)
    }

    pub(super) fn temporary(&mut self) -> Reg {
        self.registers(1)
    }

    /// Returns a mark; [`Compiler::release`] frees the registers taken after it.
    pub(super) fn mark(&mut self) -> u16 {
        self.function().next
    }

    pub(super) fn release(&mut self, mark: u16) {
        self.function().next = mark;
    }

    /// Returns the register of this function for a register of function number `function`, which
    /// all functions between capture.
    pub(super) fn capture_from(&mut self, function: usize, register: Reg) -> Reg {
        let (variable, mut register) = ((function, register), register);
        let count = self.functions.len();
        if count <= function + DISTANT {
            for inner in &mut self.functions[function + 1..] {
                register = inner.capture(register);
            }
            return register;
        }
        // Functions that nest deep: the nearest that has the variable already.
        let mut next = function + 1;
        for inner in (function + 1..count).rev() {
            if let Some(&known) = self.functions[inner].distant.get(&variable) {
                (next, register) = (inner + 1, known);
                break;
            }
        }
        for inner in &mut self.functions[next..] {
            register = inner.capture(register);
            inner.distant.insert(variable, register);
        }
        register
    }

    pub(super) fn lookup(&self, name: Symbol) -> Option<ScopeEntry> {
        self.names.get(&name).and_then(|entries| entries.last().copied())
    }

    pub(super) fn define(&mut self, name: Symbol, location: Location) {
        let entry = ScopeEntry { function: self.functions.len() - 1, location };
        self.names.entry(name).or_default().push(entry);
    }

    pub(super) fn undefine(&mut self, names: impl IntoIterator<Item = Symbol>) {
        for name in names {
            self.names.get_mut(&name).and_then(|entries| entries.pop()).expect("only defined names are undefined");
        }
    }

    pub(super) fn begin_function(&mut self, arguments: usize) {
        let mut function = self.spare.pop().unwrap_or_default();
        function.next = arguments as u16;
        function.frame = arguments as u16;
        for register in 0..std::mem::take(&mut self.given_captures) {
            function.capture(Reg::new(register as usize));
        }
        self.functions.push(function);
    }

    /// Ends the innermost function and returns its code.
    pub(super) fn finish_function(
        &mut self,
        arity: u8,
        pattern: Option<PatternIndex>,
        name: Option<Symbol>,
        pos: Pos,
        arguments: Vec<(Option<Symbol>, Pos)>,
    ) -> CodeIndex {
        let mut function = self.functions.pop().expect("every function begun is finished once");
        if function.captures.len() > REGISTERS_MAX as usize {
            let error = Error::other("lang::too_many_variables", "one function uses more than 32,000 variables");
            self.fail(Span::default(), error);
        }
        let first_op = self.ops.len() as u32;
        self.ops.extend_from_slice(&function.ops);
        self.module.spans.extend(function.spans.iter().map(|&(op, start, len)| (first_op + op, start, len)));
        let first_capture = self.captures.len() as u32;
        self.captures.extend_from_slice(&function.captures);
        self.codes.push(CodeDraft {
            first_op,
            end_op: self.ops.len() as u32,
            first_capture,
            end_capture: self.captures.len() as u32,
            arity,
            pattern,
            frame: function.frame,
            name,
            pos,
            arguments,
            lazy: None,
        });
        function.clear();
        self.spare.push(function);
        CodeIndex::new(self.codes.len() - 1)
    }

    pub(super) fn captures_of(&self, code: CodeIndex) -> &[Reg] {
        let draft = &self.codes[code.index()];
        &self.captures[draft.first_capture as usize..draft.end_capture as usize]
    }
}
