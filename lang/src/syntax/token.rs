//! The tokens of the language and the classes of bytes they are made of.

use crate::source::Span;

/// One token: kind and span. Its text is looked up in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: u32,
    pub end: u32,
}

impl Token {
    pub fn span(self) -> Span {
        Span::new(self.start, self.end)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Identifier,
    Int,
    Float,
    Uri,
    /// `<name/rest>` with its brackets.
    LookupPath,
    /// A path without interpolation.
    Path,
    /// The text of a path up to its first `${`; parts follow up to `PathClose`.
    PathOpen,
    PathText,
    PathClose,
    /// `"`
    StringOpen,
    StringClose,
    /// Text of a `"…"` string without escapes.
    StringText,
    /// Text of a `"…"` string with a backslash or a carriage return in it.
    StringEscaped,
    /// `''` and the rest of its line when that is empty.
    IndentedOpen,
    IndentedClose,
    IndentedText,
    /// A lone `$` or `'`, which ends the indentation of its line, as in Nix.
    IndentedSymbol,
    /// `''$`
    IndentedDollar,
    /// `'''`
    IndentedQuotes,
    /// `''\x`
    IndentedEscape,
    /// `${`
    DollarBrace,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    LeftBracket,
    RightBracket,
    Colon,
    Semicolon,
    Comma,
    Dot,
    Ellipsis,
    At,
    Question,
    Assign,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Implies,
    Update,
    Concat,
    Plus,
    Minus,
    Star,
    Slash,
    Not,
    PipeInto,
    PipeFrom,
    If,
    Then,
    Else,
    AssertWord,
    With,
    Let,
    In,
    Rec,
    Inherit,
    /// The word `or`: a keyword after a selection, a name elsewhere.
    OrWord,
    /// Bytes that start no token; the lexer has reported them.
    Invalid,
    End,
}

impl TokenKind {
    /// Returns the keyword that a name is, if it is one.
    pub fn keyword(name: &[u8]) -> Option<TokenKind> {
        Some(match name {
            b"if" => TokenKind::If,
            b"then" => TokenKind::Then,
            b"else" => TokenKind::Else,
            b"assert" => TokenKind::AssertWord,
            b"with" => TokenKind::With,
            b"let" => TokenKind::Let,
            b"in" => TokenKind::In,
            b"rec" => TokenKind::Rec,
            b"inherit" => TokenKind::Inherit,
            b"or" => TokenKind::OrWord,
            _ => return None,
        })
    }

    /// Returns true when a name must be quoted to be an attribute.
    pub fn is_keyword(self) -> bool {
        use TokenKind::*;
        matches!(self, If | Then | Else | AssertWord | With | Let | In | Rec | Inherit)
    }

    /// Returns the name of a token in messages, for tokens whose text would not help.
    pub fn description(self) -> Option<&'static str> {
        Some(match self {
            TokenKind::End => "end of the file",
            TokenKind::StringOpen | TokenKind::StringText | TokenKind::StringEscaped => "string",
            TokenKind::IndentedOpen
            | TokenKind::IndentedText
            | TokenKind::IndentedSymbol
            | TokenKind::IndentedEscape => "string",
            TokenKind::IndentedDollar | TokenKind::IndentedQuotes => "string",
            TokenKind::StringClose | TokenKind::IndentedClose => "end of the string",
            TokenKind::PathClose => "end of the path",
            _ => return None,
        })
    }
}

/// The class bits of each byte; one load and one test decide whether a token goes on.
pub static CLASS: [u8; 256] = classes();

/// May start a name: letters and `_`.
pub const NAME_START: u8 = 1;
/// May continue a name: letters, digits, `_`, `'`, `-`.
pub const NAME: u8 = 2;
pub const DIGIT: u8 = 4;
/// Part of a path between slashes: letters, digits, `.`, `_`, `-`, `+`.
pub const PATH: u8 = 8;
/// The scheme of a URI: letters, digits, `+`, `-`, `.`.
pub const SCHEME: u8 = 16;
/// Bytes after the colon of a URI.
pub const URI: u8 = 32;
/// Space, tab, line feed, carriage return.
pub const SPACE: u8 = 64;

const fn classes() -> [u8; 256] {
    const fn mark<const N: usize>(mut table: [u8; 256], bytes: &[u8; N], class: u8) -> [u8; 256] {
        let mut at = 0;
        while at < N {
            table[bytes[at] as usize] |= class;
            at += 1;
        }
        table
    }
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphabetic() {
            table[byte] = NAME_START | NAME | PATH | SCHEME | URI;
        } else if (byte as u8).is_ascii_digit() {
            table[byte] = NAME | DIGIT | PATH | SCHEME | URI;
        }
        byte += 1;
    }
    let table = mark(table, b"_", NAME_START | NAME);
    let table = mark(table, b"'-", NAME);
    let table = mark(table, b"._-+", PATH);
    let table = mark(table, b"+-.", SCHEME);
    let table = mark(table, b"%/?:@&=+$,-_.!~*'", URI);
    mark(table, b" \t\r\n", SPACE)
}

pub fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}
