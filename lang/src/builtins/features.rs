//! Builtins that depend on experimental features of Nix, and those that this evaluator refuses on
//! principle.

use crate::error::absent::{EXEC, FETCH_CLOSURE, IMPORT_NATIVE};
use crate::error::{Error, Result};
use crate::host::Features;
use crate::value::Value;
use crate::vm::Evaluator;

/// Returns true when a builtin is available.
pub(super) fn is_on(builtin: &str, features: &Features) -> bool {
    match builtin {
        "exec" | "importNative" => features.native_code,
        "fetchClosure" => features.fetch_closure,
        "fetchTree" => features.fetch_tree || features.flakes,
        "outputOf" => features.dynamic_derivations,
        _ => true,
    }
}

/// Fails when an experimental feature is off.
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
