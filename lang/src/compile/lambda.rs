//! Functions and their patterns.
//!
//! `a: b: { c, d ? 1 }: …` is one function of three arguments: calling it with all three makes no
//! intermediate function.

use super::code::{DefaultValue, FormalSlot, MASK_BITS, Pattern};
use super::op::{CodeIndex, Op, PatternIndex, Reg};
use super::{Compiler, Location};
use crate::source::{Pos, Span};
use crate::symbol::Symbol;
use crate::syntax::ast::{Expr, ExprKind, Formal, Formals, Lambda};
use smallvec::SmallVec;

/// The most arguments of one function.
const ARITY_MAX: usize = 16;

/// The most defaults that lead from one to the next and are copied; others are thunks.
const ALIASES_MAX: usize = 8;

impl Compiler<'_> {
    pub(super) fn lambda(&mut self, lambda: &Lambda<'_>, span: Span, name: Option<Symbol>, dst: Reg) {
        let code = self.lambda_code(lambda, span, name);
        self.emit(Op::Lambda { dst, code });
    }

    pub(super) fn lambda_code(&mut self, lambda: &Lambda<'_>, span: Span, name: Option<Symbol>) -> CodeIndex {
        if self.root_lambda == Some(std::ptr::from_ref(lambda).cast()) {
            return self.lambda_now(lambda, span, name);
        }
        let kind = ExprKind::Lambda(lambda);
        let parameters = self.parameters(lambda, span);
        let arguments = |_: &Self| {
            parameters.iter().map(|(parameter, pos)| (parameter.argument.map(|(name, _)| name), *pos)).collect()
        };
        match self.postpone(Expr { kind: &kind, span }, parameters.len() as u8, name, arguments) {
            Some(code) => code,
            None => self.lambda_now(lambda, span, name),
        }
    }

    /// Returns the functions that are compiled as one, outermost first.
    fn parameters<'l>(&self, lambda: &'l Lambda<'l>, span: Span) -> SmallVec<[(&'l Lambda<'l>, Pos); 4]> {
        // Nested functions of plain arguments become one; a pattern can only come last, since its
        // formals are bound when its own argument is given.
        let mut parameters: SmallVec<[_; 4]> = SmallVec::new();
        parameters.push((lambda, self.pos(span)));
        let mut last = lambda;
        while last.formals.is_none()
            && parameters.len() < ARITY_MAX
            && let ExprKind::Lambda(inner) = last.body.kind
        {
            parameters.push((*inner, self.pos(last.body.span)));
            last = inner;
        }
        parameters
    }

    /// Compiles a function at once.
    pub(super) fn lambda_now(&mut self, lambda: &Lambda<'_>, span: Span, name: Option<Symbol>) -> CodeIndex {
        let parameters = self.parameters(lambda, span);
        let last = parameters.last().map_or(lambda, |(last, _)| *last);
        let arity = parameters.len();
        self.begin_function(arity);
        let mut defined = Vec::new();
        for (index, (parameter, _)) in parameters.iter().enumerate() {
            if let Some((name, _)) = parameter.argument {
                self.define(name, Location::Register(Reg::new(index)));
                defined.push(name);
            }
        }
        let pattern = last.formals.as_ref().map(|formals| {
            defined.extend(formals.entries.iter().map(|formal| formal.name));
            self.formals(formals, Reg::new(arity - 1))
        });
        self.tail(last.body);
        self.undefine(defined);
        let pos = self.pos(span);
        let arguments =
            parameters.iter().map(|(parameter, pos)| (parameter.argument.map(|(name, _)| name), *pos)).collect();
        self.finish_function(arity as u8, pattern, name, pos, arguments)
    }

    fn formals(&mut self, formals: &Formals<'_>, argument: Reg) -> PatternIndex {
        let mut entries: Vec<_> = formals.entries.iter().collect();
        entries.sort_unstable_by_key(|formal| formal.name);
        let first = self.registers(entries.len());
        let masks =
            if entries.iter().any(|formal| formal.default.is_some()) { entries.len().div_ceil(MASK_BITS) } else { 0 };
        let mask = self.registers(masks);
        for (index, formal) in entries.iter().enumerate() {
            self.define(formal.name, Location::Register(first.plus(index)));
        }
        let (mut aliases, mut fills) = (Vec::new(), Vec::new());
        let mut slots = Vec::with_capacity(entries.len());
        for (index, formal) in entries.iter().enumerate() {
            let default = match formal.default {
                None => DefaultValue::Required,
                Some(expr) => {
                    if let Some(constant) = self.unsuspended_constant(expr) {
                        DefaultValue::Constant(self.module.constants[constant.index()])
                    } else if let Some((steps, src)) = self.aliased(expr, &entries) {
                        let (mask, bit) = (mask.plus(index / MASK_BITS), (index % MASK_BITS) as u8);
                        aliases.push((steps, Op::FillAlias { dst: first.plus(index), mask, bit, src }));
                        DefaultValue::Alias
                    } else {
                        let (code, default) = if let ExprKind::Lambda(lambda) = expr.kind
                            && !self.file.exact_thunks
                        {
                            let code = self.lambda_code(lambda, expr.span, Some(formal.name));
                            (code, DefaultValue::Lambda(code))
                        } else {
                            let code = self.thunk_code(expr, Some(formal.name));
                            (code, DefaultValue::Thunk(code))
                        };
                        if !self.captures_of(code).is_empty() {
                            fills.push(Op::FillDefault {
                                dst: first.plus(index),
                                mask: mask.plus(index / MASK_BITS),
                                bit: (index % MASK_BITS) as u8,
                                code,
                            });
                        }
                        default
                    }
                }
            };
            slots.push(FormalSlot { name: formal.name, pos: self.pos(formal.span), slot: index as u16, default });
        }
        let pattern = PatternIndex::new(self.module.patterns.len());
        self.module.patterns.push(Pattern {
            formals: slots.into_boxed_slice(),
            ellipsis: formals.ellipsis,
            mask,
            masks: masks as u16,
        });
        self.emit_at(formals.span, Op::Formals { argument, first, pattern });
        // A default that is another formal is filled after that.
        aliases.sort_by_key(|(steps, _)| *steps);
        for fill in aliases.into_iter().map(|(_, fill)| fill).chain(fills) {
            self.emit(fill);
        }
        pattern
    }

    /// Returns the register of the variable that a default is, and the number of defaults of
    /// variables that lead to its value. `None` for other expressions, and when the defaults lead
    /// back to themselves.
    fn aliased(&mut self, default: Expr<'_>, formals: &[&Formal<'_>]) -> Option<(usize, Reg)> {
        let ExprKind::Variable(name) = default.kind else { return None };
        let mut target = *name;
        for steps in 0..ALIASES_MAX {
            let found = formals.binary_search_by_key(&target, |formal| formal.name);
            match found.ok().and_then(|at| formals[at].default) {
                Some(Expr { kind: ExprKind::Variable(next), .. }) => target = *next,
                _ => return Some((steps, self.variable_register(*name)?)),
            }
        }
        None
    }
}
