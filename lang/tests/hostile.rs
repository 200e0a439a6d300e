//! Texts and values made to break an evaluator. Each ends in a value or in an error with a code and
//! a position, without a crash, and soon: an algorithm of the wrong complexity would take a day.
//!
//! `memory.rs` tests the limit on memory.
#![allow(clippy::disallowed_methods, reason = "the host of a test reads real files")]

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::path::Path;
use std::sync::Arc;
use test_support::files::Files;

/// Length of the longest useful message: editors hang on much longer ones.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// Evaluates a text; returns the code of its error, or `value`. Checks that an error has a
/// position.
#[track_caller]
fn outcome(text: &[u8]) -> &'static str {
    let shown = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
    let options = EvalOptions { pure: false, store_model: StoreModel::Nix, ..EvalOptions::default() };
    let mut evaluator = Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options);
    let value = evaluator.eval_text(text, Origin::StandardInput, Path::new("/"));
    // The error for data that is too deep to print has no position in a text.
    let is_data = value.is_ok();
    let result = value.and_then(|value| {
        evaluator.force_deep(value)?;
        evaluator.print(value)
    });
    match result {
        Ok(_) => "value",
        Err(error) => {
            let report = evaluator.report(&error);
            let placed = is_data || !report.labels.is_empty() || report.trace.iter().any(|frame| frame.place.is_some());
            assert!(placed, "{shown}: `{}` has no place", report.message);
            assert!(report.message.len() <= MESSAGE_BYTES_MAX, "{shown}: {} bytes of message", report.message.len());
            report.code
        }
    }
}

fn nested(open: &str, inner: &str, close: &str, count: usize) -> Vec<u8> {
    [open.repeat(count), inner.to_owned(), close.repeat(count)].concat().into_bytes()
}

/// Divisor of sizes without optimisation, where each step is slower.
const SCALE: usize = if cfg!(debug_assertions) { 10 } else { 1 };
const NESTED: usize = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
const MILLION: usize = 1_000_000 / SCALE;

#[test]
fn a_million_nested_brackets() {
    let pairs = [
        ("[", "", "]"),
        ("(", "1", ")"),
        ("{a=", "1", ";}"),
        ("rec{a=", "1", ";}"),
        ("\"${", "1", "}\""),
        ("''${", "1", "}''"),
        ("let a=", "1", ";in a"),
        ("let{body=", "1", ";}"),
        ("{${", "a", "}=1;}"),
        ("a.${", "a", "}"),
        ("({a?", "1", "}:a)"),
        ("/a${", "1", "}"),
        ("if 1 then 1 else ", "1", ""),
        ("if ", "1", " then 1 else 1"),
        ("with {};", "1", ""),
        ("assert true;", "1", ""),
        ("a:", "1", ""),
        ("{}:", "1", ""),
        ("-", "1", ""),
        ("!", "true", ""),
        ("1+", "1", ""),
        ("[]++", "[]", ""),
        ("{}//", "{}", ""),
        ("true->", "true", ""),
        ("1|>", "1", ""),
        ("a<|", "a", ""),
        ("", "{a=1;}", ".a"),
        ("", "{}", "?a"),
        ("", "(x:x)", " 1"),
        ("", "{}", ".a or 1"),
    ];
    for (open, inner, close) in pairs {
        for text in [nested(open, inner, close, NESTED), open.repeat(NESTED).into_bytes()] {
            let code = outcome(&text);
            assert_ne!(code, "lang::host", "{open}…{close}");
        }
    }
    assert_eq!(outcome(&nested("[", "", "]", MILLION)), "too_deep");
    assert_eq!(outcome(&nested("[", "", "]", 9_000)), "value");
}

#[test]
fn a_file_of_100_megabytes() {
    const BYTES: usize = 100_000_000 / SCALE;
    let long = |byte: u8| vec![byte; BYTES];
    let quoted = [b"\"".as_slice(), &long(b'a'), b"\""].concat();
    assert_eq!(outcome(&quoted), "value");
    assert_eq!(outcome(&quoted[..BYTES]), "unterminated_string");
    assert_eq!(outcome(&[long(b' ').as_slice(), b"1"].concat()), "value");
    assert_eq!(outcome(&[b"#".as_slice(), &long(0xff), b"\n1"].concat()), "value");
    assert_eq!(outcome(&[b"/*".as_slice(), &long(b'*')].concat()), "unterminated_comment");
    assert_eq!(outcome(&long(b'1')), "integer_too_large");
    assert_eq!(outcome(&long(b'a')), "lang::undefined_variable");
    assert_eq!(outcome(&long(b'[')), "too_deep");
    assert_eq!(outcome(&long(0)), "unexpected_byte");
    assert_eq!(outcome(&long(0xff)), "unexpected_byte");
}

#[test]
fn bytes_that_are_not_utf8() {
    assert_eq!(outcome(b"\"\xff\xfe\""), "value");
    assert_eq!(outcome(b"''\xff''"), "value");
    assert_eq!(outcome(b"\xff"), "unexpected_byte");
    assert_ne!(outcome(b"a\xffb"), "value");
    assert_ne!(outcome(b"./\xff"), "value");
    assert_eq!(outcome(b"1 # \xff\n"), "value");
    assert_eq!(outcome(b"\"a\0b\""), "nul_in_string");
    assert_eq!(outcome(b"''a\0b''"), "nul_in_string");
    assert_ne!(outcome(b"1\0"), "value");
    assert_eq!(outcome(b"\0"), "unexpected_byte");
    assert_eq!(outcome(b"builtins.toJSON \"\xff\""), "lang::json_utf8");
    assert_eq!(outcome(b"builtins.fromJSON \"\\\"\xff\\\"\""), "lang::json");
    assert_eq!(outcome(b"builtins.fromTOML \"a = '\xff'\""), "lang::toml");
    assert_eq!(outcome(b"builtins.fromJSON ''\"\\u0000\"''"), "lang::nul_byte");
    assert_eq!(outcome(b"builtins.match \".*\" \"\xff\""), "value");
    assert_eq!(outcome(b"{ \"\xff\" = 1; }"), "value");
    assert_eq!(outcome(b"{ \"\xff\" = 1; }.b"), "lang::missing_attribute");
    assert_eq!(outcome(b"throw \"\xff\""), "lang::throw");
}

#[test]
fn numbers_at_their_ends() {
    let cases = [
        ("builtins.genList (n: n) 9223372036854775807", "lang::list_length"),
        ("builtins.genList (n: n) (-9223372036854775807 - 1)", "lang::list_length"),
        ("builtins.elemAt [ 1 ] 9223372036854775807", "lang::list_index"),
        ("builtins.elemAt [ 1 ] (-9223372036854775807 - 1)", "lang::list_index"),
        ("builtins.substring 9223372036854775807 9223372036854775807 \"x\"", "value"),
        ("builtins.substring 1 (-9223372036854775807 - 1) \"x\"", "value"),
        ("builtins.substring (-9223372036854775807 - 1) 1 \"x\"", "lang::substring_start"),
        ("(-9223372036854775807 - 1) / -1", "lang::integer_overflow"),
        ("(-9223372036854775807 - 1) * -1", "lang::integer_overflow"),
        ("- (-9223372036854775807 - 1)", "lang::integer_overflow"),
        ("9223372036854775807 + 1", "lang::integer_overflow"),
        ("builtins.ceil 1.0e300", "lang::integer_overflow"),
        ("builtins.floor (-1.0e300)", "lang::integer_overflow"),
        ("builtins.fromJSON \"18446744073709551616\"", "value"),
        ("builtins.fromJSON \"1e999\"", "lang::json"),
        ("builtins.fromTOML \"a = 9223372036854775808\"", "lang::toml"),
        ("builtins.compareVersions \"99999999999999999999\" \"99999999999999999998\"", "value"),
        ("builtins.bitXor (-9223372036854775807 - 1) 9223372036854775807", "value"),
    ];
    for (text, code) in cases {
        assert_eq!(outcome(text.as_bytes()), code, "{text}");
    }
}

/// Every builtin and operator that traverses data meets lists nested a million deep.
#[test]
fn data_is_a_million_deep() {
    let list = "let deep = builtins.foldl' (inner: _: [ inner ]) 0 (builtins.genList (n: n) million); in ";
    let set = "let deep = builtins.foldl' (inner: _: { a = inner; }) 0 (builtins.genList (n: n) million); in ";
    let million = MILLION.to_string();
    let uses = [
        "builtins.deepSeq deep 1",
        "builtins.stringLength (builtins.toJSON deep)",
        "deep == builtins.foldl' (inner: _: [ inner ]) 0 (builtins.genList (n: n) million)",
        "deep == builtins.foldl' (inner: _: { a = inner; }) 0 (builtins.genList (n: n) million)",
        "deep < builtins.foldl' (inner: _: [ inner ]) 0 (builtins.genList (n: n) million)",
        "toString deep",
        "throw deep",
        "1 + deep",
        "builtins.trace deep 1",
        "builtins.tryEval deep",
        "derivation { name = \"n\"; system = \"s\"; builder = \"b\"; inherit deep; }",
        "deep",
    ];
    let expected = ["value", "lang::stack_overflow", "lang::type", "lang::call_depth"];
    for data in [list, set] {
        for each in uses {
            let code = outcome(format!("{data}{each}").replace("million", &million).as_bytes());
            assert!(expected.contains(&code), "{each}: {code}");
        }
    }
}

/// Printing cyclic data ends in an error.
#[test]
fn data_without_end() {
    const DEEP: &str = "too deep";
    let cases = [
        ("let a = { inherit a; }; in builtins.deepSeq a 1", "value"),
        ("let a = { inherit a; }; in builtins.toJSON a", DEEP),
        ("let a = [ a ]; in toString a", DEEP),
        ("let a = [ a ]; b = [ b ]; in a == b", DEEP),
        ("let a = [ a ]; b = [ b ]; in a < b", DEEP),
        ("let a = { __toString = _: a; }; in \"${a}\"", DEEP),
        ("let a = { outPath = a; }; in \"${a}\"", DEEP),
        ("let a = { __functor = a; }; in a 1", DEEP),
        ("{ __functor = self: self; } 1", DEEP),
    ];
    for (text, code) in cases {
        let mut found = outcome(text.as_bytes());
        if ["lang::stack_overflow", "lang::call_depth"].contains(&found) {
            found = DEEP;
        }
        assert_eq!(found, code, "{text}");
    }
}

#[test]
fn recursion_without_end() {
    let cases = [
        ("let f = n: 1 + f (n + 1); in f 0", "lang::call_depth"),
        ("let f = n: [ (f n) ]; in builtins.deepSeq (f 0) 1", "lang::call_depth"),
        ("let f = n: if f n then 1 else 2; in f 0", "lang::call_depth"),
        ("let a = b; b = c; c = a; in a", "lang::infinite_recursion"),
        ("let a = a.b; in a", "lang::infinite_recursion"),
        ("rec { a = \"${a}\"; }.a", "lang::infinite_recursion"),
        ("let x = builtins.foldl' (sum: n: sum + x) 0 [ 1 ]; in x", "lang::infinite_recursion"),
        ("let lazy = n: if n == 0 then 0 else 1 + lazy (n - 1); in lazy 9000", "value"),
        ("let g = n: builtins.seq (builtins.foldl' (p: q: p + g q) 0 [ n ]) 1; in g 1", "lang::call_depth"),
        ("let m = n: map (q: builtins.head (m q)) [ n ]; in builtins.head (m 1)", "lang::call_depth"),
        ("let s = n: builtins.sort (p: q: s n) [ 1 2 ]; in s 1", "lang::call_depth"),
        ("let f = n: f (n + 1); in f 0", "lang::call_depth"),
    ];
    for (text, code) in cases {
        assert_eq!(outcome(text.as_bytes()), code, "{text}");
    }
}

#[test]
fn texts_within_texts_are_deep() {
    let quoted = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    let json = quoted("[", "]", MILLION);
    assert_eq!(outcome(format!("builtins.seq (builtins.fromJSON \"{json}\") 1").as_bytes()), "value");
    assert_eq!(outcome(format!("builtins.fromJSON \"{}\"", "[".repeat(MILLION)).as_bytes()), "lang::json");
    assert_eq!(outcome(format!("builtins.fromJSON ''{}''", "{\"a\":".repeat(MILLION)).as_bytes()), "lang::json");
    assert_eq!(outcome(format!("builtins.fromTOML \"a = {json}\"").as_bytes()), "lang::toml");
    let dotted = vec!["a"; MILLION].join(".");
    let code = outcome(format!("builtins.fromTOML \"{dotted} = 1\"").as_bytes());
    assert!(["value", "lang::toml"].contains(&code), "{code}");
    let code = outcome(format!("{{ {dotted} = 1; }}").as_bytes());
    assert!(["value", "too_deep"].contains(&code), "{code}");
    assert_eq!(outcome(format!("builtins.pathExists /{}", vec!["a"; MILLION].join("/")).as_bytes()), "value");
    assert_eq!(outcome(format!("builtins.dirOf \"{}\"", "/".repeat(MILLION)).as_bytes()), "value");
    assert_eq!(outcome(format!("builtins.splitVersion \"{}\"", "1.".repeat(MILLION)).as_bytes()), "value");
}

#[test]
fn regular_expressions_made_to_explode() {
    let bodies = [
        ("a{0}{100000}{100000}{100000}{100000}".to_owned(), "a".to_owned(), "value"),
        ("(|){100000}{100000}".to_owned(), "a".to_owned(), "lang::regex"),
        ("(a{1000}){1000}".to_owned(), "a".to_owned(), "lang::regex"),
        (format!("a{}", "*".repeat(MILLION)), "a".to_owned(), "lang::regex"),
        (format!("a{}", "{1}".repeat(MILLION)), "a".to_owned(), "lang::regex"),
        ("(".repeat(MILLION), "a".to_owned(), "lang::regex"),
        ("a|".repeat(MILLION), "a".to_owned(), "lang::regex"),
        ("(a*)*b".to_owned(), "a".repeat(20_000 / SCALE), "value"),
        ("(a|aa)+b".to_owned(), "a".repeat(20_000 / SCALE), "value"),
    ];
    for (pattern, text, code) in bodies {
        for builtin in ["match", "split"] {
            let program = format!("builtins.{builtin} \"{pattern}\" \"{text}\"");
            let shown = &pattern[..pattern.len().min(40)];
            assert_eq!(outcome(program.as_bytes()), code, "{builtin} {shown}");
        }
    }
}

#[test]
fn sets_and_lists_of_a_million() {
    let million = MILLION.to_string();
    let cases = [
        "builtins.listToAttrs (builtins.genList (n: { name = toString n; value = n; }) million)",
        "builtins.listToAttrs (builtins.genList (n: { name = \"a\"; value = n; }) million)",
        "builtins.sort (a: b: a > b) (builtins.genList (n: n) 100000)",
        "builtins.sort (a: b: true) (builtins.genList (n: n) 100000)",
        "builtins.genList (n: [ n ]) 100000",
        "builtins.foldl' (set: n: set // { ${toString n} = n; }) { } (builtins.genList (n: n) 2000)",
        "builtins.groupBy toString (builtins.genList (n: n) 100000)",
        "builtins.genericClosure { startSet = [ { key = 0; } ]; operator = n: if n.key < 100000 then [ { key = n.key + 1; } ] else [ ]; }",
        "builtins.stringLength (builtins.concatStringsSep \",\" (builtins.genList toString million))",
    ];
    for text in cases {
        assert_eq!(outcome(text.replace("million", &million).as_bytes()), "value", "{text}");
    }
}
