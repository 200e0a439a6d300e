//! Golden tests of the language: `tests/lang/<category>-<name>.nix` and what must come out.
//!
//! | category | expectation |
//! |---|---|
//! | `parse-okay` | `.exp`: the tree as `nix-instantiate --parse` prints it in the folder `/pwd` |
//! | `parse-fail` | `.err.exp`: every mistake with its place, labels and help |
//! | `eval-okay` | `.exp`: the value, printed strictly |
//! | `eval-fail` | evaluation ends in an error |
//!
//! `UPDATE_EXP=1` rewrites the expectations of the parser from what came out. Where a reference Nix is installed
//! (`nix-instantiate` on the path), it is asked about the `eval` files too, so an expectation cannot drift from Nix.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lang::source::{Origin, Source};
use lang::syntax::print::{PrintOptions, Style, print};
use lang::syntax::{ParseOptions, parse};

/// Files on which Nix 2.8 is known to differ: integers wrapped around then.
const NEWER_THAN_REFERENCE: &[&str] = &["eval-fail-overflow"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lang")
}

/// The files of a category, sorted; there is at least one.
fn cases(category: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let of_category = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{category}-")) && name.ends_with(".nix")
    };
    let mut cases: Vec<PathBuf> = entries.filter(of_category).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no {category} files in {}", folder().display());
    cases
}

/// Compares with the file beside the case, or writes it; returns what differs.
fn compare(case: &Path, extension: &str, got: &str) -> Option<String> {
    let expectation = case.with_extension(extension);
    if std::env::var_os("UPDATE_EXP").is_some() {
        fs::write(&expectation, got).unwrap();
        return None;
    }
    let wanted = fs::read_to_string(&expectation).unwrap_or_default();
    (wanted != got).then(|| format!("{}:\nwanted: {wanted}\ngot:    {got}\n", case.display()))
}

#[track_caller]
fn report(differences: Vec<String>) {
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.concat());
}

/// The tree of a file, or its mistakes.
fn parsed(case: &Path) -> Result<String, String> {
    let text = fs::read(case).unwrap();
    let arena = bumpalo::Bump::new();
    let options = ParseOptions { separate_string_pieces: true, ..ParseOptions::default() };
    let parsed = parse(&arena, &text, options);
    if parsed.errors.is_empty() {
        let options = PrintOptions { base: b"/pwd", home: b"/fake-home", style: Style::Current };
        return Ok(String::from_utf8(print(parsed.expr, options)).unwrap() + "\n");
    }
    let source = Source::new(Origin::StandardInput, text.as_slice().into());
    let place = |offset| {
        let (line, column) = source.position(offset);
        format!("{line}:{column}")
    };
    let mut out = String::new();
    for error in &parsed.errors {
        writeln!(out, "{}: {error} [{}]", place(error.span.start), error.code).unwrap();
        for (span, label) in &error.labels {
            writeln!(out, "  {}: {label}", place(span.start)).unwrap();
        }
        if let Some(help) = &error.help {
            writeln!(out, "  help: {help}").unwrap();
        }
    }
    Err(out)
}

#[test]
fn parse_okay() {
    let check = |case: PathBuf| match parsed(&case) {
        Ok(tree) => compare(&case, "exp", &tree),
        Err(mistakes) => Some(format!("{}:\n{mistakes}", case.display())),
    };
    report(cases("parse-okay").into_iter().filter_map(check).collect());
}

#[test]
fn parse_fail() {
    let check = |case: PathBuf| match parsed(&case) {
        Ok(tree) => Some(format!("{}: parses, to {tree}", case.display())),
        Err(mistakes) => compare(&case, "err.exp", &mistakes),
    };
    report(cases("parse-fail").into_iter().filter_map(check).collect());
}

#[test]
fn every_eval_file_parses() {
    let files = cases("eval-okay").into_iter().chain(cases("eval-fail"));
    report(
        files
            .filter_map(|case| parsed(&case).err().map(|mistakes| format!("{}:\n{mistakes}", case.display())))
            .collect(),
    );
}

/// What the reference Nix says of a file; none where there is no reference.
fn reference(case: &Path, store: &Path) -> Option<Result<String, String>> {
    let mut command = Command::new("nix-instantiate");
    command.args(["--eval", "--strict", "--read-write-mode"]).arg(case).stdin(Stdio::null());
    command.env("NIX_REMOTE", format!("local?root={}", store.display())).env("NIX_STORE_DIR", "/nix/store");
    command.env_remove("NIX_PATH");
    let output = command.output().ok()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

#[test]
fn the_reference_agrees() {
    let store = tempfile::tempdir().unwrap();
    let mut differences = Vec::new();
    for case in cases("eval-okay").into_iter().chain(cases("eval-fail")) {
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        let Some(answer) = reference(&case, store.path()) else {
            eprintln!("no reference Nix here: expectations are taken as they are");
            return;
        };
        let wanted = fs::read_to_string(case.with_extension("exp")).ok();
        match (answer, wanted) {
            (Ok(got), Some(wanted)) if got == wanted => {}
            (Err(_), None) => {}
            _ if NEWER_THAN_REFERENCE.contains(&name.as_str()) => {}
            (Ok(got), wanted) => differences.push(format!("{name}:\nwanted: {wanted:?}\nNix:    {got}")),
            (Err(error), _) => differences.push(format!("{name}: Nix fails: {error}")),
        }
    }
    report(differences);
}
