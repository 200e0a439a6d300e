#![allow(unsafe_code)] // reason: fills objects that are being made.
//! The loop.
//!
//! One native frame of [`Evaluator::execute`] runs one function or thunk; forcing and calling recurse natively, tail calls do not.
//! What is not the fast path of an operation is in functions of its own, so that the native frame stays small.

use super::Evaluator;
use super::frame::{Frame, fetch};
use super::profile::Call;
use crate::compile::code::{Body, Code};
use crate::compile::lazy::Lazy;
use crate::compile::op::{Op, Reg};
use crate::error::{Error, ErrorKind, FrameKind, Result, SetRef};
use crate::symbol::Symbol;
use crate::value::attrs::Shape;
use crate::value::thunk::{Claim, Claimed};
use crate::value::{Attr, Value, View};

/// More tail calls than this without a return are taken for an endless loop.
const TAIL_CALLS_MAX: u32 = 20_000_000;

impl Evaluator {
    /// The value in head form: never a thunk.
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

    /// Writes the captures of a thunk that was made unfilled. A thunk that was forced too early keeps its value.
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

    /// Runs code to a value in head form.
    #[inline(always)]
    pub(super) fn enter(&mut self, code: &'static Code, captures: &[Value], arguments: &[Value]) -> Result<Value> {
        match code.body {
            Body::Ops(ops) => {
                let top = self.stack.top();
                let frame = self.stack.push(captures, arguments, code.frame as usize)?;
                let result = self.execute::<false>(code, ops, frame, top);
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

    /// Moves to the machine's own stack, unless that is what just ran out.
    #[cold]
    #[inline(never)]
    fn execute_elsewhere(
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
            return self.on_large_stack(|ev| ev.execute::<false>(code, ops, frame, bottom));
        }
        let marker = 0u8;
        if self.is_stack_used_up(&raw const marker as usize) {
            return Err(ErrorKind::StackOverflow.into());
        }
        self.noted(Call::Code(code), |ev| ev.execute::<true>(code, ops, frame, bottom))
    }

    /// Runs `work` as a call that the profile knows of, if there is one.
    #[inline]
    fn noted<T>(&mut self, call: Call, work: impl FnOnce(&mut Evaluator) -> T) -> T {
        let Some(profile) = &mut self.profile else { return work(self) };
        let caller = profile.enter(call);
        let result = work(self);
        if let Some(profile) = &mut self.profile {
            profile.leave(caller);
        }
        result
    }

    /// Calls a function of exactly as many arguments.
    #[inline(always)]
    fn call_exact(&mut self, code: &'static Code, captures: &[Value], arguments: &[Value]) -> Result<Value> {
        if self.calls >= self.shared.options.depth_max {
            return Err(ErrorKind::CallDepth.into());
        }
        self.calls += 1;
        let result = self.enter(code, captures, arguments);
        self.calls -= 1;
        result
    }

    /// Applies a function to arguments; the result is in head form.
    pub fn call(&mut self, function: Value, arguments: &[Value]) -> Result<Value> {
        let value = self.apply(function, arguments)?;
        self.force(value)
    }

    /// Applies a function to arguments; the result may be a thunk, when a builtin returned one.
    pub(crate) fn apply(&mut self, function: Value, arguments: &[Value]) -> Result<Value> {
        let mut function = self.force(function)?;
        if let Some(lambda) = function.as_function()
            && lambda.code().arity as usize == arguments.len()
        {
            return self.call_exact(lambda.code(), lambda.captures(), arguments);
        }
        let mut rest = arguments;
        while !rest.is_empty() {
            function = self.force(function)?;
            match function.view() {
                View::Function(lambda) => {
                    let arity = lambda.code().arity as usize;
                    if rest.len() < arity {
                        return Ok(Value::partial(function, rest, &[]));
                    }
                    let (now, later) = rest.split_at(arity);
                    function = self.call_exact(lambda.code(), lambda.captures(), now)?;
                    rest = later;
                }
                View::Builtin(index) => {
                    let builtin = &crate::builtins::TABLE[index];
                    let arity = builtin.arity as usize;
                    if rest.len() < arity {
                        return Ok(Value::partial(function, rest, &[]));
                    }
                    let (now, later) = rest.split_at(arity);
                    function = self.call_builtin(index, now)?;
                    rest = later;
                }
                View::Partial(partial) => {
                    let arity = arity(partial.function());
                    let given = partial.arguments();
                    if given.len() + rest.len() < arity {
                        return Ok(Value::partial(partial.function(), given, rest));
                    }
                    let (now, later) = rest.split_at(arity - given.len());
                    let all: smallvec::SmallVec<[Value; 8]> = given.iter().chain(now).copied().collect();
                    function = self.apply(partial.function(), &all)?;
                    rest = later;
                }
                View::Attrs(set) => match set.get(self.shared.names.functor) {
                    // A functor may be a set with a functor, and so on; or give its set again, which is a call within a call.
                    Some(functor) => {
                        let both = [function, rest[0]];
                        function = self.nested(|ev| ev.apply(functor, &both))?;
                        rest = &rest[1..];
                    }
                    None => return Err(self.not_a_function(function)),
                },
                _ => return Err(self.not_a_function(function)),
            }
        }
        Ok(function)
    }

    #[cold]
    fn not_a_function(&mut self, value: Value) -> Error {
        let shown = self.show(value);
        Error::type_mismatch(format!(
            "attempt to call something which is not a function but {}: {shown}",
            crate::value::print::type_with_article(value)
        ))
    }

    /// Calls builtin number `index` with exactly its arguments.
    #[inline]
    fn call_builtin(&mut self, index: usize, arguments: &[Value]) -> Result<Value> {
        let builtin = &crate::builtins::TABLE[index];
        self.check_native_stack()?;
        self.noted(Call::Builtin(builtin.name), |ev| (builtin.run)(ev, arguments))
    }

    #[inline(never)]
    fn call_slow(&mut self, function: Value, frame: Frame, first: Reg, count: u8) -> Result<Value> {
        let arguments: smallvec::SmallVec<[Value; 8]> = frame.slice(first, count as usize).iter().copied().collect();
        self.apply(function, &arguments)
    }

    /// Runs operations. `NOTED`: the profile knows of the call, and there is stack for it.
    fn execute<const NOTED: bool>(
        &mut self,
        mut code: &'static Code,
        mut ops: &'static [Op],
        mut frame: Frame,
        bottom: usize,
    ) -> Result<Value> {
        let marker = 0u8;
        if !NOTED && ((&raw const marker as usize) < self.native_limit || self.account.is_ended()) {
            return self.execute_elsewhere(code, ops, frame, bottom);
        }
        let mut pc = 0;
        let mut tail_calls = 0;
        let error = loop {
            let op = fetch(ops, pc);
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
                    let value = frame.get($register);
                    if value.is_thunk() {
                        let value = attempt!(self.force_thunk(value));
                        frame.set($register, value);
                        value
                    } else {
                        value
                    }
                }};
            }
            match op {
                Op::Const { dst, index } => frame.set(dst, code.module.constants[index as usize]),
                Op::Move { dst, src } => frame.set(dst, frame.get(src)),
                Op::Thunk { dst, code: index } => {
                    let new = code.module.code(index);
                    frame.set(dst, Value::thunk_from_fn(new, |index| frame.get(new.captures[index])));
                }
                Op::Lambda { dst, code: index } => {
                    let new = code.module.code(index);
                    frame.set(dst, Value::function_from_fn(new, |index| frame.get(new.captures[index])));
                }
                Op::AllocThunk { dst, code: index } => {
                    frame.set(dst, Value::thunk_unfilled(code.module.code(index)));
                }
                Op::AllocLambda { dst, code: index } => {
                    frame.set(dst, Value::function_unfilled(code.module.code(index)));
                }
                Op::FillThunk { dst, code: index } => fill_thunk(frame, frame.get(dst), code.module.code(index)),
                Op::FillLambda { dst, code: index } => fill_lambda(frame, frame.get(dst), code.module.code(index)),

                Op::SpecSelect { dst, src, site } => {
                    if let Some(set) = known(frame.get(src)).as_attrs() {
                        if let Some(value) = code.module.sites[site as usize].get(set) {
                            frame.set(dst, value);
                            pc += 1;
                        }
                    }
                }
                Op::SpecAdd { dst, a, b } => {
                    if let Some(value) = known(frame.get(a)).small_add(known(frame.get(b))) {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }
                Op::SpecSub { dst, a, b } => {
                    if let Some(value) = known(frame.get(a)).small_sub(known(frame.get(b))) {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }
                Op::SpecMul { dst, a, b } => {
                    if let Some(value) = known(frame.get(a)).small_mul(known(frame.get(b))) {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }
                Op::SpecAddInt { dst, a, value } => {
                    if let Some(value) = known(frame.get(a)).small_add(Value::int(i64::from(value))) {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }
                Op::SpecMulInt { dst, a, value } => {
                    if let Some(value) = known(frame.get(a)).small_mul(Value::int(i64::from(value))) {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }
                Op::SpecWith { dst, site } => {
                    if let Some(value) = self.with_known(code, site, frame) {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }

                Op::Attrs { dst, first, shape: index } => {
                    let shape = code.module.shapes[index as usize];
                    let values = frame.slice(first, shape.len());
                    let value = match code.module.order(index) {
                        None => Value::attrs_of_shape(shape, values),
                        Some(order) => attrs_in_order(shape, order, values),
                    };
                    frame.set(dst, value);
                }
                Op::AttrsUnfilled { dst, shape } => {
                    let shape = code.module.shapes[shape as usize];
                    frame.set(dst, Value::attrs_from_fn(shape, |_| Value::NULL));
                }
                Op::AttrsFill { dst, first, count, shape, at } => {
                    let set = frame.get(dst).as_attrs().expect("the register holds the set being filled");
                    let values = frame.slice(first, count as usize);
                    match code.module.order(shape) {
                        // SAFETY: the set is being made.
                        None => unsafe { set.fill(at as usize, values) },
                        Some(order) => fill_in_order(set, &order[at as usize..], values),
                    }
                }
                Op::AttrsDynamic { dst, first, count } => {
                    let value = attempt!(self.attrs_dynamic(frame, dst, first, count, code, pc - 1));
                    frame.set(dst, value);
                }
                Op::Overrides { dst, site } => {
                    let value = attempt!(self.overrides(frame.get(dst), code, site));
                    frame.set(dst, value);
                }
                Op::List { dst, first, count } => frame.set(dst, Value::list(frame.slice(first, count as usize))),
                Op::ListUnfilled { dst, count } => {
                    frame.set(dst, Value::list_from_fn(count as usize, |_| Value::NULL));
                }
                Op::ListFill { dst, first, count, at } => {
                    let list = frame.get(dst).as_list().expect("the register holds the list being filled");
                    // SAFETY: the list is being made.
                    unsafe { list.fill(at as usize, frame.slice(first, count as usize)) };
                }

                Op::Interpolate { dst, first, count } => {
                    let value = attempt!(self.interpolate(frame, first, count));
                    frame.set(dst, value);
                }
                Op::InterpolateNumbers { dst, first, count, numbers } => {
                    let value = attempt!(self.interpolate_numbers(frame, first, count, numbers));
                    frame.set(dst, value);
                }
                Op::SpecInt { dst, src } => {
                    let value = known(frame.get(src));
                    if value.as_int().is_some() {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }
                Op::InterpolatePath { dst, first, count } => {
                    let value = attempt!(self.interpolate_path(frame, first, count));
                    frame.set(dst, value);
                }

                Op::Select { dst, src, site } => {
                    let set = forced!(src);
                    let site = &code.module.sites[site as usize];
                    if let Some(value) = set.as_attrs().and_then(|set| site.get(set)) {
                        frame.set(dst, value);
                    } else {
                        let value = attempt!(self.select_slow(set, site.name));
                        frame.set(dst, value);
                    }
                }
                Op::SelectElse { dst, src, site } => {
                    if let Some(set) = forced!(src).as_attrs() {
                        if let Some(value) = code.module.sites[site as usize].get(set) {
                            frame.set(dst, value);
                            pc += 1;
                        }
                    }
                }
                Op::SelectDynamic { dst, src, name } => {
                    let set = forced!(src);
                    let name = attempt!(self.attr_name(frame.get(name)));
                    let value = attempt!(self.select_slow(set, name));
                    frame.set(dst, value);
                }
                Op::SelectDynamicElse { dst, src, name } => {
                    let set = forced!(src);
                    let name = attempt!(self.attr_name(frame.get(name)));
                    if let Some(value) = set.as_attrs().and_then(|set| set.get(name)) {
                        frame.set(dst, value);
                        pc += 1;
                    }
                }
                Op::Has { dst, src, site } => {
                    let site = &code.module.sites[site as usize];
                    let found = forced!(src).as_attrs().is_some_and(|set| site.get(set).is_some());
                    frame.set(dst, Value::bool(found));
                }
                Op::HasDynamic { dst, src, name } => {
                    let set = forced!(src);
                    let name = attempt!(self.attr_name(frame.get(name)));
                    frame.set(dst, Value::bool(set.as_attrs().is_some_and(|set| set.contains(name))));
                }
                Op::With { dst, site } => {
                    let value = attempt!(self.with_lookup(code, site, frame));
                    frame.set(dst, value);
                }

                Op::Add { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let value = match a.small_add(b) {
                        Some(value) => value,
                        None => attempt!(self.add(a, b)),
                    };
                    frame.set(dst, value);
                }
                Op::AddInt { dst, a, value } => {
                    let a = forced!(a);
                    let b = Value::int(i64::from(value));
                    let value = match a.small_add(b) {
                        Some(value) => value,
                        None => attempt!(self.add(a, b)),
                    };
                    frame.set(dst, value);
                }
                Op::Subtract { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let value = match a.small_sub(b) {
                        Some(value) => value,
                        None => attempt!(self.subtract(a, b)),
                    };
                    frame.set(dst, value);
                }
                Op::SubtractInt { dst, a, value } => {
                    let a = forced!(a);
                    let b = Value::int(i64::from(value));
                    let value = match a.small_sub(b) {
                        Some(value) => value,
                        None => attempt!(self.subtract(a, b)),
                    };
                    frame.set(dst, value);
                }
                Op::Multiply { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let value = match a.small_mul(b) {
                        Some(value) => value,
                        None => attempt!(self.multiply(a, b)),
                    };
                    frame.set(dst, value);
                }
                Op::Divide { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let value = attempt!(self.divide(a, b));
                    frame.set(dst, value);
                }
                Op::Equal { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let equal = attempt!(self.equal_forced(a, b));
                    frame.set(dst, Value::bool(equal));
                }
                Op::NotEqual { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let equal = attempt!(self.equal_forced(a, b));
                    frame.set(dst, Value::bool(!equal));
                }
                Op::Less { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let less = match a.small_cmp(b) {
                        Some(order) => order.is_lt(),
                        None => attempt!(self.less_than(a, b)),
                    };
                    frame.set(dst, Value::bool(less));
                }
                Op::NotLess { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let less = match a.small_cmp(b) {
                        Some(order) => order.is_lt(),
                        None => attempt!(self.less_than(a, b)),
                    };
                    frame.set(dst, Value::bool(!less));
                }
                Op::Update { dst, a, b } => {
                    let (b, a) = (forced!(b), forced!(a));
                    let value = attempt!(self.update(a, b));
                    frame.set(dst, value);
                }
                Op::Concat { dst, a, b } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let value = attempt!(self.concat(a, b));
                    frame.set(dst, value);
                }
                Op::Not { dst, src } => {
                    let value = forced!(src);
                    let value = attempt!(self.expect_bool(value));
                    frame.set(dst, Value::bool(!value));
                }
                Op::Negate { dst, src } => {
                    let value = forced!(src);
                    let value = attempt!(self.subtract(Value::int(0), value));
                    frame.set(dst, value);
                }

                Op::Jump { target } => pc = target as usize,
                Op::JumpIfFalse { condition, target } => {
                    let value = forced!(condition);
                    if value.same(Value::FALSE) {
                        pc = target as usize;
                    } else if !value.same(Value::TRUE) {
                        attempt!(self.expect_bool(value));
                    }
                }
                Op::JumpIfTrue { condition, target } => {
                    let value = forced!(condition);
                    if value.same(Value::TRUE) {
                        pc = target as usize;
                    } else if !value.same(Value::FALSE) {
                        attempt!(self.expect_bool(value));
                    }
                }
                Op::JumpUnlessInt { a, value, target } => {
                    let a = forced!(a);
                    let b = Value::int(i64::from(value));
                    let equal = a.same(b) || (a.as_float().is_some() && attempt!(self.equal_forced(a, b)));
                    if !equal {
                        pc = target as usize;
                    }
                }
                Op::JumpUnlessLess { a, b, target } => {
                    let (a, b) = (forced!(a), forced!(b));
                    let less = match a.small_cmp(b) {
                        Some(order) => order.is_lt(),
                        None => attempt!(self.less_than(a, b)),
                    };
                    if !less {
                        pc = target as usize;
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
                        attempt!(self.assert_failed(value, code.module.constants[text as usize]));
                    }
                }

                Op::Formals { argument, first, pattern } => {
                    let set = forced!(argument);
                    attempt!(self.take_apart(set, code, first, pattern, frame));
                }
                Op::FillDefault { dst, mask, bit, code: index } => {
                    if frame.get(mask).as_int().is_some_and(|mask| mask >> bit & 1 == 1) {
                        let new = code.module.code(index);
                        let value = frame.get(dst);
                        if new.arity == 0 {
                            fill_thunk(frame, value, new);
                        } else {
                            fill_lambda(frame, value, new);
                        }
                    }
                }

                Op::Call { dst, function, first, count } => {
                    let function = forced!(function);
                    let result = if let Some(lambda) = function.as_function()
                        && lambda.code().arity == count
                    {
                        self.call_exact(lambda.code(), lambda.captures(), frame.slice(first, count as usize))
                    } else {
                        self.call_slow(function, frame, first, count)
                    };
                    match result {
                        Ok(value) => frame.set(dst, value),
                        Err(error) => break called(error, function, code, pc - 1),
                    }
                }
                Op::CallBuiltin { dst, first, id } => {
                    let builtin = &crate::builtins::TABLE[id as usize];
                    let arguments = frame.slice(first, builtin.arity as usize);
                    let result = if NOTED {
                        self.noted(Call::Builtin(builtin.name), |ev| (builtin.run)(ev, arguments))
                    } else {
                        (builtin.run)(self, arguments)
                    };
                    match result {
                        Ok(value) => frame.set(dst, value),
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
                        // Now and then, what calls without tail are asked each time.
                        if tail_calls % 1024 == 0 {
                            attempt!(self.check_loop(tail_calls));
                        }
                        let mut arguments = [Value::NULL; 16];
                        let arguments = &mut arguments[..count as usize];
                        arguments.copy_from_slice(frame.slice(first, count as usize));
                        self.stack.reset(bottom);
                        frame = attempt!(self.stack.push(lambda.captures(), arguments, new.frame as usize));
                        if NOTED && let Some(profile) = &mut self.profile {
                            profile.replace(Call::Code(new));
                        }
                        code = new;
                        ops = new_ops;
                        pc = 0;
                    } else {
                        let result = self.call_slow(function, frame, first, count);
                        match result.and_then(|value| self.force(value)) {
                            Ok(value) => return Ok(value),
                            Err(error) => break called(error, function, code, pc - 1),
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

    fn with_known(&self, code: &'static Code, site: u32, frame: Frame) -> Option<Value> {
        let site = &code.module.withs[site as usize];
        for &scope in &site.scopes {
            let set = known(frame.get(scope)).as_attrs()?;
            if let Some(value) = set.get(site.name) {
                return Some(value);
            }
        }
        None
    }

    #[inline(never)]
    fn with_lookup(&mut self, code: &'static Code, site: u32, frame: Frame) -> Result<Value> {
        let site = &code.module.withs[site as usize];
        for &scope in &site.scopes {
            let set = self.force(frame.get(scope))?;
            frame.set(scope, set);
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
                None => Err(ErrorKind::MissingAttribute { name, set: SetRef(set) }.into()),
            },
            None => Err(self.mismatch("a set", set)),
        }
    }

    /// An attribute name computed at run time.
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

    #[inline(never)]
    fn attrs_dynamic(
        &mut self,
        frame: Frame,
        dst: Reg,
        first: Reg,
        count: u32,
        code: &'static Code,
        pc: usize,
    ) -> Result<Value> {
        let (pos, _) = code.module.span(code.first_op + pc as u32);
        let set = frame.get(dst).as_attrs().expect("the register holds the set being made");
        let mut attrs: Vec<Attr> = set.iter().collect();
        for index in 0..count as Reg {
            let name = self.force(frame.get(first + 2 * index))?;
            if name.is_null() {
                continue;
            }
            let name = self.attr_name(name)?;
            if let Some(old) = attrs.iter().find(|attr| attr.name == name) {
                let at = self.describe_pos(old.pos);
                let name = String::from_utf8_lossy(name.name()).into_owned();
                return Err(Error::other(
                    "lang::duplicate_attribute",
                    format!("dynamic attribute '{name}' already defined at {at}"),
                ));
            }
            attrs.push(Attr { name, pos, value: frame.get(first + 2 * index + 1) });
        }
        Ok(Value::attrs(attrs))
    }

    #[inline(never)]
    fn overrides(&mut self, set: Value, code: &'static Code, site: u32) -> Result<Value> {
        let set = self.force(set)?;
        let overrides = self.select_slow(set, code.module.sites[site as usize].name)?;
        let overrides = self.force(overrides)?;
        self.update(set, overrides)
    }
}

/// How many arguments a function, builtin or nothing else takes at once.
pub(crate) fn arity(function: Value) -> usize {
    match function.view() {
        View::Function(lambda) => lambda.code().arity as usize,
        View::Builtin(index) => crate::builtins::TABLE[index].arity as usize,
        _ => 1,
    }
}

/// The value of a thunk that has one; anything else as it is.
#[inline(always)]
fn known(value: Value) -> Value {
    match value.view() {
        View::Thunk(thunk) => thunk.done().unwrap_or(value),
        _ => value,
    }
}

/// A set whose values come in another order than that of its shape: by the order they come in, where each belongs.
#[inline(never)]
fn attrs_in_order(shape: &'static Shape, order: &[u32], values: &[Value]) -> Value {
    let set = Value::attrs_from_fn(shape, |_| Value::NULL);
    fill_in_order(set.as_attrs().expect("a set was made just now"), order, values);
    set
}

fn fill_in_order(set: crate::value::Attrs, order: &[u32], values: &[Value]) {
    for (place, value) in order.iter().zip(values) {
        // SAFETY: the set is being made.
        unsafe { set.fill(*place as usize, std::slice::from_ref(value)) };
    }
}

#[inline(always)]
fn fill_thunk(frame: Frame, value: Value, code: &'static Code) {
    if let View::Thunk(thunk) = value.view() {
        for (index, &register) in code.captures.iter().enumerate() {
            // SAFETY: the thunk is being made.
            unsafe { thunk.fill(index, frame.get(register)) };
        }
    }
}

#[inline(always)]
fn fill_lambda(frame: Frame, value: Value, code: &'static Code) {
    if let Some(lambda) = value.as_function() {
        for (index, &register) in code.captures.iter().enumerate() {
            // SAFETY: the function is being made.
            unsafe { lambda.fill(index, frame.get(register)) };
        }
    }
}

#[cold]
fn called(error: Error, function: Value, code: &'static Code, pc: usize) -> Error {
    let name = function.as_function().and_then(|lambda| lambda.code().name);
    let (pos, len) = code.module.span(code.first_op + pc as u32);
    error.at(pos, len).frame(pos, FrameKind::Call(name))
}

#[cold]
fn locate(error: Error, code: &'static Code, pc: usize) -> Error {
    let (pos, len) = code.module.span(code.first_op + pc as u32);
    error.at(pos, len)
}
