//! Trees that do not fit over each other.

use crate::workspace::Workspace;
use insta::assert_snapshot;

const TREES: &str = r#"
let
  inherit (import ./prelude.nix) write union sh;
  one = write { name = "one"; files."etc/motd".text = "one\n"; };
  two = write { name = "two"; files."etc/motd".text = "two\n"; };
  nested = write { name = "nested"; files."etc/motd/today".text = "three\n"; };
in
{
  inherit one two;
  files = union { name = "united"; trees = [ one two ]; };
  kinds = union { name = "united"; trees = [ one nested ]; };
  rootfs = sh { name = "toy"; trees = [ one two ]; script = "true"; };
  allowed = union { name = "united"; trees = [ one two ]; overlap = "etc/motd"; };
}
"#;

#[test]
fn conflict_names_both_owners() {
    let workspace = Workspace::with_own_store(TREES);
    assert_snapshot!(workspace.check("build -f default.nix files"), @r#"
    status: 100
    --- stderr
    plan: 3 trees to put together
    error[build::tree]: `united` failed: the trees do not fit over each other: `etc/motd` is a file in one and a different file in two (add a path to `__overlap` to let the later tree win there)
    1 failed in [TIME]
    error[build::tree]: `united` failed, as reported above
    "#);
    assert_snapshot!(workspace.check("build -f default.nix kinds"), @r#"
    status: 100
    --- stderr
    plan: 2 trees to put together
    error[build::tree]: `united` failed: the trees do not fit over each other: `etc/motd` is a file in one and a directory in nested (add a path to `__overlap` to let the later tree win there)
    1 failed in [TIME]
    error[build::tree]: `united` failed, as reported above
    "#);
}

#[test]
fn conflict_in_a_root() {
    let workspace = Workspace::new(TREES);
    workspace.stdout("build -f default.nix --no-link one two");
    assert_snapshot!(workspace.check("build -f default.nix rootfs"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    error[build::tree]: `toy` failed: the trees do not fit over each other: `etc/motd` is a file in one and a different file in two (add a path to `__overlap` to let the later tree win there)
    1 failed in [TIME]
    error[build::tree]: `toy` failed, as reported above
    "#);
}

#[test]
fn allowed_overlap_takes_the_later_tree() {
    let workspace = Workspace::with_own_store(TREES);
    let out = workspace.stdout("build -f default.nix allowed --print-out-paths");
    assert_eq!(std::fs::read_to_string(format!("{out}/etc/motd")).expect("it was built"), "two\n");
}
