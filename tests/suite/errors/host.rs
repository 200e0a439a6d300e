//! Machines without free space, user namespaces or a writable store.

use crate::workspace::{PROGRAM, Workspace};
use insta::assert_snapshot;
use std::process::Command;

/// Runs the program in its own user and mount namespaces, after the commands of `setup`.
fn check_after(workspace: &Workspace, setup: &str, words: &str) -> String {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-e", "-c"]);
    command.arg(format!("{setup}; exec \"$0\" \"$@\"")).arg(PROGRAM);
    let ran = workspace.prepare(command, words.split_whitespace()).output().expect("`unshare` is installed");
    workspace.text(&ran)
}

#[test]
fn missing_user_namespaces_name_the_setting() {
    let workspace = Workspace::new("(import ./prelude.nix).sh { name = \"toy\"; script = \"echo > $out\"; }");
    let text = check_after(&workspace, "echo 0 > /proc/sys/user/max_user_namespaces", "build -f default.nix --no-link");
    assert_snapshot!(text, @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::sandbox]: `toy` failed: cannot make the namespaces of the sandbox: unshare(NEWUSER|NEWNS): ENOSPC (No space left on device)
     |
     = help: run `sysctl -w user.max_user_namespaces=10000` as root
    1 failed in [TIME]
    error[build::sandbox]: `toy` failed, as reported above
    "#);
    // A script can distinguish that from a build that failed.
    let json = check_after(&workspace, "echo 0 > /proc/sys/user/max_user_namespaces", "build -f default.nix --json");
    assert!(json.contains("build::sandbox"), "{json}");
}

const SMALL: &str = "mkdir -p store; mount -t tmpfs -o size=2m small store";

#[test]
fn full_disk_while_fetching() {
    let workspace = Workspace::with_own_store("");
    std::fs::write(workspace.path().join("big"), vec![b'x'; 8 << 20]).expect("the workspace can be written");
    workspace.write(
        "default.nix",
        &format!(
            "(import ./prelude.nix).fetchurl {{ urls = [ \"file://{}/big\" ]; sha256 = \"sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"; }}",
            workspace.path().display()
        ),
    );
    let text = check_after(&workspace, SMALL, "build -f default.nix --no-link");
    assert_snapshot!(without_sizes(&text), @r#"
    status: 113
    --- stderr
    plan: 1 file to fetch
    error[build::disk_full]: `big` cannot be fetched: not enough space for [SIZE]: [SIZE] are free where `[STORE]/tmp/partial` is, and [SIZE] of them are kept so that the store can still be cleaned
     |
     = help: free some space there (`ev store gc` drops what nothing keeps) or set EVAL_ROOT to a larger file system
    1 failed in [TIME]
    error[build::disk_full]: `big` failed, as reported above
    "#);
}

/// Builds a script in a store with 100 MB of space, for the shell that runs the script as well.
fn check_in_small_store(script: &str) -> String {
    let shared = Workspace::new("");
    let workspace =
        Workspace::with_own_store(&format!("(import ./prelude.nix).sh {{ name = \"toy\"; script = \"{script}\"; }}"));
    let setup =
        format!("mkdir -p store; mount -t tmpfs -o size=100m small store; cp -a {}/. store/", shared.store().display());
    let text = check_after(&workspace, &setup, "build -f default.nix --no-link");
    without_number_before(&without_number_before(&text, " bytes are free"), ".part`")
}

#[test]
fn full_disk_while_building() {
    assert_snapshot!(check_in_small_store("head -c 200M /dev/zero > $out || { rm $out; exit 1; }"), @r#"
    status: 113
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::disk_full]: `toy` failed: the builder exited with status 1, out of disk space: [NUMBER] bytes are free where the store is, `[STORE]`
        last lines of the log:
        > head: error writing 'standard output': No space left on device
     |
     = help: free some space there (`ev store gc` drops what nothing keeps) or set EVAL_ROOT to a larger file system, and run it again
             the whole log: `ev log /eval/store/[HASH]-toy.drv`
    1 failed in [TIME]
    error[build::disk_full]: `toy` failed, as reported above
    "#);
}

#[test]
fn full_disk_that_leaves_no_room_for_the_log() {
    assert_snapshot!(check_in_small_store("head -c 200M /dev/zero > $out"), @r#"
    status: 113
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::disk_full]: `toy` failed: cannot write `[STORE]/log/[HASH]-toy.drv.[NUMBER].part`: No space left on device (ENOSPC)
     |
     = help: free some space there (`ev store gc` drops what nothing keeps) or set EVAL_ROOT to a larger file system
    1 failed in [TIME]
    error[build::disk_full]: `toy` failed, as reported above
    "#);
}

fn without_number_before(text: &str, what: &str) -> String {
    match text.split_once(what) {
        Some((before, after)) => {
            format!("{}[NUMBER]{what}{after}", before.trim_end_matches(|c: char| c.is_ascii_digit()))
        }
        None => text.to_owned(),
    }
}

#[test]
fn full_disk_while_adding() {
    let workspace = Workspace::with_own_store("");
    std::fs::write(workspace.path().join("big"), vec![b'x'; 8 << 20]).expect("the workspace can be written");
    let text = check_after(&workspace, SMALL, "store add big");
    assert_snapshot!(without_sizes(&text), @r#"
    status: 113
    --- stderr
    error[store::out_of_space]: not enough space for [SIZE]: [SIZE] are free where `[STORE]` is, and [SIZE] of them are kept so that the store can still be cleaned
     |
     = help: free some space there (`ev store gc` drops what nothing keeps) or set EVAL_ROOT to a larger file system
    "#);
}

/// Removes sizes: the free space depends on the file system.
fn without_sizes(text: &str) -> String {
    let words = text.split_inclusive(' ').collect::<Vec<_>>();
    let mut out = String::new();
    for (at, word) in words.iter().enumerate() {
        let is_number = word.trim_end().parse::<f64>().is_ok();
        let is_unit = |word: &str| ["KiB", "MiB", "GiB"].iter().any(|unit| word.starts_with(unit));
        if is_number && words.get(at + 1).is_some_and(|next| is_unit(next)) {
            continue;
        }
        if is_unit(word) { out.push_str(&format!("[SIZE]{}", &word[3..])) } else { out.push_str(word) }
    }
    out
}

#[test]
fn store_that_cannot_be_written() {
    let workspace = Workspace::with_own_store("(import ./prelude.nix).write { name = \"x\"; files.x.text = \"\"; }");
    let setup = "mkdir -p store; mount -t tmpfs -o ro small store";
    assert_snapshot!(check_after(&workspace, setup, "build -f default.nix --no-link"), @r#"
    status: 1
    --- stderr
    error[store::system_call]: cannot make directory `[STORE]/cas`: Read-only file system (EROFS)
     |
     = help: set EVAL_ROOT to a file system that can be written
    "#);
}

#[test]
fn store_where_a_file_is() {
    let workspace = Workspace::with_own_store("5");
    workspace.write("store", "not a directory");
    assert_snapshot!(workspace.check("store verify"), @r#"
    status: 1
    --- stderr
    error[store::system_call]: cannot enter `[STORE]`: Not a directory (ENOTDIR)
     |
     = help: a store has something else there: move it away, or set EVAL_ROOT to another directory
    "#);
}
