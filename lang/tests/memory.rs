//! Memory has a limit, which is each evaluator's own, and reaching it is an error with a position.
#![allow(clippy::disallowed_methods, reason = "a test host reads files")]

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::path::Path;
use std::sync::Arc;
use test_support::files::Files;

/// Expressions that allocate without end, or very much at once.
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
    // A long text printed from few values.
    "builtins.genList (n: big) 100000",
];

const NAMES: &str = "let
  big = builtins.concatStringsSep \"\" (builtins.genList (n: \"x\") 100000);
  doubled = times: value: builtins.foldl' (inner: _: [ inner inner ]) value (builtins.genList (n: n) times);
in ";

fn limited(memory_max: usize) -> Evaluator {
    let options = EvalOptions { memory_max: Some(memory_max), ..EvalOptions::default() };
    Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options)
}

fn evaluate(evaluator: &mut Evaluator, text: &str) -> Result<String, &'static str> {
    let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/")).and_then(|value| {
        evaluator.force_deep(value)?;
        evaluator.print(value)
    });
    value.map(|text| String::from_utf8_lossy(&text).into_owned()).map_err(|error| error.code())
}

/// Takes some thirty megabytes, in small pieces.
const LARGE: &str = "builtins.foldl' (sum: n: sum + builtins.length (builtins.genList (m: m + n) 1000)) 0
    (builtins.genList (n: n) 1000)";
const ENDLESS: &str = "let grow = list: builtins.seq list (grow (list ++ list)); in grow [ 1 ]";

#[test]
fn each_evaluator_has_its_own_limit() {
    let (mut small, mut large) = (limited(16 << 20), limited(1 << 30));
    assert_eq!(evaluate(&mut small, "1 + 1").as_deref(), Ok("2"));
    // Memory that another evaluator takes on the same thread is not charged to this one.
    assert_eq!(evaluate(&mut large, LARGE).as_deref(), Ok("1000000"));
    assert_eq!(evaluate(&mut small, "2 + 2").as_deref(), Ok("4"));
    assert_eq!(evaluate(&mut small, LARGE), Err("lang::out_of_memory"));
    // One has ended, and the other goes on.
    assert_eq!(evaluate(&mut small, "1 + 1"), Err("lang::out_of_memory"));
    assert_eq!(evaluate(&mut large, LARGE).as_deref(), Ok("1000000"));
    // A new evaluator begins with nothing used.
    assert_eq!(evaluate(&mut limited(16 << 20), "3 + 3").as_deref(), Ok("6"));
}

#[test]
fn evaluators_of_other_threads_go_on() {
    let start = Arc::new(std::sync::Barrier::new(2));
    let other = std::thread::spawn({
        let start = start.clone();
        move || {
            let mut evaluator = limited(1 << 30);
            evaluator.set_jobs(2).unwrap();
            start.wait();
            let text = format!("[ ({LARGE}) ({LARGE}) ]");
            (0..4).map(|_| evaluate(&mut evaluator, &text)).collect::<Vec<_>>()
        }
    });
    start.wait();
    for _ in 0..8 {
        let mut evaluator = limited(32 << 20);
        evaluator.set_jobs(2).unwrap();
        assert_eq!(evaluate(&mut evaluator, &format!("[ ({ENDLESS}) ({ENDLESS}) ]")), Err("lang::out_of_memory"));
    }
    for result in other.join().unwrap() {
        assert_eq!(result.as_deref(), Ok("[ 1000000 1000000 ]"));
    }
}

#[test]
fn one_evaluation_is_interrupted() {
    let (mut first, mut second) = (limited(1 << 30), limited(1 << 30));
    let interrupter = first.interrupter();
    interrupter.interrupt();
    assert_eq!(evaluate(&mut first, "1 + 1"), Err("lang::interrupted"));
    assert_eq!(evaluate(&mut second, "1 + 1").as_deref(), Ok("2"));
    interrupter.resume();
    assert_eq!(evaluate(&mut first, "1 + 1").as_deref(), Ok("2"));
}

#[test]
fn too_much_is_an_error() {
    for text in GREEDY {
        let text = format!("{NAMES}{text}");
        let mut evaluator = limited(16 << 20);
        let mut run = || {
            let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/"))?;
            evaluator.force_deep(value)?;
            evaluator.print(value)
        };
        let error = run().expect_err("memory has a limit");
        assert_eq!(error.code(), "lang::out_of_memory", "{text}");
        // Evaluating the same value again fails again, and is not reported as a cycle.
        let again = run();
        assert!(again.is_err_and(|error| error.code() == "lang::out_of_memory"), "{text}");
    }
}

/// Values that grow step by step, and their last size: a copy in each step would take gigabytes.
const FOLDS: &[(&str, &str)] = &[
    ("length (foldl' (a: b: a ++ b) [ ] (genList (i: [ i ]) 40000))", "40000"),
    ("length (foldl' (a: b: b ++ a) [ ] (genList (i: [ i ]) 40000))", "40000"),
    ("length (foldl' (a: i: concatLists [ a [ i ] ]) [ ] (genList (i: i) 40000))", "40000"),
    ("length (foldl' (q: i: tail q ++ [ i ]) (genList (i: i) 5000) (genList (i: i) 40000))", "5000"),
    (
        "let go = n: if n == 0 then [ ] else [ n ] ++ go (n - 1); in foldl' (a: i: a + length (go 1000)) 0 [ 1 2 3 4 5 ]",
        "5000",
    ),
    ("stringLength (foldl' (s: i: s + \"item ${toString i};\") \"\" (genList (i: i) 40000))", "428890"),
    ("stringLength (foldl' (s: i: \"${s}item ${toString i};\") \"\" (genList (i: i) 40000))", "428890"),
    ("stringLength (foldl' (s: i: \"item ${toString i};${s}\") \"\" (genList (i: i) 40000))", "428890"),
    ("stringLength (foldl' (s: i: concatStringsSep \",\" [ s (toString i) ]) \"\" (genList (i: i) 40000))", "228890"),
    (
        "stringLength (foldl' (s: i: substring 2 (-1) s) (concatStringsSep \"\" (genList (i: \"12\") 40000)) (genList (i: i) 30000))",
        "20000",
    ),
    ("length (attrNames (foldl' (a: i: a // { \"k${toString i}\" = i; }) { } (genList (i: i) 40000)))", "40000"),
    ("length (attrNames (foldl' (a: i: { \"k${toString i}\" = i; } // a) { } (genList (i: i) 40000)))", "40000"),
    (
        "let name = i: \"k${toString i}\"; big = listToAttrs (genList (i: { name = name i; value = i; }) 10000);
      in length (attrNames (foldl' (a: i: removeAttrs a [ (name i) ]) big (genList (i: i) 9000)))",
        "1000",
    ),
    (
        "let big = listToAttrs (genList (i: { name = \"p${toString i}\"; value = i; }) 40000);
        extends = overlay: f: final: let previous = f final; in previous // overlay final previous;
        overlays = genList (i: final: previous: { x = (previous.x or 0) + 1; }) 150;
        fix = f: let x = f x; in x;
      in (fix (foldl' (f: overlay: extends overlay f) (final: big) overlays)).x",
        "150",
    ),
];

#[test]
fn values_that_grow_are_not_copied_in_each_step() {
    for (text, expected) in FOLDS {
        let mut evaluator = limited(48 << 20);
        let text = format!("with builtins; {text}");
        assert_eq!(evaluate(&mut evaluator, &text).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn helpers_meet_the_limit_too() {
    let mut evaluator = limited(64 << 20);
    evaluator.set_jobs(3).unwrap();
    let text = "builtins.genList (n: let grow = list: builtins.seq list (grow (list ++ list)); in grow [ n ]) 8";
    let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/")).unwrap();
    let error = evaluator.force_deep(value).expect_err("memory has a limit");
    assert_eq!(error.code(), "lang::out_of_memory");
}
