//! `--rebuild`: the same outputs again, or a report of the differences.

use crate::workspace::Workspace;
use insta::assert_snapshot;

#[test]
fn the_same_again() {
    let workspace = Workspace::new("(import ./prelude.nix).sh { name = \"steady\"; script = \"echo same > $out\"; }");
    workspace.stdout("build -f default.nix --no-link");
    assert_snapshot!(workspace.check("build -f default.nix --no-link --rebuild"), @r#"
    status: 0
    --- stderr
    plan: 1 build to run
          steady
    building steady
    the same steady: built again in [TIME], no byte differs
    1 built in [TIME]
    "#);
}

#[test]
fn not_the_same_again() {
    let script = "mkdir $out; echo same > $out/same; cat /proc/sys/kernel/random/uuid > $out/id";
    let workspace =
        Workspace::new(&format!("(import ./prelude.nix).sh {{ name = \"fickle\"; script = \"{script}\"; }}"));
    workspace.stdout("build -f default.nix --no-link");
    assert_snapshot!(workspace.check("build -f default.nix --no-link --rebuild"), @r#"
    status: 104
    --- stderr
    plan: 1 build to run
          fickle
    building fickle
    failed   fickle
    1 failed in [TIME]
    error[build::not_deterministic]: `fickle` failed: built again, the outputs differ:
        out/id: other contents (37 bytes both times)
    "#);
}

#[test]
fn nothing_to_compare_with() {
    let workspace = Workspace::new("(import ./prelude.nix).sh { name = \"new\"; script = \"echo > $out\"; }");
    assert_snapshot!(workspace.check("build -f default.nix --no-link --rebuild"), @r#"
    status: 0
    --- stderr
    plan: 1 build to run
          new
    building new
    built    new in [TIME]
    1 built in [TIME]
    "#);
}
