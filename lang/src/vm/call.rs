//! Calls of functions, builtins, partial applications and functors.

use super::Evaluator;
use super::profile::Call;
use crate::compile::code::Code;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{Value, View};

impl Evaluator {
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
                    let builtin = self.builtin(index);
                    let arity = builtin.arity as usize;
                    if rest.len() < arity {
                        return Ok(Value::partial(function, rest, &[]));
                    }
                    let (now, later) = rest.split_at(arity);
                    function = self.call_builtin(index, now)?;
                    rest = later;
                }
                View::Partial(partial) => {
                    let arity = self.arity(partial.function());
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
                    // A functor may be a set with a functor, or return its set, which is a call
                    // within a call.
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

    /// Returns the number of arguments that a function or builtin takes at once; 1 for other
    /// values.
    pub(crate) fn arity(&self, function: Value) -> usize {
        match function.view() {
            View::Function(lambda) => lambda.code().arity as usize,
            View::Builtin(index) => self.builtin(index).arity as usize,
            _ => 1,
        }
    }

    /// Calls a function of exactly as many arguments.
    #[inline(always)]
    pub(super) fn call_exact(&mut self, code: &'static Code, captures: &[Value], arguments: &[Value]) -> Result<Value> {
        if self.calls >= self.shared.options.depth_max {
            return Err(ErrorKind::CallDepth.into());
        }
        self.calls += 1;
        let result = self.enter(code, captures, arguments);
        self.calls -= 1;
        result
    }

    #[inline(never)]
    pub(super) fn call_slow(&mut self, function: Value, arguments: &[Value]) -> Result<Value> {
        let arguments: smallvec::SmallVec<[Value; 8]> = arguments.iter().copied().collect();
        self.apply(function, &arguments)
    }

    /// Calls builtin number `index` with exactly its arguments.
    #[inline]
    fn call_builtin(&mut self, index: usize, arguments: &[Value]) -> Result<Value> {
        let builtin = self.builtin(index);
        self.check_native_stack()?;
        self.profiled(Call::Builtin(builtin.name), |ev| (builtin.run)(ev, arguments))
    }

    #[cold]
    fn not_a_function(&mut self, value: Value) -> Error {
        let shown = self.show(value);
        Error::type_mismatch(format!(
            "attempt to call something which is not a function but {}: {shown}",
            crate::value::type_with_article(value)
        ))
    }
}
