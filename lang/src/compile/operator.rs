//! Binary operators, and conditions that jump.

use super::Compiler;
use super::op::{Op, OpIndex, Reg};
use crate::source::Span;
use crate::syntax::ast::{BinaryOperator, Expr, ExprKind};
use crate::value::Value;
use smallvec::SmallVec;

/// Chains of at least so many operands are compiled in a loop, with few registers.
const LONG_CHAIN: usize = 32;

/// Operands of one operator that a row of registers holds at a time.
const CHAIN_PART: usize = 256;

/// Returns the operands of `a && b && c`, which is `(a && b) && c`.
fn chain_of_left<'a>(expr: Expr<'a>, chained: BinaryOperator) -> SmallVec<[Expr<'a>; 4]> {
    let mut operands = SmallVec::new();
    let mut at = expr;
    while let ExprKind::Binary { operator, left, right, .. } = *at.kind
        && operator == chained
    {
        operands.push(right);
        at = left;
    }
    operands.push(at);
    operands.reverse();
    operands
}

/// Returns the operands of `a ++ b ++ c`, which is `a ++ (b ++ c)`.
fn chain_of_right<'a>(expr: Expr<'a>, chained: BinaryOperator) -> SmallVec<[Expr<'a>; 4]> {
    let mut operands = SmallVec::new();
    let mut at = expr;
    while let ExprKind::Binary { operator, left, right, .. } = *at.kind
        && operator == chained
    {
        operands.push(left);
        at = right;
    }
    operands.push(at);
    operands
}

/// Returns the binary expressions of `a + b * c - d`, which is `(a + (b * c)) - d`: those at the
/// left end, innermost first.
fn chain_of_arithmetic(expr: Expr<'_>) -> SmallVec<[Expr<'_>; 4]> {
    use BinaryOperator as B;
    let mut chain = SmallVec::new();
    let mut at = expr;
    while let ExprKind::Binary { operator: B::Add | B::Subtract | B::Multiply | B::Divide, left, .. } = *at.kind {
        chain.push(at);
        at = left;
    }
    chain.reverse();
    chain
}

/// Returns the operands of a chain that is compiled in a loop, if it is long.
pub(super) fn long_chain(expr: Expr<'_>) -> Option<SmallVec<[Expr<'_>; 4]>> {
    use BinaryOperator as B;
    let ExprKind::Binary { operator, left, right, .. } = *expr.kind else { return None };
    let chained = match operator {
        B::And | B::Or | B::Add | B::Subtract | B::Multiply | B::Divide => left,
        B::Implies | B::Concat | B::Update => right,
        _ => return None,
    };
    if !matches!(chained.kind, ExprKind::Binary { .. }) {
        return None;
    }
    let operands = match operator {
        B::And | B::Or => chain_of_left(expr, operator),
        B::Implies | B::Concat | B::Update => chain_of_right(expr, operator),
        _ => {
            let chain = chain_of_arithmetic(expr);
            let sides = chain.iter().enumerate().flat_map(|(index, expr)| match *expr.kind {
                ExprKind::Binary { left, right, .. } => [(index == 0).then_some(left), Some(right)],
                _ => [None, None],
            });
            sides.flatten().collect()
        }
    };
    (operands.len() >= LONG_CHAIN).then_some(operands)
}

impl Compiler<'_> {
    /// Returns unpatched jumps that are taken unless `condition` is true.
    pub(super) fn jump_unless(&mut self, condition: Expr<'_>) -> Vec<OpIndex> {
        let mark = self.mark();
        let jumps = match condition.kind {
            ExprKind::Binary { operator: BinaryOperator::And, .. } => {
                let mut jumps = Vec::new();
                for operand in chain_of_left(condition, BinaryOperator::And) {
                    jumps.extend(self.jump_unless(operand));
                }
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

    fn is_arithmetic_shadowed(&self) -> bool {
        [self.symbols.sub, self.symbols.mul, self.symbols.div].into_iter().any(|name| self.shadowed(name))
    }

    /// Compiles a long chain of arithmetic from the left. Operands of `+` are added many at a time,
    /// so that a string is not copied for each.
    fn arithmetic_all(&mut self, chain: &[Expr<'_>], dst: Reg) {
        use BinaryOperator as B;
        let mut rest = chain
            .iter()
            .filter_map(|expr| match *expr.kind {
                ExprKind::Binary { operator, right, operator_span, .. } => Some((operator, right, operator_span)),
                _ => None,
            })
            .peekable();
        // The result so far and the operands that are added to it at a time.
        let row = self.registers(CHAIN_PART);
        let Some(ExprKind::Binary { left, .. }) = chain.first().map(|first| first.kind) else { return };
        self.into(*left, row);
        self.force_now(*left, row);
        while let Some((operator, right, operator_span)) = rest.next() {
            let b = row.plus(1);
            self.into(right, b);
            self.force_now(right, b);
            let op = match operator {
                B::Subtract => Op::Subtract { dst: row, a: row, b },
                B::Multiply => Op::Multiply { dst: row, a: row, b },
                B::Divide => Op::Divide { dst: row, a: row, b },
                _ => {
                    let mut count = 2;
                    while count < CHAIN_PART
                        && let Some((_, right, _)) = rest.next_if(|(operator, ..)| *operator == B::Add)
                    {
                        let next = row.plus(count);
                        self.into(right, next);
                        self.force_now(right, next);
                        count += 1;
                    }
                    Op::AddMany { dst: row, first: row, count: count as u32 }
                }
            };
            self.emit_at(operator_span, op);
        }
        self.emit(Op::Move { dst, src: row });
    }

    /// Compiles a long chain of `//` from the right, which is evaluated first.
    fn update_all(&mut self, operands: &[Expr<'_>], span: Span, dst: Reg) {
        let Some((&last, before)) = operands.split_last() else { return };
        // Sets from the last to the first, after the set that they become.
        let row = self.registers(CHAIN_PART);
        self.into(last, row);
        self.force_now(last, row);
        for part in before.rchunks(CHAIN_PART - 1) {
            for (index, &operand) in part.iter().rev().enumerate() {
                self.into(operand, row.plus(index + 1));
                self.force_now(operand, row.plus(index + 1));
            }
            self.emit_at(span, Op::UpdateMany { dst: row, first: row, count: part.len() as u32 + 1 });
        }
        self.emit(Op::Move { dst, src: row });
    }

    /// Compiles a long chain of `++`, which copies every element once or twice.
    fn concat_all(&mut self, operands: &[Expr<'_>], span: Span, dst: Reg) {
        let parts = operands.chunks(CHAIN_PART);
        let lists = self.registers(parts.len());
        for (index, part) in parts.enumerate() {
            let mark = self.mark();
            let first = self.registers(part.len());
            for (at, &operand) in part.iter().enumerate() {
                self.into(operand, first.plus(at));
                self.force_now(operand, first.plus(at));
            }
            self.emit_at(span, Op::ConcatMany { dst: lists.plus(index), first, count: part.len() as u32 });
            self.release(mark);
        }
        self.emit_at(span, Op::ConcatMany { dst, first: lists, count: operands.len().div_ceil(CHAIN_PART) as u32 });
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
            B::And | B::Or => {
                // Not into `dst` itself, which may be a variable that the right side still reads.
                let result = self.temporary();
                let operands = chain_of_left(expr, operator);
                let mut jumps = Vec::with_capacity(operands.len());
                for (index, &operand) in operands.iter().enumerate() {
                    self.into(operand, result);
                    if index + 1 == operands.len() {
                        self.emit_at(operand.span, Op::CheckBool { reg: result });
                        break;
                    }
                    let jump = match operator {
                        B::And => Op::JumpIfFalse { condition: result, target: OpIndex::UNPATCHED },
                        _ => Op::JumpIfTrue { condition: result, target: OpIndex::UNPATCHED },
                    };
                    jumps.push(self.emit_at(operand.span, jump));
                }
                jumps.into_iter().for_each(|at| self.patch_jump(at));
                self.emit(Op::Move { dst, src: result });
                return;
            }
            B::Implies => {
                // `a -> b -> c` is true as soon as one before the last is false.
                let result = self.temporary();
                let operands = chain_of_right(expr, operator);
                let mut ends = Vec::with_capacity(operands.len());
                for (index, &operand) in operands.iter().enumerate() {
                    self.into(operand, result);
                    if index + 1 == operands.len() {
                        self.emit_at(operand.span, Op::CheckBool { reg: result });
                        break;
                    }
                    let goes_on =
                        self.emit_at(operand.span, Op::JumpIfTrue { condition: result, target: OpIndex::UNPATCHED });
                    let index = self.constant(Value::TRUE);
                    self.emit(Op::Const { dst: result, index });
                    ends.push(self.emit(Op::Jump { target: OpIndex::UNPATCHED }));
                    self.patch_jump(goes_on);
                }
                ends.into_iter().for_each(|at| self.patch_jump(at));
                self.emit(Op::Move { dst, src: result });
                return;
            }
            B::Concat | B::Update => {
                let operands = chain_of_right(expr, operator);
                if operands.len() >= LONG_CHAIN {
                    return match operator {
                        B::Concat => self.concat_all(&operands, span, dst),
                        _ => self.update_all(&operands, span, dst),
                    };
                }
            }
            B::Add | B::Subtract | B::Multiply | B::Divide => {
                let chain = chain_of_arithmetic(expr);
                if chain.len() + 1 >= LONG_CHAIN && !self.is_arithmetic_shadowed() {
                    self.arithmetic_all(&chain, dst);
                    return;
                }
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
