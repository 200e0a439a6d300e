//! Readers that close the pipe early, and full outputs.

use crate::workspace::Workspace;
use std::fs::File;
use std::process::Stdio;

/// Returns a pipe without a reader.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("there are descriptors left");
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let workspace = Workspace::with_own_store(r#"builtins.toFile "text" "some text""#);
    let drv = "(derivation { name = \"d\"; system = \"any\"; builder = \"any\"; })";
    for words in [
        vec!["store", "add", "default.nix"],
        vec!["store", "verify", "--json"],
        vec!["expr", "builtins.genList (x: x) 100000"],
        vec!["explain"],
        vec!["completions", "bash"],
        vec!["--help"],
        vec!["help", "build"],
        vec!["instantiate", "--expr", drv],
        vec!["doctor"],
        vec!["store", "gc"],
    ] {
        let ran = workspace.command(&words).stdout(closed()).output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && !stderr.contains("pipe"), "{words:?}: {}\n{stderr}", ran.status);
        // Nothing depends on remarks.
        let status = workspace.command(&words).stdout(closed()).stderr(closed()).status().expect("the program starts");
        assert!(status.success(), "{words:?}: {status}");
    }
}

#[test]
fn a_full_output_is_an_error() {
    let workspace = Workspace::with_own_store("1");
    for words in [
        vec!["store", "add", "default.nix"],
        vec!["expr", "1"],
        vec!["explain"],
        vec!["completions", "bash"],
        vec!["completions", "zsh"],
        vec!["--help"],
        vec!["--version"],
        vec!["help", "build"],
    ] {
        let full = File::options().write(true).open("/dev/full").expect("this is Linux");
        let ran = workspace.command(&words).stdout(full).output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{words:?}: {stderr}");
        assert!(stderr.contains("cannot write to `standard output`: No space left on device"), "{words:?}: {stderr}");
    }
}

/// Errors of a single line do not fail the session; an output that cannot be written does.
#[test]
fn a_session_whose_output_is_full_fails() {
    let workspace = Workspace::with_own_store("1");
    workspace.write("lines", "1 + 1\n2 + 2\n");
    for lines in ["1 + 1\n2 + 2\n", "1 + 1", "throw \"x\"\n1 + 1\n:q\n"] {
        workspace.write("lines", lines);
        let full = File::options().write(true).open("/dev/full").expect("this is Linux");
        let input = File::open(workspace.path().join("lines")).expect("it was written");
        let ran = workspace.command(["repl"]).stdin(input).stdout(full).output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{lines:?}: {stderr}");
        assert_eq!(stderr.matches("cannot write to `standard output`").count(), 1, "{lines:?}: {stderr}");
    }
    // Neither an expression's error nor a reader that has closed the pipe is a failure of the
    // session.
    workspace.write("lines", "throw \"x\"\n1 + 1\n");
    let input = || File::open(workspace.path().join("lines")).expect("it was written");
    assert!(workspace.command(["repl"]).stdin(input()).output().expect("the program starts").status.success());
    let left = workspace.command(["repl"]).stdin(input()).stdout(closed()).status().expect("the program starts");
    assert!(left.success(), "{left}");
}
