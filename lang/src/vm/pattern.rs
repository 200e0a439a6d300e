//! Binding of the formals of a pattern (`{ a, b ? 1, ... }: …`), the first step of calling such a
//! function.

use super::Evaluator;
use crate::compile::code::{Code, DefaultValue, MASK_BITS, Pattern};
use crate::error::{Error, Result};
use crate::symbol::Symbol;
use crate::value::attrs::Shape;
use crate::value::{Attrs, Value};

impl Evaluator {
    /// Writes the attributes that a pattern names into registers, and sets a bit in `masks` for
    /// each default that is filled later.
    #[inline(never)]
    pub(super) fn bind_formals(
        &mut self,
        argument: Value,
        code: &'static Code,
        pattern: &Pattern,
        registers: &mut [Value],
        masks: &mut [Value],
    ) -> Result<()> {
        let Some(set) = argument.as_attrs() else { return Err(self.mismatch("a set", argument)) };
        masks.fill(Value::int(0));
        let mut taken = 0;
        let flat = set.shape_if_flat();
        // Both sorted rows are walked side by side, unless the set is so much bigger that looking
        // names up is cheaper.
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
            let value = match (found, &formal.default) {
                (Some(value), _) => {
                    taken += 1;
                    value
                }
                (None, DefaultValue::Constant(value)) => *value,
                (None, DefaultValue::Alias) => {
                    mark(masks, formal.slot);
                    Value::NULL
                }
                (None, DefaultValue::Thunk(index) | DefaultValue::Lambda(index)) => {
                    mark(masks, formal.slot);
                    let new = code.module.code(*index);
                    if new.arity == 0 { Value::thunk_unfilled(new) } else { Value::function_unfilled(new) }
                }
                (None, DefaultValue::Required) => return Err(missing_argument(set, pattern, code)),
            };
            registers[formal.slot as usize] = value;
        }
        if !pattern.ellipsis && (flat.map_or_else(|| set.len(), Shape::len)) > taken {
            return Err(unexpected_argument(set, pattern, code));
        }
        Ok(())
    }
}

/// Notes that a default is filled later.
#[inline(always)]
fn mark(masks: &mut [Value], slot: u16) {
    let mask = &mut masks[slot as usize / MASK_BITS];
    let bits = mask.as_int().unwrap_or_default();
    *mask = Value::int(bits | 1 << (slot as usize % MASK_BITS));
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
    error.suggest(extra.name, pattern.formals.iter().map(|formal| formal.name))
}

fn function_name(code: &Code) -> String {
    code.name.map_or_else(|| "anonymous lambda".to_owned(), |name| String::from_utf8_lossy(name.name()).into_owned())
}
