//! Operators, by precedence climbing.
//!
//! | level | operators | groups to the |
//! |---|---|---|
//! | 1 | `\|>` / `<\|` | left / right, never mixed |
//! | 2 | `->` | right |
//! | 3 | `\|\|` | left |
//! | 4 | `&&` | left |
//! | 5 | `==` `!=` | neither |
//! | 6 | `<` `<=` `>` `>=` | neither |
//! | 7 | `//` | right |
//! | 8 | `!` | |
//! | 9 | `+` `-` | left |
//! | 10 | `*` `/` | left |
//! | 11 | `++` | right |
//! | 12 | `?` | left |
//! | 13 | `-` before an operand | |
//!
//! The operand of `!` is everything that binds tighter, at any position: `a * !b + c` is
//! `a * !(b + c)`.

use super::ast::{BinaryOperator, Expr, ExprKind};
use super::error::SyntaxError;
use super::parser::Parser;
use super::token::{Token, TokenKind};
use crate::source::Span;

const LOWEST: u8 = 2;
const NOT: u8 = 8;
const HAS_ATTR: u8 = 12;
const NEGATE: u8 = 13;

enum Groups {
    Left,
    Right,
    Neither,
}

fn infix(kind: TokenKind) -> Option<(u8, Groups, BinaryOperator)> {
    use BinaryOperator::*;
    Some(match kind {
        TokenKind::Implies => (2, Groups::Right, Implies),
        TokenKind::Or => (3, Groups::Left, Or),
        TokenKind::And => (4, Groups::Left, And),
        TokenKind::Equal => (5, Groups::Neither, Equal),
        TokenKind::NotEqual => (5, Groups::Neither, NotEqual),
        TokenKind::Less => (6, Groups::Neither, Less),
        TokenKind::LessOrEqual => (6, Groups::Neither, LessOrEqual),
        TokenKind::Greater => (6, Groups::Neither, Greater),
        TokenKind::GreaterOrEqual => (6, Groups::Neither, GreaterOrEqual),
        TokenKind::Update => (7, Groups::Right, Update),
        TokenKind::Plus => (9, Groups::Left, Add),
        TokenKind::Minus => (9, Groups::Left, Subtract),
        TokenKind::Star => (10, Groups::Left, Multiply),
        TokenKind::Slash => (10, Groups::Left, Divide),
        TokenKind::Concat => (11, Groups::Right, Concat),
        _ => return None,
    })
}

impl<'a> Parser<'a> {
    /// Parses an expression of operators, pipes included.
    pub fn pipes(&mut self) -> Expr<'a> {
        let start = self.token().start;
        let mut left = self.operators(LOWEST);
        let mut steps = 0;
        let first = self.kind();
        match first {
            TokenKind::PipeInto => {
                while let Some(operator) = self.take_if(TokenKind::PipeInto) {
                    self.pipes_allowed(operator);
                    steps += 1;
                    if !self.deeper(1) {
                        steps -= 1;
                        break;
                    }
                    let right = self.operators(LOWEST);
                    left = self.binary(BinaryOperator::PipeInto, left, right, operator.span(), start);
                }
            }
            TokenKind::PipeFrom => {
                let operator = self.take();
                self.pipes_allowed(operator);
                let right = self.nested(Self::pipes);
                left = self.binary(BinaryOperator::PipeFrom, left, right, operator.span(), start);
            }
            _ => return left,
        }
        self.shallower(steps);
        if matches!(self.kind(), TokenKind::PipeInto | TokenKind::PipeFrom) {
            let operator = self.token();
            let error = SyntaxError::new("mixed_pipes", operator.span(), "`|>` and `<|` cannot be mixed");
            self.report(error.help("put one of them in parentheses"));
            self.take();
            self.nested(Self::pipes);
        }
        left
    }

    fn pipes_allowed(&mut self, operator: Token) {
        if !self.options.pipe_operators {
            let error = SyntaxError::new("pipe_operators_disabled", operator.span(), "pipe operators are not enabled");
            self.report(error.help("enable the feature `pipe-operators`, or write a function call"));
        }
    }

    /// Parses an expression of operators that bind at least as tight as `least`.
    fn operators(&mut self, least: u8) -> Expr<'a> {
        let start = self.token().start;
        let mut left = match self.kind() {
            TokenKind::Not => {
                self.take();
                let operand = self.nested(|parser| parser.operators(NOT));
                self.new_expr(ExprKind::Not(operand), self.span_from(start))
            }
            TokenKind::Minus => {
                self.take();
                let operand = self.nested(|parser| parser.operators(NEGATE));
                self.new_expr(ExprKind::Negate(operand), self.span_from(start))
            }
            _ => self.application(),
        };
        // A chain of left-grouping operators is as deep as it is long.
        let mut steps = 0;
        loop {
            let token = self.token();
            if token.kind == TokenKind::Question && least <= HAS_ATTR {
                self.take();
                let path = self.attr_path();
                left = self.new_expr(ExprKind::HasAttr { subject: left, path }, self.span_from(start));
                if !self.deeper(1) {
                    break;
                }
                steps += 1;
                continue;
            }
            let Some((level, groups, operator)) = infix(token.kind) else { break };
            if level < least || !self.deeper(1) {
                break;
            }
            steps += 1;
            self.take();
            let right = match groups {
                Groups::Left | Groups::Neither => self.operators(level + 1),
                Groups::Right => self.nested(|parser| parser.operators(level)),
            };
            left = self.binary(operator, left, right, token.span(), start);
            if let Groups::Neither = groups {
                self.not_chained(level, token);
            }
        }
        self.shallower(steps);
        left
    }

    fn binary(
        &self,
        operator: BinaryOperator,
        left: Expr<'a>,
        right: Expr<'a>,
        operator_span: Span,
        start: u32,
    ) -> Expr<'a> {
        let span = self.span_from(start);
        self.new_expr(ExprKind::Binary { operator, left, right, operator_span }, span)
    }

    /// Reports an operator that groups to neither side and is followed by one of its level.
    fn not_chained(&mut self, level: u8, before: Token) {
        let token = self.token();
        if infix(token.kind).is_some_and(|(next, ..)| next == level) {
            let text = |token| String::from_utf8_lossy(self.text_of(token)).into_owned();
            let message = format!("`{}` cannot follow `{}` without parentheses", text(token), text(before));
            let error = SyntaxError::new("chained_operators", token.span(), message);
            let error = error.label(before.span(), "the first operator").label(token.span(), "the second");
            let help = format!("say which comes first: `(a {} b) {} c`", text(before), text(token));
            self.report(error.help(help));
        }
    }
}
