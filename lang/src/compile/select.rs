//! Selections `a.b or c` and tests `a ? b`.

use super::Compiler;
use super::op::{Op, OpIndex, Reg};
use crate::syntax::ast::{AttrName, AttrNameKind, Expr};
use crate::value::Value;

impl Compiler<'_> {
    pub(super) fn select(&mut self, subject: Expr<'_>, path: &[AttrName<'_>], default: Option<Expr<'_>>, dst: Reg) {
        if default.is_none()
            && let [AttrName { kind: AttrNameKind::Static(first), .. }, rest @ ..] = path
            && !rest.is_empty()
            && let Some(value) = self.builtins_member(subject, *first)
        {
            let index = self.constant(value);
            self.emit(Op::Const { dst, index });
            self.select_steps(dst, rest, dst);
            return;
        }
        let src = self.selected_from(subject, path);
        let Some(default) = default else {
            self.select_steps(src, path, dst);
            return;
        };
        let (_, jumps) = self.select_steps_else(src, path, dst);
        let end = self.emit(Op::Jump { target: OpIndex::UNPATCHED });
        jumps.into_iter().for_each(|at| self.patch_jump(at));
        self.into(default, dst);
        self.patch_jump(end);
    }

    /// Returns the set that `path` selects from, evaluated before a computed name.
    fn selected_from(&mut self, subject: Expr<'_>, path: &[AttrName<'_>]) -> Reg {
        match path {
            [AttrName { kind: AttrNameKind::Dynamic(name), .. }, ..] => self.operand_before(subject, *name),
            _ => self.operand(subject),
        }
    }

    /// Selects step by step. Returns the register of the last value, and for each step an unpatched
    /// jump that is taken when its name is missing.
    fn select_steps_else(&mut self, mut src: Reg, steps: &[AttrName<'_>], dst: Reg) -> (Reg, Vec<OpIndex>) {
        let mut jumps = Vec::new();
        for step in steps {
            match step.kind {
                AttrNameKind::Static(name) => {
                    let site = self.site(name);
                    self.emit_at(step.span, Op::SelectElse { dst, src, site });
                }
                AttrNameKind::Dynamic(expr) => {
                    let name = self.operand(expr);
                    self.emit_at(step.span, Op::SelectDynamicElse { dst, src, name });
                }
            }
            jumps.push(self.emit(Op::Jump { target: OpIndex::UNPATCHED }));
            src = dst;
        }
        (src, jumps)
    }

    fn select_steps(&mut self, src: Reg, path: &[AttrName<'_>], dst: Reg) {
        let mut src = src;
        for step in path {
            match step.kind {
                AttrNameKind::Static(name) => {
                    let site = self.site(name);
                    self.emit_at(step.span, Op::Select { dst, src, site });
                }
                AttrNameKind::Dynamic(expr) => {
                    let name = self.operand(expr);
                    self.emit_at(step.span, Op::SelectDynamic { dst, src, name });
                }
            }
            src = dst;
        }
    }

    pub(super) fn has_attr(&mut self, subject: Expr<'_>, path: &[AttrName<'_>], dst: Reg) {
        let src = self.selected_from(subject, path);
        let Some((last, steps)) = path.split_last() else { return };
        let (src, jumps) = self.select_steps_else(src, steps, dst);
        match last.kind {
            AttrNameKind::Static(name) => {
                let site = self.site(name);
                self.emit_at(last.span, Op::Has { dst, src, site });
            }
            AttrNameKind::Dynamic(expr) => {
                let name = self.operand(expr);
                self.emit_at(last.span, Op::HasDynamic { dst, src, name });
            }
        }
        if !jumps.is_empty() {
            let end = self.emit(Op::Jump { target: OpIndex::UNPATCHED });
            jumps.into_iter().for_each(|at| self.patch_jump(at));
            let index = self.constant(Value::FALSE);
            self.emit(Op::Const { dst, index });
            self.patch_jump(end);
        }
    }
}
