//! Expressions, compiled in one of three ways.
//!
//! *operand*: a register that holds the value, or a thunk of it, once the operations have run;
//! *lazy*: a register with a value or thunk for a data structure or argument, evaluating nothing
//! unnecessarily; *tail*: the rest of the code, which ends by returning the value.

use super::op::{ConstantIndex, Op, OpIndex, Reg, SiteIndex, WithIndex};
use super::{Compiler, Location, ScopeEntry};
use crate::compile::code::{Site, WithSite};
use crate::error::{Error, ErrorKind};
use crate::source::Span;
use crate::symbol::Symbol;
use crate::syntax::ast::{AttrName, AttrNameKind, Expr, ExprKind, PathKind, StringPart};
use crate::syntax::print::{PrintOptions, Style, print};
use crate::text::path::{join, normalise};
use crate::value::Value;

/// Depth from which on the stack is checked. Pieces that are compiled later, on a small stack, are
/// not as deep.
const UNCHECKED_DEPTH: usize = 1000;

/// Stack that must be left for another level.
const STACK_RESERVE: usize = 1 << 20;

impl Compiler<'_> {
    /// Compiles the rest of the code, which returns the value of `expr`.
    pub(super) fn tail(&mut self, expr: Expr<'_>) {
        if self.is_too_deep() {
            self.too_deep(expr.span);
            return;
        }
        self.depth += 1;
        let mark = self.mark();
        match expr.kind {
            ExprKind::If { .. } => {
                let mut last = expr;
                while let ExprKind::If { condition, then, otherwise } = last.kind {
                    let jumps = self.jump_unless(*condition);
                    self.tail(*then);
                    jumps.into_iter().for_each(|at| self.patch_jump(at));
                    last = *otherwise;
                }
                self.tail(last);
            }
            ExprKind::Let { bindings, body } => {
                let scope = self.open_bindings(bindings);
                self.tail(*body);
                self.close_bindings(scope);
            }
            ExprKind::With { scope, body } => {
                self.open_with(*scope);
                self.tail(*body);
                self.withs.pop();
            }
            ExprKind::Assert { condition, body } => {
                self.assertion(*condition);
                self.tail(*body);
            }
            ExprKind::Call { function, arguments } if !self.is_builtin_call(*function, arguments) => {
                let function = self.operand(*function);
                let first = self.arguments(arguments, 0);
                self.emit_at(expr.span, Op::TailCall { function, first, count: arguments.len() as u8 });
            }
            _ => {
                let src = self.operand(expr);
                self.emit_at(expr.span, Op::Return { src });
            }
        }
        self.release(mark);
        self.depth -= 1;
    }

    /// Returns true when there may be too little stack for another level. The depth is checked
    /// first, as the stack's bounds take a system call on a thread's first stack.
    fn is_too_deep(&self) -> bool {
        self.depth > UNCHECKED_DEPTH && stacker::remaining_stack().is_some_and(|bytes| bytes < STACK_RESERVE)
    }

    fn too_deep(&mut self, span: Span) {
        let error = Error::other("lang::too_deep", "expressions are nested too deeply")
            .help("bind inner expressions to names with `let`");
        self.fail(span, error);
    }

    /// Returns a register that holds the value of `expr` or a thunk of it; that of the variable, if
    /// it is one.
    pub(super) fn operand(&mut self, expr: Expr<'_>) -> Reg {
        if let ExprKind::Variable(name) = expr.kind
            && let Some(register) = self.variable_register(*name)
        {
            return register;
        }
        let dst = self.temporary();
        self.into(expr, dst);
        dst
    }

    /// Returns the register of a variable that has one.
    pub(super) fn variable_register(&mut self, name: Symbol) -> Option<Reg> {
        match self.lookup(name)? {
            ScopeEntry { function, location: Location::Register(register) } => {
                Some(self.capture_from(function, register))
            }
            _ => None,
        }
    }

    /// Like [`Compiler::operand`], into a register of the caller's choice.
    pub(super) fn into(&mut self, expr: Expr<'_>, dst: Reg) {
        if self.is_too_deep() {
            self.too_deep(expr.span);
            return;
        }
        self.depth += 1;
        let mark = self.mark();
        self.evaluate_here(expr, dst);
        self.release(mark);
        self.depth -= 1;
    }

    fn evaluate_here(&mut self, expr: Expr<'_>, dst: Reg) {
        if let Some(index) = self.constant_of(expr) {
            self.emit(Op::Const { dst, index });
            return;
        }
        match expr.kind {
            ExprKind::Variable(name) => self.variable(*name, expr.span, dst),
            ExprKind::Interpolation(parts) => self.interpolation(parts, expr.span, dst),
            ExprKind::PathInterpolation(kind, parts) => {
                let (first, _) = self.string_parts(parts, false);
                if let Some(StringPart::Text(text)) = parts.first() {
                    let mut path = self.absolute(*kind, text, expr.span);
                    if text.ends_with(b"/") && !path.ends_with(b"/") {
                        path.push(b'/');
                    }
                    self.file.kept.bind();
                    let index = self.string_constant(&path);
                    self.emit(Op::Const { dst: first, index });
                }
                self.emit_at(expr.span, Op::InterpolatePath { dst, first, count: parts.len() as u32 });
            }
            ExprKind::LookupPath(text) => {
                let first = self.registers(2);
                self.global_variable(self.symbols.nix_path, expr.span, first);
                let index = self.string_constant(text);
                self.emit(Op::Const { dst: first.plus(1), index });
                let function = self.temporary();
                self.global_variable(self.symbols.find_file, expr.span, function);
                self.emit_at(expr.span, Op::Call { dst, function, first, count: 2 });
            }
            ExprKind::Select { subject, path, default } => self.select(*subject, path, *default, dst),
            ExprKind::HasAttr { subject, path } => self.has_attr(*subject, path, dst),
            ExprKind::Call { function, arguments } => self.call(*function, arguments, expr.span, dst),
            ExprKind::Lambda(lambda) => self.lambda(lambda, expr.span, None, dst),
            ExprKind::Attrs(bindings) => self.attrs(bindings, expr.span, dst),
            ExprKind::Let { bindings, body } => {
                let scope = self.open_bindings(bindings);
                self.into(*body, dst);
                self.close_bindings(scope);
            }
            ExprKind::LetBody(bindings) => {
                let set = self.temporary();
                self.recursive_attrs(bindings, expr.span, set);
                let site = self.site(Symbol::new(b"body"));
                self.emit_at(expr.span, Op::Select { dst, src: set, site });
            }
            ExprKind::List(elements) => self.list(elements, dst),
            ExprKind::With { scope, body } => {
                self.open_with(*scope);
                self.into(*body, dst);
                self.withs.pop();
            }
            ExprKind::Assert { condition, body } => {
                self.assertion(*condition);
                self.into(*body, dst);
            }
            ExprKind::If { .. } => {
                let (mut last, mut ends) = (expr, Vec::new());
                while let ExprKind::If { condition, then, otherwise } = last.kind {
                    let jumps = self.jump_unless(*condition);
                    self.into(*then, dst);
                    ends.push(self.emit(Op::Jump { target: OpIndex::UNPATCHED }));
                    jumps.into_iter().for_each(|at| self.patch_jump(at));
                    last = *otherwise;
                }
                self.into(last, dst);
                ends.into_iter().for_each(|at| self.patch_jump(at));
            }
            ExprKind::Not(inner) => {
                let src = self.operand(*inner);
                self.emit_at(inner.span, Op::Not { dst, src });
            }
            ExprKind::Negate(inner) => {
                if self.shadowed(self.symbols.sub) {
                    let zero = self.constant(Value::int(0));
                    let first = self.registers(2);
                    self.emit(Op::Const { dst: first, index: zero });
                    self.lazy(*inner, first.plus(1), None, true);
                    self.call_shadowed(self.symbols.sub, first, expr.span, dst);
                } else {
                    let src = self.operand(*inner);
                    self.emit_at(expr.span, Op::Negate { dst, src });
                }
            }
            ExprKind::Binary { .. } => self.binary(expr, dst),
            ExprKind::Error => {
                self.fail(expr.span, Error::other("lang::syntax", "the text here could not be understood"));
            }
            // All constants were compiled above.
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Path(..)
            | ExprKind::Uri(_)
            | ExprKind::CurrentPosition => {}
        }
    }

    /// Returns the constant that `expr` is, if it is one.
    pub(super) fn constant_of(&mut self, expr: Expr<'_>) -> Option<ConstantIndex> {
        Some(match expr.kind {
            ExprKind::Int(value) => self.constant(Value::int(*value)),
            ExprKind::Float(value) => self.constant(Value::float(*value)),
            ExprKind::Str(text) | ExprKind::Uri(text) => self.string_constant(text),
            ExprKind::Path(kind, text) => {
                let value = Value::path(&self.absolute(*kind, text, expr.span));
                if *kind == PathKind::Relative {
                    self.file.note_path(value, text);
                }
                self.constant(value)
            }
            ExprKind::CurrentPosition => {
                let value = self.file.current_position(expr.span.start);
                self.constant(value)
            }
            ExprKind::List([]) => self.constant(Value::empty_list()),
            ExprKind::Attrs(bindings) if bindings.statics.is_empty() && bindings.dynamics.is_empty() => {
                self.constant(Value::empty_attrs())
            }
            ExprKind::Variable(name) => match self.lookup(*name) {
                Some(ScopeEntry { location: Location::Constant(index), .. }) => index,
                Some(_) => return None,
                None => {
                    let value = *self.file.globals.names.get(name)?;
                    self.constant(value)
                }
            },
            ExprKind::Select { subject, path: [AttrName { kind: AttrNameKind::Static(name), .. }], default: None } => {
                let value = self.builtins_member(*subject, *name)?;
                self.constant(value)
            }
            _ => return None,
        })
    }

    /// Returns `builtins.name`, where `builtins` is the global.
    pub(super) fn builtins_member(&self, subject: Expr<'_>, name: Symbol) -> Option<Value> {
        let ExprKind::Variable(builtins) = subject.kind else { return None };
        if *builtins == self.symbols.builtins && self.lookup(*builtins).is_none() {
            self.file.globals.builtins.as_attrs()?.get(name)
        } else if let Some(ScopeEntry { location: Location::Constant(index), .. }) = self.lookup(*builtins) {
            // `let b = builtins; in b.name`
            let set = self.module.constants[index.index()];
            if set.same(self.file.globals.builtins) { set.as_attrs()?.get(name) } else { None }
        } else {
            None
        }
    }

    fn absolute(&mut self, kind: PathKind, text: &[u8], span: Span) -> Vec<u8> {
        if kind == PathKind::Home {
            self.file.kept.bind();
        }
        match kind {
            PathKind::Absolute => normalise(text),
            PathKind::Relative => join(&self.file.base_dir, text),
            PathKind::Home => match &self.file.home {
                Some(home) => normalise(&[&home[..], b"/", text.strip_prefix(b"~/").unwrap_or(text)].concat()),
                None => {
                    let error = Error::other(
                        "lang::home_path",
                        format!("the path '{}' can not be resolved in pure mode", String::from_utf8_lossy(text)),
                    );
                    self.fail(span, error);
                    text.to_vec()
                }
            },
        }
    }

    pub(super) fn variable(&mut self, name: Symbol, span: Span, dst: Reg) {
        match self.lookup(name) {
            Some(ScopeEntry { function, location: Location::Register(register) }) => {
                let src = self.capture_from(function, register);
                if src != dst {
                    self.emit(Op::Move { dst, src });
                }
            }
            Some(ScopeEntry { function, location: Location::Member { set } }) => {
                let src = self.capture_from(function, set);
                let site = self.site(name);
                self.emit_at(span, Op::Select { dst, src, site });
            }
            Some(ScopeEntry { location: Location::Constant(index), .. }) => {
                self.emit(Op::Const { dst, index });
            }
            None => match self.with_site(name) {
                Some(site) => {
                    self.emit_at(span, Op::With { dst, site });
                }
                None => self.undefined(name, span),
            },
        }
    }

    fn undefined(&mut self, name: Symbol, span: Span) {
        let visible = self.names.iter().filter(|(_, entries)| !entries.is_empty()).map(|(name, _)| *name);
        let names = visible.chain(self.file.globals.names.keys().copied());
        let error = Error::new(ErrorKind::UndefinedVariable { name }).suggest(name, names);
        self.fail(span, error);
    }

    /// Puts a builtin that an operator calls into `dst`; it is the global unless shadowed.
    fn global_variable(&mut self, name: Symbol, span: Span, dst: Reg) {
        if self.lookup(name).is_some() {
            self.variable(name, span, dst);
        } else if let Some(&value) = self.file.globals.names.get(&name) {
            let index = self.constant(value);
            self.emit(Op::Const { dst, index });
        } else {
            self.undefined(name, span);
        }
    }

    pub(super) fn shadowed(&self, name: Symbol) -> bool {
        self.lookup(name).is_some()
    }

    pub(super) fn site(&mut self, name: Symbol) -> SiteIndex {
        self.module.sites.push(Site::new(name));
        SiteIndex::new(self.module.sites.len() - 1)
    }

    pub(super) fn with_site(&mut self, name: Symbol) -> Option<WithIndex> {
        if self.withs.is_empty() {
            return None;
        }
        let scopes: Vec<(usize, Reg)> = self.withs.iter().rev().copied().collect();
        let scopes: Vec<Reg> = scopes.into_iter().map(|(function, reg)| self.capture_from(function, reg)).collect();
        self.module.withs.push(WithSite { name, scopes: scopes.into_boxed_slice() });
        Some(WithIndex::new(self.module.withs.len() - 1))
    }

    fn open_with(&mut self, scope: Expr<'_>) {
        let register = self.temporary();
        self.lazy(scope, register, None, false);
        self.withs.push((self.functions.len() - 1, register));
    }

    fn assertion(&mut self, condition: Expr<'_>) {
        let options = PrintOptions {
            base: &self.file.base_dir,
            home: self.file.home.as_deref().unwrap_or(b"~"),
            style: Style::Current,
        };
        let text = print(condition, options);
        // There may be a path in it.
        if text.contains(&b'/') {
            self.file.kept.bind();
        }
        let text = self.string_constant(&text);
        let mark = self.mark();
        let reg = self.operand(condition);
        self.emit_at(condition.span, Op::Assert { condition: reg, text });
        self.release(mark);
    }

    /// Compiles a string. Long ones are made of strings of some parts each.
    fn interpolation(&mut self, parts: &[StringPart<'_>], span: Span, dst: Reg) {
        const PARTS_MAX: usize = 128;
        if parts.len() > PARTS_MAX {
            let size = parts.len().div_ceil(PARTS_MAX).max(PARTS_MAX);
            let rows = parts.chunks(size);
            let (first, count) = (self.registers(rows.len()), rows.len() as u32);
            for (index, row) in rows.enumerate() {
                let mark = self.mark();
                self.interpolation(row, span, first.plus(index));
                self.release(mark);
            }
            self.emit_at(span, Op::Interpolate { dst, first, count });
            return;
        }
        let (first, numbers) = self.string_parts(parts, parts.len() <= u16::BITS as usize);
        self.emit_at(
            span,
            match numbers {
                0 => Op::Interpolate { dst, first, count: parts.len() as u32 },
                _ => Op::InterpolateNumbers { dst, first, count: parts.len() as u16, numbers },
            },
        );
    }

    /// Returns consecutive registers with the parts of a string; with `numbers`, also a bit for
    /// each part that may be an integer, which `toString` leaves for the string to write.
    fn string_parts(&mut self, parts: &[StringPart<'_>], numbers: bool) -> (Reg, u16) {
        let first = self.registers(parts.len());
        let last_act = parts.iter().rposition(|part| match part {
            StringPart::Expr(expr) => self.acts(*expr),
            StringPart::Text(_) => false,
        });
        let last_act = last_act.unwrap_or_default();
        let mut integers = 0;
        for (index, part) in parts.iter().enumerate() {
            let dst = first.plus(index);
            match part {
                StringPart::Text(text) => {
                    let index = self.string_constant(text);
                    self.emit(Op::Const { dst, index });
                }
                StringPart::Expr(expr) => match expr.kind {
                    ExprKind::Call { function, arguments: [argument] }
                        if numbers
                            && self.known_builtin(*function).is_some_and(|(builtin, _)| builtin.name == "toString") =>
                    {
                        let mark = self.mark();
                        let src = self.arguments(&[*argument], 1);
                        self.emit(Op::SpecInt { dst, src });
                        if let Some((_, id)) = self.known_builtin(*function) {
                            self.emit_at(expr.span, Op::CallBuiltin { dst, first: src, id });
                        }
                        self.release(mark);
                        integers |= 1 << index;
                    }
                    _ => {
                        self.into(*expr, dst);
                        if index < last_act {
                            self.force_now(*expr, dst);
                        }
                    }
                },
            }
        }
        (first, integers)
    }

    pub(super) fn list(&mut self, elements: &[Expr<'_>], dst: Reg) {
        const PART: usize = 128;
        if elements.len() <= PART {
            let first = self.registers(elements.len());
            for (index, element) in elements.iter().enumerate() {
                self.lazy(*element, first.plus(index), None, false);
            }
            self.emit(Op::List { dst, first, count: elements.len() as u32 });
            return;
        }
        let list = self.temporary();
        self.emit(Op::ListUnfilled { dst: list, count: elements.len() as u32 });
        for (part_index, part) in elements.chunks(PART).enumerate() {
            let mark = self.mark();
            let first = self.registers(part.len());
            for (index, element) in part.iter().enumerate() {
                self.lazy(*element, first.plus(index), None, false);
            }
            let at = (part_index * PART) as u32;
            self.emit(Op::ListFill { dst: list, first, count: part.len() as u8, at });
            self.release(mark);
        }
        self.emit(Op::Move { dst, src: list });
    }
}
