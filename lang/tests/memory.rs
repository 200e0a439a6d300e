//! Memory has a limit, and reaching it is an error with a place. The limit is the process's, so this file has one test.
#![allow(clippy::disallowed_methods, reason = "a test host reads files")]

use std::path::Path;
use std::sync::Arc;

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;

mod support;
use support::Files;

/// What grows without end, or all at once.
const GREEDY: &[&str] = &[
    "builtins.genList (n: n) 1099511627776",
    "builtins.foldl' (text: n: text + text) \"a long string\" (builtins.genList (n: n) 60)",
    "let grow = list: builtins.seq list (grow (list ++ list)); in grow [ 1 ]",
    "let grow = text: if text == \"\" then 0 else grow \"${text}${text}\"; in grow \"text\"",
    "let grow = list: grow (list ++ list); in grow [ 1 ]",
    "let f = n: { inherit n; next = f (n + 1); }; walk = set: if set.n < 0 then 0 else walk set.next; in walk (f 0)",
    "builtins.concatLists (builtins.genList (n: builtins.genList (m: m) 100000) 100000)",
    "builtins.concatMap (n: builtins.genList (m: m) 100000) (builtins.genList (n: n) 100000)",
    "builtins.genericClosure { startSet = [ { key = 0; } ]; operator = n: [ { key = n.key + 1; } ]; }",
    "builtins.concatStringsSep big (builtins.genList (n: big) 100000)",
    "builtins.replaceStrings [ \"x\" ] [ big ] big",
    "builtins.toJSON (doubled 60 [ big ])",
    "builtins.toXML (doubled 60 [ big ])",
    "toString (doubled 60 [ big ])",
    "builtins.toJSON (builtins.genList (n: big) 100000)",
    "builtins.toXML (builtins.foldl' (inner: _: [ inner ]) 0 (builtins.genList (n: n) 20000))",
    "builtins.foldl' (set: n: set // { ${toString n} = set; }) { } (builtins.genList (n: n) 1000000)",
    "builtins.split \"\" (builtins.concatStringsSep \"\" (builtins.genList (n: big) 20))",
    // What is printed is made of few values.
    "builtins.genList (n: big) 100000",
];

const NAMES: &str = "let
  big = builtins.concatStringsSep \"\" (builtins.genList (n: \"x\") 100000);
  doubled = times: value: builtins.foldl' (inner: _: [ inner inner ]) value (builtins.genList (n: n) times);
in ";

#[test]
fn too_much_is_an_error() {
    for text in GREEDY {
        let text = format!("{NAMES}{text}");
        let options = EvalOptions {
            memory_max: Some(lang::value::heap::reserved_bytes() + (16 << 20)),
            ..EvalOptions::default()
        };
        let mut evaluator = Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options);
        let mut run = || {
            let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/"))?;
            evaluator.force_deep(value)?;
            evaluator.print(value)
        };
        let error = run().expect_err("memory has a limit");
        assert_eq!(error.code(), "lang::out_of_memory", "{text}");
        // What has ended does not go on, and is not taken for a cycle.
        let again = run();
        assert!(again.is_err_and(|error| error.code() == "lang::out_of_memory"), "{text}");
    }
}

#[test]
fn helpers_meet_the_limit_too() {
    // In a process of its own: the limit is one for all.
    if std::env::var_os("MEMORY_TEST_CHILD").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["helpers_meet_the_limit_too", "--exact"])
            .env("MEMORY_TEST_CHILD", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let options = EvalOptions { memory_max: Some(64 << 20), ..EvalOptions::default() };
    let mut evaluator = Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options);
    evaluator.set_jobs(3).unwrap();
    let text = "builtins.genList (n: let grow = list: builtins.seq list (grow (list ++ list)); in grow [ n ]) 8";
    let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/")).unwrap();
    let error = evaluator.force_deep(value).expect_err("memory has a limit");
    assert_eq!(error.code(), "lang::out_of_memory");
}
