//! Golden tests of the language: `tests/lang/<category>-<name>.nix` and the expected outcome.
//!
//! | category | expectation |
//! |---|---|
//! | `parse-okay` | `.exp`: the tree as `nix-instantiate --parse` prints it in the directory `/pwd` |
//! | `parse-fail` | `.err.exp`: every mistake with its position, labels and help |
//! | `eval-okay` | `.exp`: the value as `nix-instantiate --eval --strict` prints it; `.err.exp`: traces and warnings, if any |
//! | `eval-fail` | `.err.exp`: the error with its position, trace and help |
//!
//! In expectations the directory of the files is `/pwd`. `UPDATE_EXP=1` writes the outcomes as new
//! expectations; compare the values of new `eval-okay` files with Nix then.
#![allow(clippy::disallowed_methods, reason = "a test reads its cases from files")]

use lang::host::CodeCache;
use lang::source::{Origin, SourceText};
use lang::symbol::Symbol;
use lang::syntax::print::{PrintOptions, Style, print};
use lang::syntax::{ParseOptions, parse};
use lang::{EvalOptions, Evaluator, Report};
use model::StoreModel;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_support::files::Files;

/// Frames of a trace that an expectation shows.
const TRACE_MAX: usize = 6;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/lang")
}

/// Returns the files of a category, sorted; there is at least one.
fn cases(category: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let of_category = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{category}-")) && name.ends_with(".nix")
    };
    let mut cases: Vec<PathBuf> = entries.filter(of_category).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no {category} files in {}", directory().display());
    cases
}

/// Compares with the file beside the case, or writes it; returns the difference.
fn compare(case: &Path, extension: &str, got: &str) -> Option<String> {
    let expectation = case.with_extension(extension);
    if std::env::var_os("UPDATE_EXP").is_some() {
        // A missing file means the same as an empty one.
        if got.is_empty() {
            _ = fs::remove_file(&expectation)
        } else {
            fs::write(&expectation, got).unwrap()
        }
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
    let source = SourceText::new(Origin::StandardInput, text.as_slice().into());
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

/// Evaluates a file strictly. Returns its value, or the error with positions, help and trace; and
/// the traces and warnings.
fn evaluated(case: &Path) -> (Result<String, String>, String) {
    evaluated_with(case, None)
}

/// Does the same as [`evaluated`], with a cache of code.
fn evaluated_with(case: &Path, cache: Option<Arc<DirectoryCache>>) -> (Result<String, String>, String) {
    let host = Arc::new(Files::new(StoreModel::Nix));
    let options = EvalOptions {
        pure: false,
        store_model: StoreModel::Nix,
        system: Some("x86_64-linux".into()),
        ..Default::default()
    };
    let mut evaluator = Evaluator::new(host.clone(), options);
    if let Some(cache) = cache {
        evaluator.use_code_cache(cache);
    }
    let value = evaluator.eval_file(case).and_then(|value| {
        evaluator.force_deep(value)?;
        Ok(value)
    });
    let outcome = match value {
        Ok(value) => Ok(String::from_utf8(evaluator.print(value).unwrap()).unwrap() + "\n"),
        Err(error) => {
            let mut out = String::new();
            describe(&mut out, &evaluator.report(&error));
            Err(out.replace(directory().to_str().unwrap(), "/pwd"))
        }
    };
    evaluator.keep_code();
    (outcome, host.take_messages().into_iter().map(|message| message + "\n").collect())
}

fn describe(out: &mut String, report: &Report) {
    let place = |source: &SourceText, offset| {
        let (line, column) = source.position(offset);
        format!("{}:{line}:{column}", lang::error::origin_name(&source.origin))
    };
    writeln!(out, "error: {} [{}]", report.message, report.code).unwrap();
    for label in &report.labels {
        writeln!(out, "  {} {}", place(&label.source, label.start), label.text).unwrap();
    }
    for frame in report.trace.iter().take(TRACE_MAX) {
        let at = frame.place.as_ref().map(|(source, offset)| place(source, *offset));
        writeln!(out, "  … {}{}{}", frame.text, if at.is_some() { " at " } else { "" }, at.unwrap_or_default())
            .unwrap();
    }
    if report.trace.len() > TRACE_MAX {
        writeln!(out, "  … more").unwrap();
    }
    if let Some(help) = &report.help {
        writeln!(out, "  help: {help}").unwrap();
    }
    for report in &report.further {
        describe(out, report);
    }
}

#[test]
fn eval_okay() {
    let check = |case: PathBuf| {
        let (value, messages) = evaluated(&case);
        match value {
            Ok(value) => compare(&case, "exp", &value).or_else(|| compare(&case, "err.exp", &messages)),
            Err(error) => Some(format!("{}:\n{error}", case.display())),
        }
    };
    report(cases("eval-okay").into_iter().filter_map(check).collect());
}

/// Intended differences from Nix; the first line of each file gives the reason. `.exp` is the value
/// here.
#[test]
fn known_differences() {
    let entries = fs::read_dir(directory().join("known-differences")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "nix")).collect();
    assert!(!files.is_empty());
    let check = |case: PathBuf| {
        assert!(fs::read_to_string(&case).unwrap().starts_with("# "), "{} gives no reason", case.display());
        let value = evaluated(&case).0.unwrap_or_else(|error| error);
        compare(&case, "exp", &value)
    };
    report(files.into_iter().filter_map(check).collect());
}

#[test]
fn eval_fail() {
    let check = |case: PathBuf| match evaluated(&case) {
        (Ok(value), _) => Some(format!("{}: evaluates, to {value}", case.display())),
        (Err(error), messages) => compare(&case, "err.exp", &(messages + &error)),
    };
    report(cases("eval-fail").into_iter().filter_map(check).collect());
}

/// Stores code in files of a directory, and counts.
#[derive(Default)]
struct DirectoryCache {
    path: PathBuf,
    found: AtomicUsize,
    put: AtomicUsize,
}

impl DirectoryCache {
    fn file(&self, key: &[u8; 32]) -> PathBuf {
        self.path.join(key.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl CodeCache for DirectoryCache {
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        let bytes = fs::read(self.file(key)).ok()?;
        self.found.fetch_add(1, Ordering::Relaxed);
        Some(bytes)
    }

    fn put(&self, rows: &[([u8; 32], Vec<u8>)]) {
        for (key, bytes) in rows {
            fs::write(self.file(key), bytes).unwrap();
            self.put.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Returns the files that are evaluated, with their expectations.
fn evaluated_cases() -> Vec<(PathBuf, String)> {
    let okay = cases("eval-okay").into_iter().map(|case| {
        let expected = fs::read_to_string(case.with_extension("exp")).unwrap();
        (case, expected)
    });
    let fail = cases("eval-fail").into_iter().map(|case| {
        let expected = fs::read_to_string(case.with_extension("err.exp")).unwrap();
        (case, expected)
    });
    okay.chain(fail).collect()
}

/// Evaluates all files with a cache; returns the outcomes that differ from the expectation.
fn differing_with(cache: &Arc<DirectoryCache>) -> Vec<String> {
    let differs = |(case, expected): (PathBuf, String)| {
        let got = match evaluated_with(&case, Some(cache.clone())) {
            (Ok(value), _) => value,
            (Err(error), messages) => messages + &error,
        };
        (got != expected).then(|| format!("{}:\nwanted: {expected}\ngot:    {got}\n", case.display()))
    };
    evaluated_cases().into_iter().filter_map(differs).collect()
}

#[test]
fn cached_code_means_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let cache = |path: &Path| Arc::new(DirectoryCache { path: path.to_owned(), ..DirectoryCache::default() });
    let cold = cache(directory.path());
    report(differing_with(&cold));
    let put = cold.put.load(Ordering::Relaxed);
    let warm = cache(directory.path());
    report(differing_with(&warm));
    assert!(put > evaluated_cases().len() / 2, "{put} stored");
    assert!(warm.found.load(Ordering::Relaxed) >= put);
    // All that runs was compiled before.
    assert_eq!(warm.put.load(Ordering::Relaxed), 0);
}

#[test]
fn cached_code_means_the_same_among_names_in_another_order() {
    let directory = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writes_code_for_another_process", "--ignored"])
        .env("LANG_CODE_CACHE", directory.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let warm = Arc::new(DirectoryCache { path: directory.path().to_owned(), ..DirectoryCache::default() });
    report(differing_with(&warm));
    assert!(warm.found.load(Ordering::Relaxed) > evaluated_cases().len() / 2);
    assert_eq!(warm.put.load(Ordering::Relaxed), 0);
}

#[test]
#[ignore = "a part of the test above, which runs it in a process of its own"]
fn writes_code_for_another_process() {
    let texts = evaluated_cases().into_iter().map(|(case, _)| fs::read_to_string(case).unwrap_or_default());
    let mut words: Vec<String> = texts
        .flat_map(|text| {
            text.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    words.sort();
    for word in words.iter().rev() {
        Symbol::new(word.as_bytes());
    }
    let path = std::env::var_os("LANG_CODE_CACHE").expect("the test above sets it").into();
    report(differing_with(&Arc::new(DirectoryCache { path, ..DirectoryCache::default() })));
}

#[test]
fn damaged_code_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let case = directory.path().join("case.nix");
    fs::write(&case, "let f = x: { a = x + 1; b = x * 2; }; in (f 2).a + (f 3).b").unwrap();
    let stored = directory.path().join("kept");
    fs::create_dir(&stored).unwrap();
    let cache = || Arc::new(DirectoryCache { path: stored.clone(), ..DirectoryCache::default() });
    assert_eq!(evaluated_with(&case, Some(cache())).0.as_deref(), Ok("9\n"));
    let file = fs::read_dir(&stored).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        for damaged in [&whole[..at], &{
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        }] {
            fs::write(&file, damaged).unwrap();
            let cache = cache();
            assert_eq!(evaluated_with(&case, Some(cache.clone())).0.as_deref(), Ok("9\n"));
            assert_eq!((cache.found.load(Ordering::Relaxed), cache.put.load(Ordering::Relaxed)), (1, 1));
        }
    }
}

/// Relative paths in a text mean other files in another directory.
#[test]
fn code_of_a_text_is_used_in_another_directory() {
    let directory = tempfile::tempdir().unwrap();
    let text = "{ a = ./x; b = ../y/./z; c = \"${toString ./.}/x\"; d = ./${\"e\"}; f = /g; h = map (x: ./x) [ 1 ]; \
                i = (builtins.tryEval (assert ./x == null; 1)).value; j = __curPos.file; k = ../../../../../../../../../../l; }";
    let stored = directory.path().join("kept");
    fs::create_dir(&stored).unwrap();
    let values: Vec<[String; 2]> = ["one", "two/three"]
        .map(|name| {
            let place = directory.path().join(name);
            fs::create_dir_all(&place).unwrap();
            let case = place.join("case.nix");
            fs::write(&case, text).unwrap();
            let plain = evaluated(&case).0.unwrap();
            // Twice, so that each directory uses code that the other one stored.
            let cache = || Some(Arc::new(DirectoryCache { path: stored.clone(), ..DirectoryCache::default() }));
            assert_eq!(evaluated_with(&case, cache()).0.unwrap(), plain);
            [plain, evaluated_with(&case, cache()).0.unwrap()]
        })
        .into();
    for [plain, kept] in &values {
        assert_eq!(plain, kept);
    }
    assert_ne!(values[0][0], values[1][0]);
}

/// A process stores again the code that an earlier one ran and itself did not, for all
/// directories.
#[test]
fn code_of_several_processes_is_used_in_another_directory() {
    let directory = tempfile::tempdir().unwrap();
    let stored = directory.path().join("kept");
    fs::create_dir(&stored).unwrap();
    let text = "{ a = let f = x: [ ./a x ]; in f ./b; c = let f = x: [ x ./c ]; in f 1; }.${import ./which.nix}";
    let evaluate = |place: &str, which: &str| {
        let place = directory.path().join(place);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("which.nix"), format!("{which:?}")).unwrap();
        let case = place.join("case.nix");
        fs::write(&case, text).unwrap();
        let cache = Arc::new(DirectoryCache { path: stored.clone(), ..DirectoryCache::default() });
        assert_eq!(evaluated_with(&case, Some(cache)).0, evaluated(&case).0, "{place:?} {which}");
    };
    evaluate("one", "a");
    evaluate("one", "c");
    evaluate("two", "a");
    evaluate("two", "c");
}
