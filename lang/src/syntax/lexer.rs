//! Text to tokens, in one pass over the file, on demand of the parser.
//!
//! The rules are those of Nix's scanner: the longest match wins, so `a/b` is a path, `a:b` a URI
//! and `-a` after a space a minus and a name. Strings and paths nest through `${`, so a stack of
//! modes holds the context that a `}` returns to. The tokens always end with [`TokenKind::End`],
//! strings that the file leaves open are closed there, and every byte that starts no token has been
//! reported; the grammar of tokens is the parser's.

use super::ERRORS_MAX;
use super::error::{SyntaxError, excerpt};
use super::token::{self, CLASS, Token, TokenKind, is};
use crate::source::Span;
use memchr::{memchr2, memchr3, memmem};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{digit0, digit1, one_of};
use nom::combinator::{opt, recognize};
use nom::multi::many0_count;
use nom::{IResult, Parser};

/// The construct that the current text is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Code, up to the `}` of the brace that opened it.
    Code,
    String {
        open: u32,
    },
    Indented {
        open: u32,
    },
    /// After `}` in a path.
    Path {
        open: u32,
    },
}

pub struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    /// Tokens made so far and not removed by the parser.
    pub tokens: Vec<Token>,
    modes: Vec<Mode>,
    pub errors: Vec<SyntaxError>,
    /// No path, and no URI, starts before these offsets; they keep the scan of `a.a.a.…` linear.
    no_path_until: usize,
    no_uri_until: usize,
}

/// Tokens made at a time, so that they stay in the processor's cache.
const BATCH: usize = 512;

impl<'t> Lexer<'t> {
    /// Begins at byte `at` of a text shorter than 4 GiB, where code begins.
    pub fn new(text: &'t [u8], at: usize) -> Lexer<'t> {
        let tokens = Vec::with_capacity(BATCH + 16);
        let (modes, errors) = (Vec::new(), Vec::new());
        Lexer { text, at, tokens, modes, errors, no_path_until: 0, no_uri_until: 0 }
    }

    /// Makes more tokens; false when the text is at its end, and the last token [`TokenKind::End`].
    pub fn advance(&mut self) -> bool {
        let enough = self.tokens.len() + BATCH;
        while self.tokens.len() < enough {
            match self.modes.last() {
                None | Some(Mode::Code) => {
                    if !self.code() {
                        self.finish();
                        return false;
                    }
                }
                Some(&Mode::String { open }) => self.string(open),
                Some(&Mode::Indented { open }) => self.indented(open),
                Some(&Mode::Path { open }) => self.path_rest(open),
            }
        }
        true
    }

    fn finish(&mut self) {
        // The file may end inside `${ … `, with strings around it still open.
        while let Some(mode) = self.modes.pop() {
            match mode {
                Mode::Code => {}
                Mode::String { open } => self.unterminated_string(open, 1, TokenKind::StringClose, "\""),
                Mode::Indented { open } => self.unterminated_string(open, 2, TokenKind::IndentedClose, "''"),
                Mode::Path { .. } => self.push(TokenKind::PathClose, 0),
            }
        }
        self.push(TokenKind::End, 0);
    }

    fn report(&mut self, error: SyntaxError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }

    fn byte(&self, offset: usize) -> u8 {
        self.text.get(self.at + offset).copied().unwrap_or(0)
    }

    /// Takes the next `length` bytes as one token.
    #[inline]
    fn push(&mut self, kind: TokenKind, length: usize) {
        let start = self.at as u32;
        self.at += length;
        self.tokens.push(Token { kind, start, end: self.at as u32 });
    }

    /// Takes the next token of code; false at the end of the text.
    fn code(&mut self) -> bool {
        use TokenKind::*;
        while self.at < self.text.len() && is(self.text[self.at], token::SPACE) {
            self.at += 1;
        }
        let Some(&first) = self.text.get(self.at) else { return false };
        let class = CLASS[first as usize];
        if class & token::NAME_START != 0 {
            self.name();
            return true;
        }
        // Digits, `.`, `-`, `+`, `/` may all start a path.
        if class & token::PATH != 0 || first == b'/' {
            if let Some(length) = self.path_here() {
                self.path(length);
                return true;
            }
            if class & token::DIGIT != 0 || first == b'.' && is(self.byte(1), token::DIGIT) {
                self.number();
                return true;
            }
        }
        let (kind, length) = match (first, self.byte(1)) {
            (b'"', _) => {
                self.modes.push(Mode::String { open: self.at as u32 });
                (StringOpen, 1)
            }
            (b'\'', b'\'') => {
                self.modes.push(Mode::Indented { open: self.at as u32 });
                (IndentedOpen, indented_open(self.rest()))
            }
            (b'$', b'{') => {
                self.modes.push(Mode::Code);
                (DollarBrace, 2)
            }
            (b'{', _) => {
                self.modes.push(Mode::Code);
                (LeftBrace, 1)
            }
            (b'}', _) => {
                self.modes.pop();
                (RightBrace, 1)
            }
            (b'#', _) => {
                self.at += memchr2(b'\n', b'\r', self.rest()).unwrap_or(self.rest().len());
                return true;
            }
            (b'/', b'*') => {
                self.comment();
                return true;
            }
            (b'~', b'/') => match home_start(self.rest()) {
                Some(length) => {
                    self.path(length);
                    return true;
                }
                None => return self.invalid(),
            },
            (b'<', _) => match lookup_path(self.rest()) {
                Some(length) => (LookupPath, length),
                None => match self.byte(1) {
                    b'=' => (LessOrEqual, 2),
                    b'|' => (PipeFrom, 2),
                    _ => (Less, 1),
                },
            },
            (b'.', b'.') if self.byte(2) == b'.' => (Ellipsis, 3),
            (b'.', _) => (Dot, 1),
            (b';', _) => (Semicolon, 1),
            (b'=', b'=') => (Equal, 2),
            (b'=', _) => (Assign, 1),
            (b'(', _) => (LeftParen, 1),
            (b')', _) => (RightParen, 1),
            (b'[', _) => (LeftBracket, 1),
            (b']', _) => (RightBracket, 1),
            (b':', _) => (Colon, 1),
            (b',', _) => (Comma, 1),
            (b'?', _) => (Question, 1),
            (b'@', _) => (At, 1),
            (b'+', b'+') => (Concat, 2),
            (b'+', _) => (Plus, 1),
            (b'-', b'>') => (Implies, 2),
            (b'-', _) => (Minus, 1),
            (b'*', _) => (Star, 1),
            (b'/', b'/') => (Update, 2),
            (b'/', _) => (Slash, 1),
            (b'!', b'=') => (NotEqual, 2),
            (b'!', _) => (Not, 1),
            (b'&', b'&') => (And, 2),
            (b'|', b'|') => (Or, 2),
            (b'|', b'>') => (PipeInto, 2),
            (b'>', b'=') => (GreaterOrEqual, 2),
            (b'>', _) => (Greater, 1),
            _ => return self.invalid(),
        };
        self.push(kind, length);
        true
    }

    #[inline]
    fn name(&mut self) {
        let rest = self.rest();
        let mut length = 1;
        while length < rest.len() && is(rest[length], token::NAME) {
            length += 1;
        }
        if let Some(b'/' | b'.' | b'+' | b':') = rest.get(length) {
            if let Some(length) = self.uri_here() {
                return self.push(TokenKind::Uri, length);
            }
            if let Some(length) = self.path_here() {
                return self.path(length);
            }
        }
        let kind = match length {
            2..=7 => TokenKind::keyword(&rest[..length]).unwrap_or(TokenKind::Identifier),
            _ => TokenKind::Identifier,
        };
        self.push(kind, length);
    }

    /// Returns the length of the path that starts here. Candidates that start in one run of bytes
    /// share the end of the run, so it is scanned once.
    fn path_here(&mut self) -> Option<usize> {
        if self.at < self.no_path_until {
            return None;
        }
        let found = path_start(self.rest());
        if found.is_none() {
            self.no_path_until = self.at + run_length(self.rest(), token::PATH);
        }
        found
    }

    fn uri_here(&mut self) -> Option<usize> {
        if self.at < self.no_uri_until {
            return None;
        }
        let found = uri(self.rest());
        if found.is_none() {
            self.no_uri_until = self.at + run_length(self.rest(), token::SCHEME);
        }
        found
    }

    fn number(&mut self) {
        let rest = self.rest();
        match float(rest) {
            Ok((after, _)) => self.push(TokenKind::Float, rest.len() - after.len()),
            Err(_) => self.push(TokenKind::Int, run_length(rest, token::DIGIT)),
        }
    }

    fn comment(&mut self) {
        match memmem::find(&self.rest()[2..], b"*/") {
            Some(length) => self.at += length + 4,
            None => {
                let open = self.at as u32;
                let error =
                    SyntaxError::new("unterminated_comment", Span::new(open, open + 2), "comment without an end");
                self.report(error.help("write `*/` where the comment ends"));
                self.at = self.text.len();
            }
        }
    }

    /// Takes a path whose first `length` bytes are known to be one.
    fn path(&mut self, length: usize) {
        let open = self.at as u32;
        let rest = self.rest();
        if rest[length..].starts_with(b"${") {
            self.push(TokenKind::PathOpen, length);
            self.modes.push(Mode::Path { open });
            self.push_interpolation();
            return;
        }
        let whole = length + path_bytes(&rest[length..]);
        if whole == length {
            if rest[length - 1] == b'/' {
                self.trailing_slash(open, self.at + length);
            }
            return self.push(TokenKind::Path, length);
        }
        // `a//b`: Nix goes on with the path and allows that only before a `${`.
        if rest[whole..].starts_with(b"${") {
            self.push(TokenKind::PathOpen, whole);
            self.modes.push(Mode::Path { open });
            return self.push_interpolation();
        }
        let span = Span::new((self.at + length - 1) as u32, (self.at + length + 1) as u32);
        let error = SyntaxError::new("double_slash_in_path", span, "two slashes in a path");
        self.report(error.help("write one slash, or spaces around the operator `//`"));
        self.push(TokenKind::Path, whole);
    }

    /// Takes the text that follows the `}` of an interpolation in a path.
    fn path_rest(&mut self, open: u32) {
        let length = path_bytes(self.rest());
        if length > 0 {
            self.push(TokenKind::PathText, length);
        }
        if self.rest().starts_with(b"${") {
            return self.push_interpolation();
        }
        if length > 0 && self.text[self.at - 1] == b'/' {
            self.trailing_slash(open, self.at);
        }
        self.modes.pop();
        self.push(TokenKind::PathClose, 0);
    }

    fn push_interpolation(&mut self) {
        self.push(TokenKind::DollarBrace, 2);
        self.modes.push(Mode::Code);
    }

    fn trailing_slash(&mut self, open: u32, end: usize) {
        let span = Span::new(open, end as u32);
        let error = SyntaxError::new("path_trailing_slash", span, "path has a trailing slash");
        self.report(error.help("remove the last `/`, or write `/.` for the directory itself"));
    }

    fn string(&mut self, open: u32) {
        let rest = self.rest();
        let mut length = 0;
        let mut escaped = false;
        loop {
            match memchr3(b'"', b'\\', b'$', &rest[length..]) {
                None => {
                    self.push_text(rest.len(), escaped);
                    self.modes.pop();
                    return self.unterminated_string(open, 1, TokenKind::StringClose, "\"");
                }
                Some(offset) => {
                    length += offset;
                    match (rest[length], rest.get(length + 1)) {
                        (b'"', _) => {
                            self.push_text(length, escaped);
                            self.modes.pop();
                            return self.push(TokenKind::StringClose, 1);
                        }
                        (b'$', Some(b'{')) => {
                            self.push_text(length, escaped);
                            return self.push_interpolation();
                        }
                        (b'\\', _) => {
                            escaped = true;
                            length = (length + 2).min(rest.len());
                        }
                        // `$$` is text, also before a `{`.
                        (b'$', Some(b'$')) => length += 2,
                        (_, _) => length += 1,
                    }
                }
            }
        }
    }

    fn push_text(&mut self, length: usize, escaped: bool) {
        if length > 0 {
            self.push(if escaped { TokenKind::StringEscaped } else { TokenKind::StringText }, length);
        }
    }

    fn indented(&mut self, open: u32) {
        let rest = self.rest();
        let mut length = 0;
        let (kind, special) = loop {
            match memchr2(b'\'', b'$', &rest[length..]) {
                None => {
                    if !rest.is_empty() {
                        self.push(TokenKind::IndentedText, rest.len());
                    }
                    self.modes.pop();
                    return self.unterminated_string(open, 2, TokenKind::IndentedClose, "''");
                }
                Some(offset) => {
                    length += offset;
                    match (rest[length], rest.get(length + 1), rest.get(length + 2)) {
                        (b'$', Some(b'{'), _) => break (TokenKind::DollarBrace, 2),
                        (b'$', Some(b'\'') | None, _) => break (TokenKind::IndentedSymbol, 1),
                        (b'$', Some(_), _) => length += 2,
                        (_, Some(b'\''), Some(b'$')) => break (TokenKind::IndentedDollar, 3),
                        (_, Some(b'\''), Some(b'\'')) => break (TokenKind::IndentedQuotes, 3),
                        (_, Some(b'\''), Some(b'\\')) if length + 3 < rest.len() => {
                            break (TokenKind::IndentedEscape, 4);
                        }
                        (_, Some(b'\''), _) => break (TokenKind::IndentedClose, 2),
                        (_, Some(b'$') | None, _) => break (TokenKind::IndentedSymbol, 1),
                        (_, Some(_), _) => length += 2,
                    }
                }
            }
        };
        if length > 0 {
            self.push(TokenKind::IndentedText, length);
        }
        match kind {
            TokenKind::DollarBrace => return self.push_interpolation(),
            TokenKind::IndentedClose => _ = self.modes.pop(),
            _ => {}
        }
        self.push(kind, special);
    }

    fn unterminated_string(&mut self, open: u32, length: u32, close: TokenKind, quote: &str) {
        let span = Span::new(open, open + length);
        let error = SyntaxError::new("unterminated_string", span, "string without an end");
        self.report(error.help(format!("write `{quote}` where the string ends")));
        self.push(close, 0);
    }

    fn invalid(&mut self) -> bool {
        let rest = self.rest();
        // One report for a run of bytes outside of ASCII: they are one word of some script.
        let length = rest.iter().take_while(|byte| !byte.is_ascii()).count().max(1);
        let span = Span::new(self.at as u32, (self.at + length) as u32);
        let (message, help) = match rest[0] {
            0 => ("NUL byte in the text".into(), "save the file as text, in UTF-8"),
            b'$' => ("unexpected `$`".into(), "an interpolation is written `${…}`, a variable without the `$`"),
            b'\'' => ("unexpected `'`".into(), "strings are written `\"…\"` or `''…''`"),
            b'&' => ("unexpected `&`".into(), "the operator is `&&`"),
            b'|' => ("unexpected `|`".into(), "the operator is `||`"),
            byte if byte.is_ascii_control() => (format!("unexpected byte {byte:#04x}"), "remove it"),
            byte if byte.is_ascii() => (format!("unexpected `{}`", byte as char), "remove it, or put it in a string"),
            _ => (
                format!("unexpected `{}`", excerpt(&rest[..length])),
                "names are made of the letters a to z, digits, `_`, `'` and `-`; put other text in a string",
            ),
        };
        self.report(SyntaxError::new("unexpected_byte", span, message).help(help));
        self.push(TokenKind::Invalid, length);
        true
    }
}

fn run_length(text: &[u8], class: u8) -> usize {
    text.iter().take_while(|&&byte| is(byte, class)).count()
}

/// Returns the length of the run of bytes that continue a path.
fn path_bytes(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| byte == b'/' || is(byte, token::PATH)).count()
}

/// Returns the length of the rest of an opening line of nothing but spaces.
fn indented_open(text: &[u8]) -> usize {
    let spaces = text[2..].iter().take_while(|&&byte| byte == b' ').count();
    if text.get(2 + spaces) == Some(&b'\n') { 3 + spaces } else { 2 }
}

type Bytes<'t> = IResult<&'t [u8], &'t [u8]>;

fn length<'t>(text: &'t [u8], parser: impl FnOnce(&'t [u8]) -> Bytes<'t>) -> Option<usize> {
    parser(text).ok().map(|(_, matched)| matched.len())
}

fn path_run(text: &[u8]) -> Bytes<'_> {
    take_while(|byte| is(byte, token::PATH)).parse(text)
}

/// Returns the length of `/a/b`: one or more names with a slash before each.
fn path_steps(text: &[u8]) -> Bytes<'_> {
    let step = (tag(&b"/"[..]), take_while1(|byte| is(byte, token::PATH)));
    let (after, count) = many0_count(step).parse(text)?;
    match count {
        0 => Err(nom::Err::Error(nom::error::Error::new(text, nom::error::ErrorKind::Many1Count))),
        _ => Ok((after, &text[..text.len() - after.len()])),
    }
}

/// Returns the length of the path at the start of a text: `a/b`, `./a/`, `/a`, or the part before
/// the `${` of `./${x}`.
fn path_start(text: &[u8]) -> Option<usize> {
    let (after, run) = path_run(text).ok()?;
    match after {
        [b'/', next, ..] if is(*next, token::PATH) => {
            length(text, |text| recognize((path_run, path_steps, opt(tag(&b"/"[..])))).parse(text))
        }
        [b'/', b'$', b'{', ..] => Some(run.len() + 1),
        _ => None,
    }
}

/// Returns the length of the path at the start of a text, for one that starts with `~`.
fn home_start(text: &[u8]) -> Option<usize> {
    if text.starts_with(b"~/${") {
        return Some(2);
    }
    length(text, |text| recognize((tag(&b"~"[..]), path_steps, opt(tag(&b"/"[..])))).parse(text))
}

fn lookup_path(text: &[u8]) -> Option<usize> {
    let name = take_while1(|byte| is(byte, token::PATH));
    length(text, |text| recognize((tag(&b"<"[..]), name, opt(path_steps), tag(&b">"[..]))).parse(text))
}

fn uri(text: &[u8]) -> Option<usize> {
    let scheme = take_while1(|byte| is(byte, token::SCHEME));
    let rest = take_while1(|byte| is(byte, token::URI));
    length(text, |text| recognize((scheme, tag(&b":"[..]), rest)).parse(text)).filter(|_| text[0].is_ascii_alphabetic())
}

/// Returns the length of a float: `1.5`, `1.`, `.5`, `0.5`, each with an exponent or without.
fn float(text: &[u8]) -> Bytes<'_> {
    let large = recognize((one_of("123456789"), digit0, tag(&b"."[..]), digit0));
    let small = recognize((opt(tag(&b"0"[..])), tag(&b"."[..]), digit1));
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    recognize((alt((large, small)), opt(exponent))).parse(text)
}
