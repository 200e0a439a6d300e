//! Reports of mistakes, at most one for a token.

use super::Parser;
use crate::syntax::ERRORS_MAX;
use crate::syntax::error::{SyntaxError, excerpt};
use crate::syntax::token::{Token, TokenKind};

impl Parser<'_> {
    pub fn report(&mut self, error: SyntaxError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    /// Reports the next token as unexpected, unless that was already done.
    pub fn unexpected(&mut self, expected: &str) {
        if self.reported_at == self.position() {
            return;
        }
        self.reported_at = self.position();
        let token = self.token();
        if token.kind == TokenKind::Invalid {
            return; // The lexer said so.
        }
        let found = match token.kind.description() {
            Some(description) => description.to_string(),
            None => format!("`{}`", excerpt(self.text_of(token))),
        };
        let mut error =
            SyntaxError::new("unexpected_token", token.span(), format!("unexpected {found}, expected {expected}"));
        if let Some(help) = self.advice(token, expected) {
            error = error.help(help);
        }
        self.report(error);
    }

    /// Returns a help for a likely slip.
    pub(super) fn advice(&self, token: Token, expected: &str) -> Option<&'static str> {
        let before = self.at.checked_sub(1).map(|at| self.lexer.tokens[at]);
        match token.kind {
            TokenKind::Assign if expected == "`;`" => Some("is the `;` of the binding before missing?"),
            TokenKind::Assign => Some("bindings stand in `{ … }` or between `let` and `in`; equality is `==`"),
            TokenKind::RightBrace if expected == "`;`" => Some("every binding ends in `;`, the last one too"),
            TokenKind::In if expected == "`;`" => Some("every binding ends in `;`, the last one too"),
            TokenKind::Comma if before.is_some_and(|before| before.kind == TokenKind::Ellipsis) => {
                Some("`...` stands last")
            }
            TokenKind::Comma => Some("elements of a list are separated by spaces, bindings end in `;`"),
            TokenKind::Colon if before.is_some_and(|before| before.kind == TokenKind::Identifier) => {
                Some("put the function in parentheses: `(x: …)`")
            }
            kind if kind.is_keyword() && expected.starts_with("an attribute name") => {
                Some("a keyword must be quoted to be a name: `\"if\"`")
            }
            TokenKind::If | TokenKind::With | TokenKind::AssertWord | TokenKind::Let => Some("put it in parentheses"),
            TokenKind::Minus
            | TokenKind::Not
            | TokenKind::Question
            | TokenKind::Plus
            | TokenKind::Concat
            | TokenKind::Update
                if expected.starts_with("a list element") =>
            {
                Some("put an element with operators in parentheses: `[ (-1) ]`")
            }
            _ => None,
        }
    }
}
