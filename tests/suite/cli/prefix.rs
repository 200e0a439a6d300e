//! `prefix install` and what follows it.

use std::fs;

use insta::assert_snapshot;

use crate::workspace::Workspace;

const TOYS: &str = r##"
let
  inherit (import ./prelude.nix) write;
  toy = version: write {
    name = "toy-${version}";
    files."opt/toy/bin/run" = { text = "#!/opt/toy/bin/sh\necho ${version}\n"; executable = true; };
    files."opt/toy/bin/alias".link = "run";
  };
in
{
  one = toy "1";
  two = toy "2";
}
"##;

#[test]
fn install_rollback_uninstall() {
    let workspace = Workspace::with_own_store(TOYS);
    let installed = || fs::read_to_string(workspace.path().join("root/opt/toy/bin/alias"));
    assert_snapshot!(workspace.check("prefix install one -f default.nix --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy
    --- stderr
    plan: 1 tree to put together
    nothing had to be built in [TIME]
    "#);
    assert!(installed().expect("it is installed").contains("echo 1"));
    assert_snapshot!(workspace.check("prefix install two -f default.nix --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy
    --- stderr
    plan: 1 tree to put together
    nothing had to be built in [TIME]
    "#);
    assert!(installed().expect("it is installed").contains("echo 2"));
    assert_snapshot!(workspace.check("prefix generations /opt/toy --to root"), @r#"
    status: 0
    --- stdout
    1	[STORE]/store/[HASH]-toy-1
    2	[STORE]/store/[HASH]-toy-2	current
    "#);
    assert_snapshot!(workspace.check("prefix rollback /opt/toy --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy	generation 1
    "#);
    assert!(installed().expect("it is installed").contains("echo 1"));
    assert_snapshot!(workspace.check("prefix generations /opt/toy --to root"), @r#"
    status: 0
    --- stdout
    1	[STORE]/store/[HASH]-toy-1	current
    2	[STORE]/store/[HASH]-toy-2
    "#);
    assert_snapshot!(workspace.check("prefix uninstall /opt/toy --to root"), @"status: 0");
    assert!(installed().is_err());
    assert_snapshot!(workspace.check("prefix generations /opt/toy --to root"), @r#"
    status: 1
    --- stderr
    error: `root/opt/toy` has no generation before the current one; it has none
    "#);
}

#[test]
fn modes() {
    let workspace = Workspace::with_own_store(TOYS);
    for mode in ["copy", "symlink", "hardlink"] {
        workspace.stdout(&format!("prefix install one -f default.nix --to {mode} --mode {mode}"));
        let run = fs::read_to_string(workspace.path().join(mode).join("opt/toy/bin/run"));
        assert!(run.expect("it is installed").contains("echo 1"), "{mode}");
    }
    // A prefix that is a link into the store keeps it; one that is a copy lives on without.
    fs::remove_dir_all(workspace.path().join("hardlink")).expect("it is ours");
    workspace.stdout("store gc");
    for mode in ["copy", "symlink"] {
        assert!(fs::read(workspace.path().join(mode).join("opt/toy/bin/run")).is_ok(), "{mode}");
    }
}

#[test]
fn what_somebody_else_put_there_stays() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.write("root/opt/toy/mine", "precious");
    assert_snapshot!(workspace.check("prefix install one -f default.nix --to root"), @r#"
    status: 1
    --- stderr
    plan: 1 tree to put together
    nothing had to be built in [TIME]
    error: files that were not installed from the store are in the way at `root/opt/toy`; --force keeps them aside:
             root/opt/toy/mine
    "#);
    assert_eq!(fs::read_to_string(workspace.path().join("root/opt/toy/mine")).expect("it stays"), "precious");
}

#[test]
fn a_changed_file_stops_an_uninstall() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("prefix install one -f default.nix --to root");
    workspace.write("root/opt/toy/note", "mine");
    assert_snapshot!(workspace.check("prefix uninstall /opt/toy --to root"), @r#"
    status: 1
    --- stderr
    error: files that were not installed from the store are in the way at `root/opt/toy`; --force keeps them aside:
             root/opt/toy/note
    "#);
}
