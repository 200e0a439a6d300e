//! An evaluation is not repeated while its result would be the same, and never reused when it would
//! not.
//!
//! The witness is a message of the evaluation: the test changes it in the record, so a run that
//! prints the changed one has not evaluated.

use crate::fetchers::with_repository;
use crate::workspace::Workspace;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const EXPRESSION: &str = r#"
builtins.trace "evaluated" (derivation {
  name = "x";
  system = "x86_64-linux";
  builder = "builtin:write";
  text = builtins.readFile ./text;
  entries = builtins.attrNames (builtins.readDir ./directory);
  there = builtins.pathExists ./perhaps;
  whole = ./source;
  filtered = builtins.filterSource (path: kind: baseNameOf path != "ignored") ./filtered;
})
"#;

/// Makes a workspace with a first evaluation, whose message in the record is changed.
fn evaluated(expression: &str, words: &str) -> Workspace {
    let workspace = Workspace::with_own_store(expression);
    for (name, text) in
        [("text", "1"), ("directory/a", ""), ("source/a", "1"), ("filtered/a", "1"), ("filtered/ignored", "1")]
    {
        workspace.write(name, text);
    }
    let text = workspace.check(words);
    assert!(text.contains("trace: evaluated"), "{text}");
    for record in records(&workspace) {
        let json = fs::read_to_string(&record).unwrap();
        fs::write(&record, json.replace("evaluated", "remembered")).unwrap();
    }
    workspace
}

fn records(workspace: &Workspace) -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace.store().join("cache/evaluations"));
    entries.map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

const WORDS: &str = "instantiate -f default.nix";

#[track_caller]
fn expect_cached(workspace: &Workspace, words: &str) -> String {
    let text = workspace.check(words);
    assert!(text.contains("trace: remembered") && text.contains("status: 0"), "{text}");
    text
}

#[track_caller]
fn expect_evaluated(workspace: &Workspace, words: &str) -> String {
    let text = workspace.check(words);
    assert!(text.contains("trace: evaluated") && text.contains("status: 0"), "{text}");
    text
}

#[test]
fn nothing_changed() {
    let workspace = evaluated(EXPRESSION, WORDS);
    expect_cached(&workspace, WORDS);
    expect_cached(&workspace, WORDS);
    expect_evaluated(&workspace, &format!("{WORDS} --no-eval-cache"));
    expect_evaluated(&workspace, &format!("{WORDS} --argstr x y"));
}

/// The file is read in pieces, and checked again like one that was read at once.
#[test]
fn a_file_that_was_hashed() {
    let expression = EXPRESSION.replace("builtins.readFile ./text", "builtins.hashFile \"md5\" ./text");
    let workspace = evaluated(&expression, WORDS);
    expect_cached(&workspace, WORDS);
    workspace.write("text", "1");
    expect_cached(&workspace, WORDS);
    workspace.write("text", "2");
    expect_evaluated(&workspace, WORDS);
    let both = EXPRESSION.replace("readFile ./text", "hashFile \"md5\" ./text + builtins.readFile ./text");
    let workspace = evaluated(&both, WORDS);
    workspace.write("text", "1");
    expect_cached(&workspace, WORDS);
}

#[test]
fn a_file_written_again_with_the_same_text() {
    let workspace = evaluated(EXPRESSION, WORDS);
    workspace.write("text", "1");
    workspace.write("filtered/a", "1");
    workspace.write("filtered/ignored", "the filter keeps it out");
    expect_cached(&workspace, WORDS);
}

#[test]
fn each_kind_of_change_is_noticed() {
    for (file, text) in [
        ("default.nix", &*format!("{EXPRESSION} # changed")),
        ("text", "2"),
        ("directory/b", ""),
        ("perhaps", ""),
        ("source/a", "2"),
        ("source/b", ""),
        ("filtered/a", "2"),
        ("filtered/b", ""),
    ] {
        let workspace = evaluated(EXPRESSION, WORDS);
        let before = workspace.stdout(WORDS);
        workspace.write(file, text);
        expect_evaluated(&workspace, WORDS);
        let after = workspace.stdout(WORDS);
        assert_eq!(before == after, file == "default.nix", "{file}: {before} and {after}");
    }
}

#[test]
fn a_variable_that_was_read() {
    let words = "instantiate -f default.nix --impure";
    let workspace = Workspace::with_own_store(
        r#"builtins.trace "evaluated" (derivation {
          name = "x"; system = "x86_64-linux"; builder = "x"; text = builtins.getEnv "COLOUR";
        })"#,
    );
    let run = |colour: &str| {
        let mut command: Command = workspace.command(words.split(' '));
        workspace.text(&command.env("COLOUR", colour).output().unwrap())
    };
    run("red");
    for record in records(&workspace) {
        let json = fs::read_to_string(&record).unwrap();
        fs::write(&record, json.replace("evaluated", "remembered")).unwrap();
    }
    assert!(run("red").contains("trace: remembered"));
    assert!(run("blue").contains("trace: evaluated"));
}

#[test]
fn reads_of_the_clock_are_not_cached() {
    let workspace = Workspace::with_own_store(
        r#"derivation { name = "x"; system = "x86_64-linux"; builder = "x"; now = builtins.currentTime; }"#,
    );
    workspace.stdout("instantiate -f default.nix --impure");
    assert_eq!(records(&workspace), Vec::<PathBuf>::new());
}

#[test]
fn fetches_without_a_hash_are_not_cached() {
    let workspace = Workspace::with_own_store(
        r#"derivation {
          name = "x"; system = "x86_64-linux"; builder = "x"; file = builtins.fetchurl "file://${toString ./file}";
        }"#,
    );
    workspace.write("file", "1");
    let before = workspace.stdout("instantiate -f default.nix --impure");
    assert_eq!(records(&workspace), Vec::<PathBuf>::new());
    workspace.write("file", "2");
    assert_ne!(workspace.stdout("instantiate -f default.nix --impure"), before);
}

#[test]
fn a_revision_is_cached_and_a_branch_is_not() {
    let (workspace, rev) = with_repository();
    let fetch = |which: &str| {
        let fetched = format!("fetchGit {{ url = ./repository; {which} }}");
        workspace.write(
            "default.nix",
            &format!(r#"derivation {{ name = "x"; system = "x86_64-linux"; builder = "x"; source = {fetched}; }}"#),
        );
        let mut command = workspace.command("instantiate -f default.nix --impure".split(' '));
        let output = command.env("HOME", workspace.path().join("home")).output().unwrap();
        assert!(output.status.success(), "{}", workspace.text(&output));
        records(&workspace).len()
    };
    assert_eq!(fetch("ref = \"main\";"), 0);
    assert_eq!(fetch(&format!("rev = \"{rev}\";")), 1);
}

#[test]
fn an_error_is_found_each_time() {
    let workspace = Workspace::with_own_store(r#"throw "no""#);
    let first = workspace.check(WORDS);
    assert_eq!(first, workspace.check(WORDS));
    assert_eq!(records(&workspace), Vec::<PathBuf>::new());
}

#[test]
fn a_derivation_that_was_collected_is_made_again() {
    let workspace = evaluated(EXPRESSION, WORDS);
    let drv = workspace.stdout(WORDS);
    workspace.stdout("store gc");
    assert!(!fs::exists(&drv).unwrap(), "{drv} should be gone");
    expect_evaluated(&workspace, WORDS);
    assert!(fs::exists(&drv).unwrap());
}

#[test]
fn a_broken_record_costs_an_evaluation_only() {
    let workspace = evaluated(EXPRESSION, WORDS);
    for record in records(&workspace) {
        fs::write(record, "{\"seen\": ").unwrap();
    }
    expect_evaluated(&workspace, WORDS);
}
