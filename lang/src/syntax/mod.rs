//! Text to syntax tree.
//!
//! [`parse`] makes tokens of the text (`lexer`, its words in `token`), then one [`ast::Expr`] of
//! the tokens: `parser` has everything except operators (`precedence`), the inside of braces
//! (`bindings`) and quoted text (`strings`). A parse always returns a tree; parts that were not
//! understood are [`ast::ExprKind::Error`] in it, and every mistake is in [`Parsed::errors`].
//! [`print`] turns a tree back into text.
//!
//! No depth of brackets overflows the stack: trees are at most [`DEPTH_MAX`] deep, and the parser
//! moves to a larger stack when the thread's own runs out.

pub mod ast;
mod bindings;
mod error;
mod lexer;
mod lint;
mod parser;
mod precedence;
pub mod print;
mod strings;
#[cfg(test)]
mod tests;
mod token;

use bumpalo::Bump;

pub use error::SyntaxError;

/// Depth up to which expressions may nest; also a bound on the depth of every tree, so a walk of
/// one may recurse if it has room for this many steps.
pub const DEPTH_MAX: u32 = 100_000;

/// Number of mistakes after which the parser gives up.
pub const ERRORS_MAX: usize = 50;

/// Variant of the language, and form of the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Allow `|>` and `<|`.
    pub pipe_operators: bool,
    /// Keep the pieces of `''…''` strings separate, as Nix's parser does. Joined, which is the
    /// default, they mean the same and evaluate faster; but only separate pieces make [`print`]
    /// exact.
    pub separate_string_pieces: bool,
    pub lints: Lints,
}

/// Levels of the lints, for literals that are valid but better not used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lints {
    /// `https://example.org`, bare
    pub url_literals: LintLevel,
    /// `a/b` for `./a/b`
    pub short_path_literals: LintLevel,
    /// `/a/b` and `~/a`
    pub absolute_path_literals: LintLevel,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LintLevel {
    #[default]
    Ignore,
    /// Reported in [`Parsed::warnings`].
    Warn,
    /// Reported in [`Parsed::errors`].
    Fatal,
}

/// A syntax tree and its mistakes.
#[derive(Debug)]
pub struct Parsed<'a> {
    pub expr: ast::Expr<'a>,
    /// Errors in order of position; empty when the whole text was understood.
    pub errors: Vec<SyntaxError>,
    /// Findings of the lints, in order of position.
    pub warnings: Vec<SyntaxError>,
}

/// Returns the tree of a file's text, allocated in `arena`; strings without escapes are slices of
/// `text`.
pub fn parse<'a>(arena: &'a Bump, text: &'a [u8], options: ParseOptions) -> Parsed<'a> {
    parser::parse(arena, text, 0, options)
}

/// Returns the tree of an expression in a text that was parsed before, with its positions there.
pub(crate) fn parse_piece<'a>(
    arena: &'a Bump,
    text: &'a [u8],
    span: crate::source::Span,
    options: ParseOptions,
) -> Parsed<'a> {
    parser::parse(arena, &text[..span.end as usize], span.start as usize, options)
}
