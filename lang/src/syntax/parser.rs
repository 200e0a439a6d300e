//! Tokens to expressions, by recursive descent.
//!
//! The grammar is Nix's, quirks included. A function that meets a token it cannot use reports it
//! once (a second report of the same token is dropped) and returns the tree so far; the loops over
//! elements and bindings skip to a token where they can go on, so one mistake does not hide the
//! next.

mod cursor;
mod quoted;
mod reports;

use super::ast::*;
use super::bindings::WrittenBinding;
use super::error::{SyntaxError, excerpt};
use super::lexer::Lexer;
use super::strings::IndentedPart;
use super::token::{Token, TokenKind};
use super::{DEPTH_MAX, ERRORS_MAX, ParseOptions, Parsed};
use crate::source::Span;
use crate::symbol::Symbol;
use bumpalo::Bump;

/// Stack that one step of nesting may use before the next step checks again, and size of a further
/// stack.
pub(super) const STACK_RESERVE: usize = 128 * 1024;
pub(super) const STACK_SEGMENT: usize = 4 * 1024 * 1024;

pub struct Parser<'a> {
    pub arena: &'a Bump,
    pub text: &'a [u8],
    pub options: ParseOptions,
    lexer: Lexer<'a>,
    /// Index of the next token among the current ones, and number of those before them.
    at: usize,
    before: usize,
    /// Set when the lexer has made all tokens.
    complete: bool,
    errors: Vec<SyntaxError>,
    pub warnings: Vec<SyntaxError>,
    /// Token of the last report.
    reported_at: usize,
    depth: u32,
    // Stacks on which the lists of the tree are collected before they are copied to the arena; each
    // function removes its own elements.
    exprs: Vec<Expr<'a>>,
    names: Vec<AttrName<'a>>,
    parts: Vec<StringPart<'a>>,
    indented: Vec<IndentedPart<'a>>,
    pub entries: Vec<WrittenBinding<'a>>,
}

/// Parses the expression in a text that begins at byte `at`.
pub fn parse<'a>(arena: &'a Bump, text: &'a [u8], at: usize, options: ParseOptions) -> Parsed<'a> {
    let (text, too_long) = match u32::try_from(text.len()) {
        Ok(length) if length < u32::MAX => (text, false),
        _ => (&text[..0], true),
    };
    let mut lexer = Lexer::new(text, at.min(text.len()));
    let complete = !lexer.advance();
    let mut parser = Parser {
        arena,
        text,
        options,
        lexer,
        at: 0,
        before: 0,
        complete,
        errors: Vec::new(),
        warnings: Vec::new(),
        reported_at: usize::MAX,
        depth: 0,
        exprs: Vec::new(),
        names: Vec::new(),
        parts: Vec::new(),
        indented: Vec::new(),
        entries: Vec::new(),
    };
    if too_long {
        parser.reported_at = 0;
        parser.errors.push(SyntaxError::new("file_too_long", Span::default(), "the file is longer than 4 GiB"));
    }
    let expr = parser.expr();
    if parser.kind() != TokenKind::End {
        parser.unexpected("the end of the file");
    }
    // The lexer reports the rest of the text too.
    parser.skip_rest();
    let mut errors = parser.lexer.errors;
    errors.append(&mut parser.errors);
    errors.sort_by_key(|error| error.span.start);
    errors.truncate(ERRORS_MAX);
    Parsed { expr, errors, warnings: parser.warnings }
}

impl<'a> Parser<'a> {
    /// Runs one step of nesting, on a further stack when this one is nearly used up.
    ///
    /// When the step would exceed [`DEPTH_MAX`], the rest of the file is skipped, since every
    /// closing bracket of it would be one more mistake.
    pub fn nested(&mut self, step: impl FnOnce(&mut Self) -> Expr<'a>) -> Expr<'a> {
        if !self.deeper(1) {
            return self.error_expr();
        }
        let expr = stacker::maybe_grow(STACK_RESERVE, STACK_SEGMENT, || step(self));
        self.depth -= 1;
        expr
    }

    /// Accounts for `steps` levels of the tree; gives them back by subtracting from `depth`.
    pub fn deeper(&mut self, steps: u32) -> bool {
        if self.depth.saturating_add(steps) > DEPTH_MAX {
            if self.kind() != TokenKind::End {
                let message = format!("expressions nest deeper than {DEPTH_MAX}");
                let error = SyntaxError::new("too_deep", self.token().span(), message);
                self.report(error.help("name inner parts with `let`, or read data with `builtins.fromJSON`"));
                self.skip_rest();
            }
            self.reported_at = self.position();
            return false;
        }
        self.depth += steps;
        true
    }

    pub fn shallower(&mut self, steps: u32) {
        self.depth -= steps;
    }

    pub fn new_expr(&self, kind: ExprKind<'a>, span: Span) -> Expr<'a> {
        Expr { kind: self.arena.alloc(kind), span }
    }

    pub fn error_expr(&self) -> Expr<'a> {
        let start = self.token().start;
        self.new_expr(ExprKind::Error, Span::new(start, start))
    }

    fn drain_exprs(&mut self, base: usize) -> &'a [Expr<'a>] {
        let slice = self.arena.alloc_slice_copy(&self.exprs[base..]);
        self.exprs.truncate(base);
        slice
    }

    fn symbol(&self, token: Token) -> Symbol {
        Symbol::new(self.text_of(token))
    }

    /// Parses any expression.
    pub fn expr(&mut self) -> Expr<'a> {
        self.nested(|parser| {
            let start = parser.token().start;
            match parser.kind() {
                TokenKind::Identifier if parser.kind_after(1) == TokenKind::Colon => {
                    let name = parser.take();
                    parser.take();
                    parser.lambda(start, Some(name), None)
                }
                TokenKind::Identifier if parser.kind_after(1) == TokenKind::At => {
                    let name = parser.take();
                    parser.take();
                    let formals = parser.formals();
                    parser.expect(TokenKind::Colon, "`:`");
                    parser.lambda(start, Some(name), formals)
                }
                TokenKind::LeftBrace if parser.starts_formals() => {
                    let formals = parser.formals();
                    let mut name = None;
                    if parser.take_if(TokenKind::At).is_some() {
                        name = parser.expect(TokenKind::Identifier, "the name of the argument");
                    }
                    parser.expect(TokenKind::Colon, "`:`");
                    parser.lambda(start, name, formals)
                }
                TokenKind::AssertWord => {
                    parser.take();
                    let condition = parser.expr();
                    parser.expect(TokenKind::Semicolon, "`;`");
                    let body = parser.expr();
                    parser.new_expr(ExprKind::Assert { condition, body }, parser.span_from(start))
                }
                TokenKind::With => {
                    parser.take();
                    let scope = parser.expr();
                    parser.expect(TokenKind::Semicolon, "`;`");
                    let body = parser.expr();
                    parser.new_expr(ExprKind::With { scope, body }, parser.span_from(start))
                }
                TokenKind::Let if parser.kind_after(1) != TokenKind::LeftBrace => {
                    let open = parser.take();
                    let bindings = parser.bindings(true, TokenKind::In);
                    parser.no_dynamics(bindings);
                    parser.expect_close(TokenKind::In, "`in`", open);
                    let body = parser.expr();
                    parser.new_expr(ExprKind::Let { bindings, body }, parser.span_from(start))
                }
                TokenKind::If => {
                    parser.take();
                    let condition = parser.expr();
                    parser.expect(TokenKind::Then, "`then`");
                    let then = parser.expr();
                    parser.expect(TokenKind::Else, "`else`");
                    let otherwise = parser.expr();
                    parser.new_expr(ExprKind::If { condition, then, otherwise }, parser.span_from(start))
                }
                _ => parser.pipes(),
            }
        })
    }

    fn no_dynamics(&mut self, bindings: &Bindings<'a>) {
        for dynamic in bindings.dynamics {
            let error = SyntaxError::new("dynamic_in_let", dynamic.span, "dynamic attributes are not allowed in `let`");
            self.report(error.help("names of variables are known before evaluation; use a set and `.${…}`"));
        }
    }

    fn lambda(&mut self, start: u32, name: Option<Token>, formals: Option<Formals<'a>>) -> Expr<'a> {
        let body = self.expr();
        let argument = name.map(|token| (self.symbol(token), token.span()));
        if let (Some((name, span)), Some(formals)) = (argument, formals)
            && let Some(formal) = formals.entries.iter().find(|formal| formal.name == name)
        {
            self.duplicate_formal(name, span, formal.span);
        }
        let lambda = self.arena.alloc(Lambda { argument, formals, body });
        self.new_expr(ExprKind::Lambda(lambda), self.span_from(start))
    }

    fn duplicate_formal(&mut self, name: Symbol, one: Span, other: Span) {
        let (first, second) = if one.start < other.start { (one, other) } else { (other, one) };
        let message = format!("duplicate formal function argument '{}'", excerpt(name.name()));
        let error = SyntaxError::new("duplicate_formal", second, message);
        self.report(error.label(first, "first named here").label(second, "and again here"));
    }

    /// Returns true when the next token, a `{`, begins the formals of a function rather than a set.
    fn starts_formals(&self) -> bool {
        match self.kind_after(1) {
            TokenKind::Ellipsis => true,
            TokenKind::Identifier => match self.kind_after(2) {
                TokenKind::Comma | TokenKind::Question => true,
                TokenKind::RightBrace => matches!(self.kind_after(3), TokenKind::Colon | TokenKind::At),
                _ => false,
            },
            TokenKind::RightBrace => matches!(self.kind_after(2), TokenKind::Colon | TokenKind::At),
            _ => false,
        }
    }

    fn formals(&mut self) -> Option<Formals<'a>> {
        let open = self.expect(TokenKind::LeftBrace, "`{`")?;
        let mut entries = Vec::new();
        let mut ellipsis = false;
        loop {
            match self.kind() {
                TokenKind::RightBrace => break,
                TokenKind::Ellipsis => {
                    self.take();
                    ellipsis = true;
                    break;
                }
                TokenKind::Identifier => {
                    let name = self.take();
                    let default = self.take_if(TokenKind::Question).map(|_| self.expr());
                    entries.push(Formal { name: self.symbol(name), default, span: name.span() });
                    if self.take_if(TokenKind::Comma).is_none() {
                        break;
                    }
                }
                _ => {
                    self.unexpected("the name of an argument, `...` or `}`");
                    break;
                }
            }
        }
        if self.expect_close(TokenKind::RightBrace, if ellipsis { "`}`" } else { "`,` or `}`" }, open).is_none() {
            self.skip_to(&[TokenKind::RightBrace]);
            self.take_if(TokenKind::RightBrace);
        }
        self.unique_formals(&mut entries);
        let entries = self.arena.alloc_slice_copy(&entries);
        Some(Formals { entries, ellipsis, span: self.span_from(open.start) })
    }

    fn unique_formals(&mut self, entries: &mut Vec<Formal<'a>>) {
        let mut sorted: Vec<(Symbol, Span)> = entries.iter().map(|formal| (formal.name, formal.span)).collect();
        sorted.sort_by_key(|&(name, span)| (name, span.start));
        let mut twice = Vec::new();
        for pair in sorted.windows(2) {
            if pair[0].0 == pair[1].0 {
                self.duplicate_formal(pair[0].0, pair[0].1, pair[1].1);
                twice.push(pair[1].1);
            }
        }
        if !twice.is_empty() {
            entries.retain(|formal| !twice.contains(&formal.span));
        }
    }

    /// Parses `f a b`, or an expression that is no call.
    pub fn application(&mut self) -> Expr<'a> {
        let mut start = self.token().start;
        let function = self.select();
        if !self.starts_simple() {
            return function;
        }
        let base = self.exprs.len();
        // `(f a) b` is one call too, which begins where `f a` does.
        let function = match *function.kind {
            ExprKind::Call { function: inner, arguments } => {
                start = function.span.start;
                self.exprs.extend_from_slice(arguments);
                inner
            }
            _ => function,
        };
        while self.starts_simple() {
            let argument = self.select();
            self.exprs.push(argument);
        }
        let arguments = self.drain_exprs(base);
        self.new_expr(ExprKind::Call { function, arguments }, self.span_from(start))
    }

    /// Returns true when the next token can begin an argument or a list element.
    fn starts_simple(&self) -> bool {
        match self.kind() {
            TokenKind::Identifier
            | TokenKind::Int
            | TokenKind::Float
            | TokenKind::Uri
            | TokenKind::LookupPath
            | TokenKind::Path => true,
            TokenKind::PathOpen | TokenKind::StringOpen | TokenKind::IndentedOpen => true,
            TokenKind::LeftParen | TokenKind::LeftBracket | TokenKind::LeftBrace | TokenKind::Rec => true,
            TokenKind::Let => self.kind_after(1) == TokenKind::LeftBrace,
            _ => false,
        }
    }

    /// Parses `e.a.b or c`, or an expression without a selection.
    fn select(&mut self) -> Expr<'a> {
        let start = self.token().start;
        let subject = self.simple();
        match self.kind() {
            TokenKind::Dot => {
                self.take();
                let path = self.attr_path();
                let default = self.take_if(TokenKind::OrWord).map(|_| self.nested(Self::select));
                let span = self.span_from(start);
                self.new_expr(ExprKind::Select { subject, path, default }, span)
            }
            // `or` was a name before it was a keyword: `map or [ ]` still calls `map` with it.
            TokenKind::OrWord => {
                let word = self.take();
                let or = self.new_expr(ExprKind::Variable(self.symbol(word)), word.span());
                let span = self.span_from(start);
                let arguments = self.arena.alloc_slice_copy(&[or]);
                self.new_expr(ExprKind::Call { function: subject, arguments }, span)
            }
            _ => subject,
        }
    }

    fn simple(&mut self) -> Expr<'a> {
        let token = self.token();
        let kind = match token.kind {
            TokenKind::Identifier => {
                self.take();
                match self.text_of(token) {
                    b"__curPos" => ExprKind::CurrentPosition,
                    name => ExprKind::Variable(Symbol::new(name)),
                }
            }
            TokenKind::Int => self.int(),
            TokenKind::Float => self.float(),
            TokenKind::Uri => {
                let text = self.take_text();
                self.lint_url(text, token.span());
                ExprKind::Uri(text)
            }
            TokenKind::LookupPath => {
                let text = self.take_text();
                ExprKind::LookupPath(&text[1..text.len() - 1])
            }
            TokenKind::Path => {
                let text = self.take_text();
                self.lint_path(text, token.span());
                ExprKind::Path(quoted::path_kind(text), text)
            }
            TokenKind::PathOpen => self.path(),
            TokenKind::StringOpen | TokenKind::IndentedOpen => self.string(),
            TokenKind::LeftParen => {
                self.take();
                let inner = self.expr();
                if self.expect_close(TokenKind::RightParen, "`)`", token).is_none() {
                    self.skip_to(&[
                        TokenKind::RightParen,
                        TokenKind::RightBracket,
                        TokenKind::RightBrace,
                        TokenKind::Semicolon,
                        TokenKind::In,
                    ]);
                    self.take_if(TokenKind::RightParen);
                }
                // As in Nix, the position is that of the expression within the parentheses.
                return inner;
            }
            TokenKind::LeftBracket => return self.nested(Self::list),
            TokenKind::LeftBrace => {
                self.take();
                self.set(token, false)
            }
            TokenKind::Rec => {
                self.take();
                match self.expect(TokenKind::LeftBrace, "`{`") {
                    Some(open) => self.set(open, true),
                    None => ExprKind::Error,
                }
            }
            TokenKind::Let if self.kind_after(1) == TokenKind::LeftBrace => {
                self.take();
                let open = self.take();
                match self.set(open, true) {
                    ExprKind::Attrs(bindings) => ExprKind::LetBody(bindings),
                    other => other,
                }
            }
            _ => {
                self.unexpected("an expression");
                ExprKind::Error
            }
        };
        self.new_expr(kind, self.span_from(token.start))
    }

    fn take_text(&mut self) -> &'a [u8] {
        let token = self.take();
        self.text_of(token)
    }

    fn int(&mut self) -> ExprKind<'a> {
        let token = self.take();
        let text = self.text_of(token);
        let value =
            text.iter().try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')));
        match value {
            Some(value) => ExprKind::Int(value),
            None => {
                let message = format!("invalid integer `{}`", excerpt(text));
                let error = SyntaxError::new("integer_too_large", token.span(), message);
                self.report(error.help(format!("the largest integer is {}; write `.0` for a float", i64::MAX)));
                ExprKind::Error
            }
        }
    }

    fn float(&mut self) -> ExprKind<'a> {
        let token = self.take();
        let text = self.text_of(token);
        let value: Option<f64> = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        // As in C's `strtod`, a number too small to be exact is an error unless it is zero.
        let digits = text.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next().unwrap_or_default();
        let zero = digits.iter().all(|byte| matches!(byte, b'0' | b'.'));
        match value {
            Some(value) if value.is_normal() || zero => ExprKind::Float(value),
            _ => {
                let message = format!("invalid float `{}`", excerpt(text));
                let error = SyntaxError::new("float_out_of_range", token.span(), message);
                self.report(error.help("floats have 64 bits: from about 2.2e-308 to 1.8e308"));
                ExprKind::Error
            }
        }
    }

    fn list(&mut self) -> Expr<'a> {
        let open = self.take();
        let base = self.exprs.len();
        loop {
            if self.starts_simple() {
                let element = self.select();
                self.exprs.push(element);
                continue;
            }
            if self.take_if(TokenKind::RightBracket).is_some() {
                break;
            }
            self.expect_close(TokenKind::RightBracket, "a list element or `]`", open);
            match self.kind() {
                TokenKind::End
                | TokenKind::Semicolon
                | TokenKind::RightBrace
                | TokenKind::RightParen
                | TokenKind::In => break,
                TokenKind::Then
                | TokenKind::Else
                | TokenKind::StringClose
                | TokenKind::IndentedClose
                | TokenKind::PathClose => break,
                _ => _ = self.take(),
            }
        }
        let elements = self.drain_exprs(base);
        self.new_expr(ExprKind::List(elements), self.span_from(open.start))
    }

    fn set(&mut self, open: Token, recursive: bool) -> ExprKind<'a> {
        let bindings = self.bindings(recursive, TokenKind::RightBrace);
        self.expect_close(TokenKind::RightBrace, "an attribute name or `}`", open);
        ExprKind::Attrs(bindings)
    }

    /// Parses `a."b".${c}`.
    pub fn attr_path(&mut self) -> &'a [AttrName<'a>] {
        let base = self.names.len();
        loop {
            match self.attr_name() {
                Some(name) => self.names.push(name),
                None => self.unexpected("an attribute name"),
            }
            if self.take_if(TokenKind::Dot).is_none() {
                break;
            }
        }
        let path = self.arena.alloc_slice_copy(&self.names[base..]);
        self.names.truncate(base);
        path
    }

    pub fn attr_name(&mut self) -> Option<AttrName<'a>> {
        let token = self.token();
        let kind = match token.kind {
            TokenKind::Identifier | TokenKind::OrWord => {
                self.take();
                AttrNameKind::Static(self.symbol(token))
            }
            TokenKind::StringOpen => {
                let kind = self.string();
                self.static_or_dynamic(kind, token.start)
            }
            TokenKind::DollarBrace => {
                let expr = self.interpolated();
                match *expr.kind {
                    ExprKind::Str(text) => AttrNameKind::Static(Symbol::new(text)),
                    _ => AttrNameKind::Dynamic(expr),
                }
            }
            _ => return None,
        };
        Some(AttrName { kind, span: self.span_from(token.start) })
    }

    fn static_or_dynamic(&mut self, kind: ExprKind<'a>, start: u32) -> AttrNameKind<'a> {
        match kind {
            ExprKind::Str(text) => AttrNameKind::Static(Symbol::new(text)),
            kind => AttrNameKind::Dynamic(self.new_expr(kind, self.span_from(start))),
        }
    }
}
