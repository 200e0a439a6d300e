//! Expressions that do not evaluate: position, cause and help.

use crate::workspace::Workspace;
use insta::assert_snapshot;

#[track_caller]
fn check(source: &str) -> String {
    Workspace::with_own_store(source).check("build -f default.nix --no-link")
}

#[test]
fn syntax_error() {
    assert_snapshot!(check("{\n  a = 1\n  b = 2;\n}\n"), @r#"
    status: 1
    --- stderr
    error[unexpected_token]: unexpected `=`, expected `;`
     --> [DIR]/default.nix:3:5
      |
    3 |   b = 2;
      |     ^
      |
      = help: is the `;` of the binding before missing?
    "#);
}

#[test]
fn syntax_error_in_an_imported_file() {
    let workspace = Workspace::with_own_store("import ./parts/broken.nix");
    workspace.write("parts/broken.nix", "let\n  x = [ 1 2 ;\nin x\n");
    assert_snapshot!(workspace.check("build -f default.nix"), @r#"
    status: 1
    --- stderr
    error[unexpected_token]: unexpected `;`, expected a list element or `]`
     --> [DIR]/parts/broken.nix:2:13
      |
    2 |   x = [ 1 2 ;
      |       -     ^
      |       |
      |       opened by this `[`
      … while calling the 'import' builtin
        at [DIR]/default.nix:1:1
    "#);
}

#[test]
fn missing_attribute() {
    assert_snapshot!(check("let\n  packages = { zlib = 1; xz = 2; };\nin\npackages.zlip\n"), @r#"
    status: 1
    --- stderr
    error[lang::missing_attribute]: attribute 'zlip' missing
     --> [DIR]/default.nix:4:10
      |
    2 |   packages = { zlib = 1; xz = 2; };
      |                ---- the set is defined here
    3 | in
    4 | packages.zlip
      |          ^^^^
      |
      = help: did you mean `zlib`?
    "#);
}

#[test]
fn missing_attribute_on_the_command_line() {
    let workspace = Workspace::with_own_store("{ zlib = 1; xz = 2; }");
    assert_snapshot!(workspace.check("build -f default.nix zlip"), @r#"
    status: 1
    --- stderr
    error[lang::missing_attribute]: attribute 'zlip' in selection path 'zlip' not found
     |
     = help: did you mean `zlib`?
    "#);
}

#[test]
fn missing_flake_output() {
    let workspace = Workspace::with_own_store("");
    workspace.write("flake.nix", "{ outputs = { ... }: { packages.x86_64-linux.zlib = 1; }; }");
    assert_snapshot!(workspace.check("build .#zlip"), @r#"
    status: 1
    --- stderr
    error[installable]: the flake at `[DIR]` has no `packages.x86_64-linux.zlip`, `legacyPackages.x86_64-linux.zlip`, `zlip`
     |
     = help: did you mean `zlib`?
    "#);
}

#[test]
fn undefined_variable() {
    assert_snapshot!(check("let zlib = 1; in zlip"), @r#"
    status: 1
    --- stderr
    error[lang::undefined_variable]: undefined variable 'zlip'
     --> [DIR]/default.nix:1:18
      |
    1 | let zlib = 1; in zlip
      |                  ^^^^
      |
      = help: did you mean `zlib`?
    "#);
}

#[test]
fn infinite_recursion() {
    assert_snapshot!(check("let\n  a = b + 1;\n  b = a + 1;\nin\na\n"), @r#"
    status: 1
    --- stderr
    error[lang::infinite_recursion]: infinite recursion encountered
     --> [DIR]/default.nix:3:9
      |
    3 |   b = a + 1;
      |         ^
      ╭─▶ while evaluating the attribute 'a'  ([DIR]/default.nix:2:7)
      ╰── while evaluating the attribute 'b'  ([DIR]/default.nix:3:7)
    "#);
}

#[test]
fn wrong_type_in_derivation() {
    assert_snapshot!(check("derivation {\n  name = \"x\";\n  system = \"x86_64-linux\";\n  builder = x: x;\n}\n"), @r#"
    status: 1
    --- stderr
    error[lang::type]: cannot coerce a function to a string: «lambda builder @ [DIR]/default.nix:4:13»
     --> [DIR]/default.nix:4:3
      |
    4 |   builder = x: x;
      |   ^^^^^^^
      … while evaluating attribute 'builder' of derivation 'x'
        at [DIR]/default.nix:4:3
      … while evaluating derivation 'x'
        at [DIR]/default.nix:2:3
    "#);
}

#[test]
fn wrong_type_of_a_derivations_name() {
    assert_snapshot!(check("derivation {\n  name = 5;\n  system = \"x86_64-linux\";\n  builder = \"/bin/sh\";\n}\n"), @r#"
    status: 1
    --- stderr
    error[lang::type]: expected a string but found an integer: 5
     --> [DIR]/default.nix:2:3
      |
    2 |   name = 5;
      |   ^^^^
      … while evaluating the `name` attribute passed to builtins.derivationStrict
    "#);
}

#[test]
fn not_a_derivation() {
    assert_snapshot!(check("5"), @r#"
    status: 1
    --- stderr
    error[installable]: `the expression` is not a derivation
    "#);
}

#[test]
fn a_file_out_of_reach() {
    let workspace = Workspace::with_own_store("builtins.readFile /etc/hostname");
    assert_snapshot!(workspace.check("build --pure -f default.nix --no-link"), @r#"
    status: 1
    --- stderr
    error[lang::pure_path]: access to absolute path '/etc/hostname' is forbidden in pure evaluation mode
     --> [DIR]/default.nix:1:1
      |
    1 | builtins.readFile /etc/hostname
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: use `--impure` to override
      … while calling the 'readFile' builtin
        at [DIR]/default.nix:1:1
    "#);
}
