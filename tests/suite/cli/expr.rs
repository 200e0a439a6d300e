//! `expr` and `instantiate`: values and derivations without a build.

use crate::workspace::Workspace;
use insta::assert_snapshot;

#[test]
fn values() {
    let workspace = Workspace::with_own_store("{ a = 1; nested.b = [ true null \"x\" 1.5 ./default.nix ]; }");
    let mut ran = String::new();
    for arguments in [
        &["expr", "1 + 1"][..],
        &["expr", "--json", "{ a = [ 1 2 ]; b = \"ü\"; }"],
        &["expr", "--raw", "\"no quotes\""],
        &["eval", "builtins.length [ 1 2 3 ]"],
        &["expr", "-f", "default.nix"],
        &["expr", "-f", "default.nix", "nested.b"],
        &["expr", "--argstr", "who", "world", "--arg", "n", "2", "-E", "{ who, n }: \"hello ${who} ${toString n}\""],
        &["expr", "builtins.trace \"seen\" 1"],
        &["expr", "throw \"given up\""],
    ] {
        ran.push_str(&format!("$ {}\n{}", arguments.join(" "), workspace.text(&workspace.run(arguments))));
    }
    assert_snapshot!(ran, @r#"
    $ expr 1 + 1
    status: 0
    --- stdout
    2
    $ expr --json { a = [ 1 2 ]; b = "ü"; }
    status: 0
    --- stdout
    {"a":[1,2],"b":"ü"}
    $ expr --raw "no quotes"
    status: 0
    --- stdout
    no quotes
    $ eval builtins.length [ 1 2 3 ]
    status: 0
    --- stdout
    3
    $ expr -f default.nix
    status: 0
    --- stdout
    { a = 1; nested = { b = [ true null "x" 1.5 [DIR]/default.nix ]; }; }
    $ expr -f default.nix nested.b
    status: 0
    --- stdout
    [ true null "x" 1.5 [DIR]/default.nix ]
    $ expr --argstr who world --arg n 2 -E { who, n }: "hello ${who} ${toString n}"
    status: 0
    --- stdout
    "hello world 2"
    $ expr builtins.trace "seen" 1
    status: 0
    --- stdout
    1
    --- stderr
    trace: seen
    $ expr throw "given up"
    status: 1
    --- stderr
    error[lang::throw]: given up
     --> «string»:1:1
      |
    1 | throw "given up"
      | ^^^^^^^^^^^^^^^^
      … while calling the 'throw' builtin
        at «string»:1:1
    "#);
}

#[test]
fn derivations_in_both_models() {
    let workspace = Workspace::with_own_store(
        "derivation { name = \"x\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > $out\" ]; }",
    );
    // The path that Nix itself computes; our stores are elsewhere.
    assert_snapshot!(workspace.stdout("instantiate -f default.nix --store-model nix"), @"/nix/store/70aia2cap0q375yn9vna7r6bkz4lf044-x.drv");
    assert_snapshot!(workspace.check("instantiate -f default.nix"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-x.drv
    "#);
    assert_snapshot!(workspace.check("derivation show -f default.nix"), @r#"
    status: 0
    --- stdout
    {
      "/eval/store/[HASH]-x.drv": {
        "args": [
          "-c",
          "echo > $out"
        ],
        "builder": "/bin/sh",
        "env": {
          "builder": "/bin/sh",
          "name": "x",
          "out": "/eval/store/[HASH]-x",
          "system": "x86_64-linux"
        },
        "inputDrvs": {},
        "inputSrcs": [],
        "name": "x",
        "outputs": {
          "out": {
            "path": "/eval/store/[HASH]-x"
          }
        },
        "system": "x86_64-linux"
      }
    }
    "#);
}

/// Values without an end meet the limit of calls long before that of memory.
#[test]
fn values_without_an_end_take_little_memory() {
    let workspace = Workspace::with_own_store("{ }");
    let set = "(let f = n: { v = n; next = f (n + 1); }; in f 0)";
    let list = "(let f = n: [ n (f (n + 1)) ]; in f 0)";
    let plain = [
        set.to_owned(),
        list.to_owned(),
        format!("{set} == {set}"),
        format!("{list} < {list}"),
        format!("builtins.toXML {set}"),
        "builtins.toXML [ (rec { x.e = x; }) ]".to_owned(),
        format!("builtins.toJSON {list}"),
        format!("builtins.deepSeq {set} 1"),
        format!("toString {list}"),
        format!("builtins.sort builtins.lessThan [ {list} {list} ]"),
    ];
    let mut commands: Vec<Vec<&str>> = plain.iter().map(|text| vec!["expr", text]).collect();
    commands.push(vec!["expr", "--json", set]);
    commands.push(vec!["nix-instantiate", "--eval", "--strict", "--xml", "-E", set]);
    commands.push(vec!["nix-instantiate", "--eval", "--strict", "--json", "-E", list]);
    commands.push(vec![
        "nix-instantiate",
        "--eval",
        "--xml",
        "-E",
        "let x = { a = x; b = 1; }; in builtins.deepSeq x x",
    ]);
    commands.push(vec!["nix-instantiate", "-E", "let l = [ l ]; in l"]);
    let recursed = "let f = n: { recurseForDerivations = true; a = f (n + 1); }; in f 0";
    commands.push(vec!["nix-instantiate", "-E", recursed]);
    commands.push(vec!["nix-instantiate", "-E", "let s = { __functor = self: s; }; in s"]);
    for command in commands {
        let ran = workspace.command(&command).env("EVAL_MAX_MEMORY", "1G").output().expect("the program starts");
        let text = workspace.text(&ran);
        assert!(text.starts_with("status: 1\n") && text.contains("max-call-depth exceeded"), "{command:?} {text}");
    }
}

/// Values without an end that are broad, not deep, meet the limit of memory.
#[test]
fn broad_values_without_an_end_meet_the_limit_of_memory() {
    let workspace = Workspace::with_own_store("{ }");
    for text in [
        "builtins.genericClosure { startSet = [ { key = 0; } ]; operator = n: [ { key = n.key + 1; } ]; }",
        "builtins.toXML (builtins.genList (n: [ n ]) 100000000000)",
        "let f = n: if n == 0 then [ ] else [ (f (n - 1)) (f (n - 1)) ]; in builtins.toXML (f 60)",
        "let f = n: if n == 0 then [ ] else [ (f (n - 1)) (f (n - 1)) ]; in builtins.deepSeq (f 60) 1",
    ] {
        let ran = workspace.command(["expr", text, "--max-eval-memory", "64M"]).output().expect("the program starts");
        let text = workspace.text(&ran);
        assert!(text.starts_with("status: 1\n") && text.contains("lang::out_of_memory"), "{text}");
    }
}

#[test]
fn derivations_and_functions_are_shown_short() {
    let workspace = Workspace::with_own_store(
        r#"rec {
          d = derivation { name = "x"; system = "none"; builder = "none"; };
          wrong = d // { never = throw "shown"; };
          functions = [ (x: x) map (map (x: x)) ];
          twice = [ functions functions ];
        }"#,
    );
    let shown = ["d", "functions", ""].map(|attr| workspace.check(&format!("expr -f default.nix {attr}"))).concat();
    assert_snapshot!(shown, @r#"
    status: 0
    --- stdout
    «derivation /eval/store/[HASH]-x.drv»
    status: 0
    --- stdout
    [ «lambda @ [DIR]/default.nix:4:26» «primop map» «partially applied primop map» ]
    status: 0
    --- stdout
    { d = «derivation /eval/store/[HASH]-x.drv»; functions = [ «lambda @ [DIR]/default.nix:4:26» «primop map» «partially applied primop map» ]; twice = [ «repeated» «repeated» ]; wrong = «derivation /eval/store/[HASH]-x.drv»; }
    "#);
    let whole = workspace.check("nix-instantiate --eval --strict default.nix -A d");
    assert!(whole.contains("builder = \"none\"; drvAttrs = {"), "{whole}");
}
