//! The daily commands: `why-depends`, `store ls` and its neighbours, `hash`, `search`, `edit`,
//! `fmt`.

use crate::workspace::Workspace;
use insta::assert_snapshot;

const TOYS: &str = r#"
let
  inherit (import ./prelude.nix) write;
in
rec {
  lib = write { name = "lib-1.0"; files."lib/x".text = "x"; };
  middle = write { name = "middle-2"; files."share/m".text = "${lib}\n"; };
  app = write { name = "app-1.2"; files."bin/app".text = "${middle} and ${lib}\n"; files."bin/other".text = "${middle}"; };
  newer = write { name = "app-1.3"; files."bin/app".text = "${lib}\n"; };
}
"#;

const FLAKE: &str = r#"
{
  outputs = { self }: {
    packages.x86_64-linux = import ./default.nix;
    legacyPackages.x86_64-linux = {
      described = { type = "derivation"; name = "described-3"; meta.description = "Reads JSON"; };
      broken = throw "no";
      deep = { recurseForDerivations = true; inner = { type = "derivation"; name = "inner-4"; }; };
    };
  };
}
"#;

fn built() -> Workspace {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("build -f default.nix app");
    workspace
}

#[test]
fn why_depends() {
    let workspace = built();
    assert_snapshot!(workspace.check("why-depends -f default.nix app lib"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-app-1.2
    └───[STORE]/store/[HASH]-lib-1.0
    "#);
    assert_snapshot!(workspace.check("why-depends -f default.nix app lib --all --precise"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-app-1.2
    │   bin/app: …iddle-2 and /eval/store/[HASH]-lib-1.0^J…
    ├───[STORE]/store/[HASH]-lib-1.0
    │   bin/app: …/eval/store/[HASH]-middle-2 and /eval/stor…
    │   bin/other: …/eval/store/[HASH]-middle-2…
    └───[STORE]/store/[HASH]-middle-2
        │   share/m: …/eval/store/[HASH]-lib-1.0^J…
        └───[STORE]/store/[HASH]-lib-1.0
    "#);
    assert_snapshot!(workspace.check("why-depends -f default.nix lib app"), @r#"
    status: 0
    --- stderr
    `lib` does not depend on `app`
    "#);
    workspace.stdout("build -f default.nix lib -o lib");
    assert_snapshot!(workspace.check("why-depends ./lib ./result"), @r#"
    status: 0
    --- stderr
    `./lib` does not depend on `./result`
    "#);
    let json = workspace.json("why-depends ./result ./lib --json --all");
    assert_snapshot!(workspace.json_text(&json), @r#"
    {
      "chain": {
        "path": "/eval/store/[HASH]-app-1.2",
        "references": [
          {
            "files": [
              "bin/app"
            ],
            "path": "/eval/store/[HASH]-lib-1.0"
          },
          {
            "files": [
              "bin/app",
              "bin/other"
            ],
            "path": "/eval/store/[HASH]-middle-2",
            "references": [
              {
                "files": [
                  "share/m"
                ],
                "path": "/eval/store/[HASH]-lib-1.0"
              }
            ]
          }
        ]
      },
      "dependency": "/eval/store/[HASH]-lib-1.0",
      "depends": true,
      "package": "/eval/store/[HASH]-app-1.2",
      "version": 1
    }
    "#);
}

#[test]
fn store_listings() {
    let workspace = built();
    assert_snapshot!(workspace.check("store ls ./result"), @r#"
    status: 0
    --- stdout
    ./bin
    "#);
    assert_snapshot!(workspace.check("store ls -lR ./result/bin"), @r#"
    status: 0
    --- stdout
    -r--r--r--                  111 ./app
    -r--r--r--                   53 ./other
    "#);
    assert_snapshot!(workspace.check("store ls --json -R ./result"), @r#"
    status: 0
    --- stdout
    {"entries":{"bin":{"entries":{"app":{"executable":false,"size":111,"type":"regular"},"other":{"executable":false,"size":53,"type":"regular"}},"type":"directory"}},"type":"directory"}
    "#);
    assert_snapshot!(workspace.check("store cat ./result/bin/other"), @r#"
    status: 0
    --- stdout
    /eval/store/[HASH]-middle-2
    "#);
    assert_snapshot!(workspace.check("store cat ./result/bin"), @r#"
    status: 1
    --- stderr
    error: `./result/bin` is a directory
     |
     = help: `ev store ls -l` shows it
    "#);
    assert_snapshot!(workspace.check("store ls /etc"), @r#"
    status: 1
    --- stderr
    error[store::other_store]: `/etc` is not of this store (`/eval/store`)
    "#);
}

#[test]
fn differences_of_closures() {
    let workspace = built();
    workspace.stdout("build -f default.nix newer -o newer");
    assert_snapshot!(workspace.check("store diff-closures ./result ./newer"), @r#"
    status: 0
    --- stdout
    app: 1.2 → 1.3
    middle: 2 → ∅
    "#);
    assert_eq!(workspace.stdout("store diff-closures ./result ./result"), "");
    let json = workspace.json("store diff-closures ./newer ./result --json");
    assert_eq!(json["packages"]["middle"]["versionsAfter"], serde_json::json!(["2"]));
}

#[test]
fn deletion_of_paths() {
    let workspace = built();
    let app = workspace.stdout("path-info ./result");
    assert_snapshot!(workspace.check(&format!("store delete {app}")), @r#"
    status: 1
    --- stderr
    error[store::alive]: store path `[HASH]-app-1.2` is needed: by a link, a profile, a running build, or a path that is
     |
     = help: remove the links to it first, such as `result`; `ev gc` then deletes it too
    "#);
    let lib = workspace.stdout("path-info -f default.nix lib");
    std::fs::remove_file(workspace.path().join("result")).expect("it is our link");
    assert_eq!(workspace.stdout(&format!("store delete --dry-run {app}")), app);
    assert_eq!(workspace.stdout(&format!("store delete {app}")), app);
    assert_eq!(workspace.stdout(&format!("path-info {lib}")), lib);
    // Its referrers are deleted with it.
    assert_eq!(workspace.stdout(&format!("store delete {lib}")).lines().count(), 2);
    assert_snapshot!(workspace.check(&format!("store cat {lib}/lib/x")), @r#"
    status: 1
    --- stderr
    error[store::not_valid]: store path `[HASH]-lib-1.0` is not valid: it was never made here, or was collected
    "#);
}

#[test]
fn store_info_counts() {
    let workspace = built();
    let json = workspace.json("store info --json");
    assert_eq!((json["version"].as_u64(), json["roots"].as_u64()), (Some(1), Some(1)));
    // Three outputs and their derivations.
    assert_eq!(json["paths"], 6);
    let empty = Workspace::with_own_store("1");
    assert_snapshot!(empty.check("store info"), @r#"
    status: 1
    --- stderr
    error: there is no store at `[STORE]`
     |
     = help: `ev build` makes one; `--root` or `EVAL_ROOT` names another
    "#);
}

#[test]
fn gc_is_a_bare_word() {
    let workspace = built();
    std::fs::remove_file(workspace.path().join("result")).expect("it is our link");
    assert_eq!(workspace.stdout("gc --dry-run"), workspace.stdout("store gc --dry-run"));
    assert_eq!(workspace.stdout("gc --max-size 1G"), "");
    assert_eq!(workspace.stdout("gc").lines().count(), 6);
}

#[test]
fn hashes() {
    let workspace = Workspace::with_own_store("1");
    workspace.write("tree/a", "hello");
    let out = |words: &str| workspace.stdout(words);
    assert_eq!(out("hash file tree/a"), "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
    assert_eq!(out("hash file --type sha1 --base16 tree/a"), "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
    assert_eq!(out("hash string hello"), out("hash file tree/a"));
    assert_eq!(out("hash path --mode flat tree/a"), out("hash file tree/a"));
    assert_eq!(out("hash path tree"), "sha256-4nafznVzuDYuHY/+TB2JKCFgu8QtMM7tYmi2UOvp8K4=");
    let nix32 = "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s";
    let sri = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    assert_eq!(out(&format!("hash convert --hash-algo sha256 {nix32}")), sri);
    assert_eq!(out(&format!("hash to-sri --type sha256 {nix32}")), sri);
    assert_eq!(out(&format!("hash convert --to nix32 {sri}")), nix32);
    assert_eq!(out(&format!("hash to-base32 {sri}")), nix32);
    assert_eq!(
        out(&format!("hash convert --to base16 {sri}")),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_snapshot!(workspace.check(&format!("hash convert {nix32}")), @r#"
    status: 1
    --- stderr
    error: hash `1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s` does not say its algorithm; write it as `sha256-…` or `sha256:…`, or give the algorithm beside it
     |
     = help: name it with `--hash-algo sha256`
    "#);
    assert_snapshot!(workspace.check(&format!("hash convert --from base16 {sri}")), @r#"
    status: 1
    --- stderr
    error: `sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=` does not have the form `base16`
    "#);
}

#[test]
fn packages_are_found() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.write("flake.nix", FLAKE);
    assert_snapshot!(workspace.check("search . APP"), @r#"
    status: 0
    --- stdout
    * packages.x86_64-linux.app (1.2)

    * packages.x86_64-linux.newer (1.3)
    "#);
    assert_snapshot!(workspace.check("search . json"), @r#"
    status: 0
    --- stdout
    * legacyPackages.x86_64-linux.described (3)
      Reads JSON
    "#);
    assert_snapshot!(workspace.check("search .#deep ^"), @r#"
    status: 0
    --- stdout
    * legacyPackages.x86_64-linux.deep.inner (4)
    "#);
    assert_snapshot!(workspace.check("search . ^ --exclude app --exclude lib"), @r#"
    status: 0
    --- stdout
    * legacyPackages.x86_64-linux.deep.inner (4)

    * legacyPackages.x86_64-linux.described (3)
      Reads JSON

    * packages.x86_64-linux.middle (2)
    "#);
    assert_snapshot!(workspace.check("search . nothing"), @r#"
    status: 1
    --- stderr
    error: no package of `.` matches
     |
     = help: `^` matches all packages
    "#);
    assert_snapshot!(workspace.check("search . ("), @r#"
    status: 2
    --- stderr
    error: `(` is not a regular expression: regex parse error:
          (
          ^
      error: unclosed group
    "#);
    let json = workspace.json("search . json --json");
    assert_eq!(json["legacyPackages.x86_64-linux.described"]["version"], "3");
}

#[test]
fn an_editor_opens_the_definition() {
    let workspace = Workspace::with_own_store(
        "{\n  plain = derivation {\n    name = \"x\";\n    builder = \"b\";\n    system = \"s\";\n  };\n  said.meta.position = \"/etc/hostname:7\";\n}",
    );
    let edit = |editor: &str, attr: &str| {
        let mut command = workspace.command(["edit", "-f", "default.nix", attr]);
        let command = command.env("EDITOR", editor).env_remove("VISUAL");
        workspace.text(&command.output().expect("the program starts"))
    };
    assert_snapshot!(edit("echo vim", "plain"), @r#"
    status: 0
    --- stdout
    vim +3 [DIR]/default.nix
    "#);
    assert_snapshot!(edit("echo", "said"), @r#"
    status: 0
    --- stdout
    /etc/hostname
    "#);
    assert_snapshot!(edit("", "plain"), @r#"
    status: 2
    --- stderr
    error: no editor is known
     |
     = help: set `EDITOR` to one, such as `vi`
    "#);
    assert_snapshot!(edit("no-such-editor", "plain"), @r#"
    status: 1
    --- stderr
    error: cannot start the editor `no-such-editor`: No such file or directory (ENOENT)
    "#);
}

#[test]
fn files_are_formatted() {
    let workspace = Workspace::with_own_store("{a=1; # one\n}");
    workspace.write("right.nix", "{ a = 1; }\n");
    workspace.write("wrong.nix", "{ a = ; }\n");
    workspace.write("below/x.nix", "[1 2]\n");
    assert_snapshot!(workspace.check("fmt --check default.nix right.nix below"), @r#"
    status: 1
    --- stdout
    default.nix
    below/x.nix
    --- stderr
    error: 2 files have another form
     |
     = help: `ev fmt` without `--check` changes them
    "#);
    assert_snapshot!(workspace.check("fmt default.nix right.nix below"), @r#"
    status: 0
    --- stderr
    formatted default.nix
    formatted below/x.nix
    "#);
    let read = |name: &str| std::fs::read_to_string(workspace.path().join(name)).expect("a file");
    assert_eq!(read("default.nix"), "{\n  a = 1; # one\n}\n");
    assert_eq!(read("below/x.nix"), "[\n  1\n  2\n]\n");
    assert_snapshot!(workspace.check("fmt --check default.nix right.nix below"), @r#"
    status: 0
    "#);
    assert_snapshot!(workspace.check("fmt wrong.nix"), @r#"
    status: 1
    --- stderr
    error: wrong.nix:1: unexpected `;`, expected an expression
    "#);
    assert_eq!(read("wrong.nix"), "{ a = ; }\n");
}

#[test]
fn sizes_of_a_path_for_people() {
    let workspace = built();
    let plain = workspace.stdout("path-info -rsS ./result");
    let shown = workspace.stdout("path-info -rsSh ./result");
    assert_eq!(plain.lines().count(), 3);
    assert!(shown.lines().all(|line| line.ends_with(" B")), "{shown}");
}
