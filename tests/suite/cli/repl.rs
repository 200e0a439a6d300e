//! `repl`, driven by a pipe.

use crate::workspace::Workspace;
use insta::assert_snapshot;

/// Returns the output for lines that are piped in.
fn piped(workspace: &Workspace, lines: &str) -> String {
    workspace.write("input", lines);
    let input = std::fs::File::open(workspace.path().join("input")).expect("it was written just now");
    let ran = workspace.command(["repl"]).stdin(input).output().expect("the program starts");
    workspace.text(&ran)
}

#[test]
fn lines_from_a_pipe() {
    let workspace = Workspace::with_own_store("{ zlib = 1; nested.b = [ 1 2 ]; }");
    let text = piped(
        &workspace,
        "1 + 1\n\
         x = 20\n\
         y = x +\n\
         1\n\
         y\n\
         :t y\n\
         :l default.nix\n\
         zlib\n\
         nested\n\
         :p nested\n\
         :a { late = throw \"not now\"; }\n\
         late\n\
         zlip\n\
         :doc builtins.map\n\
         :nothing\n\
         :q\n\
         unreachable\n",
    );
    assert_snapshot!(text, @r#"
    status: 0
    --- stdout
    2
    21
    an integer
    2 names added
    1
    { b = [ 1 2 ]; }
    { b = [ 1 2 ]; }
    1 names added
    builtins.map (2 arguments): a function's values over a list
    --- stderr
    error[lang::throw]: not now
     --> «string»:1:10
      |
    1 | { late = throw "not now"; }
      |          ^^^^^^^^^^^^^^^
      … while calling the 'throw' builtin
        at «string»:1:10
      … while evaluating the attribute 'late'
        at «string»:1:10
    error[lang::undefined_variable]: undefined variable 'zlip'
     --> «string»:1:1
      |
    1 | zlip
      | ^^^^
      |
      = help: did you mean `zlib`?
    error: there is no command `:nothing`
     |
     = help: `:?` lists the commands
    "#);
}

#[test]
fn derivations_are_built() {
    let workspace = Workspace::with_own_store(
        r#"{ toy = (import ./prelude.nix).write { name = "toy"; files.x.text = "here"; }; }"#,
    );
    assert_snapshot!(piped(&workspace, ":l default.nix\n:b toy\n"), @r#"
    status: 0
    --- stdout
    1 names added
    [STORE]/store/[HASH]-toy
    "#);
    let again = workspace.check("build -f default.nix toy --no-link");
    assert!(again.contains("up to date: nothing to do"), "{again}");
}

#[test]
fn codes_are_explained() {
    let workspace = Workspace::with_own_store("1");
    assert_snapshot!(workspace.check("explain division_by_zero"), @r#"
    status: 0
    --- stdout
    lang::division_by_zero

    The divisor of a division is zero.
    ```nix
    1 / 0
    ```
    "#);
    assert_snapshot!(workspace.check("explain lang::trow"), @r#"
    status: 2
    --- stderr
    error: no error has the code `lang::trow`
     |
     = help: did you mean `lang::throw`?
    "#);
}

#[test]
fn errors_for_editors() {
    let workspace = Workspace::with_own_store("let zlib = 1; in zlip");
    assert_snapshot!(workspace.check("expr -f default.nix --error-format json"), @r#"
    status: 1
    --- stderr
    {"code":"lang::undefined_variable","column":18,"cycle":0,"endColumn":22,"endLine":1,"file":"[DIR]/default.nix","frames":[],"further":[],"labels":[],"line":1,"message":"undefined variable 'zlip'","notes":["did you mean `zlib`?"],"severity":"error"}
    "#);
}

/// One object that is too big unwinds to the start of the evaluation, which must be within the
/// program.
#[test]
fn one_value_may_exceed_the_limit() {
    for expression in
        ["builtins.genList (x: x) 100000000", "builtins.replaceStrings [\"a\"] [(import ./b.nix)] (import ./a.nix)"]
    {
        let workspace = Workspace::with_own_store(expression);
        workspace.write("a.nix", &format!("\"{}\"", "a".repeat(1 << 20)));
        workspace.write("b.nix", &format!("\"{}\"", "b".repeat(1 << 10)));
        let text = workspace.check("expr -f default.nix --max-eval-memory 64M");
        assert!(text.starts_with("status: 1\n") && text.contains("error[lang::out_of_memory]"), "{text}");
    }
}

#[test]
fn memory_has_a_limit() {
    let workspace = Workspace::with_own_store("let grow = list: grow (list ++ list); in grow [ 1 ]");
    assert_snapshot!(workspace.check("expr -f default.nix --max-eval-memory 64M"), @r#"
    status: 1
    --- stderr
    error[lang::out_of_memory]: the evaluation needs more than 64 MiB of memory
     --> [DIR]/default.nix:1:18
      |
    1 | let grow = list: grow (list ++ list); in grow [ 1 ]
      |                  ^^^^^^^^^^^^^^^^^^^
      |
      = help: is a list or string growing without end? `--max-eval-memory SIZE` allows more
    "#);
}
