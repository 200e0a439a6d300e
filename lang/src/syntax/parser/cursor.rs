//! The tokens of a parse: the next one, those after it, and skipping.

use super::Parser;
use crate::source::Span;
use crate::syntax::error::excerpt;
use crate::syntax::token::{Token, TokenKind};

/// Number of tokens of lookahead after the next one.
const LOOK_AHEAD: usize = 4;

impl<'a> Parser<'a> {
    pub fn token(&self) -> Token {
        self.lexer.tokens[self.at]
    }

    pub fn kind(&self) -> TokenKind {
        self.lexer.tokens[self.at].kind
    }

    /// Returns the kind of the token `offset` after the next one.
    pub(super) fn kind_after(&self, offset: usize) -> TokenKind {
        self.lexer.tokens[(self.at + offset).min(self.lexer.tokens.len() - 1)].kind
    }

    /// Takes the next token; the end of the file is never taken.
    pub fn take(&mut self) -> Token {
        let token = self.lexer.tokens[self.at];
        if token.kind != TokenKind::End {
            self.at += 1;
            if self.at + LOOK_AHEAD >= self.lexer.tokens.len() && !self.complete {
                self.refill();
            }
        }
        token
    }

    /// Replaces the taken tokens, except the last, by more tokens.
    #[cold]
    pub(super) fn refill(&mut self) {
        let taken = self.at.saturating_sub(1);
        self.lexer.tokens.drain(..taken);
        self.before += taken;
        self.at -= taken;
        self.complete = !self.lexer.advance();
    }

    /// Skips to the end of the file.
    pub(super) fn skip_rest(&mut self) {
        while !self.complete {
            self.at = self.lexer.tokens.len() - 1;
            self.refill();
        }
        self.at = self.lexer.tokens.len() - 1;
    }

    pub fn take_if(&mut self, kind: TokenKind) -> Option<Token> {
        (self.kind() == kind).then(|| self.take())
    }

    /// Takes a token of this kind or reports the mistake; `what` names it.
    pub fn expect(&mut self, kind: TokenKind, what: &str) -> Option<Token> {
        let token = self.take_if(kind);
        if token.is_none() {
            self.unexpected(what);
        }
        token
    }

    /// Like [`Parser::expect`] for the bracket that ends what `open` began.
    pub(super) fn expect_close(&mut self, kind: TokenKind, what: &str, open: Token) -> Option<Token> {
        let before = self.errors.len();
        let token = self.expect(kind, what);
        if self.errors.len() > before {
            let label = (open.span(), format!("opened by this `{}`", excerpt(self.text_of(open))));
            self.errors[before].labels.push(label);
        }
        token
    }

    pub fn text_of(&self, token: Token) -> &'a [u8] {
        &self.text[token.start as usize..token.end as usize]
    }

    /// Returns the span from the start of `start` to the end of the last token taken.
    pub fn span_from(&self, start: u32) -> Span {
        let end = if self.at == 0 { start } else { self.lexer.tokens[self.at - 1].end };
        Span::new(start, end.max(start))
    }

    /// Returns the number of the next token.
    pub fn position(&self) -> usize {
        self.before + self.at
    }

    /// Skips to one of these tokens, over whole brackets; stops at a bracket that closes more than
    /// was opened.
    pub fn skip_to(&mut self, stops: &[TokenKind]) {
        let mut open = 0u32;
        loop {
            let kind = self.kind();
            match kind {
                TokenKind::End => return,
                _ if open == 0 && stops.contains(&kind) => return,
                TokenKind::LeftBrace | TokenKind::LeftBracket | TokenKind::LeftParen | TokenKind::DollarBrace => {
                    open += 1
                }
                TokenKind::StringOpen | TokenKind::IndentedOpen | TokenKind::PathOpen => open += 1,
                TokenKind::RightBrace | TokenKind::RightBracket | TokenKind::RightParen if open == 0 => return,
                TokenKind::StringClose | TokenKind::IndentedClose | TokenKind::PathClose if open == 0 => return,
                TokenKind::RightBrace | TokenKind::RightBracket | TokenKind::RightParen => open -= 1,
                TokenKind::StringClose | TokenKind::IndentedClose | TokenKind::PathClose => open -= 1,
                _ => {}
            }
            self.take();
        }
    }
}
