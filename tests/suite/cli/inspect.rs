//! `path-info`, `derivation show`, `log`: queries of the store.

use crate::workspace::Workspace;
use insta::assert_snapshot;

const TOYS: &str = r#"
let
  inherit (import ./prelude.nix) write;
in
rec {
  lib = write { name = "lib"; files."lib/x".text = "x"; };
  app = write { name = "app"; files."bin/app".text = "uses ${lib}\n"; };
}
"#;

#[test]
fn path_info() {
    let workspace = Workspace::with_own_store(TOYS);
    assert_snapshot!(workspace.check("path-info -f default.nix app"), @r#"
    status: 1
    --- stderr
    error: `/eval/store/[HASH]-app` is not in the store
     |
     = help: build it first
    "#);
    workspace.stdout("build -f default.nix app");
    assert_snapshot!(workspace.check("path-info -f default.nix app"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-app
    "#);
    assert_snapshot!(workspace.check("path-info -r -s -S ./result"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-app	54	55
    [STORE]/store/[HASH]-lib	1	1
    "#);
    let json = workspace.json("path-info -r -S --json ./result");
    assert_snapshot!(workspace.json_text(&json), @r#"
    {
      "paths": [
        {
          "closureSizeBytes": 55,
          "contents": "552ae2201be4a9b39c29f279d1f6bd7ca25625f07c01b4be080adedb12f4379d",
          "deriver": "/eval/store/[HASH]-app.drv",
          "path": "/eval/store/[HASH]-app",
          "physicalPath": "[STORE]/store/[HASH]-app",
          "references": [
            "/eval/store/[HASH]-lib"
          ],
          "registrationTime": "[TIME]",
          "sizeBytes": 54
        },
        {
          "closureSizeBytes": 1,
          "contents": "87d38efb37710c5de803e56a017e7ff9a6a079f9a6034f2536c010cd63d54102",
          "deriver": "/eval/store/[HASH]-lib.drv",
          "path": "/eval/store/[HASH]-lib",
          "physicalPath": "[STORE]/store/[HASH]-lib",
          "references": [],
          "registrationTime": "[TIME]",
          "sizeBytes": 1
        }
      ],
      "version": 1
    }
    "#);
}

#[test]
fn path_info_of_any_spelling_of_a_path() {
    let workspace = Workspace::with_own_store(TOYS);
    let physical = workspace.stdout("build -f default.nix app --print-out-paths");
    let logical = workspace.json("path-info --json ./result")["paths"][0]["path"].as_str().expect("a path").to_owned();
    assert!(logical.starts_with("/eval/store/"), "{logical}");
    for spelling in [physical.as_str(), logical.as_str(), "./result", &format!("{physical}/bin/app")] {
        assert_eq!(workspace.stdout(&format!("path-info {spelling}")), physical);
    }
    assert_snapshot!(workspace.check("path-info /etc/hostname"), @r#"
    status: 1
    --- stderr
    error[installable]: `/etc/hostname` is a file outside the store; name a path in the store, a result link, or a directory with a `flake.nix`
    "#);
    assert_snapshot!(workspace.check("path-info /eval/store/00000000000000000000000000000000-gone"), @r#"
    status: 1
    --- stderr
    error[installable]: `/eval/store/[HASH]-gone` is not in the store, and its path does not say how to build it
     |
     = help: build the derivation or the flake output that it comes from
    "#);
}

#[test]
fn derivation_show() {
    let workspace = Workspace::with_own_store(TOYS);
    let json = workspace.json("derivation show -r -f default.nix app");
    assert_snapshot!(workspace.json_text(&json), @r#"
    {
      "/eval/store/[HASH]-app.drv": {
        "args": [],
        "builder": "builtin:write",
        "env": {
          "builder": "builtin:write",
          "files": "{\"bin/app\":{\"text\":\"uses /eval/store/[HASH]-lib\\n\"}}",
          "name": "app",
          "out": "/eval/store/[HASH]-app",
          "system": "x86_64-linux"
        },
        "inputDrvs": {
          "/eval/store/[HASH]-lib.drv": {
            "dynamicOutputs": {},
            "outputs": [
              "out"
            ]
          }
        },
        "inputSrcs": [],
        "name": "app",
        "outputs": {
          "out": {
            "path": "/eval/store/[HASH]-app"
          }
        },
        "system": "x86_64-linux"
      },
      "/eval/store/[HASH]-lib.drv": {
        "args": [],
        "builder": "builtin:write",
        "env": {
          "builder": "builtin:write",
          "files": "{\"lib/x\":{\"text\":\"x\"}}",
          "name": "lib",
          "out": "/eval/store/[HASH]-lib",
          "system": "x86_64-linux"
        },
        "inputDrvs": {},
        "inputSrcs": [],
        "name": "lib",
        "outputs": {
          "out": {
            "path": "/eval/store/[HASH]-lib"
          }
        },
        "system": "x86_64-linux"
      }
    }
    "#);
}

#[test]
fn no_log() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("build -f default.nix app");
    assert_snapshot!(workspace.check("log -f default.nix app"), @r#"
    status: 1
    --- stderr
    error: there is no log of `[HASH]-app.drv` in [STORE]
     |
     = help: was it built yet? The log of a build that was cut off is that of the reused build; fetches have none
    "#);
}
