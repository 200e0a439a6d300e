//! Evaluation with several threads gives the results of one thread: values, errors, and an end of
//! every cycle.
#![allow(clippy::disallowed_methods, reason = "the host of a test reads files")]

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::path::Path;
use std::sync::Arc;

#[allow(dead_code, reason = "shared with tests that look at messages, too")]
use test_support::files::Files;

fn evaluate(text: &str, jobs: usize) -> String {
    let options = EvalOptions { store_model: StoreModel::Nix, write: false, ..EvalOptions::default() };
    let mut evaluator = Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options);
    evaluator.set_jobs(jobs).expect("threads");
    let result = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/")).and_then(|value| {
        evaluator.force_deep(value)?;
        Ok(value)
    });
    match result {
        Ok(value) => String::from_utf8_lossy(&evaluator.print(value).unwrap()).into_owned(),
        Err(error) => format!("error: {}", evaluator.report(&error).message),
    }
}

#[track_caller]
fn check(text: &str) {
    let alone = evaluate(text, 1);
    for _ in 0..20 {
        assert_eq!(evaluate(text, 4), alone, "{text}");
    }
}

#[test]
fn values_are_those_of_one_thread() {
    check("let fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2); in builtins.genList (i: fib (i / 4)) 40");
    check(
        "let shared = builtins.foldl' (a: b: a + b) 0 (builtins.genList (i: i) 5000);
           in builtins.mapAttrs (name: value: { sum = shared; inherit name value; }) { a = 1; b = 2; c = 3; d = 4; }",
    );
    check(
        "builtins.map (i: (derivation { name = \"d${toString i}\"; system = \"s\"; builder = \"b\"; }).drvPath) (builtins.genList (i: i) 50)",
    );
}

#[test]
fn values_grow_in_several_threads() {
    check(
        "let
          list = builtins.foldl' (a: i: a ++ [ i ]) [ ] (builtins.genList (i: i) 100);
          text = builtins.foldl' (s: i: \"${s}item ${toString i};\") \"\" (builtins.genList (i: i) 100);
          set = builtins.foldl' (a: i: a // { \"k${toString i}\" = i; }) { } (builtins.genList (i: i) 100);
          each = f: builtins.genList f 30;
        in {
          appended = each (n: builtins.foldl' (a: i: a ++ [ (i * n) ]) list (each (i: i)));
          prepended = each (n: builtins.foldl' (a: i: [ (i * n) ] ++ a) list (each (i: i)));
          texts = each (n: builtins.foldl' (s: i: s + toString (i * n)) text (each (i: i)));
          sets = each (n: removeAttrs (builtins.foldl' (a: i: a // { \"k${toString (i * n)}\" = -n; }) set (each (i: i))) [ \"k3\" ]);
        }",
    );
}

#[test]
fn json_is_that_of_one_thread() {
    check(
        "builtins.toJSON (builtins.genList (i: {
           drv = derivation { name = \"d${toString i}\"; system = \"s\"; builder = \"b\"; };
           deep = { list = [ { n = builtins.foldl' (a: b: a + b) i (builtins.genList (j: j) 100); } ]; };
           text = { __toString = self: \"t${toString i}\"; never = throw \"x\"; };
           path = { outPath = \"p${toString i}\"; never = throw \"y\"; };
         }) 40)",
    );
    check(
        "builtins.toJSON (builtins.genList (i: { a = { b = if i > 5 then throw \"at ${toString i}\" else i; }; }) 40)",
    );
}

#[test]
fn the_first_error_in_order_is_reported() {
    check("builtins.genList (i: if i > 3 then throw \"at ${toString i}\" else i) 40");
    check("builtins.map (i: builtins.tryEval (if i > 3 then throw \"x\" else i)) (builtins.genList (i: i) 40)");
}

#[test]
fn cycles_through_threads_are_reported() {
    let slow = "slow = n: if n == 0 then 0 else slow (n - 1);";
    check(&format!("let {slow} a = slow 800 + b; b = slow 800 + c; c = slow 800 + a; in [ a b c ]"));
    check(&format!("let {slow} a = slow 800 + b; b = slow 800 + c; c = slow 800 + 1; in [ a b c b a ]"));
}
