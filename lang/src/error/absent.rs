//! Reasons why builtins of Nix are missing or refused.

pub(crate) const EXEC: &str = "'exec' runs programs while an expression is evaluated, which this evaluator refuses";
pub(crate) const IMPORT_NATIVE: &str =
    "'importNative' loads machine code into the evaluator, which this evaluator refuses";
pub(crate) const FETCH_CLOSURE: &str =
    "'fetchClosure' is not supported: this evaluator does not copy closures from binary caches";

/// Returns the reason why `builtins` lacks a builtin of Nix.
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
