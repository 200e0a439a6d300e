//! Code that is compiled when it first runs.
//!
//! Most of the text of a file is never evaluated. So a long function or thunk is at first only
//! searched for the variables it uses: they are its captures, and undefined names are found before
//! anything runs, as without laziness. When it runs, its text is parsed again, by itself, and
//! compiled with the captures it has. Long parts of it are lazy again, except those of more than
//! half of its length: so a text is parsed at most as often as the logarithm of its length.

use super::code::Code;
use super::function::FunctionState;
use super::op::{CodeIndex, Reg};
use super::operator::long_chain;
use super::{Compiler, File, Location, ScopeEntry};
use crate::source::Span;
use crate::symbol::Symbol;
use crate::syntax::ast::{
    AttrName, AttrNameKind, BindingValue, Bindings, Expr, ExprKind, Lambda, PathKind, StringPart,
};
use crate::syntax::{ParseOptions, parse_piece};
use crate::value::Value;
use std::sync::{Arc, OnceLock};

/// Texts shorter than this many bytes are compiled at once: searching them costs as much. The texts
/// of tests are short.
const TEXT_BYTES_MIN: u32 = if cfg!(debug_assertions) { 4 } else { 120 };

/// Deeper trees are compiled at once, so that compiling one later needs little stack.
const DEPTH_MAX: u32 = 400;

/// Native stack for parsing and compiling a piece.
const STACK_RESERVE: usize = 2 << 20;
const STACK_SEGMENT: usize = 16 << 20;

/// A function or thunk that is not compiled yet.
pub(crate) struct Lazy {
    pub(super) file: Arc<File>,
    pub(super) span: Span,
    pub(super) name: Option<Symbol>,
    /// Meanings of the names that it takes from enclosing scopes.
    pub(super) names: Box<[(Symbol, Meaning)]>,
    pub(super) captures: u16,
    /// Enclosing scopes of `with`, outermost first, as numbers of captures.
    pub(super) withs: Box<[Reg]>,
    /// Offset of the code that an earlier process compiled of it, if one did ([`super::stored`]).
    pub(super) piece: Option<u32>,
    pub(super) code: OnceLock<&'static Code>,
}

pub(super) enum Meaning {
    /// Number of the capture.
    Captured(Reg),
    /// Attribute of the set that is this capture.
    Member(Reg),
    Constant(Value),
}

impl Lazy {
    /// Returns the code, compiled now if it was not before.
    pub(crate) fn code(&self) -> &'static Code {
        self.code.get_or_init(|| stacker::maybe_grow(STACK_RESERVE, STACK_SEGMENT, || self.compile()))
    }

    #[cold]
    fn compile(&self) -> &'static Code {
        if let Some(code) = self.piece.and_then(|piece| self.file.kept.piece(piece, &self.file)) {
            return code;
        }
        self.file.kept.compiled((self.span.end - self.span.start) as usize);
        let arena = bumpalo::Bump::new();
        let options = ParseOptions { pipe_operators: self.file.pipe_operators, ..ParseOptions::default() };
        let expr = parse_piece(&arena, &self.file.source.text, self.span, options).expr;
        let mut compiler = Compiler::new(&self.file, (self.span.end - self.span.start) as usize);
        // Stands for the enclosing function; its registers are the captures.
        compiler.functions.push(FunctionState::default());
        for (name, meaning) in &self.names {
            let location = match *meaning {
                Meaning::Captured(register) => Location::Register(register),
                Meaning::Member(set) => Location::Member { set },
                Meaning::Constant(value) => Location::Constant(compiler.constant(value)),
            };
            compiler.names.entry(*name).or_default().push(ScopeEntry { function: 0, location });
        }
        compiler.withs.extend(self.withs.iter().map(|&scope| (0, scope)));
        compiler.given_captures = self.captures;
        let root = match expr.kind {
            ExprKind::Lambda(lambda) => compiler.lambda_now(lambda, expr.span, self.name),
            _ => compiler.thunk_now(expr, self.name),
        };
        debug_assert!(compiler.error.is_none(), "mistakes are found before a piece is put off");
        compiler.link(root)
    }
}

/// For each symbol, by number: how often it is bound at the current point of the walk, and the last
/// walk that met it free.
#[derive(Default)]
pub(super) struct Marks {
    walks: u32,
    marks: Vec<(u32, u32)>,
}

thread_local! {
    static MARKS: std::cell::Cell<Marks> = const { std::cell::Cell::new(Marks { walks: 0, marks: Vec::new() }) };
}

impl Marks {
    fn of(&mut self, name: Symbol) -> &mut (u32, u32) {
        let index = name.index() as usize;
        if index >= self.marks.len() {
            self.marks.resize((index + 1).max(2048).next_power_of_two(), (0, 0));
        }
        &mut self.marks[index]
    }
}

/// A walk over a piece that collects the variables it takes from enclosing scopes.
struct Walk<'w, 'c> {
    compiler: &'w Compiler<'c>,
    marks: Marks,
    free: Vec<Symbol>,
    /// Number of scopes of `with` inside of the piece.
    withs: u32,
    needs_withs: bool,
    depth: u32,
    /// Set when the piece is deeper than [`DEPTH_MAX`].
    too_deep: bool,
}

impl Compiler<'_> {
    /// Makes lazy code of a thunk or function, if that is likely to pay.
    pub(super) fn postpone(
        &mut self,
        expr: Expr<'_>,
        arity: u8,
        name: Option<Symbol>,
        arguments: impl FnOnce(&Self) -> Vec<(Option<Symbol>, crate::source::Pos)>,
    ) -> Option<CodeIndex> {
        let bytes = expr.span.end - expr.span.start;
        if bytes < TEXT_BYTES_MIN
            || bytes > self.postponed_max
            || self.is_in_deep_piece(expr.span)
            || !is_exact(&self.file.source.text, expr)
        {
            return None;
        }
        let (free, needs_withs) = self.free_variables(expr)?;
        self.begin_function(arity as usize);
        let inner = self.functions.len() - 1;
        let mut names = Vec::with_capacity(free.len());
        for name in free {
            let Some(ScopeEntry { function, location }) = self.lookup(name) else { continue };
            let capture = |compiler: &mut Self, register| {
                if function == inner { register } else { compiler.capture_from(function, register).swapped() }
            };
            let meaning = match location {
                Location::Register(register) => Meaning::Captured(capture(self, register)),
                Location::Member { set } => Meaning::Member(capture(self, set)),
                Location::Constant(index) => Meaning::Constant(self.module.constants[index.index()]),
            };
            names.push((name, meaning));
        }
        let mut withs = Vec::new();
        if needs_withs {
            for index in 0..self.withs.len() {
                let (function, register) = self.withs[index];
                withs.push(self.capture_from(function, register).swapped());
            }
        }
        let pos = self.pos(expr.span);
        let arguments = arguments(self);
        let code = self.finish_function(arity, None, name, pos, arguments);
        let draft = &mut self.codes[code.index()];
        draft.lazy = Some(Box::new(Lazy {
            file: self.file.clone(),
            span: expr.span,
            name,
            names: names.into_boxed_slice(),
            captures: (draft.end_capture - draft.first_capture) as u16,
            withs: withs.into_boxed_slice(),
            piece: None,
            code: OnceLock::new(),
        }));
        Some(code)
    }

    /// Returns the names that a piece takes from enclosing scopes, and true when it looks names up
    /// in enclosing scopes of `with`. `None` when the piece has a mistake.
    fn free_variables(&mut self, expr: Expr<'_>) -> Option<(Vec<Symbol>, bool)> {
        let mut marks = MARKS.take();
        marks.walks = marks.walks.wrapping_add(1).max(1);
        let mut walk =
            Walk { compiler: self, marks, free: Vec::new(), withs: 0, needs_withs: false, depth: 0, too_deep: false };
        let fine = walk.expr(expr);
        if fine {
            // Builtins that operators call.
            for name in walk.compiler.symbols.all() {
                if walk.compiler.lookup(name).is_some() {
                    walk.variable(name);
                }
            }
        } else {
            // Names may still be marked as bound.
            let walks = walk.marks.walks;
            walk.marks = Marks { walks, marks: Vec::new() };
        }
        let Walk { marks, free, needs_withs, too_deep, .. } = walk;
        MARKS.set(marks);
        if too_deep {
            self.deep_piece = expr.span;
        }
        fine.then_some((free, needs_withs))
    }

    /// Returns true when an expression is most of the last piece that was too deep: then it is most
    /// likely too deep itself, and a search of each of them would take long.
    fn is_in_deep_piece(&self, span: Span) -> bool {
        let deep = self.deep_piece;
        let (bytes, deep_bytes) = (u64::from(span.end - span.start), u64::from(deep.end - deep.start));
        deep.start <= span.start && span.end <= deep.end && bytes * 4 > deep_bytes * 3
    }
}

/// Returns true when the text of an expression, parsed by itself, gives that expression.
fn is_exact(text: &[u8], expr: Expr<'_>) -> bool {
    match expr.kind {
        // Collected from several parts of the text.
        ExprKind::Attrs(bindings) | ExprKind::LetBody(bindings) => bindings.verbatim,
        // `(f a) b` is one call, and begins behind the parenthesis. Between function and arguments
        // are the parentheses around them, which have to match, and comments, which may have any.
        ExprKind::Call { function, arguments } => {
            let mut open = 0u32;
            let mut at = expr.span.start;
            let spans = std::iter::once(function.span).chain(arguments.iter().map(|argument| argument.span));
            let gaps = spans.chain([Span::new(expr.span.end, expr.span.end)]).all(|span| {
                let gap = &text[at.min(span.start) as usize..span.start as usize];
                at = span.end;
                let has_comment = gap.iter().any(|byte| matches!(byte, b'#' | b'/'));
                gap.iter().all(|byte| match byte {
                    b'(' => {
                        open += 1;
                        !has_comment
                    }
                    b')' => {
                        let matches = open > 0 && !has_comment;
                        open = open.saturating_sub(1);
                        matches
                    }
                    _ => true,
                })
            });
            gaps && open == 0
        }
        _ => true,
    }
}

impl Walk<'_, '_> {
    fn bind(&mut self, name: Symbol) {
        self.marks.of(name).0 += 1;
    }

    fn unbind(&mut self, name: Symbol) {
        self.marks.of(name).0 -= 1;
    }

    fn variable(&mut self, name: Symbol) -> bool {
        let walks = self.marks.walks;
        let mark = self.marks.of(name);
        if mark.0 > 0 || mark.1 == walks {
            return true;
        }
        if self.compiler.lookup(name).is_some() {
            mark.1 = walks;
            self.free.push(name);
        } else if self.compiler.file.globals.names.contains_key(&name) {
            mark.1 = walks;
        } else if self.withs > 0 || !self.compiler.withs.is_empty() {
            self.needs_withs = true;
        } else {
            return false;
        }
        true
    }

    fn expr(&mut self, expr: Expr<'_>) -> bool {
        if self.depth >= DEPTH_MAX {
            self.too_deep = true;
            return false;
        }
        self.depth += 1;
        let fine = match long_chain(expr) {
            // Compiled in a loop, so their depth does not matter.
            Some(operands) => operands.into_iter().all(|operand| self.expr(operand)),
            None => self.kind(expr.kind),
        };
        self.depth -= 1;
        fine
    }

    fn kind(&mut self, kind: &ExprKind<'_>) -> bool {
        match kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Uri(_) => true,
            ExprKind::LookupPath(_) | ExprKind::CurrentPosition => true,
            ExprKind::Path(kind, _) => self.path(*kind),
            ExprKind::PathInterpolation(kind, parts) => self.path(*kind) && self.parts(parts),
            ExprKind::Interpolation(parts) => self.parts(parts),
            ExprKind::Variable(name) => self.variable(*name),
            ExprKind::Select { subject, path, default } => {
                self.expr(*subject) && self.steps(path) && default.is_none_or(|default| self.expr(default))
            }
            ExprKind::HasAttr { subject, path } => self.expr(*subject) && self.steps(path),
            ExprKind::Call { function, arguments } => {
                self.expr(*function) && arguments.iter().all(|argument| self.expr(*argument))
            }
            ExprKind::Lambda(lambda) => self.lambda(lambda),
            ExprKind::Attrs(bindings) | ExprKind::LetBody(bindings) => {
                self.bindings(bindings, bindings.recursive, None)
            }
            ExprKind::Let { bindings, body } => self.bindings(bindings, true, Some(*body)),
            ExprKind::List(elements) => elements.iter().all(|element| self.expr(*element)),
            ExprKind::With { scope, body } => {
                if !self.expr(*scope) {
                    return false;
                }
                self.withs += 1;
                let fine = self.expr(*body);
                self.withs -= 1;
                fine
            }
            ExprKind::Assert { condition, body } => self.expr(*condition) && self.expr(*body),
            ExprKind::If { condition, then, otherwise } => {
                let mut fine = self.expr(*condition) && self.expr(*then);
                let mut last = *otherwise;
                while fine && let ExprKind::If { condition, then, otherwise } = last.kind {
                    fine = self.expr(*condition) && self.expr(*then);
                    last = *otherwise;
                }
                fine && self.expr(last)
            }
            ExprKind::Not(inner) | ExprKind::Negate(inner) => self.expr(*inner),
            ExprKind::Binary { left, right, .. } => self.expr(*left) && self.expr(*right),
            ExprKind::Error => false,
        }
    }

    fn path(&self, kind: PathKind) -> bool {
        kind != PathKind::Home || self.compiler.file.home.is_some()
    }

    fn parts(&mut self, parts: &[StringPart<'_>]) -> bool {
        parts.iter().all(|part| match part {
            StringPart::Text(_) => true,
            StringPart::Expr(expr) => self.expr(*expr),
        })
    }

    fn steps(&mut self, path: &[AttrName<'_>]) -> bool {
        path.iter().all(|step| match step.kind {
            AttrNameKind::Static(_) => true,
            AttrNameKind::Dynamic(expr) => self.expr(expr),
        })
    }

    fn lambda(&mut self, lambda: &Lambda<'_>) -> bool {
        let formals = lambda.formals.map_or(&[][..], |formals| formals.entries);
        let argument = lambda.argument.map(|(name, _)| name);
        formals.iter().map(|formal| formal.name).chain(argument).for_each(|name| self.bind(name));
        let fine = formals.iter().all(|formal| formal.default.is_none_or(|default| self.expr(default)))
            && self.expr(lambda.body);
        formals.iter().map(|formal| formal.name).chain(argument).for_each(|name| self.unbind(name));
        fine
    }

    fn bindings(&mut self, bindings: &Bindings<'_>, recursive: bool, body: Option<Expr<'_>>) -> bool {
        // Inherited from the scopes that enclose the set.
        let inherited =
            |binding: &&_| matches!(binding, &&crate::syntax::ast::Binding { value: BindingValue::Inherit, .. });
        if !bindings.statics.iter().filter(inherited).all(|binding| self.variable(binding.name)) {
            return false;
        }
        if recursive {
            bindings.statics.iter().for_each(|binding| self.bind(binding.name));
        }
        let mut from: *const ExprKind<'_> = std::ptr::null();
        let fine = bindings.statics.iter().all(|binding| match binding.value {
            BindingValue::Inherit => true,
            BindingValue::Expr(expr) => self.expr(expr),
            BindingValue::InheritFrom(expr) => {
                let known = std::ptr::eq(from, expr.kind);
                from = expr.kind;
                known || self.expr(expr)
            }
        }) && bindings.dynamics.iter().all(|dynamic| self.expr(dynamic.name) && self.expr(dynamic.value))
            && body.is_none_or(|body| self.expr(body));
        if recursive {
            bindings.statics.iter().for_each(|binding| self.unbind(binding.name));
        }
        fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;
    use bumpalo::Bump;

    /// Parses every piece of a text that may be lazy by itself, and compares; returns the number of
    /// pieces.
    fn compare(name: &str, text: &[u8]) -> usize {
        let arena = Bump::new();
        let options = ParseOptions { pipe_operators: true, ..ParseOptions::default() };
        let parsed = parse(&arena, text, options);
        if !parsed.errors.is_empty() {
            return 0;
        }
        let mut pieces = Vec::new();
        pieces_of(parsed.expr, &mut pieces);
        // The word `or` alone is no expression, and too short to be lazy.
        pieces.retain(|piece| piece.span.end - piece.span.start >= TEXT_BYTES_MIN && is_exact(text, *piece));
        for piece in &pieces {
            let arena = Bump::new();
            let again = parse_piece(&arena, text, piece.span, options);
            assert_eq!(again.errors, [], "{name}");
            assert_eq!(format!("{:?}", again.expr.kind), format!("{:?}", piece.kind), "{name} {:?}", piece.span);
        }
        pieces.len()
    }

    fn pieces_of<'a>(expr: Expr<'a>, out: &mut Vec<Expr<'a>>) {
        out.push(expr);
        let parts = |parts: &[StringPart<'a>]| {
            parts.iter().filter_map(|part| if let StringPart::Expr(expr) = part { Some(*expr) } else { None }).collect()
        };
        let steps = |path: &[AttrName<'a>]| -> Vec<Expr<'a>> {
            path.iter()
                .filter_map(|step| if let AttrNameKind::Dynamic(expr) = step.kind { Some(expr) } else { None })
                .collect()
        };
        let bindings = |bindings: &Bindings<'a>| -> Vec<Expr<'a>> {
            let statics = bindings.statics.iter().filter_map(|binding| match binding.value {
                BindingValue::Expr(expr) | BindingValue::InheritFrom(expr) => Some(expr),
                BindingValue::Inherit => None,
            });
            statics.chain(bindings.dynamics.iter().flat_map(|dynamic| [dynamic.name, dynamic.value])).collect()
        };
        let inner: Vec<Expr<'a>> = match expr.kind {
            ExprKind::PathInterpolation(_, of) | ExprKind::Interpolation(of) => parts(of),
            ExprKind::Select { subject, path, default } => {
                [*subject].into_iter().chain(steps(path)).chain(*default).collect()
            }
            ExprKind::HasAttr { subject, path } => [*subject].into_iter().chain(steps(path)).collect(),
            ExprKind::Call { function, arguments } => {
                [*function].into_iter().chain(arguments.iter().copied()).collect()
            }
            ExprKind::Lambda(lambda) => {
                let formals = lambda.formals.map_or(&[][..], |formals| formals.entries);
                formals.iter().filter_map(|formal| formal.default).chain([lambda.body]).collect()
            }
            ExprKind::Attrs(set) | ExprKind::LetBody(set) => bindings(set),
            ExprKind::Let { bindings: set, body } => bindings(set).into_iter().chain([*body]).collect(),
            ExprKind::List(elements) => elements.to_vec(),
            ExprKind::With { scope, body } => vec![*scope, *body],
            ExprKind::Assert { condition, body } => vec![*condition, *body],
            ExprKind::If { condition, then, otherwise } => vec![*condition, *then, *otherwise],
            ExprKind::Not(inner) | ExprKind::Negate(inner) => vec![*inner],
            ExprKind::Binary { left, right, .. } => vec![*left, *right],
            _ => Vec::new(),
        };
        inner.into_iter().for_each(|expr| pieces_of(expr, out));
    }

    #[test]
    fn pieces_parse_to_the_same_tree() {
        let texts = [
            "(f a) b",
            "((f a) b) c + d",
            "(f a) b.c",
            "[ ((f a) b) ]",
            "{ a.b = 1; a.c = { d = 2; }; a.c.e = 3; }",
            "{ a = { x = 1; }; a.y = 2; b = rec { a.b = 1; a.c = b; }; }",
            "let { body = x; x = 1; }",
            "x: y: { z ? x, ... }@w: z w",
            "''\n  a ${b}\n   c\n'' + \"${a + b}d\"",
            "a ? b.\"c\".${d} && e.f or g",
            "f or g",
            "a: -b - c",
            "./a/${b}/c + <d> + https://e.f",
            "a |> b |> c <| d",
            "!a && b || c -> d",
            "if a then b else c // d ++ e",
            "with a; assert b; c (d: e) (f)",
        ];
        let count: usize = texts.iter().map(|text| compare(text, text.as_bytes())).sum();
        assert!(count > texts.len(), "{count}");
    }

    /// The same over the files of a directory tree.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test reads its files")]
    fn pieces_of_files_parse_to_the_same_tree() {
        let directory = std::env::var_os("LANG_FILES")
            .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lang").into(), std::path::PathBuf::from);
        let (mut directories, mut count) = (vec![directory], 0);
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_symlink() {
                    continue;
                } else if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "nix") {
                    count += compare(&path.display().to_string(), &std::fs::read(&path).unwrap());
                }
            }
        }
        assert!(count > 1000, "{count}");
    }
}
