//! Ctrl-C and `kill -9` in the middle of a build: nothing is lost, nothing is left over.

use crate::workspace::{Workspace, finish, send};
use insta::assert_snapshot;

/// `first` ends at once; `second`, above it, takes a while.
const CHAIN: &str = r#"
let
  inherit (import ./prelude.nix) sh;
  first = sh { name = "first"; script = "mkdir $out; echo first > $out/first"; };
in
sh { name = "second"; script = ": @nonce@; sleep 2; cat /first > $out"; trees = [ first ]; }
"#;

const BUILD: &str = "build -f default.nix --no-link";

#[track_caller]
fn expect_clean(workspace: &Workspace) {
    let report = workspace.json("store verify --json");
    assert_eq!(report["damage"], serde_json::json!([]), "{report}");
}

#[test]
fn ctrl_c_stops_builds_and_leaves_a_clean_store() {
    let workspace = Workspace::with_own_store(CHAIN);
    let child = workspace.start_until(BUILD, "building second");
    workspace.wait_for_build();
    send(&child, "INT");
    assert_snapshot!(workspace.text(&finish(child)), @r#"
    status: 130
    --- stderr
    stopped  second
    9 fetched, 1 built, 1 stopped in [TIME]
    error: stopped on request
    "#);
    workspace.expect_no_build_left();
    expect_clean(&workspace);
    assert_snapshot!(workspace.check(BUILD), @r#"
    status: 0
    --- stderr
    plan: 1 build to run
          second
    building second
    built    second in [TIME]
    1 built in [TIME]
    "#);
}

#[test]
fn kill_9_and_again() {
    let workspace = Workspace::with_own_store(CHAIN);
    let child = workspace.start_until(BUILD, "building second");
    workspace.wait_for_build();
    send(&child, "KILL");
    finish(child);
    workspace.expect_no_build_left();
    assert_snapshot!(workspace.check(BUILD), @r#"
    status: 0
    --- stderr
    plan: 1 build to run
          second
    building second
    built    second in [TIME]
    1 built in [TIME]
    "#);
    expect_clean(&workspace);
}
