//! Binary operators, and conditions that jump.

use super::Compiler;
use super::op::{Op, OpIndex, Reg};
use crate::syntax::ast::{BinaryOperator, Expr, ExprKind};
use crate::value::Value;

impl Compiler<'_> {
    /// Returns unpatched jumps that are taken unless `condition` is true.
    pub(super) fn jump_unless(&mut self, condition: Expr<'_>) -> Vec<OpIndex> {
        let mark = self.mark();
        let jumps = match condition.kind {
            ExprKind::Binary { operator: BinaryOperator::And, left, right, .. } => {
                let mut jumps = self.jump_unless(*left);
                jumps.extend(self.jump_unless(*right));
                jumps
            }
            ExprKind::Binary { operator: BinaryOperator::Equal, left, right, operator_span } => match right.kind {
                ExprKind::Int(value) if i32::try_from(*value).is_ok() => {
                    let a = self.operand(*left);
                    vec![self.emit_at(
                        *operator_span,
                        Op::JumpUnlessInt { a, value: *value as i32, target: OpIndex::UNPATCHED },
                    )]
                }
                _ => self.jump_unless_value(condition),
            },
            ExprKind::Binary { operator: BinaryOperator::Less, left, right, operator_span }
                if !self.shadowed(self.symbols.less_than) =>
            {
                let a = self.operand_before(*left, *right);
                let b = self.operand(*right);
                vec![self.emit_at(*operator_span, Op::JumpUnlessLess { a, b, target: OpIndex::UNPATCHED })]
            }
            ExprKind::Not(inner) => {
                let condition = self.operand(*inner);
                vec![self.emit_at(inner.span, Op::JumpIfTrue { condition, target: OpIndex::UNPATCHED })]
            }
            _ => self.jump_unless_value(condition),
        };
        self.release(mark);
        jumps
    }

    fn jump_unless_value(&mut self, condition: Expr<'_>) -> Vec<OpIndex> {
        let reg = self.operand(condition);
        vec![self.emit_at(condition.span, Op::JumpIfFalse { condition: reg, target: OpIndex::UNPATCHED })]
    }

    pub(super) fn binary(&mut self, expr: Expr<'_>, dst: Reg) {
        let ExprKind::Binary { operator, left, right, operator_span } = *expr.kind else { return };
        let span = expr.span;
        use BinaryOperator as B;
        match operator {
            B::And | B::Or | B::Implies => {
                // Not into `dst` itself, which may be a variable that the right side still reads.
                let result = self.temporary();
                self.into(left, result);
                let jump = match operator {
                    B::And => Op::JumpIfFalse { condition: result, target: OpIndex::UNPATCHED },
                    _ => Op::JumpIfTrue { condition: result, target: OpIndex::UNPATCHED },
                };
                let jump = self.emit_at(left.span, jump);
                if operator == B::Implies {
                    let index = self.constant(Value::TRUE);
                    self.emit(Op::Const { dst: result, index });
                    let end = self.emit(Op::Jump { target: OpIndex::UNPATCHED });
                    self.patch_jump(jump);
                    self.into(right, result);
                    self.emit_at(right.span, Op::CheckBool { reg: result });
                    self.patch_jump(end);
                } else {
                    self.into(right, result);
                    self.emit_at(right.span, Op::CheckBool { reg: result });
                    self.patch_jump(jump);
                }
                self.emit(Op::Move { dst, src: result });
                return;
            }
            B::PipeInto | B::PipeFrom => {
                let (function, argument) = if operator == B::PipeInto { (right, left) } else { (left, right) };
                self.call(function, &[argument], span, dst);
                return;
            }
            _ => {}
        }
        let shadow = match operator {
            B::Subtract => Some(self.symbols.sub),
            B::Multiply => Some(self.symbols.mul),
            B::Divide => Some(self.symbols.div),
            B::Less | B::LessOrEqual | B::Greater | B::GreaterOrEqual => Some(self.symbols.less_than),
            _ => None,
        };
        if let Some(name) = shadow.filter(|&name| self.shadowed(name)) {
            let swap = matches!(operator, B::Greater | B::LessOrEqual);
            let (left, right) = if swap { (right, left) } else { (left, right) };
            let first = self.registers(2);
            self.lazy(left, first, None, true);
            self.lazy(right, first.plus(1), None, true);
            self.call_shadowed(name, first, span, dst);
            if matches!(operator, B::LessOrEqual | B::GreaterOrEqual) {
                self.emit_at(span, Op::Not { dst, src: dst });
            }
            return;
        }
        if let (ExprKind::Int(value), B::Add | B::Subtract) = (right.kind, operator)
            && let Ok(value) = i32::try_from(if operator == B::Add { *value } else { value.wrapping_neg() })
            && value != i32::MIN
        {
            let a = self.operand(left);
            if operator == B::Add {
                self.emit_at(operator_span, Op::AddInt { dst, a, value });
            } else {
                self.emit_at(operator_span, Op::SubtractInt { dst, a, value: -value });
            }
            return;
        }
        // As in Nix, where `a > b` is `b < a`, and `//` evaluates its right side first.
        let swap = matches!(operator, B::Greater | B::LessOrEqual | B::Update);
        let (first, second) = if swap { (right, left) } else { (left, right) };
        let a = self.operand_before(first, second);
        let b = self.operand(second);
        let op = match operator {
            B::Add => Op::Add { dst, a, b },
            B::Subtract => Op::Subtract { dst, a, b },
            B::Multiply => Op::Multiply { dst, a, b },
            B::Divide => Op::Divide { dst, a, b },
            B::Equal => Op::Equal { dst, a, b },
            B::NotEqual => Op::NotEqual { dst, a, b },
            B::Less | B::Greater => Op::Less { dst, a, b },
            B::LessOrEqual | B::GreaterOrEqual => Op::NotLess { dst, a, b },
            B::Update => Op::Update { dst, a: b, b: a },
            B::Concat => Op::Concat { dst, a, b },
            B::And | B::Or | B::Implies | B::PipeInto | B::PipeFrom => return,
        };
        self.emit_at(operator_span, op);
    }
}
