//! Builtins about evaluation itself: errors, order, tracing, types.

use crate::error::{Error, ErrorKind, FrameKind, Result};
use crate::host::Severity;
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::{Attr, Value, View, type_name};
use crate::vm::Evaluator;

fn message(ev: &mut Evaluator, value: Value) -> Result<String> {
    let text = ev.text_in_store(value)?;
    Ok(super::expect::lossy(text.bytes()))
}

pub(super) fn throw(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = message(ev, arguments[0])?;
    Err(ErrorKind::Throw(text).into())
}

pub(super) fn abort(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = message(ev, arguments[0])?;
    Err(ErrorKind::Abort(text).into())
}

pub(super) fn try_eval(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let (success, value) = match ev.fallible(|ev| ev.force(arguments[0])) {
        Ok(value) => (true, value),
        Err(error) if error.is_catchable() => (false, Value::FALSE),
        Err(error) => return Err(error),
    };
    let attr = |name: &[u8], value| Attr { name: Symbol::new(name), pos: Pos::NONE, value };
    Ok(Value::attrs(vec![attr(b"success", Value::bool(success)), attr(b"value", value)]))
}

pub(super) fn add_error_context(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    match ev.force(arguments[1]) {
        Ok(value) => Ok(value),
        Err(error) => {
            let text = ev.text_of(arguments[0])?;
            Err(error.frame(Pos::NONE, FrameKind::Note(super::expect::lossy(text.bytes()))))
        }
    }
}

pub(super) fn seq(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    ev.force(arguments[0])?;
    ev.force(arguments[1])
}

pub(super) fn deep_seq(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    ev.force_deep(arguments[0])?;
    ev.force(arguments[1])
}

fn print_trace(ev: &mut Evaluator, value: Value) -> Result<()> {
    let value = ev.force(value)?;
    let text = match value.as_string() {
        Some(text) => super::expect::lossy(text.bytes()),
        None => ev.show(value),
    };
    ev.shared.host.message(Severity::Trace, &text);
    Ok(())
}

pub(super) fn trace(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    print_trace(ev, arguments[0])?;
    ev.force(arguments[1])
}

pub(super) fn trace_verbose(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    if ev.shared.options.trace_verbose {
        print_trace(ev, arguments[0])?;
    }
    ev.force(arguments[1])
}

pub(super) fn warn(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.expect_string(arguments[0])?;
    let text = super::expect::lossy(text.bytes());
    ev.shared.host.message(Severity::Warn, &text);
    if ev.shared.options.abort_on_warn {
        return Err(Error::new(ErrorKind::Abort(
            "aborting to reveal stack trace of warning, as abort-on-warn is set".to_owned(),
        )));
    }
    ev.force(arguments[1])
}

pub(super) fn identity(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    ev.force(arguments[0])
}

pub(super) fn type_of(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let value = ev.force(arguments[0])?;
    Ok(Value::string(type_name(value).as_bytes()))
}

macro_rules! type_tests {
    ($($name:ident => $pattern:pat,)*) => {$(
        pub(super) fn $name(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
            Ok(Value::bool(matches!(ev.force(arguments[0])?.view(), $pattern)))
        }
    )*};
}

type_tests! {
    is_attrs => View::Attrs(_),
    is_bool => View::Bool(_),
    is_float => View::Float(_),
    is_function => View::Function(_) | View::Builtin(_) | View::Partial(_),
    is_int => View::Int(_),
    is_list => View::List(_),
    is_null => View::Null,
    is_path => View::Path(_),
    is_string => View::String(_),
}
