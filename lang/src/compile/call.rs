//! Calls, of builtins directly where the function is known.

use super::op::{Op, Reg};
use super::{Compiler, Location, ScopeEntry};
use crate::source::Span;
use crate::symbol::Symbol;
use crate::syntax::ast::{AttrName, AttrNameKind, Expr, ExprKind};
use crate::value::View;
use crate::vm::Builtin;

impl Compiler<'_> {
    /// Returns the builtin that `function` surely is, with its index in the table.
    pub(super) fn known_builtin(&mut self, function: Expr<'_>) -> Option<(&'static Builtin, u16)> {
        let value = match function.kind {
            ExprKind::Variable(name) => match self.lookup(*name) {
                Some(ScopeEntry { location: Location::Constant(index), .. }) => self.module.constants[index.index()],
                Some(_) => return None,
                None => *self.file.globals.names.get(name)?,
            },
            ExprKind::Select { subject, path: [AttrName { kind: AttrNameKind::Static(name), .. }], default: None } => {
                self.builtins_member(*subject, *name)?
            }
            _ => return None,
        };
        let View::Builtin(index) = value.view() else { return None };
        Some((&self.file.globals.table[index], index as u16))
    }

    pub(super) fn is_builtin_call(&mut self, function: Expr<'_>, arguments: &[Expr<'_>]) -> bool {
        arguments.len() > usize::from(u8::MAX)
            || self.known_builtin(function).is_some_and(|(builtin, _)| builtin.arity as usize <= arguments.len())
    }

    pub(super) fn call(&mut self, function: Expr<'_>, arguments: &[Expr<'_>], span: Span, dst: Reg) {
        if let Some((builtin, id)) = self.known_builtin(function)
            && builtin.arity as usize <= arguments.len()
        {
            let (own, rest) = arguments.split_at(builtin.arity as usize);
            let first = self.arguments(own, builtin.strict);
            self.emit_at(span, Op::CallBuiltin { dst, first, id });
            if !rest.is_empty() {
                let first = self.arguments(rest, 0);
                self.emit_at(span, Op::Call { dst, function: dst, first, count: rest.len() as u8 });
            }
            return;
        }
        let mut function = self.operand(function);
        for part in arguments.chunks(usize::from(u8::MAX)) {
            let first = self.arguments(part, 0);
            self.emit_at(span, Op::Call { dst, function, first, count: part.len() as u8 });
            function = dst;
        }
    }

    pub(super) fn call_shadowed(&mut self, name: Symbol, first: Reg, span: Span, dst: Reg) {
        let function = self.temporary();
        self.variable(name, span, function);
        self.emit_at(span, Op::Call { dst, function, first, count: 2 });
    }

    /// Returns consecutive registers with arguments; `strict` has a bit for each that is surely
    /// evaluated.
    pub(super) fn arguments(&mut self, arguments: &[Expr<'_>], strict: u8) -> Reg {
        let first = self.registers(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            let dst = first.plus(index);
            if index < 8 && strict >> index & 1 == 1 {
                self.into(*argument, dst);
                let later = (index + 1..arguments.len().min(8)).filter(|later| strict >> later & 1 == 1);
                self.force_before(*argument, dst, later.map(|later| arguments[later]));
            } else {
                self.lazy(*argument, dst, None, true);
            }
        }
        first
    }
}
