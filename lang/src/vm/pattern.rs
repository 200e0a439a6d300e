//! What calling a function of a pattern (`{ a, b ? 1, ... }: …`) does first, and what it complains of.

use super::Evaluator;
use super::frame::Frame;
use crate::compile::code::{Code, DefaultValue, MASK_BITS, Pattern};
use crate::compile::op::Reg;
use crate::error::{Error, Result};
use crate::symbol::Symbol;
use crate::value::attrs::Shape;
use crate::value::{Attrs, Value};

impl Evaluator {
    /// Puts the attributes a pattern names into registers.
    #[inline(never)]
    pub(super) fn take_apart(
        &mut self,
        argument: Value,
        code: &'static Code,
        first: Reg,
        pattern: u32,
        frame: Frame,
    ) -> Result<()> {
        let Some(set) = argument.as_attrs() else { return Err(self.mismatch("a set", argument)) };
        let pattern = &code.module.patterns[pattern as usize];
        for mask in 0..pattern.masks {
            frame.set(pattern.mask + mask as Reg, Value::int(0));
        }
        let mut taken = 0;
        let flat = set.shape_if_flat();
        // Walk both sorted rows side by side, unless the set is so much bigger that looking up is cheaper.
        let walk = flat.filter(|shape| shape.len() <= pattern.formals.len() * 8).map(|_| set.flat());
        let mut at = 0;
        for formal in &pattern.formals {
            let found = if let Some(flat) = walk {
                let names = flat.shape.names();
                while at < names.len() && names[at] < formal.name {
                    at += 1;
                }
                (at < names.len() && names[at] == formal.name).then(|| flat.values[at])
            } else {
                set.get(formal.name)
            };
            let register = first + formal.slot as Reg;
            let value = match (found, &formal.default) {
                (Some(value), _) => {
                    taken += 1;
                    value
                }
                (None, DefaultValue::Constant(value)) => *value,
                (None, DefaultValue::Thunk(index) | DefaultValue::Lambda(index)) => {
                    let mask = pattern.mask + (formal.slot as usize / MASK_BITS) as Reg;
                    let bits = frame.get(mask).as_int().unwrap_or_default();
                    frame.set(mask, Value::int(bits | 1 << (formal.slot as usize % MASK_BITS)));
                    let new = code.module.code(*index);
                    if new.arity == 0 { Value::thunk_unfilled(new) } else { Value::function_unfilled(new) }
                }
                (None, DefaultValue::Required) => return Err(missing_argument(set, pattern, code)),
            };
            frame.set(register, value);
        }
        if !pattern.ellipsis && (flat.map_or_else(|| set.len(), Shape::len)) > taken {
            return Err(unexpected_argument(set, pattern, code));
        }
        Ok(())
    }
}

#[cold]
fn missing_argument(set: Attrs, pattern: &Pattern, code: &'static Code) -> Error {
    let missing = pattern
        .formals
        .iter()
        .filter(|formal| matches!(formal.default, DefaultValue::Required) && !set.contains(formal.name));
    let first = missing.min_by_key(|formal| formal.pos).map(|formal| formal.name.name()).unwrap_or_default();
    let name = String::from_utf8_lossy(first).into_owned();
    Error::other(
        "lang::missing_argument",
        format!("function '{}' called without required argument '{name}'", function_name(code)),
    )
    .at(code.pos, 1)
}

#[cold]
fn unexpected_argument(set: Attrs, pattern: &Pattern, code: &'static Code) -> Error {
    let known = |name: Symbol| pattern.formals.iter().any(|formal| formal.name == name);
    let Some(extra) = set.sorted().find(|attr| !known(attr.name)) else {
        return Error::other("lang::unexpected_argument", "function called with an unexpected argument");
    };
    let name = String::from_utf8_lossy(extra.name.name()).into_owned();
    let error = Error::other(
        "lang::unexpected_argument",
        format!("function '{}' called with unexpected argument '{name}'", function_name(code)),
    )
    .at(code.pos, 1);
    let names: Vec<String> =
        pattern.formals.iter().map(|formal| String::from_utf8_lossy(formal.name.name()).into_owned()).collect();
    match crate::error::suggest(&name, names.iter().map(String::as_str)) {
        Some(close) => error.help(format!("did you mean `{close}`?")),
        None => error,
    }
}

fn function_name(code: &Code) -> String {
    code.name.map_or_else(|| "anonymous lambda".to_owned(), |name| String::from_utf8_lossy(name.name()).into_owned())
}
