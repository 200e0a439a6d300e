//! `store verify`: damage is found, and repaired or invalidated.

use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const TOY: &str = "(import ./prelude.nix).write { name = \"toy\"; files.x.text = \"as it was written\"; }";

fn damage(workspace: &Workspace) {
    let out = workspace.stdout("build -f default.nix --print-out-paths");
    let clean = workspace.check("store verify");
    assert!(clean.starts_with("status: 0\n"), "{clean}");
    let file = Path::new(&out).join("x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the store is ours");
    fs::write(&file, "as it was changed").expect("the store is ours");
}

#[test]
fn a_changed_file_is_found() {
    let workspace = Workspace::with_own_store(TOY);
    damage(&workspace);
    assert_snapshot!(workspace.check("store verify"), @r#"
    status: 1
    --- stdout
    blob 56cbec1f4c6b7b78d5d024714063672d5047e83fac03cdf7e79ee319f4e94940 is damaged: its bytes have another digest
    store path `[HASH]-toy` is damaged at `/x`: its blob is damaged
    --- stderr
    2 paths, 3 files, 389 B read
    error: the store is damaged in 2 places
     |
     = help: repair it with `ev store verify --repair`
    "#);
    let json = workspace.json("store verify --json");
    assert_eq!(json["version"], 1);
}

#[test]
fn repaired_it_is_built_again() {
    let workspace = Workspace::with_own_store(TOY);
    damage(&workspace);
    assert_snapshot!(workspace.check("store verify --repair"), @r#"
    status: 0
    --- stdout
    blob 56cbec1f4c6b7b78d5d024714063672d5047e83fac03cdf7e79ee319f4e94940 is damaged: its bytes have another digest
    store path `[HASH]-toy` is damaged at `/x`: its blob is damaged
    --- stderr
    2 paths, 3 files, 389 B read
    0 paths repaired, 1 rebuilt, 0 invalidated
    "#);
    assert_snapshot!(workspace.check("build -f default.nix"), @r#"
    status: 0
    --- stderr
    up to date: nothing to do
    "#);
    let text = fs::read_to_string(workspace.path().join("result/x")).expect("it was built");
    assert_eq!(text, "as it was written");
    assert_snapshot!(workspace.check("store verify"), @r#"
    status: 0
    --- stderr
    2 paths, 5 files, 481 B read
    "#);
}

#[test]
fn the_database_can_be_rebuilt() {
    let workspace = Workspace::with_own_store(TOY);
    let out = workspace.stdout("build -f default.nix --print-out-paths");
    assert_snapshot!(workspace.check("store rebuild-db"), @r#"
    status: 0
    --- stderr
    2 paths found
    "#);
    assert_eq!(workspace.stdout("path-info ./result"), out);
    assert_snapshot!(workspace.check("store verify"), @r#"
    status: 0
    --- stderr
    2 paths, 3 files, 389 B read
    "#);
}
