//! The names that the program has: `eval`, `ev` and `build`.

use crate::workspace::{PROGRAM, Workspace};
use insta::assert_snapshot;
use std::os::unix::fs::symlink;
use std::process::Command;

const TOY: &str = "(import ./prelude.nix).write { name = \"toy\"; files.x.text = \"x\"; }";

#[test]
fn called_build_it_builds() {
    let workspace = Workspace::with_own_store(TOY);
    let build = workspace.path().join("build");
    symlink(PROGRAM, &build).expect("the workspace can be written");
    let ran = workspace.prepare(Command::new(&build), ["-f", "default.nix", "--print-out-paths"]).output();
    assert_snapshot!(workspace.text(&ran.expect("the program starts")), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-toy
    --- stderr
    plan: 1 tree to put together
    1 tree put together in [TIME]
    "#);
}

/// A prompt differs from `exec`: the shell's own `eval` runs its arguments.
#[test]
fn eval_build_typed_in_a_shell() {
    let workspace = Workspace::with_own_store(TOY);
    workspace.stdout("self install --to bin");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("PATH=$PWD/bin:$PATH; eval build -f default.nix && ev path-info ./result");
    let ran = workspace.prepare(shell, [] as [&str; 0]).output().expect("there is a shell");
    assert_snapshot!(workspace.text(&ran), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-toy
    --- stderr
    plan: 1 tree to put together
    1 tree put together in [TIME]
    "#);
}

#[test]
fn self_install_replaces_no_other_program() {
    let workspace = Workspace::with_own_store(TOY);
    workspace.write("bin/build", "#!/bin/sh\necho another program\n");
    assert_snapshot!(workspace.check("self install --to bin"), @r#"
    status: 1
    --- stdout
    bin/eval
    bin/ev
    --- stderr
    error: `bin/build` exists already
     |
     = help: replace it with `--force`, or choose another directory with `--to`
    "#);
    workspace.write("other/eval", "#!/bin/sh\necho another program\n");
    assert_snapshot!(workspace.check("self install --to other"), @r#"
    status: 1
    --- stderr
    error: `other/eval` exists already
     |
     = help: replace it with `--force`, or choose another directory with `--to`
    "#);
    assert_snapshot!(workspace.check("self install --to bin --force"), @r#"
    status: 0
    --- stdout
    bin/eval
    bin/ev
    bin/build
    share/man/man1
    "#);
    assert_snapshot!(workspace.check("self install --to bin"), @r#"
    status: 0
    --- stdout
    bin/eval
    bin/ev
    bin/build
    share/man/man1
    "#);
}

#[test]
fn manual_pages_of_all_commands() {
    let workspace = Workspace::with_own_store("1");
    let said = workspace.stdout("self man pages");
    let read = |name: &str| std::fs::read_to_string(workspace.path().join("pages").join(name)).expect(name);
    for name in ["ev.1", "ev-build.1", "ev-store-gc.1", "ev-self-man.1"] {
        assert!(read(name).contains(".TH"), "{name}");
    }
    let page = read("ev-build.1");
    for text in ["print\\-out\\-paths", "Examples:", "max\\-memory"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!read("ev-log.1").contains("max\\-memory"));
    let count = std::fs::read_dir(workspace.path().join("pages")).expect("a directory").count();
    assert_eq!(said, format!("pages\t{count} pages"));
}
