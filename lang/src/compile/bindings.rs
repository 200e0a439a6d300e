//! Sets, `let` and recursion.
//!
//! The members of a recursive group refer to one another by register. Their code is compiled first,
//! which yields the captures; members that are captured before their turn are allocated up front
//! and filled later, the others are made in one operation.

use super::op::{CodeIndex, ConstantIndex, Op, Reg, ShapeIndex};
use super::{Compiler, Location, ScopeEntry};
use crate::source::{Pos, Span};
use crate::symbol::Symbol;
use crate::syntax::ast::{Binding, BindingValue, Bindings, DynamicBinding, Expr, ExprKind};
use crate::value::attrs::Shape;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Computed names that are added to a set at a time; each time the set is made again.
const DYNAMIC_PART: usize = 1024;

/// Results of the expressions of `inherit (set) …`, by address.
type Froms<T> = HashMap<*const (), T, FxBuildHasher>;

/// Names that end with a scope.
pub(super) struct OpenScope(Vec<Symbol>);

/// One member of a recursive group.
struct Member {
    register: Reg,
    code: CodeIndex,
    is_lambda: bool,
    /// Register and name of a selection whose value may be known at once.
    select: Option<(Reg, Symbol)>,
}

/// Consecutive registers for the values of a set.
struct SetBlock {
    shape: ShapeIndex,
    first: Reg,
    registers: HashMap<Symbol, Reg, FxBuildHasher>,
}

/// Location of the set of an `inherit (set) …`.
#[derive(Clone, Copy)]
enum InheritSource {
    Register(Reg),
    Constant(ConstantIndex),
}

/// Returns the address of an expression, as a key.
fn identity(expr: Expr<'_>) -> *const () {
    std::ptr::from_ref(expr.kind).cast()
}

/// Returns the members of a recursive group that are another name for one, as in `let a = b; b = …`,
/// with the member that they lead to: both are one value, which `==` can notice. Members that lead
/// back to themselves are no aliases.
fn aliases(bindings: &Bindings<'_>) -> HashMap<Symbol, Symbol, FxBuildHasher> {
    let variable = |binding: &Binding<'_>| match binding.value {
        BindingValue::Expr(Expr { kind: ExprKind::Variable(target), .. }) => Some((binding.name, *target)),
        _ => None,
    };
    let mut next: HashMap<Symbol, Symbol, FxBuildHasher> = bindings.statics.iter().filter_map(variable).collect();
    if next.is_empty() {
        return next;
    }
    let group: hashbrown::HashSet<Symbol, FxBuildHasher> =
        bindings.statics.iter().map(|binding| binding.name).collect();
    next.retain(|_, target| group.contains(target));
    let others = bindings.statics.iter().map(|binding| binding.name).filter(|name| !next.contains_key(name));
    let others: hashbrown::HashSet<Symbol, FxBuildHasher> = others.collect();
    // For each name on a path that was followed already, the end of the path.
    let mut ends: HashMap<Symbol, Option<Symbol>, FxBuildHasher> = HashMap::default();
    let mut path = Vec::new();
    for &alias in next.keys() {
        let mut at = alias;
        let end = loop {
            if others.contains(&at) {
                break Some(at);
            }
            match (ends.get(&at), next.get(&at)) {
                (Some(&end), _) => break end,
                // A variable of an enclosing scope.
                (None, None) => break None,
                (None, Some(&target)) => {
                    // Until its end is known, a name on the path leads to itself.
                    ends.insert(at, None);
                    path.push(at);
                    at = target;
                }
            }
        };
        for name in path.drain(..) {
            ends.insert(name, end);
        }
    }
    ends.into_iter().filter_map(|(alias, end)| Some((alias, end?))).collect()
}

impl Compiler<'_> {
    /// Makes the bindings of a `let` and brings them into scope.
    pub(super) fn open_bindings(&mut self, bindings: &Bindings<'_>) -> OpenScope {
        let scope = self.open_group(bindings, None);
        // `let ${"a"} = …` is not allowed by the parser; only sets have dynamic names.
        debug_assert!(bindings.dynamics.is_empty());
        scope
    }

    pub(super) fn close_bindings(&mut self, scope: OpenScope) {
        self.undefine(scope.0);
    }

    /// Brings recursive bindings into scope. `block` returns the register that the value of a
    /// binding has to be in, if any.
    fn open_group(&mut self, bindings: &Bindings<'_>, block: Option<&dyn Fn(Symbol) -> Reg>) -> OpenScope {
        let depth = self.functions.len() - 1;
        let mut defined = Vec::with_capacity(bindings.statics.len());
        let mut entries: Vec<(Symbol, ScopeEntry)> = Vec::with_capacity(bindings.statics.len());
        let mut rest: Vec<(&Binding<'_>, Reg)> = Vec::new();
        let aliases = aliases(bindings);
        let group_names: Option<hashbrown::HashSet<Symbol, FxBuildHasher>> =
            Some(bindings.statics.iter().map(|binding| binding.name).collect());
        let in_group = |name: &Symbol| group_names.as_ref().is_some_and(|names| names.contains(name));

        // Values that are known without evaluating, or from outside the group, need no member.
        for binding in bindings.statics {
            let place = match binding.value {
                BindingValue::Inherit => match self.lookup(binding.name) {
                    Some(entry @ ScopeEntry { location: Location::Register(_) | Location::Constant(_), .. }) => {
                        Some(entry)
                    }
                    _ => {
                        let dst = block.map_or_else(|| self.temporary(), |block| block(binding.name));
                        let name = ExprKind::Variable(binding.name);
                        self.lazy(Expr { kind: &name, span: binding.span }, dst, None, false);
                        Some(ScopeEntry { function: depth, location: Location::Register(dst) })
                    }
                },
                BindingValue::Expr(Expr { kind: ExprKind::Variable(name), .. }) if !in_group(name) => {
                    match self.lookup(*name) {
                        Some(entry @ ScopeEntry { location: Location::Register(_) | Location::Constant(_), .. }) => {
                            Some(entry)
                        }
                        Some(_) => None,
                        None => self.file.globals.names.get(name).copied().map(|value| {
                            let index = self.constant(value);
                            ScopeEntry { function: depth, location: Location::Constant(index) }
                        }),
                    }
                }
                BindingValue::Expr(expr) if !matches!(expr.kind, ExprKind::Variable(_)) => match expr.kind {
                    // `builtins` itself may be a member of the group.
                    ExprKind::Select { .. } if in_group(&self.symbols.builtins) => None,
                    ExprKind::Select { subject: Expr { kind: ExprKind::Variable(name), .. }, .. } if in_group(name) => {
                        None
                    }
                    _ => self
                        .unsuspended_constant(expr)
                        .map(|index| ScopeEntry { function: depth, location: Location::Constant(index) }),
                },
                _ if aliases.contains_key(&binding.name) => continue,
                _ => None,
            };
            match place {
                Some(entry) => entries.push((binding.name, entry)),
                None => rest.push((binding, Reg::FIRST)),
            }
        }
        if let Some(block) = block {
            for &(name, entry) in &entries {
                let dst = block(name);
                match entry.location {
                    Location::Constant(index) => {
                        self.emit(Op::Const { dst, index });
                    }
                    Location::Register(register) => {
                        let src = self.capture_from(entry.function, register);
                        if src != dst {
                            self.emit(Op::Move { dst, src });
                        }
                    }
                    Location::Member { .. } => unreachable!("members are never aliased"),
                }
            }
        }
        for (name, entry) in entries {
            self.names.entry(name).or_default().push(entry);
            defined.push(name);
        }
        for (binding, register) in &mut rest {
            *register = block.map_or_else(|| self.temporary(), |block| block(binding.name));
            self.define(binding.name, Location::Register(*register));
            defined.push(binding.name);
        }
        // The group has its own names now, so an alias is where its target is.
        for (&alias, target) in &aliases {
            let entry = self.lookup(*target).expect("the target of an alias is a member of its group");
            self.names.entry(alias).or_default().push(entry);
            defined.push(alias);
        }
        self.members(&rest);
        if let Some(block) = block {
            for (&alias, &target) in &aliases {
                self.variable(target, Span::default(), block(alias));
            }
        }
        OpenScope(defined)
    }

    /// Makes the members of a recursive group, whose names are in scope.
    fn members(&mut self, bindings: &[(&Binding<'_>, Reg)]) {
        let mut members: Vec<Member> = Vec::with_capacity(bindings.len());
        let mut froms: Froms<InheritSource> = Froms::default();
        let mut later: Vec<Op> = Vec::new();
        for &(binding, _) in bindings {
            let BindingValue::InheritFrom(expr) = binding.value else { continue };
            if froms.contains_key(&identity(expr)) {
                continue;
            }
            let from = if let Some(index) = self.unsuspended_constant(expr) {
                InheritSource::Constant(index)
            } else if let ExprKind::Variable(name) = expr.kind
                && let Some(ScopeEntry { function, location: Location::Register(register) }) = self.lookup(*name)
            {
                InheritSource::Register(self.capture_from(function, register))
            } else {
                let register = self.temporary();
                let code = self.thunk_code(expr, None);
                members.push(Member { register, code, is_lambda: false, select: None });
                InheritSource::Register(register)
            };
            froms.insert(identity(expr), from);
        }
        // Inherited names first, so that the others see which are constants and which are known
        // early.
        let inherited = bindings.iter().filter(|(binding, _)| matches!(binding.value, BindingValue::InheritFrom(_)));
        let own = bindings.iter().filter(|(binding, _)| !matches!(binding.value, BindingValue::InheritFrom(_)));
        for &(binding, register) in inherited.chain(own) {
            match binding.value {
                BindingValue::Expr(Expr { kind: ExprKind::Lambda(lambda), span }) if !self.file.exact_thunks => {
                    let code = self.lambda_code(lambda, span, Some(binding.name));
                    members.push(Member { register, code, is_lambda: true, select: None });
                }
                BindingValue::Expr(expr) => {
                    let select = match expr.kind {
                        ExprKind::Select {
                            subject: Expr { kind: ExprKind::Variable(variable), .. },
                            path: [name],
                            default: None,
                        } => match (self.lookup(*variable), name.kind) {
                            (
                                Some(ScopeEntry { function, location: Location::Register(register) }),
                                crate::syntax::ast::AttrNameKind::Static(name),
                            ) => Some((self.capture_from(function, register), name)),
                            _ => None,
                        },
                        _ => None,
                    };
                    let code = self.thunk_code(expr, Some(binding.name));
                    members.push(Member { register, code, is_lambda: false, select });
                }
                BindingValue::InheritFrom(expr) => {
                    match froms.get(&identity(expr)).copied().expect("every `inherit (…)` was visited above") {
                        InheritSource::Constant(index) => {
                            // A member of a constant set, such as `builtins`.
                            let value =
                                self.module.constants[index.index()].as_attrs().and_then(|set| set.get(binding.name));
                            if let Some(value) = value.filter(|_| !self.file.exact_thunks) {
                                let index = self.constant(value);
                                self.undefine([binding.name]);
                                self.define(binding.name, Location::Constant(index));
                                later.push(Op::Const { dst: register, index });
                            } else {
                                let code = self.select_code(InheritSource::Constant(index), binding.name, binding.span);
                                members.push(Member { register, code, is_lambda: false, select: None });
                            }
                        }
                        InheritSource::Register(from) => {
                            let code = self.select_code(InheritSource::Register(from), binding.name, binding.span);
                            let select = Some((from, binding.name));
                            members.push(Member { register, code, is_lambda: false, select });
                        }
                    }
                }
                BindingValue::Inherit => unreachable!("inherited variables are aliases"),
            }
        }
        // Constants first: members compiled before these were known to be constant capture their
        // registers.
        for op in later {
            self.emit(op);
        }
        let position: HashMap<Reg, usize, FxBuildHasher> =
            members.iter().enumerate().map(|(index, member)| (member.register, index)).collect();
        let mut early = vec![false; members.len()];
        for (index, member) in members.iter().enumerate() {
            for register in self.captures_of(member.code) {
                if let Some(&at) = position.get(register)
                    && at >= index
                {
                    early[at] = true;
                }
            }
        }
        for (member, _) in members.iter().zip(&early).filter(|(_, early)| **early) {
            let (dst, code) = (member.register, member.code);
            self.emit(if member.is_lambda { Op::AllocLambda { dst, code } } else { Op::AllocThunk { dst, code } });
        }
        for (index, member) in members.iter().enumerate() {
            let (dst, code) = (member.register, member.code);
            match (early[index], member.is_lambda) {
                (true, true) => self.emit(Op::FillLambda { dst, code }),
                (true, false) => self.emit(Op::FillThunk { dst, code }),
                (false, true) => self.emit(Op::Lambda { dst, code }),
                (false, false) => {
                    if let Some((src, name)) = member.select
                        && !self.file.exact_thunks
                        && position.get(&src).is_none_or(|&at| at < index)
                    {
                        let site = self.site(name);
                        self.emit(Op::SpecSelect { dst, src, site });
                    }
                    self.emit(Op::Thunk { dst, code })
                }
            };
        }
    }

    /// Returns the code of a thunk that selects one name, from a register of the enclosing function
    /// or a constant.
    fn select_code(&mut self, from: InheritSource, name: Symbol, span: Span) -> CodeIndex {
        self.begin_function(0);
        let dst = self.temporary();
        let src = match from {
            InheritSource::Register(register) => self.capture_from(self.functions.len() - 2, register),
            InheritSource::Constant(index) => {
                self.emit(Op::Const { dst, index });
                dst
            }
        };
        let site = self.site(name);
        self.emit_at(span, Op::Select { dst, src, site });
        self.emit_at(span, Op::Return { src: dst });
        let pos = self.pos(span);
        self.finish_function(0, None, Some(name), pos, Vec::new())
    }

    fn shape(&mut self, sorted: &[(Symbol, Pos)]) -> ShapeIndex {
        self.module.shapes.push(Shape::new(sorted.len(), sorted.iter().copied()));
        ShapeIndex::new(self.module.shapes.len() - 1)
    }

    pub(super) fn attrs(&mut self, bindings: &Bindings<'_>, span: Span, dst: Reg) {
        if bindings.recursive {
            self.recursive_attrs(bindings, span, dst);
            return;
        }
        let mut statics: Vec<&Binding<'_>> = bindings.statics.iter().collect();
        statics.sort_unstable_by_key(|binding| binding.name);
        let names: Vec<(Symbol, Pos)> = statics.iter().map(|binding| (binding.name, self.pos(binding.span))).collect();
        let shape = self.shape(&names);
        let mut froms: Froms<Reg> = Froms::default();
        for binding in bindings.statics {
            if let BindingValue::InheritFrom(expr) = binding.value
                && !froms.contains_key(&identity(expr))
            {
                let register = self.temporary();
                self.lazy(expr, register, None, false);
                froms.insert(identity(expr), register);
            }
        }
        const PART: usize = 64;
        let set = self.temporary();
        let whole = statics.len() <= PART;
        if !whole {
            self.emit(Op::AttrsUnfilled { dst: set, shape });
        }
        for (part_index, part) in statics.chunks(PART).enumerate() {
            let mark = self.mark();
            let first = self.registers(part.len());
            for (index, binding) in part.iter().enumerate() {
                self.binding_value(binding, &froms, first.plus(index));
            }
            if whole {
                self.emit(Op::Attrs { dst: set, first, shape });
            } else {
                let at = (part_index * PART) as u32;
                self.emit(Op::AttrsFill { dst: set, first, count: part.len() as u8, shape, at });
            }
            self.release(mark);
        }
        if statics.is_empty() {
            self.emit(Op::Attrs { dst: set, first: Reg::FIRST, shape });
        }
        self.dynamics(bindings.dynamics, span, set);
        self.emit(Op::Move { dst, src: set });
    }

    fn binding_value(&mut self, binding: &Binding<'_>, froms: &Froms<Reg>, dst: Reg) {
        match binding.value {
            BindingValue::Expr(expr) => self.lazy(expr, dst, Some(binding.name), false),
            BindingValue::Inherit => {
                let name = ExprKind::Variable(binding.name);
                self.lazy(Expr { kind: &name, span: binding.span }, dst, None, false);
            }
            BindingValue::InheritFrom(expr) => {
                let src = froms.get(&identity(expr)).copied().unwrap_or(dst);
                if !self.file.exact_thunks {
                    let site = self.site(binding.name);
                    self.emit(Op::SpecSelect { dst, src, site });
                }
                let code = self.select_code(InheritSource::Register(src), binding.name, binding.span);
                self.emit(Op::Thunk { dst, code });
            }
        }
    }

    fn dynamics(&mut self, dynamics: &[DynamicBinding<'_>], span: Span, set: Reg) {
        for part in dynamics.chunks(DYNAMIC_PART) {
            let mark = self.mark();
            let first = self.registers(part.len() * 2);
            for (index, binding) in part.iter().enumerate() {
                let at = first.plus(2 * index);
                self.into(binding.name, at);
                self.force_before(binding.name, at, part[index + 1..].iter().map(|binding| binding.name));
                self.lazy(binding.value, at.plus(1), None, false);
            }
            let span = part.first().map_or(span, |binding| binding.span);
            self.emit_at(span, Op::AttrsDynamic { dst: set, first, count: part.len() as u32 });
            self.release(mark);
        }
    }

    /// Compiles `rec { … }`.
    pub(super) fn recursive_attrs(&mut self, bindings: &Bindings<'_>, span: Span, dst: Reg) {
        let mut names: Vec<(Symbol, Pos)> =
            bindings.statics.iter().map(|binding| (binding.name, self.pos(binding.span))).collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        let shape = self.shape(&names);
        let first = self.registers(names.len());
        let registers = names.iter().enumerate().map(|(index, (name, _))| (*name, first.plus(index))).collect();
        let block = SetBlock { shape, first, registers };
        if bindings.statics.iter().any(|binding| binding.name == self.symbols.overrides) {
            self.overridden_attrs(bindings, span, dst, &block);
            return;
        }
        let scope = self.open_group(bindings, Some(&|name| block.registers[&name]));
        let set = self.temporary();
        self.emit(Op::Attrs { dst: set, first, shape });
        self.dynamics(bindings.dynamics, span, set);
        self.close_bindings(scope);
        self.emit(Op::Move { dst, src: set });
    }

    /// Compiles a `rec` with `__overrides`: the names in scope are members of the finished set,
    /// itself a thunk.
    fn overridden_attrs(&mut self, bindings: &Bindings<'_>, span: Span, dst: Reg, block: &SetBlock) {
        let &SetBlock { shape, first, ref registers } = block;
        let depth = self.functions.len() - 1;
        let plain = self.temporary();
        let whole = self.temporary();
        self.begin_function(0);
        let set = self.temporary();
        let src = self.capture_from(depth, plain);
        self.emit(Op::Move { dst: set, src });
        let site = self.site(self.symbols.overrides);
        self.emit_at(span, Op::Overrides { dst: set, site });
        self.emit_at(span, Op::Return { src: set });
        let pos = self.pos(span);
        let code = self.finish_function(0, None, None, pos, Vec::new());
        self.emit(Op::AllocThunk { dst: whole, code });
        // Names inherited from outside are looked up there.
        let mut froms: Froms<Reg> = Froms::default();
        for binding in bindings.statics.iter().filter(|binding| matches!(binding.value, BindingValue::Inherit)) {
            self.binding_value(binding, &Froms::default(), registers[&binding.name]);
        }
        for binding in bindings.statics {
            self.define(binding.name, Location::Member { set: whole });
        }
        for binding in bindings.statics {
            if let BindingValue::InheritFrom(expr) = binding.value
                && !froms.contains_key(&identity(expr))
            {
                let register = self.temporary();
                self.lazy(expr, register, None, false);
                froms.insert(identity(expr), register);
            }
        }
        for binding in bindings.statics {
            if !matches!(binding.value, BindingValue::Inherit) {
                self.binding_value(binding, &froms, registers[&binding.name]);
            }
        }
        self.emit(Op::Attrs { dst: plain, first, shape });
        self.emit(Op::FillThunk { dst: whole, code });
        if bindings.dynamics.is_empty() {
            self.undefine(bindings.statics.iter().map(|binding| binding.name));
            self.emit(Op::Move { dst, src: whole });
            return;
        }
        // Dynamic names are no variables: they join the set after the overrides.
        let set = self.temporary();
        let empty = self.shape(&[]);
        self.emit(Op::Attrs { dst: set, first, shape: empty });
        self.emit_at(span, Op::Update { dst: set, a: whole, b: set });
        self.dynamics(bindings.dynamics, span, set);
        self.undefine(bindings.statics.iter().map(|binding| binding.name));
        self.emit(Op::Move { dst, src: set });
    }
}
