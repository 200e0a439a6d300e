//! `--rebuild`: the same outputs again, or a report of the differences.

use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;
use std::path::Path;

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
    error[build::not_deterministic]: `fickle` failed: built again, the outputs differ:
        out/id: other contents (37 bytes both times)
     |
     = help: the outputs of the second build are in `[STORE]/failed/[HASH]-fickle.drv/output`
    1 failed in [TIME]
    error[build::not_deterministic]: `fickle` failed, as reported above
    "#);
    let report = workspace.json("build -f default.nix --no-link --rebuild --keep-failed --json");
    let help = report["error"]["help"].as_str().expect("the second outputs are kept");
    let kept = Path::new(help.split('`').nth(1).expect("their directory is named")).join("out");
    let first = workspace.stdout("build -f default.nix --no-link --print-out-paths");
    let read = |directory: &Path, name| fs::read_to_string(directory.join(name)).expect("both outputs are there");
    assert_eq!(read(&kept, "same"), read(Path::new(&first), "same"));
    assert_ne!(read(&kept, "id"), read(Path::new(&first), "id"));
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
