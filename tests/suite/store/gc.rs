//! `store gc`: links keep their targets alive, with all references.

use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;
use std::path::Path;

const TOYS: &str = r#"
let
  inherit (import ./prelude.nix) write;
  lib = write { name = "lib"; files."lib/x".text = "x"; };
in
{
  app = write { name = "app"; files."bin/app".text = "uses ${lib}"; };
  loose = write { name = "loose"; files.x.text = "loose"; };
}
"#;

#[test]
fn links_keep_their_targets_alive() {
    let workspace = Workspace::with_own_store(TOYS);
    let app = workspace.stdout("build -f default.nix app --print-out-paths");
    let loose = workspace.stdout("build -f default.nix loose --no-link --print-out-paths");
    let removed = sorted(&workspace.stdout("store gc --dry-run"));
    assert!(Path::new(&loose).exists());
    assert_eq!(sorted(&workspace.stdout("store gc")), removed);
    assert_snapshot!(workspace.normal(&removed), @r#"
    [STORE]/store/[HASH]-loose
    [STORE]/store/[HASH]-loose.drv
    "#);
    assert!(!Path::new(&loose).exists());
    assert_eq!(
        fs::read_to_string(Path::new(&app).join("bin/app")).expect("it is kept").len(),
        "uses ".len() + "/eval/store/".len() + 32 + "-lib".len()
    );
    fs::remove_file(workspace.path().join("result")).expect("it is a link");
    assert_snapshot!(workspace.normal(&sorted(&workspace.stdout("store gc"))), @r#"
    [STORE]/store/[HASH]-app
    [STORE]/store/[HASH]-app.drv
    [STORE]/store/[HASH]-lib
    [STORE]/store/[HASH]-lib.drv
    "#);
    assert!(!Path::new(&app).exists());
    assert_snapshot!(workspace.check("store gc"), @r#"
    status: 0
    --- stderr
    0 paths and 0 files freed 0 B; 0 paths with 0 B stay
    "#);
    assert_snapshot!(workspace.check("store verify"), @r#"
    status: 0
    --- stderr
    0 paths, 0 files, 0 B read
    "#);
    // The collected path can be built again.
    assert_eq!(workspace.stdout("build -f default.nix app --print-out-paths"), app);
}

/// Sorts lines by name, as the order of hashes is arbitrary.
fn sorted(lines: &str) -> String {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_by_key(|line| {
        line.rsplit_once("store/").map_or(*line, |(_, name)| name.split_at(name.find('-').unwrap_or(0)).1)
    });
    lines.join("\n")
}
