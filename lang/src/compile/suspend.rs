//! Operands that are not evaluated: known values, and thunks of the others.

use super::op::{CodeIndex, ConstantIndex, Op, Reg};
use super::{Compiler, Location, ScopeEntry};
use crate::symbol::Symbol;
use crate::syntax::ast::{AttrName, AttrNameKind, BinaryOperator, BindingValue, Bindings, Expr, ExprKind};

/// Sets and lists with at most this many elements, all known, are made at once rather than
/// suspended.
const EAGER_LEN_MAX: usize = 8;

impl Compiler<'_> {
    /// Puts `expr` into `dst` without evaluating it: its value, if known; else a thunk.
    ///
    /// `name` is the name it is bound to; `needed` says that the value will most likely be forced.
    pub(super) fn lazy(&mut self, expr: Expr<'_>, dst: Reg, name: Option<Symbol>, needed: bool) {
        if let Some(index) = self.unsuspended_constant(expr) {
            self.emit(Op::Const { dst, index });
            return;
        }
        let mark = self.mark();
        match expr.kind {
            kind if self.file.exact_thunks && !matches!(kind, ExprKind::Variable(_)) => self.suspend(expr, dst, name),
            ExprKind::Variable(variable) => match self.lookup(*variable) {
                Some(ScopeEntry { location: Location::Register(_), .. }) => self.variable(*variable, expr.span, dst),
                Some(_) => self.suspend(expr, dst, name),
                None => {
                    if !self.file.exact_thunks
                        && let Some(site) = self.with_site(*variable)
                    {
                        self.emit(Op::SpecWith { dst, site });
                    }
                    self.suspend(expr, dst, name);
                }
            },
            ExprKind::Lambda(lambda) => self.lambda(lambda, expr.span, name, dst),
            ExprKind::Attrs(bindings)
                if !bindings.recursive
                    && bindings.dynamics.is_empty()
                    && (needed && bindings.statics.len() <= 32
                        || bindings.statics.len() <= EAGER_LEN_MAX && self.all_known(bindings)) =>
            {
                self.attrs(bindings, expr.span, dst);
            }
            ExprKind::List(elements)
                if needed && elements.len() <= 32
                    || elements.len() <= EAGER_LEN_MAX && elements.iter().all(|&element| self.is_known(element)) =>
            {
                self.list(elements, dst);
            }
            _ => {
                self.speculate(expr, dst);
                self.suspend(expr, dst, name);
            }
        }
        self.release(mark);
    }

    /// Returns the value of an expression that is a constant and needs no thunk.
    pub(super) fn unsuspended_constant(&mut self, expr: Expr<'_>) -> Option<ConstantIndex> {
        let suspended = matches!(expr.kind, ExprKind::Attrs(_) | ExprKind::CurrentPosition | ExprKind::Select { .. });
        if suspended && self.file.exact_thunks { None } else { self.constant_of(expr) }
    }

    /// Returns true when `expr` is known without evaluating anything, so that a set or list of such
    /// can be made at once.
    fn is_known(&mut self, expr: Expr<'_>) -> bool {
        match expr.kind {
            ExprKind::Variable(name) => match self.lookup(*name) {
                Some(entry) => !matches!(entry.location, Location::Member { .. }),
                None => self.file.globals.names.contains_key(name),
            },
            _ => self.constant_of(expr).is_some(),
        }
    }

    fn all_known(&mut self, bindings: &Bindings<'_>) -> bool {
        bindings.statics.iter().all(|binding| match binding.value {
            BindingValue::Expr(expr) => self.is_known(expr),
            BindingValue::Inherit => self.lookup(binding.name).is_some(),
            BindingValue::InheritFrom(_) => false,
        })
    }

    /// Returns the register of an operand that has one already, for an operation that is only
    /// tried.
    fn ready_register(&mut self, expr: Expr<'_>) -> Option<Reg> {
        let ExprKind::Variable(name) = expr.kind else { return None };
        self.variable_register(*name)
    }

    /// Emits an operation that finds the value at once when its operands are known, before the
    /// thunk for the other case.
    fn speculate(&mut self, expr: Expr<'_>, dst: Reg) {
        match expr.kind {
            ExprKind::Select { subject, path: [AttrName { kind: AttrNameKind::Static(name), .. }], default: None } => {
                if let Some(src) = self.ready_register(*subject) {
                    let site = self.site(*name);
                    self.emit(Op::SpecSelect { dst, src, site });
                }
            }
            ExprKind::Binary { operator, left, right, .. } => {
                let shadow = match operator {
                    BinaryOperator::Add => None,
                    BinaryOperator::Subtract => Some(self.symbols.sub),
                    BinaryOperator::Multiply => Some(self.symbols.mul),
                    _ => return,
                };
                if shadow.is_some_and(|name| self.shadowed(name)) {
                    return;
                }
                let Some(a) = self.ready_register(*left) else { return };
                if let ExprKind::Int(value) = right.kind
                    && let Ok(value) = i32::try_from(*value)
                    && value != i32::MIN
                {
                    match operator {
                        BinaryOperator::Add => self.emit(Op::SpecAddInt { dst, a, value }),
                        BinaryOperator::Subtract => self.emit(Op::SpecAddInt { dst, a, value: -value }),
                        _ => self.emit(Op::SpecMulInt { dst, a, value }),
                    };
                } else if let Some(b) = self.ready_register(*right) {
                    match operator {
                        BinaryOperator::Add => self.emit(Op::SpecAdd { dst, a, b }),
                        BinaryOperator::Subtract => self.emit(Op::SpecSub { dst, a, b }),
                        _ => self.emit(Op::SpecMul { dst, a, b }),
                    };
                }
            }
            _ => {}
        }
    }

    /// Makes a thunk of `expr`.
    fn suspend(&mut self, expr: Expr<'_>, dst: Reg, name: Option<Symbol>) {
        let code = self.thunk_code(expr, name);
        self.emit(Op::Thunk { dst, code });
    }

    /// Compiles `expr` as the code of a thunk.
    pub(super) fn thunk_code(&mut self, expr: Expr<'_>, name: Option<Symbol>) -> CodeIndex {
        // A text that is a function is put off as that function.
        if matches!(expr.kind, ExprKind::Lambda(_)) {
            return self.thunk_now(expr, name);
        }
        match self.postpone(expr, 0, name, |_| Vec::new()) {
            Some(code) => code,
            None => self.thunk_now(expr, name),
        }
    }

    /// Compiles `expr` as the code of a thunk at once.
    pub(super) fn thunk_now(&mut self, expr: Expr<'_>, name: Option<Symbol>) -> CodeIndex {
        self.begin_function(0);
        self.tail(expr);
        let pos = self.pos(expr.span);
        self.finish_function(0, None, name, pos, Vec::new())
    }
}
