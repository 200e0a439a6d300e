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
