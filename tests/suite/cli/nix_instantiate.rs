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
