//! Syntax trees as text, exactly as `nix-instantiate --parse` prints them.
//!
//! Every operator is parenthesised, bindings are sorted, and constructs that are defined by others
//! are shown as those: `a < b` as `(__lessThan a b)`, `<x>` as `(__findFile __nixPath "x")`. Nix
//! chose the form for human readers: interpolation shows as `+` and `assert` without parentheses,
//! so only texts without those parse to the same tree again.

use super::ast::*;
use super::parser::{STACK_RESERVE, STACK_SEGMENT};
use super::token::{self, TokenKind, is};
use crate::symbol::Symbol;
use crate::text::number;
use crate::text::path::normalise;

/// Version of Nix whose output is imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Nix since 2.20: `inherit` clauses first and together, `$` escaped only before `{`.
    #[default]
    Current,
    /// Nix 2.8: each inherited name as a binding of its own, every `$` escaped.
    Nix2_8,
}

/// Directories of relative paths and `~`, both absolute.
#[derive(Debug, Clone, Copy)]
pub struct PrintOptions<'o> {
    pub base: &'o [u8],
    pub home: &'o [u8],
    pub style: Style,
}

/// Returns the text of an expression, without a line feed.
pub fn print(expr: Expr<'_>, options: PrintOptions<'_>) -> Vec<u8> {
    let mut printer = Printer { out: Vec::new(), options };
    printer.expr(expr);
    printer.out
}

struct Printer<'o> {
    out: Vec<u8>,
    options: PrintOptions<'o>,
}

impl Printer<'_> {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn expr(&mut self, expr: Expr<'_>) {
        stacker::maybe_grow(STACK_RESERVE, STACK_SEGMENT, || self.expr_here(expr));
    }

    fn expr_here(&mut self, expr: Expr<'_>) {
        match *expr.kind {
            ExprKind::Int(value) => self.text(&value.to_string()),
            ExprKind::Float(value) => self.text(&number::general(value, 6)),
            ExprKind::Str(text) | ExprKind::Uri(text) => self.string(text),
            ExprKind::Interpolation(parts) => {
                self.text("(");
                self.parts(parts, None);
                self.text(")");
            }
            ExprKind::Path(kind, text) => {
                let path = self.absolute(kind, text);
                self.out.extend_from_slice(&path);
            }
            ExprKind::PathInterpolation(kind, parts) => {
                self.text("(");
                self.parts(parts, Some(kind));
                self.text(")");
            }
            ExprKind::LookupPath(text) => {
                self.text("(__findFile __nixPath ");
                self.string(text);
                self.text(")");
            }
            ExprKind::Variable(name) => self.name(name),
            ExprKind::CurrentPosition => self.text("__curPos"),
            ExprKind::Select { subject, path, default } => {
                self.parenthesised(subject);
                self.text(".");
                self.attr_path(path);
                if let Some(default) = default {
                    self.text(" or ");
                    self.parenthesised(default);
                }
            }
            ExprKind::HasAttr { subject, path } => {
                self.text("(");
                self.parenthesised(subject);
                self.text(" ? ");
                self.attr_path(path);
                self.text(")");
            }
            ExprKind::Lambda(lambda) => self.lambda(lambda),
            ExprKind::Attrs(bindings) => self.attrs(bindings),
            ExprKind::Let { bindings, body } => {
                self.text("(let ");
                self.bindings(bindings);
                self.text("in ");
                self.expr(body);
                self.text(")");
            }
            ExprKind::LetBody(bindings) => {
                self.text("(");
                self.attrs(bindings);
                self.text(").body");
            }
            ExprKind::List(elements) => {
                self.text("[ ");
                for &element in elements {
                    self.parenthesised(element);
                    self.text(" ");
                }
                self.text("]");
            }
            ExprKind::With { scope, body } => {
                self.text("(with ");
                self.expr(scope);
                self.text("; ");
                self.expr(body);
                self.text(")");
            }
            ExprKind::Assert { condition, body } => {
                self.text("assert ");
                self.expr(condition);
                self.text("; ");
                self.expr(body);
            }
            ExprKind::If { condition, then, otherwise } => {
                self.text("(if ");
                self.expr(condition);
                self.text(" then ");
                self.expr(then);
                self.text(" else ");
                self.expr(otherwise);
                self.text(")");
            }
            ExprKind::Not(operand) => {
                self.text("(! ");
                self.expr(operand);
                self.text(")");
            }
            ExprKind::Binary { operator, left, right, .. } => self.binary(expr, operator, left, right),
            ExprKind::Call { .. } | ExprKind::Negate(_) => {
                self.text("(");
                self.call(expr);
                self.text(")");
            }
            ExprKind::Error => self.text("«error»"),
        }
    }

    fn parenthesised(&mut self, expr: Expr<'_>) {
        self.text("(");
        self.expr(expr);
        self.text(")");
    }

    fn binary(&mut self, whole: Expr<'_>, operator: BinaryOperator, left: Expr<'_>, right: Expr<'_>) {
        use BinaryOperator::*;
        let sign = match operator {
            Add => " + ",
            Equal => " == ",
            NotEqual => " != ",
            And => " && ",
            Or => " || ",
            Implies => " -> ",
            Update => " // ",
            Concat => " ++ ",
            LessOrEqual | GreaterOrEqual => {
                self.text("(! (__lessThan ");
                let (first, second) = if operator == LessOrEqual { (right, left) } else { (left, right) };
                self.expr(first);
                self.text(" ");
                self.expr(second);
                return self.text("))");
            }
            Subtract | Multiply | Divide | Less | Greater | PipeInto | PipeFrom => {
                self.text("(");
                self.call(whole);
                return self.text(")");
            }
        };
        self.text("(");
        self.expr(left);
        self.text(sign);
        self.expr(right);
        self.text(")");
    }

    /// Writes function and arguments without parentheses: a call of a call is one call with more
    /// arguments, also when the inner one is an operator.
    fn call(&mut self, expr: Expr<'_>) {
        stacker::maybe_grow(STACK_RESERVE, STACK_SEGMENT, || self.call_here(expr));
    }

    fn call_here(&mut self, expr: Expr<'_>) {
        use BinaryOperator::*;
        match *expr.kind {
            ExprKind::Call { function, arguments } => {
                self.call(function);
                for &argument in arguments {
                    self.text(" ");
                    self.expr(argument);
                }
            }
            ExprKind::Negate(operand) => {
                self.text("__sub 0 ");
                self.expr(operand);
            }
            ExprKind::Binary { operator, left, right, .. } => {
                let (name, first, second) = match operator {
                    Subtract => ("__sub ", left, right),
                    Multiply => ("__mul ", left, right),
                    Divide => ("__div ", left, right),
                    Less => ("__lessThan ", left, right),
                    Greater => ("__lessThan ", right, left),
                    PipeInto | PipeFrom => {
                        let (function, argument) = if operator == PipeInto { (right, left) } else { (left, right) };
                        self.call(function);
                        self.text(" ");
                        return self.expr(argument);
                    }
                    _ => return self.expr(expr),
                };
                self.text(name);
                self.expr(first);
                self.text(" ");
                self.expr(second);
            }
            ExprKind::LookupPath(text) => {
                self.text("__findFile __nixPath ");
                self.string(text);
            }
            _ => self.expr(expr),
        }
    }

    fn lambda(&mut self, lambda: &Lambda<'_>) {
        self.text("(");
        if let Some(formals) = lambda.formals {
            self.text("{ ");
            let mut entries: Vec<&Formal<'_>> = formals.entries.iter().collect();
            if self.options.style == Style::Current {
                entries.sort_by_key(|formal| formal.name.name());
            }
            let mut first = true;
            for formal in entries {
                self.text(if first { "" } else { ", " });
                first = false;
                self.name(formal.name);
                if let Some(default) = formal.default {
                    self.text(" ? ");
                    self.expr(default);
                }
            }
            if formals.ellipsis {
                self.text(if first { "..." } else { ", ..." });
            }
            self.text(" }");
            if lambda.argument.is_some() {
                self.text(" @ ");
            }
        }
        if let Some((name, _)) = lambda.argument {
            self.name(name);
        }
        self.text(": ");
        self.expr(lambda.body);
        self.text(")");
    }

    fn attrs(&mut self, bindings: &Bindings<'_>) {
        self.text(if bindings.recursive { "rec { " } else { "{ " });
        self.bindings(bindings);
        self.text("}");
    }

    fn bindings(&mut self, bindings: &Bindings<'_>) {
        let mut sorted: Vec<&Binding<'_>> = bindings.statics.iter().collect();
        sorted.sort_by_key(|binding| binding.name.name());
        if self.options.style == Style::Current {
            self.inherits(bindings, &sorted);
        }
        for binding in sorted {
            match binding.value {
                BindingValue::Expr(value) => {
                    self.name(binding.name);
                    self.text(" = ");
                    self.expr(value);
                }
                _ if self.options.style == Style::Current => continue,
                BindingValue::Inherit => {
                    self.text("inherit ");
                    self.name(binding.name);
                    self.text(" ");
                }
                BindingValue::InheritFrom(from) => {
                    self.name(binding.name);
                    self.text(" = ");
                    self.parenthesised(from);
                    self.text(".");
                    self.name(binding.name);
                }
            }
            self.text("; ");
        }
        for dynamic in bindings.dynamics {
            self.text("\"${");
            self.expr(dynamic.name);
            self.text("}\" = ");
            self.expr(dynamic.value);
            self.text("; ");
        }
    }

    /// Writes the `inherit` clauses: names of the enclosing scope first, then one clause per
    /// source, in order of the text.
    fn inherits(&mut self, bindings: &Bindings<'_>, sorted: &[&Binding<'_>]) {
        let is_plain = |binding: &&&Binding<'_>| matches!(binding.value, BindingValue::Inherit);
        if sorted.iter().any(|binding| is_plain(&binding)) {
            self.text("inherit");
            for binding in sorted.iter().filter(is_plain) {
                self.text(" ");
                self.name(binding.name);
            }
            self.text("; ");
        }
        let mut written: Vec<*const ExprKind<'_>> = Vec::new();
        for binding in bindings.statics {
            let BindingValue::InheritFrom(from) = binding.value else { continue };
            if written.last().is_some_and(|&last| std::ptr::eq(last, from.kind)) {
                continue;
            }
            written.push(from.kind);
            self.text("inherit ");
            self.parenthesised(from);
            for binding in sorted {
                if let BindingValue::InheritFrom(other) = binding.value
                    && std::ptr::eq(other.kind, from.kind)
                {
                    self.text(" ");
                    self.name(binding.name);
                }
            }
            self.text("; ");
        }
    }

    fn attr_path(&mut self, path: &[AttrName<'_>]) {
        for (index, name) in path.iter().enumerate() {
            self.text(if index == 0 { "" } else { "." });
            match name.kind {
                AttrNameKind::Static(name) => self.name(name),
                AttrNameKind::Dynamic(expr) => {
                    self.text("\"${");
                    self.expr(expr);
                    self.text("}\"");
                }
            }
        }
    }

    fn parts(&mut self, parts: &[StringPart<'_>], path: Option<PathKind>) {
        for (index, part) in parts.iter().enumerate() {
            self.text(if index == 0 { "" } else { " + " });
            match (*part, path) {
                (StringPart::Text(text), Some(kind)) if index == 0 => {
                    let mut path = self.absolute(kind, text);
                    if text.ends_with(b"/") && !path.ends_with(b"/") {
                        path.push(b'/');
                    }
                    self.out.extend_from_slice(&path);
                }
                (StringPart::Text(text), _) => self.string(text),
                (StringPart::Expr(expr), _) => self.expr(expr),
            }
        }
    }

    fn absolute(&self, kind: PathKind, text: &[u8]) -> Vec<u8> {
        match kind {
            PathKind::Absolute => normalise(text),
            PathKind::Relative => normalise(&[self.options.base, b"/", text].concat()),
            PathKind::Home => normalise(&[self.options.home, &text[1..]].concat()),
        }
    }

    fn name(&mut self, name: Symbol) {
        write_name(&mut self.out, name.name(), self.options.style);
    }

    fn string(&mut self, text: &[u8]) {
        write_string(&mut self.out, text, self.options.style);
    }
}

/// Returns a name, quoted if it would not read as one.
pub(crate) fn name(name: &[u8]) -> String {
    let mut out = Vec::new();
    write_name(&mut out, name, Style::Current);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes a name, quoted if it would not read as one.
fn write_name(out: &mut Vec<u8>, name: &[u8], style: Style) {
    let quoted = match TokenKind::keyword(name) {
        Some(TokenKind::If) => true,
        Some(kind) => kind.is_keyword() && style == Style::Current,
        None => !name.first().is_some_and(|&byte| is(byte, token::NAME_START) && all_name(name)),
    };
    if quoted { write_string(out, name, style) } else { out.extend_from_slice(name) }
}

fn all_name(name: &[u8]) -> bool {
    name.iter().all(|&byte| is(byte, token::NAME))
}

fn write_string(out: &mut Vec<u8>, text: &[u8], style: Style) {
    out.push(b'"');
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'$' if style == Style::Nix2_8 || text.get(index + 1) == Some(&b'{') => out.extend_from_slice(b"\\$"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}
