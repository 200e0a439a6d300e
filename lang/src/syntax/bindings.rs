//! The inside of `{ … }` and `let … in`: bindings, and merging of those that name parts of one set.
//!
//! `a.b = 1; a.c = 2;` is `a = { b = 1; c = 2; };`, and so is `a = { b = 1; }; a.c = 2;`. Two sets
//! merge in either notation, and so do the sets within them; the result is `rec` if the first of
//! them is. Any other name that is defined twice is a mistake, reported with both spans.

use super::ast::*;
use super::error::{SyntaxError, excerpt};
use super::parser::{Parser, STACK_RESERVE, STACK_SEGMENT};
use super::print;
use super::token::TokenKind;
use crate::source::Span;
use crate::symbol::Symbol;
use bumpalo::Bump;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// One binding as written.
#[derive(Debug, Clone, Copy)]
pub struct WrittenBinding<'a> {
    path: &'a [AttrName<'a>],
    value: BindingValue<'a>,
}

impl<'a> WrittenBinding<'a> {
    /// Returns the span reported for step `index` of the path: as in Nix, it begins with the whole
    /// path.
    fn span(&self, index: usize) -> Span {
        self.path[0].span.to(self.path[index].span)
    }
}

/// Up to this many names are compared one by one, without a table.
const FEW: usize = 12;

impl<'a> Parser<'a> {
    /// Parses bindings up to `close`, which the caller takes.
    pub fn bindings(&mut self, recursive: bool, close: TokenKind) -> &'a Bindings<'a> {
        let base = self.entries.len();
        loop {
            let kind = self.kind();
            if kind == close || kind == TokenKind::End {
                break;
            }
            let before = self.position();
            match kind {
                TokenKind::Inherit => self.inherit(),
                TokenKind::Identifier | TokenKind::OrWord | TokenKind::StringOpen | TokenKind::DollarBrace => {
                    self.binding()
                }
                _ => {
                    self.unexpected(match close {
                        TokenKind::In => "an attribute name, `inherit` or `in`",
                        _ => "an attribute name, `inherit` or `}`",
                    });
                    self.skip_to(&[TokenKind::Semicolon, close]);
                    if self.take_if(TokenKind::Semicolon).is_none() && self.kind() != close {
                        break;
                    }
                }
            }
            if self.position() == before {
                break;
            }
        }
        let bindings = self.collect(base, recursive);
        self.entries.truncate(base);
        bindings
    }

    fn binding(&mut self) {
        let path = self.attr_path();
        if self.expect(TokenKind::Assign, "`.` or `=`").is_none() {
            self.recover();
            return;
        }
        // Each step of the path is one level of the tree.
        let steps = path.len() as u32;
        if self.deeper(steps) {
            let value = self.expr();
            self.shallower(steps);
            if !path.is_empty() {
                self.entries.push(WrittenBinding { path, value: BindingValue::Expr(value) });
            }
        }
        self.end_of_binding();
    }

    fn end_of_binding(&mut self) {
        if self.expect(TokenKind::Semicolon, "`;`").is_none() {
            self.recover();
        }
    }

    /// Skips to after the next `;` of this set.
    fn recover(&mut self) {
        self.skip_to(&[TokenKind::Semicolon, TokenKind::In]);
        self.take_if(TokenKind::Semicolon);
    }

    fn inherit(&mut self) {
        self.take();
        let mut value = BindingValue::Inherit;
        if self.take_if(TokenKind::LeftParen).is_some() {
            value = BindingValue::InheritFrom(self.expr());
            if self.expect(TokenKind::RightParen, "`)`").is_none() {
                self.skip_to(&[TokenKind::RightParen, TokenKind::Semicolon]);
                self.take_if(TokenKind::RightParen);
            }
        }
        while let Some(name) = self.attr_name() {
            match name.kind {
                AttrNameKind::Static(_) => {
                    let path = self.arena.alloc_slice_copy(&[name]);
                    self.entries.push(WrittenBinding { path, value });
                }
                AttrNameKind::Dynamic(_) => {
                    let message = "dynamic attributes are not allowed in `inherit`";
                    let error = SyntaxError::new("dynamic_in_inherit", name.span, message);
                    self.report(error.help("bind it: `${name} = set.${name};`"));
                }
            }
        }
        if self.expect(TokenKind::Semicolon, "an attribute name or `;`").is_none() {
            self.recover();
        }
    }

    /// Makes the set of the entries from `base` on.
    fn collect(&mut self, base: usize, recursive: bool) -> &'a Bindings<'a> {
        if self.is_plain(base) {
            let arena = self.arena;
            let statics = arena.alloc_slice_fill_iter(self.entries[base..].iter().map(|entry| Binding {
                name: static_name(&entry.path[0]).expect("is_plain() looked at every name"),
                value: entry.value,
                span: entry.path[0].span,
            }));
            return arena.alloc(Bindings { recursive, verbatim: true, statics, dynamics: &[] });
        }
        let mut set = Set { recursive, ..Set::default() };
        let entries = self.entries.split_off(base);
        for entry in &entries {
            if let Err(duplicate) = set.add(entry) {
                self.report(duplicate);
            }
        }
        let arena = self.arena;
        arena.alloc(Bindings { verbatim: true, ..set.finish(arena) })
    }

    /// Returns true when the entries from `base` on are single static names, each once.
    fn is_plain(&self, base: usize) -> bool {
        let entries = &self.entries[base..];
        if !entries.iter().all(|entry| entry.path.len() == 1 && static_name(&entry.path[0]).is_some()) {
            return false;
        }
        let names = || entries.iter().filter_map(|entry| static_name(&entry.path[0]));
        if entries.len() <= FEW {
            return names().enumerate().all(|(index, name)| names().take(index).all(|before| before != name));
        }
        let mut seen = hashbrown::HashSet::with_capacity_and_hasher(entries.len(), FxBuildHasher);
        names().all(|name| seen.insert(name))
    }
}

fn static_name(name: &AttrName<'_>) -> Option<Symbol> {
    match name.kind {
        AttrNameKind::Static(name) => Some(name),
        AttrNameKind::Dynamic(_) => None,
    }
}

/// A set that can still grow.
#[derive(Default)]
struct Set<'a> {
    recursive: bool,
    statics: Vec<(Symbol, Span, Value<'a>)>,
    dynamics: Vec<(Expr<'a>, Span, Value<'a>)>,
    /// Index in `statics` by name, once there are more than a few.
    by_name: HashMap<Symbol, usize, FxBuildHasher>,
}

enum Value<'a> {
    Done(BindingValue<'a>),
    Set { set: Box<Set<'a>>, span: Span },
}

impl<'a> Value<'a> {
    /// Returns the set, opened for growing if it was complete; `None` for other values.
    fn open(&mut self) -> Option<&mut Set<'a>> {
        if let Value::Done(BindingValue::Expr(Expr { kind: ExprKind::Attrs(bindings), span })) = *self {
            *self = Value::Set { set: Box::new(Set::reopen(bindings)), span };
        }
        match self {
            Value::Set { set, .. } => Some(set),
            Value::Done(_) => None,
        }
    }
}

impl<'a> Set<'a> {
    fn reopen(bindings: &Bindings<'a>) -> Set<'a> {
        let mut set = Set { recursive: bindings.recursive, ..Set::default() };
        for binding in bindings.statics {
            set.insert(binding.name, binding.span, Value::Done(binding.value));
        }
        for dynamic in bindings.dynamics {
            set.dynamics.push((dynamic.name, dynamic.span, Value::Done(BindingValue::Expr(dynamic.value))));
        }
        set
    }

    fn find(&self, name: Symbol) -> Option<usize> {
        if self.by_name.is_empty() {
            self.statics.iter().position(|&(other, ..)| other == name)
        } else {
            self.by_name.get(&name).copied()
        }
    }

    fn insert(&mut self, name: Symbol, span: Span, value: Value<'a>) -> usize {
        let index = self.statics.len();
        self.statics.push((name, span, value));
        if index == FEW {
            self.by_name = self.statics.iter().enumerate().map(|(index, &(name, ..))| (name, index)).collect();
        } else if index > FEW {
            self.by_name.insert(name, index);
        }
        index
    }

    fn add(&mut self, entry: &WrittenBinding<'a>) -> Result<(), SyntaxError> {
        let mut set = self;
        let last = entry.path.len() - 1;
        for (index, step) in entry.path[..last].iter().enumerate() {
            let span = entry.span(index);
            let nested = || Value::Set { set: Box::default(), span: entry.span(last) };
            let value = match step.kind {
                AttrNameKind::Static(name) => {
                    let place = set.find(name).unwrap_or_else(|| set.insert(name, span, nested()));
                    let (_, first, value) = &mut set.statics[place];
                    let first = *first;
                    match value.open() {
                        Some(set) => Ok(set),
                        None => Err(first),
                    }
                }
                AttrNameKind::Dynamic(expr) => {
                    set.dynamics.push((expr, span, nested()));
                    let (_, first, value) = set.dynamics.last_mut().expect("pushed on the line before");
                    value.open().ok_or(*first)
                }
            };
            set = value.map_err(|first| duplicate(&entry.path[..=index], first, span))?;
        }
        let span = entry.span(last);
        match entry.path[last].kind {
            AttrNameKind::Static(name) => set.define(name, span, entry.value, entry.path)?,
            AttrNameKind::Dynamic(expr) => set.dynamics.push((expr, span, Value::Done(entry.value))),
        }
        Ok(())
    }

    /// Defines a name, or merges its value with the set that it has. `path` leads to the name, for
    /// errors.
    fn define(
        &mut self,
        name: Symbol,
        span: Span,
        value: BindingValue<'a>,
        path: &[AttrName<'a>],
    ) -> Result<(), SyntaxError> {
        let Some(place) = self.find(name) else {
            self.insert(name, span, Value::Done(value));
            return Ok(());
        };
        let (_, first, target) = &mut self.statics[place];
        let first = *first;
        match (value, target.open()) {
            (BindingValue::Expr(Expr { kind: ExprKind::Attrs(more), .. }), Some(target)) => {
                stacker::maybe_grow(STACK_RESERVE, STACK_SEGMENT, || target.merge(more, path))
            }
            _ => Err(duplicate(path, first, span)),
        }
    }

    /// Adds all bindings of a set written in braces.
    fn merge(&mut self, more: &Bindings<'a>, path: &[AttrName<'a>]) -> Result<(), SyntaxError> {
        let mut path = path.to_vec();
        for binding in more.statics {
            path.push(AttrName { kind: AttrNameKind::Static(binding.name), span: binding.span });
            self.define(binding.name, binding.span, binding.value, &path)?;
            path.pop();
        }
        for dynamic in more.dynamics {
            self.dynamics.push((dynamic.name, dynamic.span, Value::Done(BindingValue::Expr(dynamic.value))));
        }
        Ok(())
    }

    fn finish(self, arena: &'a Bump) -> Bindings<'a> {
        let statics = self.statics.into_iter().map(|(name, span, value)| {
            let value = match value {
                Value::Done(value) => value,
                value => BindingValue::Expr(finish_value(value, arena)),
            };
            Binding { name, value, span }
        });
        let statics: Vec<_> = statics.collect();
        let dynamics = self.dynamics.into_iter();
        let dynamics: Vec<_> = dynamics
            .map(|(name, span, value)| DynamicBinding { name, value: finish_value(value, arena), span })
            .collect();
        Bindings {
            recursive: self.recursive,
            verbatim: false,
            statics: arena.alloc_slice_copy(&statics),
            dynamics: arena.alloc_slice_copy(&dynamics),
        }
    }
}

fn finish_value<'a>(value: Value<'a>, arena: &'a Bump) -> Expr<'a> {
    match value {
        Value::Done(BindingValue::Expr(expr)) => expr,
        Value::Done(_) => unreachable!("only a static binding inherits"),
        Value::Set { set, span } => {
            let bindings = arena.alloc(stacker::maybe_grow(STACK_RESERVE, STACK_SEGMENT, || set.finish(arena)));
            Expr { kind: arena.alloc(ExprKind::Attrs(bindings)), span }
        }
    }
}

fn duplicate(path: &[AttrName<'_>], first: Span, second: Span) -> SyntaxError {
    let names: Vec<String> = path
        .iter()
        .map(|step| match step.kind {
            AttrNameKind::Static(name) => print::name(excerpt(name.name()).as_bytes()),
            AttrNameKind::Dynamic(_) => "${…}".into(),
        })
        .collect();
    SyntaxError::new("duplicate_attribute", second, format!("attribute '{}' already defined", names.join(".")))
        .label(first, "first defined here")
        .label(second, "and again here")
}
