//! Strings and paths, with their interpolations.

use super::Parser;
use crate::source::Span;
use crate::syntax::ast::*;
use crate::syntax::error::SyntaxError;
use crate::syntax::strings::{IndentedPart, escape, strip_indentation, unescape};
use crate::syntax::token::{Token, TokenKind};

impl<'a> Parser<'a> {
    pub(super) fn string(&mut self) -> ExprKind<'a> {
        let base = self.parts.len();
        let close = match self.kind() {
            TokenKind::StringOpen => {
                self.take();
                self.string_parts();
                TokenKind::StringClose
            }
            _ => {
                self.take();
                self.indented_parts();
                TokenKind::IndentedClose
            }
        };
        if self.expect(close, "the end of the string").is_none() {
            self.skip_to(&[close]);
            self.take_if(close);
        }
        match self.parts[base..] {
            [] => ExprKind::Str(b""),
            [StringPart::Text(text)] => {
                self.parts.truncate(base);
                ExprKind::Str(text)
            }
            // Nix drops an interpolation that is a whole `''…''` string, if it is a string itself.
            [StringPart::Expr(Expr { kind: &ExprKind::Str(text), .. })] if close == TokenKind::IndentedClose => {
                self.parts.truncate(base);
                ExprKind::Str(text)
            }
            _ => ExprKind::Interpolation(self.drain_parts(base)),
        }
    }

    pub(super) fn string_parts(&mut self) {
        loop {
            let token = self.token();
            let part = match token.kind {
                TokenKind::StringText | TokenKind::StringEscaped => {
                    self.take();
                    let text = self.string_text(token);
                    let plain = token.kind == TokenKind::StringText && memchr::memchr(b'\r', text).is_none();
                    StringPart::Text(if plain { text } else { unescape(self.arena, text) })
                }
                TokenKind::DollarBrace => StringPart::Expr(self.interpolated()),
                _ => return,
            };
            self.parts.push(part);
        }
    }

    pub(super) fn indented_parts(&mut self) {
        let base = self.indented.len();
        loop {
            let token = self.token();
            let text = match token.kind {
                TokenKind::IndentedText => self.string_text(token),
                TokenKind::IndentedSymbol => self.text_of(token),
                TokenKind::IndentedDollar => b"$",
                TokenKind::IndentedQuotes => b"''",
                TokenKind::IndentedEscape => {
                    let text = self.string_text(token);
                    self.arena.alloc_slice_copy(&[escape(text[3])])
                }
                TokenKind::DollarBrace => {
                    let expr = self.interpolated();
                    self.indented.push(IndentedPart { part: StringPart::Expr(expr), plain: false });
                    continue;
                }
                _ => break,
            };
            self.take();
            let plain = token.kind == TokenKind::IndentedText;
            self.indented.push(IndentedPart { part: StringPart::Text(text), plain });
        }
        let separate = self.options.separate_string_pieces;
        strip_indentation(self.arena, &self.indented[base..], separate, &mut self.parts);
        self.indented.truncate(base);
    }

    /// Returns the text of a token inside a string, which may hold any byte except NUL.
    pub(super) fn string_text(&mut self, token: Token) -> &'a [u8] {
        let text = self.text_of(token);
        if let Some(offset) = memchr::memchr(0, text) {
            let at = token.start + offset as u32;
            let error = SyntaxError::new("nul_in_string", Span::new(at, at + 1), "NUL byte in a string");
            self.report(error.help("strings hold any byte but NUL, as file names and environments do"));
        }
        text
    }

    /// Takes `${ e }`.
    pub(super) fn interpolated(&mut self) -> Expr<'a> {
        let open = self.take();
        let expr = self.expr();
        if self.expect_close(TokenKind::RightBrace, "`}`", open).is_none() {
            self.skip_to(&[TokenKind::RightBrace]);
            self.take_if(TokenKind::RightBrace);
        }
        expr
    }

    pub(super) fn path(&mut self) -> ExprKind<'a> {
        let base = self.parts.len();
        let span = self.token().span();
        let first = self.take_text();
        self.lint_path(first, span);
        self.parts.push(StringPart::Text(first));
        loop {
            match self.kind() {
                TokenKind::PathText => {
                    let text = self.take_text();
                    self.parts.push(StringPart::Text(text));
                }
                TokenKind::DollarBrace => {
                    let expr = self.interpolated();
                    self.parts.push(StringPart::Expr(expr));
                }
                _ => break,
            }
        }
        self.expect(TokenKind::PathClose, "the end of the path");
        ExprKind::PathInterpolation(path_kind(first), self.drain_parts(base))
    }

    pub(super) fn drain_parts(&mut self, base: usize) -> &'a [StringPart<'a>] {
        let parts = self.arena.alloc_slice_copy(&self.parts[base..]);
        self.parts.truncate(base);
        parts
    }
}

pub(super) fn path_kind(text: &[u8]) -> PathKind {
    match text[0] {
        b'/' => PathKind::Absolute,
        b'~' => PathKind::Home,
        _ => PathKind::Relative,
    }
}
