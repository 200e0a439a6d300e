//! What depends on experimental features of Nix, and what this evaluator refuses on principle.

use crate::error::{Error, Result};
use crate::host::Features;
use crate::value::Value;
use crate::vm::Evaluator;

const EXEC: &str = "'exec' runs programs while an expression is evaluated, which is not done here";
const IMPORT_NATIVE: &str = "'importNative' loads machine code into the evaluator, which is not done here";
const FETCH_CLOSURE: &str = "'fetchClosure' is not supported: closures are not copied from binary caches here";

/// Whether a builtin is there.
pub(super) fn is_on(builtin: &str, features: &Features) -> bool {
    match builtin {
        "exec" | "importNative" => features.native_code,
        "fetchClosure" => features.fetch_closure,
        "fetchTree" => features.fetch_tree || features.flakes,
        "outputOf" => features.dynamic_derivations,
        _ => true,
    }
}

/// Why `builtins` lacks something that others have.
pub(crate) fn why_absent(builtin: &[u8]) -> Option<&'static str> {
    match builtin {
        b"exec" => Some(EXEC),
        b"importNative" => Some(IMPORT_NATIVE),
        b"fetchClosure" => Some(FETCH_CLOSURE),
        b"fetchTree" => Some("it needs the experimental feature 'fetch-tree' or 'flakes'"),
        b"outputOf" => Some("it needs the experimental feature 'dynamic-derivations'"),
        _ => None,
    }
}

/// Fails when an experimental feature that is asked for is off.
pub(crate) fn require(on: bool, feature: &str) -> Result<()> {
    if on {
        return Ok(());
    }
    Err(Error::other(
        "lang::feature",
        format!(
            "experimental Nix feature '{feature}' is disabled; add '--extra-experimental-features {feature}' to enable it"
        ),
    ))
}

fn refused(why: &str) -> Result<Value> {
    Err(Error::other("lang::refused", why))
}

pub(super) fn exec(_: &mut Evaluator, _: &[Value]) -> Result<Value> {
    refused(EXEC)
}

pub(super) fn import_native(_: &mut Evaluator, _: &[Value]) -> Result<Value> {
    refused(IMPORT_NATIVE)
}

pub(super) fn fetch_closure(_: &mut Evaluator, _: &[Value]) -> Result<Value> {
    refused(FETCH_CLOSURE)
}
