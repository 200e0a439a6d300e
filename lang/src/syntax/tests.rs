//! Trees of valid texts, and reports of mistakes.

use super::print::{PrintOptions, Style, print};
use super::{ParseOptions, parse};
use bumpalo::Bump;
use proptest::prelude::*;

/// Returns the tree of a text as text, or its mistakes, one per line: offsets, message, labels,
/// help.
fn check(text: &[u8]) -> String {
    let arena = Bump::new();
    let options = ParseOptions { pipe_operators: true, separate_string_pieces: true, ..ParseOptions::default() };
    let parsed = parse(&arena, text, options);
    if parsed.errors.is_empty() {
        let options = PrintOptions { base: b"/", home: b"/home", style: Style::Current };
        return String::from_utf8_lossy(&print(parsed.expr, options)).into_owned();
    }
    let shown = parsed.errors.iter().map(|error| {
        let mut line = format!("{}..{} {error}", error.span.start, error.span.end);
        for (span, label) in &error.labels {
            line += &format!(" [{}..{} {label}]", span.start, span.end);
        }
        error.help.as_ref().map_or(line.clone(), |help| format!("{line} (help: {help})"))
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[test]
fn texts_print_as_nix_prints_them() {
    for (text, printed) in PRINTED {
        assert_eq!(check(text.as_bytes()), *printed, "{text}");
    }
}

#[test]
fn indentation() {
    let cases: &[(&str, &str)] = &[
        ("''\n    a\n      b\n   ''", r#""a\n  b\n""#),
        ("''  ${a}\n''", r#"(a + "\n")"#),
        ("''\n  a\n  ${b}\n ''", r#"("a\n" + b + "\n")"#),
        ("''\n  a\n\n   b\n''", r#""a\n\n b\n""#),
        ("''\n\ta\n\t b\n''", r#""\ta\n\t b\n""#),
        ("''  a\n  b\n  ''", r#""a\nb\n""#),
        ("''\n    a ${b} c\n   d\n''", r#"(" a " + b + " c\nd\n")"#),
        ("''\n  ''\\n a\n  b''", r#"("\n" + "a\nb")"#),
        ("''   \n   a''", r#""a""#),
        ("'' \n\n  a\n \n  b\n  ''", r#""\na\n\nb\n""#),
        ("''\r\n  a\r\n  b\r\n''", r#""\r\n  a\r\n  b\r\n""#),
        ("\"a\r\nb\rc\"", r#""a\nb\nc""#),
        ("a\r\n+\r\nb", r#"(a + b)"#),
        ("# x\ra", r#"a"#),
        ("\"a\nb\"", r#""a\nb""#),
        ("''\n   ''${a}\n  b''", r#"(" " + "$" + "{a}\nb")"#),
        ("''\n  $\n    b\n ''", r#""$\n  b\n""#),
        ("''\n  '\n    b\n ''", r#""'\n  b\n""#),
        ("''a\n  b''", r#""a\n  b""#),
        ("''\n  a\n ''${b}\n   c\n''", r#"(" a\n" + "$" + "{b}\n  c\n")"#),
        ("''\n  ${a}\n    ${b}\n''", r#"(a + "\n  " + b + "\n")"#),
        ("''\n  a\n   ''' \n''", r#"("a\n " + "''" + " \n")"#),
        ("''\n${a}''", r#"(a)"#),
        ("''\n   ${a}''", r#"(a)"#),
        ("''\n  a  ''", r#""a  ""#),
        ("''\n  ''", r#""""#),
        ("''\n\n''", r#""\n""#),
        ("''  ''", r#""""#),
        ("''   \n  \n ''", r#""\n""#),
        ("''\n  ''\\  a\n    b\n''", r#"(" " + " a\n  b\n")"#),
        ("''\n  a${b}\n  ''", r#"("a" + b + "\n")"#),
        ("''\n  a\n  ${b}  ''", r#"("a\n" + b + "  ")"#),
        ("''\n  ''$\n  ''", r#"("$" + "\n")"#),
        ("''\n  a\n  ''\\ ''", r#"("a\n" + " ")"#),
    ];
    for (text, printed) in cases {
        assert_eq!(check(text.as_bytes()), *printed, "{text:?}");
    }
}

#[test]
fn mistakes() {
    let cases: &[(&str, &str)] = &[
        (r#"inherit"#, r#"0..7 unexpected `inherit`, expected an expression"#),
        (
            r#"{ a = 1; a = 2; }"#,
            r#"9..10 attribute 'a' already defined [2..3 first defined here] [9..10 and again here]"#,
        ),
        (
            r#"{ a = { b = 1; }; a.b = 2; }"#,
            r#"18..21 attribute 'a.b' already defined [8..9 first defined here] [18..21 and again here]"#,
        ),
        (
            r#"{ a.b.c = 1; a.b = 2; }"#,
            r#"13..16 attribute 'a.b' already defined [2..5 first defined here] [13..16 and again here]"#,
        ),
        (
            r#"{a, a}: 1"#,
            r#"4..5 duplicate formal function argument 'a' [1..2 first named here] [4..5 and again here]"#,
        ),
        (r#"a@{a}: 1"#, r#"3..4 duplicate formal function argument 'a' [0..1 first named here] [3..4 and again here]"#),
        (
            r#"{ if = 1; }"#,
            r#"2..4 unexpected `if`, expected an attribute name, `inherit` or `}` (help: a keyword must be quoted to be a name: `"if"`)"#,
        ),
        (
            r#"[ -1 ]"#,
            r#"2..3 unexpected `-`, expected a list element or `]` [0..1 opened by this `[`] (help: put an element with operators in parentheses: `[ (-1) ]`)"#,
        ),
        (
            r#"[ x: x ]"#,
            r#"3..4 unexpected `:`, expected a list element or `]` [0..1 opened by this `[`] (help: put the function in parentheses: `(x: …)`)"#,
        ),
        (
            r#"f x: y"#,
            r#"3..4 unexpected `:`, expected the end of the file (help: put the function in parentheses: `(x: …)`)"#,
        ),
        (r#"{...,a}: a"#, r#"4..5 unexpected `,`, expected `}` [0..1 opened by this `{`] (help: `...` stands last)"#),
        (
            r#"let a = 1 in a"#,
            r#"10..12 unexpected `in`, expected `;` (help: every binding ends in `;`, the last one too)"#,
        ),
        (r#"{ a = 1 }"#, r#"8..9 unexpected `}`, expected `;` (help: every binding ends in `;`, the last one too)"#),
        (r#"( a"#, r#"3..3 unexpected end of the file, expected `)` [0..1 opened by this `(`]"#),
        (r#""a"#, r#"0..1 string without an end (help: write `"` where the string ends)"#),
        (r#"''a"#, r#"0..2 string without an end (help: write `''` where the string ends)"#),
        (
            r#"a < b < c"#,
            r#"6..7 `<` cannot follow `<` without parentheses [2..3 the first operator] [6..7 the second] (help: say which comes first: `(a < b) < c`)"#,
        ),
        (
            r#"a == b != c"#,
            r#"7..9 `!=` cannot follow `==` without parentheses [2..4 the first operator] [7..9 the second] (help: say which comes first: `(a == b) != c`)"#,
        ),
        (
            r#"./a/"#,
            r#"0..4 path has a trailing slash (help: remove the last `/`, or write `/.` for the directory itself)"#,
        ),
        (r#"./a//b"#, r#"3..5 two slashes in a path (help: write one slash, or spaces around the operator `//`)"#),
        (
            r#"9223372036854775808"#,
            r#"0..19 invalid integer `9223372036854775808` (help: the largest integer is 9223372036854775807; write `.0` for a float)"#,
        ),
        (r#"1.0e999"#, r#"0..7 invalid float `1.0e999` (help: floats have 64 bits: from about 2.2e-308 to 1.8e308)"#),
        (
            r#"let ${x} = 1; in 2"#,
            r#"4..8 dynamic attributes are not allowed in `let` (help: names of variables are known before evaluation; use a set and `.${…}`)"#,
        ),
        (
            r#"{ inherit ${x}; }"#,
            r#"10..14 dynamic attributes are not allowed in `inherit` (help: bind it: `${name} = set.${name};`)"#,
        ),
        (
            r#"/* a"#,
            "0..2 comment without an end (help: write `*/` where the comment ends)\n4..4 unexpected end of the file, expected an expression",
        ),
        (r#"a & b"#, r#"2..3 unexpected `&` (help: the operator is `&&`)"#),
        (r#"$a"#, r#"0..1 unexpected `$` (help: an interpolation is written `${…}`, a variable without the `$`)"#),
        (r#"a |> b <| c"#, r#"7..9 `|>` and `<|` cannot be mixed (help: put one of them in parentheses)"#),
        (
            r#"{ a: 1 }"#,
            r#"3..4 unexpected `:`, expected `.` or `=` (help: put the function in parentheses: `(x: …)`)"#,
        ),
        (
            r#"{ a = 1, b = 2; }"#,
            r#"7..8 unexpected `,`, expected `;` (help: elements of a list are separated by spaces, bindings end in `;`)"#,
        ),
        (r#"if a then b"#, r#"11..11 unexpected end of the file, expected `else`"#),
        (r#"a ? 1"#, r#"4..5 unexpected `1`, expected an attribute name"#),
        (r#"with a b"#, r#"8..8 unexpected end of the file, expected `;`"#),
        (
            r#""${a""#,
            "0..1 string without an end (help: write `\"` where the string ends)\n4..5 string without an end (help: write `\"` where the string ends)\n5..5 unexpected end of the string, expected `}` [1..3 opened by this `${`]",
        ),
        (
            r#"{ a = "${b"; c = 1; }"#,
            "6..7 string without an end (help: write `\"` where the string ends)\n10..11 string without an end (help: write `\"` where the string ends)\n21..21 unexpected end of the string, expected `}` [7..9 opened by this `${`]\n21..21 unexpected end of the file, expected `;`",
        ),
        (
            r#"é"#,
            r#"0..2 unexpected `é` (help: names are made of the letters a to z, digits, `_`, `'` and `-`; put other text in a string)"#,
        ),
    ];
    for (text, mistakes) in cases {
        assert_eq!(check(text.as_bytes()), *mistakes, "{text}");
    }
}

#[test]
fn one_mistake_does_not_hide_the_next() {
    let text = "{\n  a = 1\n  b = 2;\n  c = [ 1 - 2 ];\n  d = (;\n  e = x y };\n}";
    insta::assert_snapshot!(check(text.as_bytes()), @r"
    14..15 unexpected `=`, expected `;` (help: is the `;` of the binding before missing?)
    29..30 unexpected `-`, expected a list element or `]` [25..26 opened by this `[`] (help: put an element with operators in parentheses: `[ (-1) ]`)
    43..44 unexpected `;`, expected an expression
    55..56 unexpected `}`, expected `;` (help: every binding ends in `;`, the last one too)
    56..57 unexpected `;`, expected the end of the file
    ");
}

#[test]
fn bytes_outside_of_utf8() {
    assert_eq!(check(b"\"a\xffb\""), "\"a\u{fffd}b\"");
    assert_eq!(check(b"# \xff\n1"), "1");
    let nul = "NUL byte in a string (help: strings hold any byte but NUL, as file names and environments do)";
    assert_eq!(check(b"\"a\0b\""), format!("2..3 {nul}"));
    assert_eq!(check(b"''a\0b''"), format!("3..4 {nul}"));
    assert!(check(b"\xff\xfe1").starts_with("0..2 unexpected `\u{fffd}\u{fffd}`"));
}

#[test]
fn deep_nesting_is_a_mistake_not_a_crash() {
    const MANY: usize = 1_000_000;
    let brackets =
        [("[", "]"), ("(", ")"), ("{a=", ";}"), ("\"${", "}\""), ("!", ""), ("-", ""), ("x: ", ""), ("a.b or ", "")];
    for (open, close) in brackets {
        let text = format!("{}1{}", open.repeat(MANY), close.repeat(MANY));
        let shown = check(text.as_bytes());
        assert!(shown.contains("expressions nest deeper than 100000"), "{open}: {}", &shown[..shown.len().min(200)]);
        assert!(!shown.contains('\n'), "{open}: {shown}");
    }
    for operator in [" + ", " ++ ", " // ", " ? ", " -> ", " |> ", " <| "] {
        let text = vec!["a"; MANY / 5].join(operator);
        assert!(check(text.as_bytes()).contains("deeper"), "{operator}");
    }
    let path = vec!["a"; MANY].join(".");
    assert!(check(format!("{{ {path} = 1; }}").as_bytes()).contains("deeper"));
    // Just below the bound all passes work.
    let text = format!("{}1{}", "[".repeat(9_990), "]".repeat(9_990));
    assert!(check(text.as_bytes()).starts_with("[ ([ (["));
    let text = format!("{{ {} = 1; }}", vec!["a"; 9_990].join("."));
    assert!(check(text.as_bytes()).starts_with("{ a = { a = {"));
}

#[test]
fn work_grows_with_the_text_only() {
    let pieces = [
        "a.", "a_.", "-", "1.", "a+", "''", "\"", "'", "$", "${", "<", "<a", "~", "/", "/*", "{", "a:", "a@", "\\",
        "_.",
    ];
    for piece in pieces {
        check(piece.repeat(100_000).as_bytes());
    }
}

proptest! {
    #[test]
    fn any_tokens_parse_without_a_panic(words in proptest::collection::vec(word(), 0..40)) {
        check(words.concat().as_bytes());
    }

    #[test]
    fn any_bytes_parse_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        check(&bytes);
    }

    #[test]
    fn printing_is_stable(text in expression(false)) {
        let printed = check(text.as_bytes());
        prop_assert_eq!(check(printed.as_bytes()), printed, "{}", text);
    }

    #[test]
    fn every_form_parses(text in expression(true)) {
        let arena = Bump::new();
        let parsed = parse(&arena, text.as_bytes(), ParseOptions { pipe_operators: true, ..ParseOptions::default() });
        prop_assert_eq!(parsed.errors, vec![], "{}", text);
    }
}

#[rustfmt::skip]
fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "a", "b ", " ", "\n", "1", "1.5", "./p", "/p/", "<n>", "u:v", "\"", "''", "${", "}", "{", "(", ")", "[", "]",
        ":", ";", ",", ".", "...", "@", "?", "=", "==", "!=", "<", "<=", ">", "&&", "||", "->", "//", "++", "+", "-",
        "*", "/", "!", "|>", "<|", "if ", "then ", "else ", "assert ", "with ", "let ", "in ", "rec ", "inherit ",
        "or ", "$", "''$", "'''", "''\\n", "\\", "#", "/*", "*/", "~/h", "\r\n", "__curPos", "é", "\0",
    ])
}

/// Texts of expressions: without `lossy`, of those kinds whose printed form is exact. Nix's form
/// shows interpolation as `+`, and `assert` without parentheses.
#[rustfmt::skip]
fn expression(lossy: bool) -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "a", "b", "1", "2.5", "\"s\"", "\"a\\n$\\${\\\"\"", "''x\n  y''", "./p", "/q/r", "~/h", "<n/m>", "[ ]", "{ }",
        "u:v", "__curPos", "map or",
    ]);
    leaf.prop_map(|text| format!("({text})")).prop_recursive(5, 40, 4, move |one| {
        let operator = proptest::sample::select(vec![
            "+", "-", "*", "/", "++", "//", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "->", "|>", "<|",
        ]);
        let two = (one.clone(), one.clone());
        let three = (one.clone(), one.clone(), one.clone());
        let exact = prop_oneof![
            (two.clone(), operator).prop_map(|((a, b), operator)| format!("({a} {operator} {b})")),
            three.clone().prop_map(|(a, b, c)| format!("({a} {b} {c})")),
            two.clone().prop_map(|(a, b)| format!("[ {a} {b} ]")),
            three.clone().prop_map(|(a, b, c)| format!("(if {a} then {b} else {c})")),
            two.clone().prop_map(|(a, b)| format!("(let x = {a}; y.z = {b}; y.w = x; in y)")),
            two.clone().prop_map(|(a, b)| format!("({{ m, n ? {a}, ... }}@o: {b})")),
            one.clone().prop_map(|a| format!("(x: {{ }}: {{ }}@y: {a})")),
            one.clone().prop_map(|a| format!("(!{a})")),
            one.clone().prop_map(|a| format!("(-{a})")),
            one.clone().prop_map(|a| format!("let {{ body = {a}; }}")),
            two.clone().prop_map(|(a, b)| format!("rec {{ x = {a}; inherit q; inherit ({b}) r \"s\"; }}")),
            two.clone().prop_map(|(a, b)| format!("(with {a}; {a}.b.\"c d\" or {b})")),
        ];
        let any = prop_oneof![
            exact.clone(),
            two.clone().prop_map(|(a, b)| format!("rec {{ x = {a}; \"y z\".${{{b}}} = 1; inherit q; inherit ({b}) r \"s\"; }}")),
            two.clone().prop_map(|(a, b)| format!("{{ ${{{a}}} = {b}; if' = 1; \"if\" = 2; }}")),
            two.clone().prop_map(|(a, b)| format!("(with {a}; assert {b}; c)")),
            two.clone().prop_map(|(a, b)| format!("({a}.b.\"c d\".${{{b}}} or {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} ? b.\"c${{{b}}}\")")),
            two.clone().prop_map(|(a, b)| format!("\"s${{{a}}}t${{{b}}}\"")),
            one.clone().prop_map(|a| format!("''\n  x ''${{ ''' ''\\n\n    ${{{a}}}\n''")),
            one.clone().prop_map(|a| format!("./p/${{{a}}}/q.nix")),
        ];
        if lossy { any.boxed() } else { exact.boxed() }
    })
}

/// Texts and the output of `nix-instantiate --parse` for them in the directory `/`; compared with
/// Nix 2.8, which shows `inherit` and `$` in another way.
#[rustfmt::skip]
const PRINTED: &[(&str, &str)] = &[
    (r#""${x}""#, r#"(x)"#),
    (r#""a${x}b""#, r#"("a" + x + "b")"#),
    (r#"''a''$b''"#, r#"("a" + "$" + "b")"#),
    (r#"./a/${b}/c"#, r#"(/a/ + b + "/c")"#),
    (r#"./a/../b"#, r#"/b"#),
    (r#"~/x"#, r#"/home/x"#),
    (r#"<nixpkgs/lib>"#, r#"(__findFile __nixPath "nixpkgs/lib")"#),
    (r#"{ b=1; a=2; inherit x; inherit (e) y z; "if"=3; or=4; "a b"=5; ${q}=6; "c${d}"=7; }"#, r#"{ inherit x; inherit (e) y z; a = 2; "a b" = 5; b = 1; "if" = 3; or = 4; "${q}" = 6; "${("c" + d)}" = 7; }"#),
    (r#"rec { }"#, r#"rec { }"#),
    (r#"let { body=1; }"#, r#"(rec { body = 1; }).body"#),
    (r#"let a=1; b=2; in a"#, r#"(let a = 1; b = 2; in a)"#),
    (r#"{b, a ? 1, ...}@x: b"#, r#"({ a ? 1, b, ... } @ x: b)"#),
    (r#"x@{}: x"#, r#"({  } @ x: x)"#),
    (r#"{...}: 1"#, r#"({ ... }: 1)"#),
    (r#"-x - 1 < 2"#, r#"(__lessThan (__sub (__sub 0 x) 1) 2)"#),
    (r#"a >= b || a <= b && a > b"#, r#"((! (__lessThan a b)) || ((! (__lessThan b a)) && (__lessThan b a)))"#),
    (r#"!a -> b"#, r#"((! a) -> b)"#),
    (r#"1.5"#, r#"1.5"#),
    (r#"1.0"#, r#"1"#),
    (r#"1e3"#, r#"(1 e3)"#),
    (r#"1.0e30"#, r#"1e+30"#),
    (r#"123456789.0"#, r#"1.23457e+08"#),
    (r#"a.b.c or d"#, r#"(a).b.c or (d)"#),
    (r#"a.${x}."y z"."q${w}""#, r#"(a)."${x}"."y z"."${("q" + w)}""#),
    (r#"a ? b.${c}.d"#, r#"((a) ? b."${c}".d)"#),
    (r#"with a; b"#, r#"(with a; b)"#),
    (r#"assert a; b"#, r#"assert a; b"#),
    (r#"if a then b else c"#, r#"(if a then b else c)"#),
    (r#"(f a) b"#, r#"(f a b)"#),
    (r#"(a - b) c"#, r#"(__sub a b c)"#),
    (r#"__curPos"#, r#"__curPos"#),
    (r#""\n\t\r$a\${ \" \\ é""#, r#""\n\t\r$a\${ \" \\ é""#),
    (r#"map or [ ]"#, r#"(map or [ ])"#),
    (r#"[ ]"#, r#"[ ]"#),
    (r#"[ 1 (f x) ]"#, r#"[ (1) ((f x)) ]"#),
    (r#"http://a.b/c?d"#, r#""http://a.b/c?d""#),
    (r#"a // b ++ c"#, r#"(a // (b ++ c))"#),
    (r#"a == b"#, r#"(a == b)"#),
    (r#"{ a.b=1; a.c=2; }"#, r#"{ a = { b = 1; c = 2; }; }"#),
    (r#"{ a = {x=1;}; a.y=2; }"#, r#"{ a = { x = 1; y = 2; }; }"#),
    (r#"{ a = rec {x=1;}; a = {y=2;}; }"#, r#"{ a = rec { x = 1; y = 2; }; }"#),
    (r#"f (x: x)"#, r#"(f (x: x))"#),
    (r#"{ ${"a"} = 1; ${null} = 2;}"#, r#"{ a = 1; "${null}" = 2; }"#),
    (r#"0.0e-999"#, r#"0"#),
    (r#"9223372036854775807"#, r#"9223372036854775807"#),
    (r#"~/${x}"#, r#"(/home/ + x)"#),
    (r#"/${x}"#, r#"(/ + x)"#),
    (r#"-5"#, r#"(__sub 0 5)"#),
    (r#"a.b or c d"#, r#"((a).b or (c) d)"#),
    (r#"{ inherit "x" ${"y"} or; }"#, r#"{ inherit or x y; }"#),
    (r#"a ? or"#, r#"((a) ? or)"#),
    (r#"x: { y }: 1"#, r#"(x: ({ y }: 1))"#),
    (r#"(((a)))"#, r#"a"#),
    (r#"{ a = { ${x} = 1; }; a.y=2;}"#, r#"{ a = { y = 2; "${x}" = 1; }; }"#),
    (r#"!a == b"#, r#"((! a) == b)"#),
    (r#"a + !b + c"#, r#"(a + (! (b + c)))"#),
    (r#""a" + ("b" + "c")"#, r#"("a" + ("b" + "c"))"#),
    (r#""""#, r#""""#),
    (r#"''''"#, r#""""#),
    (r#"''${a}''"#, r#"(a)"#),
    (r#"a ? b ? c"#, r#"((((a) ? b)) ? c)"#),
    (r#"a == b < c"#, r#"(a == (__lessThan b c))"#),
    (r#"a < b == c"#, r#"((__lessThan a b) == c)"#),
    (r#"a || b == c && d"#, r#"(a || ((b == c) && d))"#),
    (r#"a -> b -> c"#, r#"(a -> (b -> c))"#),
    (r#"a // b // c"#, r#"(a // (b // c))"#),
    (r#"a - b - c"#, r#"(__sub (__sub a b) c)"#),
    (r#"a * b / c"#, r#"(__div (__mul a b) c)"#),
    (r#"a ++ b ++ c"#, r#"(a ++ (b ++ c))"#),
    (r#"a ++ b + c"#, r#"((a ++ b) + c)"#),
    (r#"- a ++ b"#, r#"((__sub 0 a) ++ b)"#),
    (r#"-a ? b"#, r#"(((__sub 0 a)) ? b)"#),
    (r#"!a ? b"#, r#"(! ((a) ? b))"#),
    (r#"! - a"#, r#"(! (__sub 0 a))"#),
    (r#"- ! a"#, r#"(__sub 0 (! a))"#),
    (r#"- - a"#, r#"(__sub 0 (__sub 0 a))"#),
    (r#"a.b.c"#, r#"(a).b.c"#),
    (r#"a . b"#, r#"(a).b"#),
    (r#"a.1"#, r#"(a 0.1)"#),
    (r#"a .b"#, r#"(a).b"#),
    (r#"a.b or c.d or e"#, r#"(a).b or ((c).d or (e))"#),
    (r#"[ a.b or c or ]"#, r#"[ ((a).b or ((c or))) ]"#),
    (r#"[ a or b ]"#, r#"[ ((a or)) (b) ]"#),
    (r#"f a.b or c"#, r#"(f (a).b or (c))"#),
    (r#"x:y"#, r#""x:y""#),
    (r#"x: y"#, r#"(x: y)"#),
    (r#"{a,}: a"#, r#"({ a }: a)"#),
    (r#"{a,b,}: a"#, r#"({ a, b }: a)"#),
    (r#"{a ? b ? c}: a"#, r#"({ a ? ((b) ? c) }: a)"#),
    (r#"{ a }: b"#, r#"({ a }: b)"#),
    (r#"{ }"#, r#"{ }"#),
    (r#"{ }: a"#, r#"({  }: a)"#),
    (r#"{ } @ a: b"#, r#"({  } @ a: b)"#),
    (r#"{ } a"#, r#"({ } a)"#),
    (r#""$${a}""#, r#""$\${a}""#),
    (r#""$$${a}""#, r#"("$$" + a)"#),
    (r#""a$""#, r#""a$""#),
    (r#""$""#, r#""$""#),
    (r#""\$${a}""#, r#"("$" + a)"#),
    (r#""$\${a}""#, r#""$\${a}""#),
    (r#"''$${a}''"#, r#""$\${a}""#),
    (r#"''$$${a}''"#, r#"("$$" + a)"#),
    (r#"''''${a}''"#, r#"("$" + "{a}")"#),
    (r#"'''''''"#, r#""''""#),
    (r#"''''\n''"#, r#""\n""#),
    (r#"''a'b''"#, r#""a'b""#),
    (r#"''a'$b''"#, r#"("a" + "'" + "$b")"#),
    (r#"''a$''"#, r#"("a" + "$")"#),
    (r#"''$''"#, r#""$""#),
    (r#"''a''\tb''"#, r#"("a" + "\t" + "b")"#),
    (r#"'' a''"#, r#""a""#),
    (r#"''  a ''"#, r#""a ""#),
    (r#"1."#, r#"1"#),
    (r#".5"#, r#"0.5"#),
    (r#"00.5"#, r#"(0 0.5)"#),
    (r#"1.5.5"#, r#"(1.5 0.5)"#),
    (r#"a-b"#, r#"a-b"#),
    (r#"a -b"#, r#"(__sub a b)"#),
    (r#"a - b"#, r#"(__sub a b)"#),
    (r#"a-1"#, r#"a-1"#),
    (r#"a -1"#, r#"(__sub a 1)"#),
    (r#"a+b/c"#, r#"/a+b/c"#),
    (r#"a/b"#, r#"/a/b"#),
    (r#"a /b"#, r#"(a /b)"#),
    (r#"a / b"#, r#"(__div a b)"#),
    (r#"1/2"#, r#"/1/2"#),
    (r#"a.b/c"#, r#"/a.b/c"#),
    (r#"/*a*/ b"#, r#"b"#),
    (r#"/**/ b"#, r#"b"#),
    (r#"/***/ b"#, r#"b"#),
    (r#"/* * / */ b"#, r#"b"#),
    (r#"a # b"#, r#"a"#),
    (r#"<a>"#, r#"(__findFile __nixPath "a")"#),
    (r#"<a/b>"#, r#"(__findFile __nixPath "a/b")"#),
    (r#"a <b> c"#, r#"(a (__findFile __nixPath "b") c)"#),
    (r#"a<b"#, r#"(__lessThan a b)"#),
    (r#"../a"#, r#"/a"#),
    (r#".../a"#, r#"/.../a"#),
    (r#"./."#, r#"/"#),
    (r#"./.."#, r#"/"#),
    (r#"./..."#, r#"/..."#),
    (r#"a@{ b, ... }: c"#, r#"({ b, ... } @ a: c)"#),
    (r#"{ inherit; }"#, r#"{ }"#),
    (r#"{ inherit (a); }"#, r#"{ }"#),
    (r#"{ inherit a b; inherit (c) d "e"; }"#, r#"{ inherit a b; inherit (c) d e; }"#),
    (r#"let inherit (a) b; in b"#, r#"(let inherit (a) b; in b)"#),
    (r#"let { a = 1; }"#, r#"(rec { a = 1; }).body"#),
    (r#"let in 1"#, r#"(let in 1)"#),
    (r#"rec { a = b; b = 1; }"#, r#"rec { a = b; b = 1; }"#),
    (r#"rec { a.b = 1; a = rec { c = 2; }; }"#, r#"rec { a = { b = 1; c = 2; }; }"#),
    (r#"{ a.b.c = 1; a.b.d = 2; a.e = 3; }"#, r#"{ a = { b = { c = 1; d = 2; }; e = 3; }; }"#),
    (r#"{ a = { b.c = 1; }; a.b.d = 2; }"#, r#"{ a = { b = { c = 1; d = 2; }; }; }"#),
    (r#"{ a.b = { c = 1; }; a = { d = 2; }; }"#, r#"{ a = { b = { c = 1; }; d = 2; }; }"#),
    (r#"{ ${a}.b = 1; ${a}.c = 2; }"#, r#"{ "${a}" = { b = 1; }; "${a}" = { c = 2; }; }"#),
    (r#"{ "a".b = 1; a."c" = 2; ${"a"}.d = 3; }"#, r#"{ a = { b = 1; c = 2; d = 3; }; }"#),
    (r#"{ a."${b}".c = 1; a."${b}".c = 2; }"#, r#"{ a = { "${(b)}" = { c = 1; }; "${(b)}" = { c = 2; }; }; }"#),
    (r#"{ a = ({ b = 1; }); a.c = 2; }"#, r#"{ a = { b = 1; c = 2; }; }"#),
    (r#"{ ${''a''} = 1; }"#, r#"{ a = 1; }"#),
    (r#"{ or = 1; }"#, r#"{ or = 1; }"#),
    (r#"{ a.or = 1; or.b = 2; }"#, r#"{ a = { or = 1; }; or = { b = 2; }; }"#),
    (r#"with a; with b; c"#, r#"(with a; (with b; c))"#),
    (r#"assert a; assert b; c"#, r#"assert a; assert b; c"#),
    (r#"if a then if b then c else d else e"#, r#"(if a then (if b then c else d) else e)"#),
    (r#"a b c d"#, r#"(a b c d)"#),
    (r#"a (b c) d"#, r#"(a (b c) d)"#),
    (r#"(a b) (c d)"#, r#"(a b (c d))"#),
    (r#"((a b) c) d"#, r#"(a b c d)"#),
    (r#"(a < b) c"#, r#"(__lessThan a b c)"#),
    (r#"(a <= b) c"#, r#"((! (__lessThan b a)) c)"#),
    (r#"(-a) b"#, r#"(__sub 0 a b)"#),
    (r#"<a> b"#, r#"(__findFile __nixPath "a" b)"#),
    (r#"(a + b) c"#, r#"((a + b) c)"#),
    (r#"import ./a"#, r#"(import /a)"#),
    (r#""a${"b${"c"}d"}e""#, r#"("a" + ("b" + "c" + "d") + "e")"#),
    (r#""${a}${b}""#, r#"(a + b)"#),
    (r#""a${{}}b""#, r#"("a" + { } + "b")"#),
    (r#""${ { a = 1; }.a }""#, r#"(({ a = 1; }).a)"#),
    (r#"''${''a''}''"#, r#""a""#),
    (r#"''a${''b''}c''"#, r#"("a" + "b" + "c")"#),
    (r#"__sub 1 2"#, r#"(__sub 1 2)"#),
    (r#"a.b.${c}"#, r#"(a).b."${c}""#),
    (r#"a."b".c"#, r#"(a).b.c"#),
    (r#"a."b c""#, r#"(a)."b c""#),
    (r#""a".b"#, r#"("a").b"#),
    (r#"a:b"#, r#""a:b""#),
    (r#"a: a"#, r#"(a: a)"#),
    (r#"a :a"#, r#"(a: a)"#),
    (r#"x_y:z"#, r#"(x_y: z)"#),
    (r#"a.b:c"#, r#""a.b:c""#),
    (r#"a+b:c"#, r#""a+b:c""#),
    (r#"a-b.c+d:e"#, r#""a-b.c+d:e""#),
    (r#"a://b"#, r#""a://b""#),
    (r#"mailto:a"#, r#""mailto:a""#),
    (r#"x:x:x"#, r#""x:x:x""#),
    (r#"x:./foo"#, r#""x:./foo""#),
    (r#"a'b"#, r#"a'b"#),
    (r#"a'"#, r#"a'"#),
    (r#"_a"#, r#"_a"#),
    (r#"_"#, r#"_"#),
    (r#"a-b-c"#, r#"a-b-c"#),
    (r#"a--b"#, r#"a--b"#),
    (r#"a_b'c-d"#, r#"a_b'c-d"#),
    (r#"true"#, r#"true"#),
    (r#"null"#, r#"null"#),
    (r#"a|>b"#, r#"(b a)"#),
    (r#"a <| b"#, r#"(a b)"#),
    (r#"a ||b"#, r#"(a || b)"#),
    (r#"a ? "b${c}".d"#, r#"((a) ? "${("b" + c)}".d)"#),
    (r#"a ? b || c"#, r#"(((a) ? b) || c)"#),
    (r#"a && b ? c"#, r#"(a && ((b) ? c))"#),
    (r#"a ++ b ? c"#, r#"(a ++ ((b) ? c))"#),
    (r#"a ? b + c"#, r#"(((a) ? b) + c)"#),
    (r#"!a && b"#, r#"((! a) && b)"#),
    (r#"!(a && b)"#, r#"(! (a && b))"#),
    (r#"a != b"#, r#"(a != b)"#),
    (r#"a!=b"#, r#"(a != b)"#),
    (r#"a // b == c // d"#, r#"((a // b) == (c // d))"#),
    (r#"f {} "#, r#"(f { })"#),
    (r#"f { } { }"#, r#"(f { } { })"#),
    (r#"f rec { } "#, r#"(f rec { })"#),
    (r#"f let { } "#, r#"(f (rec { }).body)"#),
    (r#"[ let { } ]"#, r#"[ ((rec { }).body) ]"#),
    (r#"[ rec { } ]"#, r#"[ (rec { }) ]"#),
    (r#"{ x = with a; b; }"#, r#"{ x = (with a; b); }"#),
    (r#"{ inherit (with a; b) c; }"#, r#"{ inherit ((with a; b)) c; }"#),
    (r#"x: if x then y else z: 1"#, r#"(x: (if x then y else (z: 1)))"#),
    (r#"if a then x: y else z"#, r#"(if a then (x: y) else z)"#),
    (r#"{a ? x: y}: b"#, r#"({ a ? (x: y) }: b)"#),
    (r#"{a ? {b}: c, d}: e"#, r#"({ a ? ({ b }: c), d }: e)"#),
    (r#"./a/${b}c${d}/e.nix"#, r#"(/a/ + b + "c" + d + "/e.nix")"#),
    (r#"./a${b}"#, r#"(/a + b)"#),
    (r#"a/${b}"#, r#"(/a/ + b)"#),
    (r#"/a${b}"#, r#"(/a + b)"#),
    (r#"./${a}./b"#, r#"(/ + a + "./b")"#),
    (r#"~/a${b}"#, r#"(/home/a + b)"#),
    (r#""a"b"#, r#"("a" b)"#),
    (r#""a" "b""#, r#"("a" "b")"#),
    (r#"a"b""#, r#"(a "b")"#),
    (r#"a"""#, r#"(a "")"#),
    (r#"''a''b"#, r#"("a" b)"#),
    (r#"1a"#, r#"(1 a)"#),
    (r#"1_"#, r#"(1 _)"#),
    (r#"1.e5"#, r#"100000"#),
    (r#"1.5e"#, r#"(1.5 e)"#),
    (r#"1.5e+5x"#, r#"(150000 x)"#),
    (r#".5.5"#, r#"(0.5 0.5)"#),
    (r#"0.5"#, r#"0.5"#),
    (r#"01.5"#, r#"(1 0.5)"#),
    (r#"1.5/2"#, r#"/1.5/2"#),
    (r#"-.5"#, r#"(__sub 0 0.5)"#),
    (r#"a.b orc"#, r#"((a).b orc)"#),
    (r#"a.b or-c"#, r#"((a).b or-c)"#),
    (r#"a or"#, r#"(a or)"#),
    (r#"(a or) b"#, r#"(a or b)"#),
    (r#"{ a }@b: c"#, r#"({ a } @ b: c)"#),
    (r#"{ a }@ b : c"#, r#"({ a } @ b: c)"#),
    (r#"{ a ? 1 }: a"#, r#"({ a ? 1 }: a)"#),
    (r#"{a?1}: a"#, r#"({ a ? 1 }: a)"#),
    (r#"a?b"#, r#"((a) ? b)"#),
    (r#""$''""#, r#""$''""#),
    (r#"''"''"#, r#""\"""#),
    (r#"''\''"#, r#""\\""#),
    (r#"''\n''"#, r#""\\n""#),
    (r#"''''$''"#, r#""$""#),
    (r#"''''$${a}''"#, r#"("$" + a)"#),
    (r#"''' a ''"#, r#""' a ""#),
    (r#""""""#, r#"("" "")"#),
    (r#"{}.a"#, r#"({ }).a"#),
    (r#"{}.a or {}"#, r#"({ }).a or ({ })"#),
    (r#"[].a"#, r#"([ ]).a"#),
    (r#"(x: x).a"#, r#"((x: x)).a"#),
    (r#"1.a"#, r#"(1 a)"#),
    (r#""".a"#, r#"("").a"#),
    (r#"./a.b"#, r#"/a.b"#),
    (r#"./a .b"#, r#"(/a).b"#),
    (r#"<a>.b"#, r#"((__findFile __nixPath "a")).b"#),
    (r#"a.b."c".${d}."${e}" or f"#, r#"(a).b.c."${d}"."${(e)}" or (f)"#),
    (r#"{ ${a} = 1; "${b}" = 2; c.${d} = 3; }"#, r#"{ c = { "${d}" = 3; }; "${a}" = 1; "${(b)}" = 2; }"#),
    (r#"__curPos.line"#, r#"(__curPos).line"#),
    (r#"__curPos:a"#, r#"(__curPos: a)"#),
    (r#"__curPos: a"#, r#"(__curPos: a)"#),
    (r#"__curPos@{}: a"#, r#"({  } @ __curPos: a)"#),
    (r#"{__curPos}: a"#, r#"({ __curPos }: a)"#),
];
