//! Expressions, compiled in one of three ways.
//!
//! *operand*: a register that holds the value, or a thunk of it, once the operations have run;
//! *lazy*: a register with a value or thunk for a data structure or argument, evaluating nothing
//! unnecessarily; *tail*: the rest of the code, which ends by returning the value.

use super::op::{CodeIndex, ConstantIndex, Op, OpIndex, Reg, SiteIndex, WithIndex};
use super::{Compiler, Location, ScopeEntry};
use crate::compile::code::{Site, WithSite};
use crate::error::{Error, ErrorKind};
use crate::source::Span;
use crate::symbol::Symbol;
use crate::syntax::ast::{AttrName, AttrNameKind, BinaryOperator, Expr, ExprKind, PathKind, StringPart};
use crate::syntax::print::{PrintOptions, Style, print};
use crate::text::path::{join, normalise};
use crate::value::{Value, View};
use crate::vm::Builtin;

/// Depth up to which expressions may nest; the parser has a bound of its own.
const DEPTH_MAX: usize = 20_000;

/// Sets and lists with at most this many elements, all known, are made at once rather than
/// suspended.
const EAGER_LEN_MAX: usize = 8;

impl Compiler<'_> {
    /// Compiles the rest of the code, which returns the value of `expr`.
    pub(super) fn tail(&mut self, expr: Expr<'_>) {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.depth -= 1;
            self.too_deep(expr.span);
            return;
        }
        let mark = self.mark();
        match expr.kind {
            ExprKind::If { condition, then, otherwise } => {
                let jumps = self.jump_unless(*condition);
                self.tail(*then);
                jumps.into_iter().for_each(|at| self.patch_jump(at));
                self.tail(*otherwise);
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
    fn variable_register(&mut self, name: Symbol) -> Option<Reg> {
        match self.lookup(name)? {
            ScopeEntry { function, location: Location::Register(register) } => {
                Some(self.capture_from(function, register))
            }
            _ => None,
        }
    }

    /// Like [`Compiler::operand`], into a register of the caller's choice.
    pub(super) fn into(&mut self, expr: Expr<'_>, dst: Reg) {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.depth -= 1;
            self.too_deep(expr.span);
            return;
        }
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
            ExprKind::Interpolation(parts) => {
                let (first, numbers) = self.string_parts(parts, parts.len() <= u16::BITS as usize);
                self.emit_at(
                    expr.span,
                    match numbers {
                        0 => Op::Interpolate { dst, first, count: parts.len() as u32 },
                        _ => Op::InterpolateNumbers { dst, first, count: parts.len() as u16, numbers },
                    },
                );
            }
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
            ExprKind::If { condition, then, otherwise } => {
                let jumps = self.jump_unless(*condition);
                self.into(*then, dst);
                let end = self.emit(Op::Jump { target: OpIndex::UNPATCHED });
                jumps.into_iter().for_each(|at| self.patch_jump(at));
                self.into(*otherwise, dst);
                self.patch_jump(end);
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
            ExprKind::Binary { operator, left, right, operator_span } => {
                self.binary(*operator, *left, *right, *operator_span, expr.span, dst);
            }
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
    fn builtins_member(&self, subject: Expr<'_>, name: Symbol) -> Option<Value> {
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

    fn variable(&mut self, name: Symbol, span: Span, dst: Reg) {
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
        let wanted = String::from_utf8_lossy(name.name()).into_owned();
        let visible = self.names.iter().filter(|(_, entries)| !entries.is_empty()).map(|(name, _)| *name);
        let mut names: Vec<String> = visible
            .chain(self.file.globals.names.keys().copied())
            .map(|name| String::from_utf8_lossy(name.name()).into_owned())
            .collect();
        names.sort_unstable();
        let mut error = Error::new(ErrorKind::UndefinedVariable { name });
        if let Some(close) = crate::error::suggest(&wanted, names.iter().map(String::as_str)) {
            error = error.help(format!("did you mean `{close}`?"));
        }
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

    fn shadowed(&self, name: Symbol) -> bool {
        self.lookup(name).is_some()
    }

    fn call_shadowed(&mut self, name: Symbol, first: Reg, span: Span, dst: Reg) {
        let function = self.temporary();
        self.variable(name, span, function);
        self.emit_at(span, Op::Call { dst, function, first, count: 2 });
    }

    pub(super) fn site(&mut self, name: Symbol) -> SiteIndex {
        self.module.sites.push(Site::new(name));
        SiteIndex::new(self.module.sites.len() - 1)
    }

    fn with_site(&mut self, name: Symbol) -> Option<WithIndex> {
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

    /// Returns consecutive registers with the parts of a string; with `numbers`, also a bit for
    /// each part that may be an integer, which `toString` leaves for the string to write.
    fn string_parts(&mut self, parts: &[StringPart<'_>], numbers: bool) -> (Reg, u16) {
        let first = self.registers(parts.len());
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
                        let later = parts[index + 1..].iter().filter_map(|part| match part {
                            StringPart::Expr(later) => Some(*later),
                            StringPart::Text(_) => None,
                        });
                        self.force_before(*expr, dst, later);
                    }
                },
            }
        }
        (first, integers)
    }

    fn select(&mut self, subject: Expr<'_>, path: &[AttrName<'_>], default: Option<Expr<'_>>, dst: Reg) {
        if default.is_none()
            && let [AttrName { kind: AttrNameKind::Static(first), .. }, rest @ ..] = path
            && !rest.is_empty()
            && let Some(value) = self.builtins_member(subject, *first)
        {
            let index = self.constant(value);
            self.emit(Op::Const { dst, index });
            self.select_steps(dst, rest, dst);
            return;
        }
        let src = self.selected_from(subject, path);
        let Some(default) = default else {
            self.select_steps(src, path, dst);
            return;
        };
        let (_, jumps) = self.select_steps_else(src, path, dst);
        let end = self.emit(Op::Jump { target: OpIndex::UNPATCHED });
        jumps.into_iter().for_each(|at| self.patch_jump(at));
        self.into(default, dst);
        self.patch_jump(end);
    }

    /// Returns the set that `path` selects from, evaluated before a computed name.
    fn selected_from(&mut self, subject: Expr<'_>, path: &[AttrName<'_>]) -> Reg {
        match path {
            [AttrName { kind: AttrNameKind::Dynamic(name), .. }, ..] => self.operand_before(subject, *name),
            _ => self.operand(subject),
        }
    }

    /// Selects step by step. Returns the register of the last value, and for each step an unpatched
    /// jump that is taken when its name is missing.
    fn select_steps_else(&mut self, mut src: Reg, steps: &[AttrName<'_>], dst: Reg) -> (Reg, Vec<OpIndex>) {
        let mut jumps = Vec::new();
        for step in steps {
            match step.kind {
                AttrNameKind::Static(name) => {
                    let site = self.site(name);
                    self.emit_at(step.span, Op::SelectElse { dst, src, site });
                }
                AttrNameKind::Dynamic(expr) => {
                    let name = self.operand(expr);
                    self.emit_at(step.span, Op::SelectDynamicElse { dst, src, name });
                }
            }
            jumps.push(self.emit(Op::Jump { target: OpIndex::UNPATCHED }));
            src = dst;
        }
        (src, jumps)
    }

    fn select_steps(&mut self, src: Reg, path: &[AttrName<'_>], dst: Reg) {
        let mut src = src;
        for step in path {
            match step.kind {
                AttrNameKind::Static(name) => {
                    let site = self.site(name);
                    self.emit_at(step.span, Op::Select { dst, src, site });
                }
                AttrNameKind::Dynamic(expr) => {
                    let name = self.operand(expr);
                    self.emit_at(step.span, Op::SelectDynamic { dst, src, name });
                }
            }
            src = dst;
        }
    }

    fn has_attr(&mut self, subject: Expr<'_>, path: &[AttrName<'_>], dst: Reg) {
        let src = self.selected_from(subject, path);
        let Some((last, steps)) = path.split_last() else { return };
        let (src, jumps) = self.select_steps_else(src, steps, dst);
        match last.kind {
            AttrNameKind::Static(name) => {
                let site = self.site(name);
                self.emit_at(last.span, Op::Has { dst, src, site });
            }
            AttrNameKind::Dynamic(expr) => {
                let name = self.operand(expr);
                self.emit_at(last.span, Op::HasDynamic { dst, src, name });
            }
        }
        if !jumps.is_empty() {
            let end = self.emit(Op::Jump { target: OpIndex::UNPATCHED });
            jumps.into_iter().for_each(|at| self.patch_jump(at));
            let index = self.constant(Value::FALSE);
            self.emit(Op::Const { dst, index });
            self.patch_jump(end);
        }
    }

    /// Returns the builtin that `function` surely is, with its index in the table.
    fn known_builtin(&mut self, function: Expr<'_>) -> Option<(&'static Builtin, u16)> {
        let value = match function.kind {
            ExprKind::Variable(name) => match self.lookup(*name) {
                Some(ScopeEntry { location: Location::Constant(index), .. }) => self.module.constants[index.index()],
                Some(_) => return None,
                None => *self.file.globals.names.get(name)?,
            },
            ExprKind::Select { subject, path: [AttrName { kind: AttrNameKind::Static(name), .. }], default: None } => {
                self.builtins_member(*subject, *name)?
            }
            _ => return None,
        };
        let View::Builtin(index) = value.view() else { return None };
        Some((&self.file.globals.table[index], index as u16))
    }

    fn is_builtin_call(&mut self, function: Expr<'_>, arguments: &[Expr<'_>]) -> bool {
        arguments.len() > usize::from(u8::MAX)
            || self.known_builtin(function).is_some_and(|(builtin, _)| builtin.arity as usize <= arguments.len())
    }

    fn call(&mut self, function: Expr<'_>, arguments: &[Expr<'_>], span: Span, dst: Reg) {
        if let Some((builtin, id)) = self.known_builtin(function)
            && builtin.arity as usize <= arguments.len()
        {
            let (own, rest) = arguments.split_at(builtin.arity as usize);
            let first = self.arguments(own, builtin.strict);
            self.emit_at(span, Op::CallBuiltin { dst, first, id });
            if !rest.is_empty() {
                let first = self.arguments(rest, 0);
                self.emit_at(span, Op::Call { dst, function: dst, first, count: rest.len() as u8 });
            }
            return;
        }
        let mut function = self.operand(function);
        for part in arguments.chunks(usize::from(u8::MAX)) {
            let first = self.arguments(part, 0);
            self.emit_at(span, Op::Call { dst, function, first, count: part.len() as u8 });
            function = dst;
        }
    }

    /// Returns consecutive registers with arguments; `strict` has a bit for each that is surely
    /// evaluated.
    fn arguments(&mut self, arguments: &[Expr<'_>], strict: u8) -> Reg {
        let first = self.registers(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            let dst = first.plus(index);
            if index < 8 && strict >> index & 1 == 1 {
                self.into(*argument, dst);
                let later = (index + 1..arguments.len().min(8)).filter(|later| strict >> later & 1 == 1);
                self.force_before(*argument, dst, later.map(|later| arguments[later]));
            } else {
                self.lazy(*argument, dst, None, true);
            }
        }
        first
    }

    fn list(&mut self, elements: &[Expr<'_>], dst: Reg) {
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

    /// Returns unpatched jumps that are taken unless `condition` is true.
    fn jump_unless(&mut self, condition: Expr<'_>) -> Vec<OpIndex> {
        let mark = self.mark();
        let jumps = match condition.kind {
            ExprKind::Binary { operator: BinaryOperator::And, left, right, .. } => {
                let mut jumps = self.jump_unless(*left);
                jumps.extend(self.jump_unless(*right));
                jumps
            }
            ExprKind::Binary { operator: BinaryOperator::Equal, left, right, operator_span } => match right.kind {
                ExprKind::Int(value) if i32::try_from(*value).is_ok() => {
                    let a = self.operand(*left);
                    vec![self.emit_at(
                        *operator_span,
                        Op::JumpUnlessInt { a, value: *value as i32, target: OpIndex::UNPATCHED },
                    )]
                }
                _ => self.jump_unless_value(condition),
            },
            ExprKind::Binary { operator: BinaryOperator::Less, left, right, operator_span }
                if !self.shadowed(self.symbols.less_than) =>
            {
                let a = self.operand_before(*left, *right);
                let b = self.operand(*right);
                vec![self.emit_at(*operator_span, Op::JumpUnlessLess { a, b, target: OpIndex::UNPATCHED })]
            }
            ExprKind::Not(inner) => {
                let condition = self.operand(*inner);
                vec![self.emit_at(inner.span, Op::JumpIfTrue { condition, target: OpIndex::UNPATCHED })]
            }
            _ => self.jump_unless_value(condition),
        };
        self.release(mark);
        jumps
    }

    fn jump_unless_value(&mut self, condition: Expr<'_>) -> Vec<OpIndex> {
        let reg = self.operand(condition);
        vec![self.emit_at(condition.span, Op::JumpIfFalse { condition: reg, target: OpIndex::UNPATCHED })]
    }

    fn binary(
        &mut self,
        operator: BinaryOperator,
        left: Expr<'_>,
        right: Expr<'_>,
        operator_span: Span,
        span: Span,
        dst: Reg,
    ) {
        use BinaryOperator as B;
        match operator {
            B::And | B::Or | B::Implies => {
                // Not into `dst` itself, which may be a variable that the right side still reads.
                let result = self.temporary();
                self.into(left, result);
                let jump = match operator {
                    B::And => Op::JumpIfFalse { condition: result, target: OpIndex::UNPATCHED },
                    _ => Op::JumpIfTrue { condition: result, target: OpIndex::UNPATCHED },
                };
                let jump = self.emit_at(left.span, jump);
                if operator == B::Implies {
                    let index = self.constant(Value::TRUE);
                    self.emit(Op::Const { dst: result, index });
                    let end = self.emit(Op::Jump { target: OpIndex::UNPATCHED });
                    self.patch_jump(jump);
                    self.into(right, result);
                    self.emit_at(right.span, Op::CheckBool { reg: result });
                    self.patch_jump(end);
                } else {
                    self.into(right, result);
                    self.emit_at(right.span, Op::CheckBool { reg: result });
                    self.patch_jump(jump);
                }
                self.emit(Op::Move { dst, src: result });
                return;
            }
            B::PipeInto | B::PipeFrom => {
                let (function, argument) = if operator == B::PipeInto { (right, left) } else { (left, right) };
                self.call(function, &[argument], span, dst);
                return;
            }
            _ => {}
        }
        let shadow = match operator {
            B::Subtract => Some(self.symbols.sub),
            B::Multiply => Some(self.symbols.mul),
            B::Divide => Some(self.symbols.div),
            B::Less | B::LessOrEqual | B::Greater | B::GreaterOrEqual => Some(self.symbols.less_than),
            _ => None,
        };
        if let Some(name) = shadow.filter(|&name| self.shadowed(name)) {
            let swap = matches!(operator, B::Greater | B::LessOrEqual);
            let (left, right) = if swap { (right, left) } else { (left, right) };
            let first = self.registers(2);
            self.lazy(left, first, None, true);
            self.lazy(right, first.plus(1), None, true);
            self.call_shadowed(name, first, span, dst);
            if matches!(operator, B::LessOrEqual | B::GreaterOrEqual) {
                self.emit_at(span, Op::Not { dst, src: dst });
            }
            return;
        }
        if let (ExprKind::Int(value), B::Add | B::Subtract) = (right.kind, operator)
            && let Ok(value) = i32::try_from(if operator == B::Add { *value } else { value.wrapping_neg() })
            && value != i32::MIN
        {
            let a = self.operand(left);
            if operator == B::Add {
                self.emit_at(operator_span, Op::AddInt { dst, a, value });
            } else {
                self.emit_at(operator_span, Op::SubtractInt { dst, a, value: -value });
            }
            return;
        }
        // As in Nix, where `a > b` is `b < a`, and `//` evaluates its right side first.
        let swap = matches!(operator, B::Greater | B::LessOrEqual | B::Update);
        let (first, second) = if swap { (right, left) } else { (left, right) };
        let a = self.operand_before(first, second);
        let b = self.operand(second);
        let op = match operator {
            B::Add => Op::Add { dst, a, b },
            B::Subtract => Op::Subtract { dst, a, b },
            B::Multiply => Op::Multiply { dst, a, b },
            B::Divide => Op::Divide { dst, a, b },
            B::Equal => Op::Equal { dst, a, b },
            B::NotEqual => Op::NotEqual { dst, a, b },
            B::Less | B::Greater => Op::Less { dst, a, b },
            B::LessOrEqual | B::GreaterOrEqual => Op::NotLess { dst, a, b },
            B::Update => Op::Update { dst, a: b, b: a },
            B::Concat => Op::Concat { dst, a, b },
            B::And | B::Or | B::Implies | B::PipeInto | B::PipeFrom => return,
        };
        self.emit_at(operator_span, op);
    }

    /// Returns true when `expr` is known without evaluating anything, so that a set or list of such
    /// can be made at once.
    fn is_known(&mut self, expr: Expr<'_>) -> bool {
        match expr.kind {
            ExprKind::Variable(name) => match self.lookup(*name) {
                Some(entry) => !matches!(entry.location, Location::Member { .. }),
                None => self.file.globals.names.contains_key(name),
            },
            _ => self.constant_of(expr).is_some(),
        }
    }

    /// Puts `expr` into `dst` without evaluating it: its value, if known; else a thunk.
    ///
    /// `name` is the name it is bound to; `needed` says that the value will most likely be forced.
    pub(super) fn lazy(&mut self, expr: Expr<'_>, dst: Reg, name: Option<Symbol>, needed: bool) {
        if let Some(index) = self.constant_of(expr) {
            self.emit(Op::Const { dst, index });
            return;
        }
        let mark = self.mark();
        match expr.kind {
            ExprKind::Variable(variable) => match self.lookup(*variable) {
                Some(ScopeEntry { location: Location::Register(_), .. }) => self.variable(*variable, expr.span, dst),
                Some(_) => self.suspend(expr, dst, name),
                None => {
                    if let Some(site) = self.with_site(*variable) {
                        self.emit(Op::SpecWith { dst, site });
                    }
                    self.suspend(expr, dst, name);
                }
            },
            ExprKind::Lambda(lambda) => self.lambda(lambda, expr.span, name, dst),
            ExprKind::Attrs(bindings)
                if !bindings.recursive
                    && bindings.dynamics.is_empty()
                    && (needed && bindings.statics.len() <= 32
                        || bindings.statics.len() <= EAGER_LEN_MAX && self.all_known(bindings)) =>
            {
                self.attrs(bindings, expr.span, dst);
            }
            ExprKind::List(elements)
                if needed && elements.len() <= 32
                    || elements.len() <= EAGER_LEN_MAX && elements.iter().all(|&element| self.is_known(element)) =>
            {
                self.list(elements, dst);
            }
            _ => {
                self.speculate(expr, dst);
                self.suspend(expr, dst, name);
            }
        }
        self.release(mark);
    }

    fn all_known(&mut self, bindings: &crate::syntax::ast::Bindings<'_>) -> bool {
        use crate::syntax::ast::BindingValue;
        bindings.statics.iter().all(|binding| match binding.value {
            BindingValue::Expr(expr) => self.is_known(expr),
            BindingValue::Inherit => self.lookup(binding.name).is_some(),
            BindingValue::InheritFrom(_) => false,
        })
    }

    /// Returns the register of an operand that has one already, for an operation that is only
    /// tried.
    fn ready_register(&mut self, expr: Expr<'_>) -> Option<Reg> {
        let ExprKind::Variable(name) = expr.kind else { return None };
        self.variable_register(*name)
    }

    /// Emits an operation that finds the value at once when its operands are known, before the
    /// thunk for the other case.
    fn speculate(&mut self, expr: Expr<'_>, dst: Reg) {
        match expr.kind {
            ExprKind::Select { subject, path: [AttrName { kind: AttrNameKind::Static(name), .. }], default: None } => {
                if let Some(src) = self.ready_register(*subject) {
                    let site = self.site(*name);
                    self.emit(Op::SpecSelect { dst, src, site });
                }
            }
            ExprKind::Binary { operator, left, right, .. } => {
                let shadow = match operator {
                    BinaryOperator::Add => None,
                    BinaryOperator::Subtract => Some(self.symbols.sub),
                    BinaryOperator::Multiply => Some(self.symbols.mul),
                    _ => return,
                };
                if shadow.is_some_and(|name| self.shadowed(name)) {
                    return;
                }
                let Some(a) = self.ready_register(*left) else { return };
                if let ExprKind::Int(value) = right.kind
                    && let Ok(value) = i32::try_from(*value)
                    && value != i32::MIN
                {
                    match operator {
                        BinaryOperator::Add => self.emit(Op::SpecAddInt { dst, a, value }),
                        BinaryOperator::Subtract => self.emit(Op::SpecAddInt { dst, a, value: -value }),
                        _ => self.emit(Op::SpecMulInt { dst, a, value }),
                    };
                } else if let Some(b) = self.ready_register(*right) {
                    match operator {
                        BinaryOperator::Add => self.emit(Op::SpecAdd { dst, a, b }),
                        BinaryOperator::Subtract => self.emit(Op::SpecSub { dst, a, b }),
                        _ => self.emit(Op::SpecMul { dst, a, b }),
                    };
                }
            }
            _ => {}
        }
    }

    /// Makes a thunk of `expr`.
    fn suspend(&mut self, expr: Expr<'_>, dst: Reg, name: Option<Symbol>) {
        let code = self.thunk_code(expr, name);
        self.emit(Op::Thunk { dst, code });
    }

    /// Compiles `expr` as the code of a thunk.
    pub(super) fn thunk_code(&mut self, expr: Expr<'_>, name: Option<Symbol>) -> CodeIndex {
        match self.postpone(expr, 0, name, |_| Vec::new()) {
            Some(code) => code,
            None => self.thunk_now(expr, name),
        }
    }

    /// Compiles `expr` as the code of a thunk at once.
    pub(super) fn thunk_now(&mut self, expr: Expr<'_>, name: Option<Symbol>) -> CodeIndex {
        self.begin_function(0);
        self.tail(expr);
        let pos = self.pos(expr.span);
        self.finish_function(0, None, name, pos, Vec::new())
    }
}
