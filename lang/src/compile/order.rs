//! Order of evaluation of operands, where it is observable: by which of two errors comes, or by the
//! order of traces.
//!
//! An operation on two values evaluates the first before the second, as in Nix. Putting an operand
//! into a register need not evaluate it; where the next may fail or show a trace, the one before is
//! forced first.

use super::op::{Op, Reg};
use super::{Compiler, Location};
use crate::syntax::ast::{BinaryOperator, Expr, ExprKind};

impl Compiler<'_> {
    /// Like [`Compiler::operand`], of an operand that is evaluated before `later`.
    pub(super) fn operand_before(&mut self, expr: Expr<'_>, later: Expr<'_>) -> Reg {
        let register = self.operand(expr);
        self.force_before(expr, register, [later]);
        register
    }

    /// Lets the value of `expr`, which is in `register` or is a thunk there, be evaluated before
    /// `later`, if the difference is observable.
    pub(super) fn force_before<'a>(
        &mut self,
        expr: Expr<'_>,
        register: Reg,
        later: impl IntoIterator<Item = Expr<'a>>,
    ) {
        if later.into_iter().any(|later| self.acts(later)) {
            self.force_now(expr, register);
        }
    }

    /// Lets the value of `expr`, which is in `register` or is a thunk there, be evaluated.
    pub(super) fn force_now(&mut self, expr: Expr<'_>, register: Reg) {
        if may_be_thunk(expr) {
            self.emit_at(expr.span, Op::Force { reg: register });
        }
    }

    /// Returns true when putting the value of `expr` or a thunk of it into a register may fail or
    /// show a trace.
    pub(super) fn acts(&self, expr: Expr<'_>) -> bool {
        match expr.kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Uri(_) | ExprKind::Path(..) => false,
            ExprKind::CurrentPosition | ExprKind::Lambda(_) | ExprKind::List(_) => false,
            ExprKind::Attrs(bindings) => !bindings.dynamics.is_empty(),
            ExprKind::Variable(name) => match self.lookup(*name) {
                Some(entry) => matches!(entry.location, Location::Member { .. }),
                None => !self.file.globals.names.contains_key(name),
            },
            _ => true,
        }
    }
}

/// Returns true when [`Compiler::into`] may put a thunk into the register.
fn may_be_thunk(expr: Expr<'_>) -> bool {
    matches!(
        expr.kind,
        ExprKind::Variable(_)
            | ExprKind::Select { .. }
            | ExprKind::Call { .. }
            | ExprKind::If { .. }
            | ExprKind::Let { .. }
            | ExprKind::LetBody(_)
            | ExprKind::With { .. }
            | ExprKind::Assert { .. }
            | ExprKind::LookupPath(_)
            | ExprKind::Binary { operator: BinaryOperator::PipeInto | BinaryOperator::PipeFrom, .. }
    )
}
