#![allow(unsafe_code)] // reason: runs operations on unchecked registers; their duties are listed in vm.
//! The loop that runs operations, calls and forcing.
//!
//! One native frame of [`Evaluator::execute`] runs one function or thunk; forcing and calling
//! recurse natively, tail calls do not. Slow paths of operations are functions of their own, so
//! that the native frame stays small.

use super::Evaluator;
use super::frame::{Frame, fetch};
use super::profile::Call;
use crate::compile::code::{Body, Code, WithSite};
use crate::compile::lazy::Lazy;
use crate::compile::op::Op;
use crate::error::{Error, ErrorKind, FrameKind, Result};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::attrs::Shape;
use crate::value::thunk::{Claim, Claimed};
use crate::value::{Attr, Attrs, Value, View};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// More tail calls than this without a return are an endless loop.
const TAIL_CALLS_MAX: u32 = 20_000_000;

impl Evaluator {
    /// Returns the value in head form: never a thunk.
    #[inline(always)]
    pub fn force(&mut self, value: Value) -> Result<Value> {
        if value.is_thunk() { self.force_thunk(value) } else { Ok(value) }
    }

    #[inline(never)]
    fn force_thunk(&mut self, value: Value) -> Result<Value> {
        let View::Thunk(thunk) = value.view() else { return Ok(value) };
        match thunk.claim(self.worker, self.company()) {
            Claim::Done(value) => Ok(value),
            Claim::Run(claimed) => match self.enter(claimed.code(), claimed.captures(), &[]) {
                Ok(value) => {
                    claimed.finish(value, self.company());
                    Ok(value)
                }
                Err(error) => Err(self.abandon(claimed, error).leaves(value.address())),
            },
            Claim::Cycle => Err(self.cycle(value)),
        }
    }

    /// Writes the captures of a thunk that was made unfilled. A thunk that was forced too early
    /// keeps its value.
    pub(crate) fn fill_thunk(&self, thunk: Value, captures: &[Value]) {
        if let View::Thunk(thunk) = thunk.view()
            && let Claim::Run(claimed) = thunk.claim(self.worker, self.company())
        {
            claimed.refill(captures, self.company());
        }
    }

    #[cold]
    fn cycle(&mut self, thunk: Value) -> Error {
        if self.account.is_ended() { self.out_of_memory() } else { Error::cycle(thunk.address()) }
    }

    #[cold]
    fn abandon(&mut self, claimed: Claimed, error: Error) -> Error {
        let code = claimed.code();
        claimed.restore(self.company());
        match code.name {
            Some(name) => error.frame(code.pos, FrameKind::Attribute(name)),
            None => error,
        }
    }

    /// Runs code to a value in head form, with the captures and arguments that it takes.
    #[inline(always)]
    pub(super) fn enter(&mut self, code: &'static Code, captures: &[Value], arguments: &[Value]) -> Result<Value> {
        match code.body {
            Body::Ops(ops) => {
                let top = self.stack.top();
                // SAFETY: the compiler counts arguments among the registers; callers give as many
                // as the code takes.
                let frame = unsafe { self.stack.push(captures, arguments, code.frame as usize)? };
                // SAFETY: the frame was pushed for this code.
                let result = unsafe { self.execute::<false>(code, ops, frame, top) };
                self.stack.reset(top);
                result
            }
            Body::Lazy(lazy) => self.enter_lazy(lazy, captures, arguments),
            Body::Native(_) if !self.on_own_stack => self.enter_elsewhere(code, captures, arguments),
            Body::Native(run) => {
                self.check_native_stack()?;
                let captures: smallvec::SmallVec<[Value; 4]> = captures.iter().copied().collect();
                let value = run(self, &captures)?;
                self.force(value)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn enter_elsewhere(&mut self, code: &'static Code, captures: &[Value], arguments: &[Value]) -> Result<Value> {
        self.on_large_stack(|ev| ev.enter(code, captures, arguments))
    }

    #[inline(never)]
    fn enter_lazy(&mut self, lazy: &'static Lazy, captures: &[Value], arguments: &[Value]) -> Result<Value> {
        self.enter(lazy.code(), captures, arguments)
    }

    /// Runs operations on the machine's own stack, unless evaluation has to end or that stack just
    /// ran out.
    ///
    /// # Safety
    /// The conditions of [`Evaluator::execute`].
    #[cold]
    #[inline(never)]
    unsafe fn execute_elsewhere(
        &mut self,
        code: &'static Code,
        ops: &'static [Op],
        frame: Frame,
        bottom: usize,
    ) -> Result<Value> {
        if self.account.is_ended() {
            return Err(self.out_of_memory());
        }
        if !self.on_own_stack {
            // SAFETY: as for this function.
            return self.on_large_stack(|ev| unsafe { ev.execute::<false>(code, ops, frame, bottom) });
        }
        let marker = 0u8;
        if self.is_stack_used_up(&raw const marker as usize) {
            return Err(ErrorKind::StackOverflow.into());
        }
        // SAFETY: as for this function.
        self.profiled(Call::Code(code), |ev| unsafe { ev.execute::<true>(code, ops, frame, bottom) })
    }

    /// Runs `work` as a call of the profile, if there is one.
    #[inline]
    pub(super) fn profiled<T>(&mut self, call: Call, work: impl FnOnce(&mut Evaluator) -> T) -> T {
        let Some(profile) = &mut self.profile else { return work(self) };
        let caller = profile.enter(call);
        let result = work(self);
        if let Some(profile) = &mut self.profile {
            profile.leave(caller);
        }
        result
    }

    /// Runs operations. `PROFILED`: the profile knows of the call, and there is stack for it.
    ///
    /// # Safety
    /// `ops` are those of `code`, and `frame` was pushed for it at `bottom`, with its captures and
    /// arguments.
    unsafe fn execute<const PROFILED: bool>(
        &mut self,
        mut code: &'static Code,
        mut ops: &'static [Op],
        mut frame: Frame,
        bottom: usize,
    ) -> Result<Value> {
        let marker = 0u8;
        if !PROFILED && ((&raw const marker as usize) < self.native_limit || self.account.is_ended()) {
            // SAFETY: as for this function.
            return unsafe { self.execute_elsewhere(code, ops, frame, bottom) };
        }
        let mut pc = 0;
        let mut tail_calls = 0;
        // The accesses below are those that the operations of `code` name, in the frame that was
        // pushed for it: they are sound by the duties of the compiler that `vm` lists.
        macro_rules! get {
            ($register:expr) => {
                // SAFETY: the compiler lets registers of the frame be read after they were written.
                unsafe { frame.get($register) }
            };
        }
        macro_rules! set {
            ($register:expr, $value:expr) => {{
                let value = $value;
                // SAFETY: the compiler gave the frame a register for everything that is written.
                unsafe { frame.set($register, value) }
            }};
        }
        macro_rules! row {
            ($first:expr, $count:expr) => {
                // SAFETY: the compiler had these registers written. They are copied before they are
                // written again.
                unsafe { frame.slice($first, $count) }
            };
        }
        macro_rules! row_mut {
            ($first:expr, $count:expr) => {
                // SAFETY: the compiler gave the frame these registers. Only the function that gets
                // the slice uses them until it returns: code that it runs has frames of its own.
                unsafe { frame.slice_mut($first, $count) }
            };
        }
        let error = loop {
            // SAFETY: the compiler ends code with a return or tail call, and lets jumps go to
            // operations of the code.
            let op = unsafe { fetch(ops, pc) };
            pc += 1;
            macro_rules! attempt {
                ($result:expr) => {
                    match $result {
                        Ok(value) => value,
                        Err(error) => break error,
                    }
                };
            }
            // The value of a register in head form, written back.
            macro_rules! forced {
                ($register:expr) => {{
                    let value = get!($register);
                    if value.is_thunk() {
                        let value = attempt!(self.force_thunk(value));
                        set!($register, value);
                        value
                    } else {
                        value
                    }
                }};
            }
            // An operation that skips the next one when it has a value.
            macro_rules! or_next {
                ($dst:expr, $found:expr) => {
                    if let Some(value) = $found {
                        set!($dst, value);
                        pc += 1;
                    }
                };
            }
            // Arithmetic: inline integers here, all other values in a function.
            macro_rules! arithmetic {
                ($dst:expr, $small:ident, $any:ident, $a:expr, $b:expr) => {{
                    let (a, b) = ($a, $b);
                    let value = match a.$small(b) {
                        Some(value) => value,
                        None => attempt!(self.$any(a, b)),
                    };
                    set!($dst, value);
                }};
            }
            macro_rules! is_less {
                ($a:expr, $b:expr) => {{
                    let (a, b) = (forced!($a), forced!($b));
                    match a.small_cmp(b) {
                        Some(order) => order.is_lt(),
                        None => attempt!(self.less_than(a, b)),
                    }
                }};
            }
            match op {
                Op::Const { dst, index } => set!(dst, code.module.constant(index)),
                Op::Move { dst, src } => set!(dst, get!(src)),
                Op::Thunk { dst, code: index } => {
                    let new = code.module.code(index);
                    set!(dst, Value::thunk_from_fn(new, |index| get!(new.captures[index])));
                }
                Op::Lambda { dst, code: index } => {
                    let new = code.module.code(index);
                    set!(dst, Value::function_from_fn(new, |index| get!(new.captures[index])));
                }
                Op::AllocThunk { dst, code: index } => set!(dst, Value::thunk_unfilled(code.module.code(index))),
                Op::AllocLambda { dst, code: index } => set!(dst, Value::function_unfilled(code.module.code(index))),
                Op::FillThunk { dst, code: index } => {
                    let value = get!(dst);
                    // SAFETY: the object was made by `AllocThunk`, and runs only after its group is
                    // complete.
                    unsafe { fill_thunk(frame, value, code.module.code(index)) };
                }
                Op::FillLambda { dst, code: index } => {
                    let value = get!(dst);
                    // SAFETY: as above, by `AllocLambda`.
                    unsafe { fill_lambda(frame, value, code.module.code(index)) };
                }

                Op::SpecSelect { dst, src, site } => {
                    or_next!(dst, known(get!(src)).as_attrs().and_then(|set| code.module.site(site).get(set)));
                }
                Op::SpecAdd { dst, a, b } => or_next!(dst, known(get!(a)).small_add(known(get!(b)))),
                Op::SpecSub { dst, a, b } => or_next!(dst, known(get!(a)).small_sub(known(get!(b)))),
                Op::SpecMul { dst, a, b } => or_next!(dst, known(get!(a)).small_mul(known(get!(b)))),
                Op::SpecAddInt { dst, a, value } => {
                    or_next!(dst, known(get!(a)).small_add(Value::int(i64::from(value))));
                }
                Op::SpecMulInt { dst, a, value } => {
                    or_next!(dst, known(get!(a)).small_mul(Value::int(i64::from(value))));
                }
                // SAFETY: the site is one of the code that runs in the frame.
                Op::SpecWith { dst, site } => or_next!(dst, unsafe { with_known(code.module.with_site(site), frame) }),

                Op::Attrs { dst, first, shape: index } => {
                    let shape = code.module.shape(index);
                    let values = row!(first, shape.len());
                    let value = match code.module.order(index) {
                        None => Value::attrs_of_shape(shape, values),
                        Some(order) => attrs_in_order(shape, order, values),
                    };
                    set!(dst, value);
                }
                Op::AttrsUnfilled { dst, shape } => {
                    set!(dst, Value::attrs_from_fn(code.module.shape(shape), |_| Value::NULL));
                }
                Op::AttrsFill { dst, first, count, shape, at } => {
                    let set = get!(dst).as_attrs().expect("the register holds the set being filled");
                    let values = row!(first, count as usize);
                    match code.module.order(shape) {
                        // SAFETY: the set was made by `AttrsUnfilled`, and is used only when all
                        // parts are filled.
                        None => unsafe { set.fill(at as usize, values) },
                        // SAFETY: as above.
                        Some(order) => unsafe { fill_in_order(set, &order[at as usize..], values) },
                    }
                }
                Op::AttrsDynamic { dst, first, count } => {
                    let pairs = row!(first, 2 * count as usize);
                    let (pos, _) = code.module.span(code.first_op + pc as u32 - 1);
                    set!(dst, attempt!(self.attrs_dynamic(get!(dst), pairs, pos)));
                }
                Op::Overrides { dst, site } => {
                    set!(dst, attempt!(self.overrides(get!(dst), code.module.site(site).name)));
                }
                Op::List { dst, first, count } => set!(dst, Value::list(row!(first, count as usize))),
                Op::ListUnfilled { dst, count } => set!(dst, Value::list_from_fn(count as usize, |_| Value::NULL)),
                Op::ListFill { dst, first, count, at } => {
                    let list = get!(dst).as_list().expect("the register holds the list being filled");
                    let values = row!(first, count as usize);
                    // SAFETY: the list was made by `ListUnfilled`, and is used only when all parts
                    // are filled.
                    unsafe { list.fill(at as usize, values) };
                }

                Op::Interpolate { dst, first, count } => {
                    set!(dst, attempt!(self.interpolate(row_mut!(first, count as usize))));
                }
                Op::InterpolateNumbers { dst, first, count, numbers } => {
                    set!(dst, attempt!(self.interpolate_numbers(row_mut!(first, count as usize), numbers)));
                }
                Op::SpecInt { dst, src } => {
                    or_next!(dst, Some(known(get!(src))).filter(|value| value.as_int().is_some()));
                }
                Op::InterpolatePath { dst, first, count } => {
                    set!(dst, attempt!(self.interpolate_path(row!(first, count as usize))));
                }

                Op::Select { dst, src, site } => {
                    let set = forced!(src);
                    let site = code.module.site(site);
                    let value = match set.as_attrs().and_then(|set| site.get(set)) {
                        Some(value) => value,
                        None => attempt!(self.select_slow(set, site.name)),
                    };
                    set!(dst, value);
                }
                Op::SelectElse { dst, src, site } => {
                    or_next!(dst, forced!(src).as_attrs().and_then(|set| code.module.site(site).get(set)));
                }
                Op::SelectDynamic { dst, src, name } => {
                    let set = forced!(src);
                    let name = attempt!(self.attr_name(get!(name)));
                    set!(dst, attempt!(self.select_slow(set, name)));
                }
                Op::SelectDynamicElse { dst, src, name } => {
                    let set = forced!(src);
                    let name = attempt!(self.attr_name(get!(name)));
                    or_next!(dst, set.as_attrs().and_then(|set| set.get(name)));
                }
                Op::Has { dst, src, site } => {
                    let site = code.module.site(site);
                    let found = forced!(src).as_attrs().is_some_and(|set| site.get(set).is_some());
                    set!(dst, Value::bool(found));
                }
                Op::HasDynamic { dst, src, name } => {
                    let set = forced!(src);
                    let name = attempt!(self.attr_name(get!(name)));
                    set!(dst, Value::bool(set.as_attrs().is_some_and(|set| set.contains(name))));
                }
                Op::With { dst, site } => {
                    // SAFETY: the site is one of the code that runs in the frame.
                    set!(dst, attempt!(unsafe { self.with_lookup(code.module.with_site(site), frame) }));
                }

                Op::Add { dst, a, b } => arithmetic!(dst, small_add, add, forced!(a), forced!(b)),
                Op::AddInt { dst, a, value } => {
                    arithmetic!(dst, small_add, add, forced!(a), Value::int(i64::from(value)));
                }
                Op::Subtract { dst, a, b } => arithmetic!(dst, small_sub, subtract, forced!(a), forced!(b)),
                Op::SubtractInt { dst, a, value } => {
                    arithmetic!(dst, small_sub, subtract, forced!(a), Value::int(i64::from(value)));
                }
                Op::Multiply { dst, a, b } => arithmetic!(dst, small_mul, multiply, forced!(a), forced!(b)),
                Op::Divide { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    set!(dst, attempt!(self.divide(a, b)));
                }
                Op::Equal { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    set!(dst, Value::bool(attempt!(self.equal_forced(a, b))));
                }
                Op::NotEqual { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    set!(dst, Value::bool(!attempt!(self.equal_forced(a, b))));
                }
                Op::Less { dst, a, b } => set!(dst, Value::bool(is_less!(a, b))),
                Op::NotLess { dst, a, b } => set!(dst, Value::bool(!is_less!(a, b))),
                Op::Update { dst, a, b } => {
                    let (b, a) = (forced!(b), forced!(a));
                    set!(dst, attempt!(self.update(a, b)));
                }
                Op::Concat { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    set!(dst, attempt!(self.concat(a, b)));
                }
                Op::AddMany { dst, first, count } => {
                    set!(dst, attempt!(self.add_many(row!(first, count as usize))));
                }
                Op::UpdateMany { dst, first, count } => {
                    set!(dst, attempt!(self.update_many(row!(first, count as usize))));
                }
                Op::ConcatMany { dst, first, count } => {
                    set!(dst, attempt!(self.concat_many(row!(first, count as usize))));
                }
                Op::Not { dst, src } => {
                    let value = forced!(src);
                    set!(dst, Value::bool(!attempt!(self.expect_bool(value))));
                }
                Op::Negate { dst, src } => {
                    let value = forced!(src);
                    set!(dst, attempt!(self.subtract(Value::int(0), value)));
                }

                Op::Jump { target } => pc = target.index(),
                Op::JumpIfFalse { condition, target } => {
                    let value = forced!(condition);
                    if value.same(Value::FALSE) {
                        pc = target.index();
                    } else if !value.same(Value::TRUE) {
                        attempt!(self.expect_bool(value));
                    }
                }
                Op::JumpIfTrue { condition, target } => {
                    let value = forced!(condition);
                    if value.same(Value::TRUE) {
                        pc = target.index();
                    } else if !value.same(Value::FALSE) {
                        attempt!(self.expect_bool(value));
                    }
                }
                Op::JumpUnlessInt { a, value, target } => {
                    let a = forced!(a);
                    let b = Value::int(i64::from(value));
                    let equal = a.same(b) || (a.as_float().is_some() && attempt!(self.equal_forced(a, b)));
                    if !equal {
                        pc = target.index();
                    }
                }
                Op::JumpUnlessLess { a, b, target } => {
                    if !is_less!(a, b) {
                        pc = target.index();
                    }
                }
                Op::Force { reg } => {
                    forced!(reg);
                }
                Op::CheckBool { reg } => {
                    let value = forced!(reg);
                    if value.as_bool().is_none() {
                        attempt!(self.expect_bool(value));
                    }
                }
                Op::Assert { condition, text } => {
                    let value = forced!(condition);
                    if !value.same(Value::TRUE) {
                        attempt!(self.assert_failed(value, code.module.constant(text)));
                    }
                }

                Op::Formals { argument, first, pattern } => {
                    let set = forced!(argument);
                    let pattern = code.module.pattern(pattern);
                    let registers = row_mut!(first, pattern.formals.len());
                    let masks = row_mut!(pattern.mask, pattern.masks as usize);
                    attempt!(self.bind_formals(set, code, pattern, registers, masks));
                }
                Op::FillAlias { dst, mask, bit, src } => {
                    if get!(mask).as_int().is_some_and(|mask| mask >> bit & 1 == 1) {
                        set!(dst, get!(src));
                    }
                }
                Op::FillDefault { dst, mask, bit, code: index } => {
                    if get!(mask).as_int().is_some_and(|mask| mask >> bit & 1 == 1) {
                        let new = code.module.code(index);
                        let value = get!(dst);
                        // SAFETY: `Formals` made the object for this default, and it runs only
                        // after all are filled.
                        unsafe {
                            if new.arity == 0 {
                                fill_thunk(frame, value, new);
                            } else {
                                fill_lambda(frame, value, new);
                            }
                        }
                    }
                }

                Op::Call { dst, function, first, count } => {
                    let function = forced!(function);
                    let result = if let Some(lambda) = function.as_function()
                        && lambda.code().arity == count
                    {
                        self.call_exact(lambda.code(), lambda.captures(), row!(first, count as usize))
                    } else {
                        self.call_slow(function, row!(first, count as usize))
                    };
                    match result {
                        Ok(value) => set!(dst, value),
                        Err(error) => break called(self, error, function, code, pc - 1),
                    }
                }
                Op::CallBuiltin { dst, first, id } => {
                    let builtin = self.builtin(id as usize);
                    let arguments = row!(first, builtin.arity as usize);
                    let result = if PROFILED {
                        self.profiled(Call::Builtin(builtin.name), |ev| (builtin.run)(ev, arguments))
                    } else {
                        (builtin.run)(self, arguments)
                    };
                    match result {
                        Ok(value) => set!(dst, value),
                        Err(error) => {
                            break error.frame(
                                code.module.span(code.first_op + pc as u32 - 1).0,
                                FrameKind::Builtin(builtin.name),
                            );
                        }
                    }
                }
                Op::TailCall { function, first, count } => {
                    let function = forced!(function);
                    if let Some(lambda) = function.as_function()
                        && lambda.code().arity == count
                        && let new = lambda.code().compiled()
                        && let Body::Ops(new_ops) = new.body
                    {
                        tail_calls += 1;
                        // Now and then it makes the checks that other calls make each time.
                        if tail_calls % 1024 == 0 {
                            attempt!(self.check_loop(tail_calls));
                        }
                        let mut arguments = [Value::NULL; 16];
                        let arguments = &mut arguments[..count as usize];
                        arguments.copy_from_slice(row!(first, count as usize));
                        self.stack.reset(bottom);
                        // SAFETY: the compiler counts arguments among the registers, and they are
                        // as many as it takes.
                        frame = attempt!(unsafe { self.stack.push(lambda.captures(), arguments, new.frame as usize) });
                        if PROFILED && let Some(profile) = &mut self.profile {
                            profile.replace(Call::Code(new));
                        }
                        code = new;
                        ops = new_ops;
                        pc = 0;
                    } else {
                        let result = self.call_slow(function, row!(first, count as usize));
                        match result.and_then(|value| self.force(value)) {
                            Ok(value) => return Ok(value),
                            Err(error) => break called(self, error, function, code, pc - 1),
                        }
                    }
                }
                Op::Return { src } => return Ok(forced!(src)),
            }
        };
        Err(locate(error, code, pc - 1))
    }

    #[cold]
    #[inline(never)]
    fn check_loop(&self, tail_calls: u32) -> Result<()> {
        if self.account.is_ended() {
            return Err(self.out_of_memory());
        }
        if tail_calls > TAIL_CALLS_MAX { Err(ErrorKind::CallDepth.into()) } else { Ok(()) }
    }

    /// Looks a name up in the scopes of `with`.
    ///
    /// # Safety
    /// The site is one of the code that runs in the frame.
    #[inline(never)]
    unsafe fn with_lookup(&mut self, site: &WithSite, frame: Frame) -> Result<Value> {
        for &scope in &site.scopes {
            // SAFETY: the compiler lets a site name registers that hold scopes.
            let set = self.force(unsafe { frame.get(scope) })?;
            // SAFETY: as above.
            unsafe { frame.set(scope, set) };
            let Some(set) = set.as_attrs() else { return Err(self.mismatch("a set", set)) };
            if let Some(value) = set.get(site.name) {
                return Ok(value);
            }
        }
        Err(ErrorKind::UndefinedVariable { name: site.name }.into())
    }

    #[inline(never)]
    pub(crate) fn select_slow(&mut self, set: Value, name: Symbol) -> Result<Value> {
        match set.as_attrs() {
            Some(attrs) => match attrs.get(name) {
                Some(value) => Ok(value),
                None => Err(super::inspect::missing_attribute(attrs, name)),
            },
            None => Err(self.mismatch("a set", set)),
        }
    }

    /// Returns the symbol of a computed attribute name.
    #[inline(never)]
    fn attr_name(&mut self, value: Value) -> Result<Symbol> {
        let value = self.force(value)?;
        match value.as_string() {
            Some(text) => {
                self.no_context(text)?;
                Ok(Symbol::new(text.bytes()))
            }
            None => Err(self.mismatch("a string", value)),
        }
    }

    /// Adds attributes with computed names to a set; `pairs` are names and values in turn.
    #[inline(never)]
    fn attrs_dynamic(&mut self, set: Value, pairs: &[Value], pos: Pos) -> Result<Value> {
        let set = set.as_attrs().expect("the register holds the set being made");
        let mut attrs: Vec<Attr> = set.iter().collect();
        let mut new: HashMap<Symbol, Pos, FxBuildHasher> = HashMap::default();
        for pair in pairs.chunks_exact(2) {
            let name = self.force(pair[0])?;
            if name.is_null() {
                continue;
            }
            let name = self.attr_name(name)?;
            let old = set.get_attr(name).or_else(|| {
                let pos = new.insert(name, pos)?;
                Some(Attr { name, pos, value: Value::NULL })
            });
            if let Some(old) = old {
                let at = self.describe_pos(old.pos);
                let name = String::from_utf8_lossy(name.name()).into_owned();
                return Err(Error::other(
                    "lang::duplicate_attribute",
                    format!("dynamic attribute '{name}' already defined at {at}"),
                ));
            }
            attrs.push(Attr { name, pos, value: pair[1] });
        }
        Ok(Value::attrs(attrs))
    }

    /// Returns `set // set.__overrides`.
    #[inline(never)]
    fn overrides(&mut self, set: Value, name: Symbol) -> Result<Value> {
        let set = self.force(set)?;
        let overrides = self.select_slow(set, name)?;
        let overrides = self.force(overrides)?;
        self.update(set, overrides)
    }
}

/// Returns the value of a thunk that has one; all other values unchanged.
#[inline(always)]
fn known(value: Value) -> Value {
    match value.view() {
        View::Thunk(thunk) => thunk.done().unwrap_or(value),
        _ => value,
    }
}

/// Looks a name up in scopes of `with` that are sets already.
///
/// # Safety
/// The site is one of the code that runs in the frame.
unsafe fn with_known(site: &WithSite, frame: Frame) -> Option<Value> {
    for &scope in &site.scopes {
        // SAFETY: the compiler lets a site name registers that hold scopes.
        let set = known(unsafe { frame.get(scope) }).as_attrs()?;
        if let Some(value) = set.get(site.name) {
            return Some(value);
        }
    }
    None
}

/// Makes a set whose values come in another order than that of its shape; `order` holds the index
/// of each.
#[inline(never)]
fn attrs_in_order(shape: &'static Shape, order: &[u32], values: &[Value]) -> Value {
    let set = Value::attrs_from_fn(shape, |_| Value::NULL);
    // SAFETY: the set was made just now.
    unsafe { fill_in_order(set.as_attrs().expect("a set was made just now"), order, values) };
    set
}

/// # Safety
/// Neither another thread nor running code can reach the set yet.
unsafe fn fill_in_order(set: Attrs, order: &[u32], values: &[Value]) {
    for (index, value) in order.iter().zip(values) {
        // SAFETY: by this function's contract.
        unsafe { set.fill(*index as usize, std::slice::from_ref(value)) };
    }
}

/// Writes the captures of a thunk from registers.
///
/// # Safety
/// Of code that the code in the frame makes thunks of, and such a thunk, made just now by
/// [`Value::thunk_unfilled`].
#[inline(always)]
unsafe fn fill_thunk(frame: Frame, value: Value, code: &'static Code) {
    if let View::Thunk(thunk) = value.view() {
        for (index, &register) in code.captures.iter().enumerate() {
            // SAFETY: the registers of captures are written, and the thunk has room for them.
            unsafe { thunk.fill(index, frame.get(register)) };
        }
    }
}

/// Writes the captures of a function from registers.
///
/// # Safety
/// Of code that the code in the frame makes functions of, and such a function, made just now by
/// [`Value::function_unfilled`].
#[inline(always)]
unsafe fn fill_lambda(frame: Frame, value: Value, code: &'static Code) {
    if let Some(lambda) = value.as_function() {
        for (index, &register) in code.captures.iter().enumerate() {
            // SAFETY: the registers of captures are written, and the function has room for them.
            unsafe { lambda.fill(index, frame.get(register)) };
        }
    }
}

#[cold]
fn called(ev: &Evaluator, error: Error, function: Value, code: &'static Code, pc: usize) -> Error {
    let applied = match function.view() {
        View::Partial(partial) => partial.function(),
        _ => function,
    };
    let what = match applied.view() {
        View::Builtin(index) => FrameKind::Builtin(ev.builtin(index).name),
        View::Function(lambda) => FrameKind::Call(lambda.code().name),
        _ => FrameKind::Call(None),
    };
    let (pos, len) = code.module.span(code.first_op + pc as u32);
    error.at(pos, len).frame(pos, what)
}

#[cold]
fn locate(error: Error, code: &'static Code, pc: usize) -> Error {
    let (pos, len) = code.module.span(code.first_op + pc as u32);
    error.at(pos, len)
}
