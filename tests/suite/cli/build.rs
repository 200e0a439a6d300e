//! `build`: links, paths, JSON, plans.

use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;

const TOYS: &str = r#"
let
  inherit (import ./prelude.nix) write sh;
in
rec {
  lib = write { name = "lib"; files."lib/x".text = "x"; };
  app = write { name = "app"; files."bin/app".text = "uses ${lib}"; };
  many = derivation {
    name = "many";
    system = "x86_64-linux";
    builder = "builtin:write";
    files = builtins.toJSON { one.text = "1"; };
  };
  ran = sh { name = "ran"; script = "echo working; echo done > $out"; };
}
"#;

#[test]
fn first_and_second_time() {
    let workspace = Workspace::new(TOYS);
    assert_snapshot!(workspace.check("build -f default.nix ran --no-link --print-out-paths"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-ran
    --- stderr
    plan: 1 build to run
          ran
    building ran
    built    ran in [TIME]
    1 built in [TIME]
    "#);
    assert_snapshot!(workspace.check("build -f default.nix ran --no-link --print-out-paths"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-ran
    --- stderr
    up to date: nothing to do
    "#);
    assert_snapshot!(workspace.check("log -f default.nix ran"), @r#"
    status: 0
    --- stdout
    working
    "#);
}

#[test]
fn build_logs_as_they_come() {
    let workspace = Workspace::new(TOYS);
    assert_snapshot!(workspace.check("build -L -f default.nix ran --no-link"), @r#"
    status: 0
    --- stderr
    plan: 1 build to run
          ran
    building ran
    ran> working
    built    ran in [TIME]
    1 built in [TIME]
    "#);
}

#[test]
fn links_are_named_like_nix_names_them() {
    let workspace = Workspace::with_own_store(TOYS);
    assert_snapshot!(workspace.check("build -f default.nix app lib"), @r#"
    status: 0
    --- stderr
    plan: 2 trees to put together
    2 trees put together in [TIME]
    "#);
    let target =
        |name: &str| workspace.normal(&fs::read_link(workspace.path().join(name)).expect("a link").to_string_lossy());
    assert_eq!(target("result"), "[STORE]/store/[HASH]-app");
    assert_eq!(target("result-1"), "[STORE]/store/[HASH]-lib");
    assert_snapshot!(workspace.check("build -f default.nix lib -o elsewhere"), @r#"
    status: 0
    --- stderr
    up to date: nothing to do
    "#);
    assert_eq!(target("elsewhere"), "[STORE]/store/[HASH]-lib");
    assert_eq!(fs::read_to_string(workspace.path().join("elsewhere/lib/x")).expect("it is a tree"), "x");
}

#[test]
fn json_of_a_success() {
    let workspace = Workspace::with_own_store(TOYS);
    let json = workspace.json("build -f default.nix app --json");
    assert_snapshot!(workspace.json_text(&json), @r#"
    {
      "realised": [
        {
          "drvPath": "/eval/store/[HASH]-app.drv",
          "durationSecs": "[TIME]",
          "how": "built",
          "logPath": null
        },
        {
          "drvPath": "/eval/store/[HASH]-lib.drv",
          "durationSecs": "[TIME]",
          "how": "built",
          "logPath": null
        }
      ],
      "results": [
        {
          "drvPath": "/eval/store/[HASH]-app.drv",
          "outputs": {
            "out": "/eval/store/[HASH]-app"
          },
          "physicalOutputs": {
            "out": "[STORE]/store/[HASH]-app"
          },
          "valid": true
        }
      ],
      "success": true,
      "summary": {
        "built": 0,
        "cutOff": 0,
        "fetched": 0,
        "made": 2
      },
      "version": 1
    }
    "#);
}

#[test]
fn json_of_a_failure_to_evaluate() {
    let workspace = Workspace::with_own_store("{ }.a");
    let json = workspace.json("build -f default.nix --json");
    assert_snapshot!(workspace.json_text(&json), @r#"
    {
      "error": {
        "code": "lang::missing_attribute",
        "message": "attribute 'a' missing",
        "places": [
          {
            "column": 5,
            "file": "[DIR]/default.nix",
            "line": 1,
            "text": ""
          }
        ],
        "trace": []
      },
      "exitStatus": 1,
      "success": false,
      "version": 1
    }
    "#);
}

#[test]
fn dry_run_builds_nothing() {
    let workspace = Workspace::new(TOYS);
    assert_snapshot!(workspace.check("build -f default.nix ran --dry-run"), @r#"
    status: 0
    --- stdout
    build   ran  [STORE]/store/[HASH]-ran
    "#);
    assert_snapshot!(workspace.check("build -f default.nix ran --dry-run"), @r#"
    status: 0
    --- stdout
    build   ran  [STORE]/store/[HASH]-ran
    "#);
    assert!(!workspace.path().join("result").exists());
}

#[test]
fn quiet_prints_nothing() {
    let workspace = Workspace::with_own_store(TOYS);
    assert_snapshot!(workspace.check("build -q -f default.nix app"), @"status: 0");
}

#[test]
fn a_link_that_cannot_be_made_is_found_before_the_build() {
    let workspace = Workspace::new(TOYS);
    fs::create_dir(workspace.path().join("result")).expect("the workspace can be written");
    assert_snapshot!(workspace.check("build -f default.nix ran"), @r#"
    status: 1
    --- stderr
    error[store::not_a_root]: cannot create the link `result`: another file has that name
     |
     = help: move it away, choose another name with `-o NAME`, or use `--no-link`
    "#);
}

#[test]
fn a_flake_is_no_file_of_derivations() {
    let workspace = Workspace::new("");
    workspace.write("flake.nix", "{ outputs = _: { }; }");
    assert_snapshot!(workspace.check("build -f flake.nix"), @r#"
    status: 1
    --- stderr
    error[installable]: `flake.nix` contains no derivation
     |
     = help: the outputs of a flake are built as `.#NAME`, in its directory
    "#);
}
