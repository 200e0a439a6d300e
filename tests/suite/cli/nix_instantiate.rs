//! `nix-instantiate`: arguments and output as other tools expect them.

use crate::workspace::Workspace;
use insta::assert_snapshot;

const DERIVATIONS: &str = r#"
let
  make = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; };
in
{
  b = make "b";
  a = make "a";
  nested.c = make "c";
  taken = { recurseForDerivations = true; d = make "d"; };
  "odd name" = make "odd";
}
"#;

#[test]
fn values_are_printed_as_nix_prints_them() {
    let workspace = Workspace::with_own_store("{ x ? 1, y ? \"t\" }: { inherit x y; f = z: z; }");
    let check = |arguments: &str| workspace.stdout(&format!("nix-instantiate {arguments}"));
    assert_snapshot!(check("--eval --strict default.nix --arg x 2"), @r#"{ f = <LAMBDA>; x = 2; y = "t"; }"#);
    assert_snapshot!(check("--eval default.nix"), @"<LAMBDA>");
    assert_snapshot!(check("--eval -A x"), @"1");
    assert_snapshot!(check("--eval --json -A y --argstr y z"), @r#""z""#);
    assert_snapshot!(check("--eval --raw -A y"), @"t");
    assert_snapshot!(check("--parse default.nix"), @r#"({ x ? 1, y ? "t" }: { inherit x y; f = (z: z); })"#);
}

#[test]
fn derivations_come_in_the_order_of_nix() {
    let workspace = Workspace::with_own_store(DERIVATIONS);
    let order = |command: &str| {
        let names = workspace.stdout(command);
        names.lines().map(|line| line.rsplit('-').next().unwrap_or_default().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(order("nix-instantiate"), "a.drv b.drv d.drv");
    assert_eq!(order("instantiate --store-model nix -f default.nix"), "a.drv b.drv d.drv");
}

#[test]
fn errors_are_those_of_nix() {
    let workspace = Workspace::with_own_store("a/b");
    let text = |arguments: &[&str]| {
        let mut all = vec!["nix-instantiate"];
        all.extend(arguments);
        workspace.text(&workspace.run(all))
    };
    assert_snapshot!(text(&["--parse", "-E", "x: y"]), @r"
    status: 1
    --- stderr
    error: undefined variable 'y'
           at «string»:1:4:
                1| x: y
                 |    ^
    ");
    assert_snapshot!(text(&["--eval", "--lint-short-path-literals", "fatal"]), @r"
    status: 1
    --- stderr
    error: relative path literal 'a/b' should be prefixed with '.' for clarity: './a/b' (lint-short-path-literals)
           at [DIR]/default.nix:1:1:
                1| a/b
                 | ^
    ");
    let restricted = text(&["--eval", "--restrict-eval", "-E", "builtins.readFile /etc/hostname"]);
    assert!(
        restricted.contains("access to absolute path '/etc/hostname' is forbidden in restricted mode"),
        "{restricted}"
    );
    assert_snapshot!(text(&["--evil"]), @r"
    status: 1
    --- stderr
    error: unrecognised flag '--evil'
    ");
}

/// Functions in the path get arguments too; the member itself does when there are arguments.
#[test]
fn arguments_reach_every_function_of_an_attribute_path() {
    let expression = "{ x ? 1 }: { a = { x, y ? 3 }: { b = x + y; list = [ 0 ({ x }: { c = x; }) ]; d = { x }: x; }; }";
    let workspace = Workspace::with_own_store(expression);
    let check = |arguments: &str| {
        let [nix, expr] = ["nix-instantiate --eval", "expr -f default.nix"]
            .map(|command| workspace.stdout(&format!("{command} {arguments}")));
        assert_eq!(nix, expr, "{arguments}");
        nix
    };
    assert_eq!(check("-A a.b --arg x 2"), "5");
    assert_eq!(check("-A a.b --arg x 2 --arg y 5"), "7");
    assert_eq!(check("-A a.list.1.c --argstr x text"), "\"text\"");
    assert_eq!(workspace.stdout("nix-instantiate --eval -A a.d --arg x 2"), "2");
    let made = "{ of }: { a = { name }: { b = { builder }: derivation { inherit name builder; system = of; }; }; }";
    let workspace = Workspace::with_own_store(made);
    let arguments = "-A a.b --argstr of x --argstr name made --argstr builder /bin/sh";
    let [nix, native] = ["nix-instantiate", "instantiate --store-model nix -f default.nix"]
        .map(|command| workspace.stdout(&format!("{command} {arguments}")));
    assert!(nix.ends_with("-made.drv"), "{nix}");
    assert_eq!(nix, native);
}

#[test]
fn errors_of_attribute_paths_are_those_of_nix() {
    let workspace =
        Workspace::with_own_store("{ a = { foo = 1; list = [ 1 2 ]; none = null; f = x: x; \"1\" = 1; }; }");
    let check = |path: &str| {
        let output = workspace.run(["nix-instantiate", "--eval", "-A", path]);
        let text = String::from_utf8(output.stderr).unwrap();
        text.trim_end().strip_prefix("error: ").unwrap_or(&text).to_owned()
    };
    for (path, message) in [
        ("a.fou", "attribute 'fou' in selection path 'a.fou' not found\n       Did you mean one of foo or f?"),
        ("a.list.fo", "the expression selected by the selection path 'a.list.fo' should be a set but is a list"),
        ("a.list.2", "list index 2 in selection path 'a.list.2' is out of range"),
        ("a.none.x", "the expression selected by the selection path 'a.none.x' should be a set but is null"),
        ("a.foo.0", "the expression selected by the selection path 'a.foo.0' should be a list but is an integer"),
        ("a.f.x", "the expression selected by the selection path 'a.f.x' should be a set but is a function"),
        ("a.0", "the expression selected by the selection path 'a.0' should be a list but is a set"),
        ("a..x", "empty attribute name in selection path 'a..x'"),
        ("a.\"x", "missing closing quote in selection path 'a.\"x'"),
    ] {
        assert_eq!(check(path), message);
    }
    assert_eq!(workspace.stdout("nix-instantiate --eval -A a.1"), "1");
}

#[test]
fn messages_for_programs_have_no_escape_sequences() {
    let escape = "builtins.fromJSON ''\"\\u001b\"''";
    let workspace = Workspace::with_own_store(&format!(
        "let e = {escape}; in builtins.trace \"${{e}}[31mtraced${{e}}[0m\" (throw \"a\tb ${{e}}[1mbold${{e}}[0m\")"
    ));
    let output = workspace.run(["nix-instantiate", "--eval"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("trace: traced\n"), "{text:?}");
    assert!(text.contains(" bold") && !text.contains(['\x1b', '\t']), "{text:?}");
}

/// The expected texts are those of Nix 2.34.8.
#[test]
fn without_strict_what_nix_suspends_is_shown_as_code() {
    let workspace = Workspace::with_own_store("[ [ 1 ] (x: x) 1 ]");
    let check = |expression: &str, shown: &str| {
        let output = workspace.run(["nix-instantiate", "--eval", "-E", expression]);
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), shown, "{expression}");
    };
    for (expression, shown) in [
        ("{ a = [ 1 ]; b = x: x; c = { }; }", "{ a = <CODE>; b = <CODE>; c = <CODE>; }"),
        ("[ { } [ ] [ 1 ] (x: x) 1 \"s\" 1.5 (1) true ]", "[ <CODE> [ ] <CODE> <CODE> 1 \"s\" 1.5 1 true ]"),
        ("builtins.genList (x: x) 3", "[ <CODE> <CODE> <CODE> ]"),
        ("{ inherit (builtins) map; x = builtins.map; y = map; }", "{ map = <CODE>; x = <CODE>; y = <PRIMOP>; }"),
        (
            "let a = 1; b = [ 1 ]; c = { }; d = x: x; e = __curPos; g = [ ]; in { inherit a b c d e g; f = a; h = b; }",
            "{ a = 1; b = <CODE>; c = <CODE>; d = <CODE>; e = <CODE>; f = 1; g = [ ]; h = <CODE>; }",
        ),
        ("rec { a = 1; b = a; c = [ a ]; d = x: x; e = d; }", "{ a = 1; b = 1; c = <CODE>; d = <CODE>; e = <CODE>; }"),
        ("(x: { inherit x; y = [ x ]; }) [ 1 ]", "{ x = <CODE>; y = <CODE>; }"),
        ("({ x ? { }, y ? 1, z ? a: a }: { inherit x y z; }) { }", "{ x = <CODE>; y = 1; z = <CODE>; }"),
        ("with { x = 1; }; [ x ]", "[ <CODE> ]"),
        ("let a = 1; in [ (a + 1) (a * a) ]", "[ <CODE> <CODE> ]"),
        ("let s = { x = 1; }; in builtins.seq s.x [ s s.x ]", "[ { x = 1; } <CODE> ]"),
        ("let f = x: [ x ]; in builtins.seq f { a = f 1; inherit f; }", "{ a = <CODE>; f = <LAMBDA>; }"),
        ("builtins.filter (x: true) [ 1 { } (x: x) ]", "[ 1 <CODE> <CODE> ]"),
        ("builtins.fromJSON \"{\\\"a\\\":[1,{\\\"b\\\":2}]}\"", "{ a = [ 1 { b = 2; } ]; }"),
    ] {
        check(expression, shown);
    }
    // Code that the other way of printing cached is other code.
    for _ in 0..2 {
        assert_eq!(workspace.stdout("nix-instantiate --eval --strict"), "[ [ 1 ] <LAMBDA> 1 ]");
        assert_eq!(workspace.stdout("nix-instantiate --eval"), "[ <CODE> <CODE> 1 ]");
    }
    let xml = workspace.stdout("nix-instantiate --eval --xml --no-location");
    assert_eq!(xml.matches("<unevaluated />").count(), 2, "{xml}");
}
