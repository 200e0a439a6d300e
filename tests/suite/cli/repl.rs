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
    {
      b = [ ... ];
    }
    {
      b = [
        1
        2
      ];
    }
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

#[test]
fn several_names_are_defined_in_a_line() {
    let workspace = Workspace::with_own_store("1");
    let text = piped(
        &workspace,
        "x = 1; y = 2;\n\
         [ x y ]\n\
         a.b = x; a.\"c d\" = y\n\
         a\n\
         inherit (a) b;\n\
         b\n\
         x = x + 1\n\
         x\n\
         x == 2\n\
         z = [\n\
         3\n\
         ]; w = 4;\n\
         [ z w ]\n\
         f = x: x; f 1\n\
         v\n",
    );
    assert_snapshot!(text, @r#"
    status: 0
    --- stdout
    [
      1
      2
    ]
    {
      b = 1;
      "c d" = 2;
    }
    1
    2
    true
    [
      [ ... ]
      4
    ]
    --- stderr
    error[unexpected_token]: unexpected `1`, expected `.` or `=`
     --> «string»:1:15
      |
    1 | { f = x: x; f 1
      |               ^
    error[lang::undefined_variable]: undefined variable 'v'
     --> «string»:1:1
      |
    1 | v
      | ^
    "#);
}

#[test]
fn values_are_shown_to_one_level() {
    let workspace = Workspace::with_own_store("1");
    let text = piped(
        &workspace,
        "{ a.b.c = 1; l = [ 1 ]; e = { }; t = throw \"no\"; u = 1 + 1; f = x: x; p = map; q = map (x: x); }\n\
         [ 1 [ 2 ] { a = 1; } (1 + 1) ]\n\
         { only = 1 + 1; }\n\
         { only.inner = 1; }\n\
         x: x\n\
         map\n\
         \"a\\nb\"\n\
         :p \"a\\nb\"\n\
         :p { a.b.c = 1; l = [ 1 2 [ 3 { a = 1 + 1; } ] ]; }\n\
         :p { a = throw \"no\"; }\n\
         derivation { name = \"x\"; system = \"none\"; builder = \"none\"; }\n\
         { a.d = derivation { name = \"x\"; system = \"none\"; builder = \"none\"; }; d = { type = \"derivation\"; }; }\n\
         :p [ (derivation { name = \"x\"; system = \"none\"; builder = \"none\"; }) ]\n\
         let f = n: { v = n; next = f (n + 1); }; in f 0\n\
         :p let f = n: { v = n; next = f (n + 1); }; in f 0\n",
    );
    assert_snapshot!(text, @r#"
    status: 0
    --- stdout
    {
      a = { ... };
      e = { };
      f = «lambda f @ «string»:1:65»;
      l = [ ... ];
      p = «primop map»;
      q = «partially applied primop map»;
      t = «error: no»;
      u = 2;
    }
    [
      1
      [ ... ]
      { ... }
      2
    ]
    { only = 2; }
    {
      only = { ... };
    }
    «lambda @ «string»:1:1»
    «primop map»
    "a\nb"
    a
    b
    {
      a = {
        b = { c = 1; };
      };
      l = [
        1
        2
        [
          3
          { a = 2; }
        ]
      ];
    }
    «derivation /eval/store/[HASH]-x.drv»
    {
      a = { ... };
      d = «derivation»;
    }
    [ «derivation /eval/store/[HASH]-x.drv» ]
    {
      next = { ... };
      v = 0;
    }
    --- stderr
    error[lang::throw]: no
     --> «string»:1:7
      |
    1 | { a = throw "no"; }
      |       ^^^^^^^^^^
      … while calling the 'throw' builtin
        at «string»:1:7
      … while evaluating the attribute 'a'
        at «string»:1:7
      … while evaluating the attribute 'a'
        at «string»:1:3
    error[lang::call_depth]: stack overflow; max-call-depth exceeded
      … while evaluating the attribute 'next'
        at «string»:1:21
      … while evaluating the attribute 'next'
        at «string»:1:21
      … while evaluating the attribute 'next'
        at «string»:1:21
      … while evaluating the attribute 'next'
        at «string»:1:21
      … while evaluating the attribute 'next'
        at «string»:1:21
      … 9995 more frames (`--show-trace` shows all)
    "#);
}

#[test]
fn commands_of_the_repl() {
    let workspace = Workspace::with_own_store(
        r##"{ toy = (import ./prelude.nix).write { name = "toy"; files."bin/hello" = { text = "#!/bin/sh\necho hello\n"; executable = true; }; }; }"##,
    );
    workspace.write("flake.nix", "{ outputs = { self }: { one = 1; two = 2; }; }");
    workspace.write("file.nix", "{\n  f = x:\n    x;\n}");
    workspace.write("pretend-vim", "#!/bin/sh\necho edits \"$@\"\n");
    workspace.write("pretend-shell", "#!/bin/sh\necho \"${PATH%%:*}\"\n");
    for program in ["pretend-vim", "pretend-shell"] {
        let path = workspace.path().join(program);
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    workspace.write(
        "input",
        ":lf .\n\
         one + two\n\
         :ll\n\
         :l file.nix\n\
         :e f\n\
         :e { meta.position = \"/dir/package.nix:7\"; }\n\
         :e ./file.nix\n\
         :e 1\n\
         :l default.nix\n\
         :u toy\n\
         :log toy\n\
         :te\n\
         :te false\n\
         :te maybe\n\
         :bt\n\
         :i toy\n",
    );
    let input = std::fs::File::open(workspace.path().join("input")).expect("it was written just now");
    let mut command = workspace.command(["repl"]);
    command.env("EDITOR", workspace.path().join("pretend-vim")).env_remove("VISUAL");
    command.env("SHELL", workspace.path().join("pretend-shell"));
    let ran = command.stdin(input).output().expect("the program starts");
    assert_snapshot!(workspace.text(&ran), @r#"
    status: 0
    --- stdout
    7 names added
    3
    _type
    inputs
    one
    outPath
    outputs
    sourceInfo
    two
    1 names added
    edits +2 [DIR]/file.nix
    7 names added
    1 names added
    edits +7 /dir/package.nix
    7 names added
    1 names added
    edits +1 [DIR]/file.nix
    7 names added
    1 names added
    1 names added
    [STORE]/store/[HASH]-toy/bin
    errors show all of their trace
    errors show a part of their trace
    --- stderr
    error: the value does not say which file defines it
     |
     = help: functions, files, and packages with `meta.position` do
    error: there is no log of `toy`
     |
     = help: was it built yet?
    error: `:te` takes `true`, `false` or nothing
    error: `:bt` is a command of a debugger, and there is none
     |
     = help: `:te` shows the whole trace of errors
    error: there is no profile to install into
     |
     = help: `ev prefix` makes a directory of packages; `:u EXPRESSION` tries one
    "#);
}
