//! Arithmetic builtins.

use crate::error::{Error, Result};
use crate::value::{Value, View};
use crate::vm::Evaluator;

pub(super) fn add(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    // Unlike `+`, `add` takes numbers only.
    ev.numbers(arguments[0], arguments[1])?;
    let a = ev.force(arguments[0])?;
    ev.add(a, arguments[1])
}

pub(super) fn sub(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    ev.subtract(arguments[0], arguments[1])
}

pub(super) fn mul(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    ev.multiply(arguments[0], arguments[1])
}

pub(super) fn div(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    ev.divide(arguments[0], arguments[1])
}

pub(super) fn less_than(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    ev.less_than(arguments[0], arguments[1]).map(Value::bool)
}

pub(super) fn bit_and(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    Ok(Value::int(ev.expect_int(arguments[0])? & ev.expect_int(arguments[1])?))
}

pub(super) fn bit_or(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    Ok(Value::int(ev.expect_int(arguments[0])? | ev.expect_int(arguments[1])?))
}

pub(super) fn bit_xor(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    Ok(Value::int(ev.expect_int(arguments[0])? ^ ev.expect_int(arguments[1])?))
}

pub(super) fn ceil(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    round(ev, arguments[0], "ceil", f64::ceil)
}

pub(super) fn floor(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    round(ev, arguments[0], "floor", f64::floor)
}

fn round(ev: &mut Evaluator, value: Value, name: &str, round: fn(f64) -> f64) -> Result<Value> {
    let value = ev.force(value)?;
    match value.view() {
        View::Int(_) => Ok(value),
        View::Float(number) => {
            let rounded = round(number);
            if rounded.is_nan() || rounded < i64::MIN as f64 || rounded >= i64::MAX as f64 {
                let kind = if rounded.is_nan() { "NaN" } else { "the result" };
                return Err(Error::other(
                    "lang::integer_overflow",
                    format!("'builtins.{name}' called with {number}: {kind} does not fit in an integer"),
                ));
            }
            Ok(Value::int(rounded as i64))
        }
        _ => Err(ev.mismatch("a float", value)),
    }
}
