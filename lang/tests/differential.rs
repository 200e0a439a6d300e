//! Programs made at random, evaluated here and by Nix: trees and values must be the same, and both must fail or neither.
//!
//! Many programs go into one run of Nix, as elements of a list; when a list differs it is halved until the program is found.
//!
//! ```text
//! DIFFERENTIAL_NIX=path/to/nix-instantiate DIFFERENTIAL_SECS=60 DIFFERENTIAL_SEED=1 \
//!     cargo test --release -p lang --test differential -- --ignored --nocapture
//! ORACLE_NIX=path/to/tree    instead of DIFFERENTIAL_NIX: the reference of the corpus, run by its own loader
//! ```
#![allow(clippy::disallowed_methods, reason = "a test that runs another evaluator, for a given time")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lang::source::Origin;
use lang::syntax::print::{PrintOptions, Style, print};
use lang::syntax::{ParseOptions, parse};
use lang::{EvalOptions, Evaluator};
use store::StoreModel;

mod support;
use support::Files;
#[path = "support/generate.rs"]
mod generate;
use generate::{Generator, Random};

/// Programs in one run of Nix.
const BATCH: usize = 250;
/// Of a batch's failing programs as many are given to Nix alone.
const FAILING_TRIED: usize = 3;
/// After as many differences the rest would be repetition.
const DIFFERENCES_MAX: usize = 20;

struct Nix {
    folder: tempfile::TempDir,
    old: bool,
}

fn nix_command() -> Command {
    if let Some(tree) = std::env::var_os("ORACLE_NIX").map(PathBuf::from) {
        let mut command = Command::new(tree.join("lib64/ld-linux-x86-64.so.2"));
        let libraries = [tree.join("usr/lib/x86_64-linux-gnu"), tree.join("lib/x86_64-linux-gnu")];
        command.arg("--library-path").arg(std::env::join_paths(libraries).unwrap());
        command.arg(tree.join("usr/bin/nix-instantiate"));
        return command;
    }
    Command::new(std::env::var_os("DIFFERENTIAL_NIX").expect("DIFFERENTIAL_NIX or ORACLE_NIX names the reference"))
}

impl Nix {
    fn new() -> Nix {
        let output = nix_command().arg("--version").output().expect("the reference runs");
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        Nix { folder: tempfile::tempdir().unwrap(), old: version.contains(" 2.8.") }
    }

    /// Runs Nix on a text in a file; the error is the last line of what it said.
    fn run(&self, arguments: &[&str], text: &str) -> Result<String, String> {
        let file = self.folder.path().join("batch.nix");
        std::fs::write(&file, text).unwrap();
        let mut command = nix_command();
        command.args(arguments).arg(&file).env_clear().stdin(Stdio::null());
        command.env("HOME", "/fake-home").env("NIX_REMOTE", "dummy://").env("NIX_STORE_DIR", "/nix/store");
        command.env("NIX_CONF_DIR", self.folder.path()).env("XDG_CACHE_HOME", self.folder.path());
        let output = command.output().expect("the reference runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

struct Ours {
    evaluator: Evaluator,
}

impl Ours {
    fn new() -> Ours {
        let options = EvalOptions {
            pure: false,
            store_model: StoreModel::Nix,
            system: Some("x86_64-linux".to_owned()),
            ..EvalOptions::default()
        };
        Ours { evaluator: Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options) }
    }

    fn eval(&mut self, text: &str) -> Result<String, String> {
        let evaluator = &mut self.evaluator;
        let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/")).and_then(|value| {
            evaluator.force_deep(value)?;
            Ok(value)
        });
        match value {
            Ok(value) => Ok(String::from_utf8_lossy(&evaluator.print(value).unwrap()).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn parse(&mut self, text: &str, old: bool, base: &Path) -> Result<String, String> {
        let arena = bumpalo::Bump::new();
        let options = ParseOptions { separate_string_pieces: true, ..ParseOptions::default() };
        let parsed = parse(&arena, text.as_bytes(), options);
        match parsed.errors.first() {
            Some(error) => Err(error.to_string()),
            None => {
                // Names that nothing defines are mistakes of the text, too.
                let checked = self.evaluator.parse_text(text.as_bytes(), Origin::CommandLine, base);
                checked.map_err(|error| error.to_string())?;
                let style = if old { Style::Nix2_8 } else { Style::Current };
                let base = std::os::unix::ffi::OsStrExt::as_bytes(base.as_os_str());
                let options = PrintOptions { base, home: b"/fake-home", style };
                Ok(String::from_utf8_lossy(&print(parsed.expr, options)).into_owned() + "\n")
            }
        }
    }
}

/// A program that an error of the catchable kind does not end, nor laziness save.
fn wrapped(program: &str) -> String {
    format!("(builtins.tryEval (let v = {program}; in builtins.deepSeq v v))")
}

fn list<'a>(programs: impl Iterator<Item = &'a String>) -> String {
    let mut text = "[\n".to_owned();
    for program in programs {
        text.push_str(&wrapped(program));
        text.push('\n');
    }
    text + "]\n"
}

/// Halves `programs` until single ones are found that differ.
fn narrow(programs: &[(String, String)], nix: &Nix, differences: &mut Vec<String>) {
    if differences.len() >= DIFFERENCES_MAX {
        return;
    }
    let text = list(programs.iter().map(|(program, _)| program));
    let wanted = nix.run(&["--eval", "--strict"], &text);
    let got: String = programs.iter().map(|(_, value)| format!("{value} ")).collect();
    if wanted.as_deref() == Ok(&format!("[ {got}]\n")) {
        return;
    }
    match programs {
        [(program, value)] => differences.push(format!("{program}\n  Nix:  {wanted:?}\n  ours: {value:?}\n")),
        _ => {
            let (left, right) = programs.split_at(programs.len() / 2);
            narrow(left, nix, differences);
            narrow(right, nix, differences);
        }
    }
}

fn narrow_trees(programs: &[String], nix: &Nix, ours: &mut Ours, differences: &mut Vec<String>) {
    let text = list(programs.iter());
    let wanted = nix.run(&["--parse"], &text);
    let got = ours.parse(&text, nix.old, nix.folder.path());
    if differences.len() >= DIFFERENCES_MAX || wanted == got {
        return;
    }
    match programs {
        [program] if wanted.is_err() && got.is_err() => _ = program,
        [program] => differences.push(format!("--parse {program}\n  Nix:  {wanted:?}\n  ours: {got:?}\n")),
        _ => {
            let (left, right) = programs.split_at(programs.len() / 2);
            narrow_trees(left, nix, ours, differences);
            narrow_trees(right, nix, ours, differences);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "needs another Nix, and time"]
fn random_programs_mean_the_same() {
    let nix = Nix::new();
    let until = Instant::now() + Duration::from_secs(number("DIFFERENTIAL_SECS", 60));
    let mut seed = number("DIFFERENTIAL_SEED", 1) << 32;
    let mut ours = Ours::new();
    let mut differences = Vec::new();
    let (mut count, mut failed) = (0, 0);
    while Instant::now() < until && differences.len() < DIFFERENCES_MAX {
        let mut programs = Vec::new();
        for _ in 0..BATCH {
            seed += 1;
            programs.push(Generator { random: Random::new(seed) }.program());
        }
        narrow_trees(&programs, &nix, &mut ours, &mut differences);
        let mut good = Vec::new();
        let mut tried = 0;
        for program in programs {
            count += 1;
            match ours.eval(&wrapped(&program)) {
                Ok(value) => good.push((program, value)),
                Err(error) => {
                    failed += 1;
                    tried += 1;
                    if tried <= FAILING_TRIED
                        && let Ok(value) = nix.run(&["--eval", "--strict"], &wrapped(&program))
                    {
                        differences.push(format!("{program}\n  Nix:  {value:?}\n  ours: error: {error}\n"));
                    }
                }
            }
        }
        narrow(&good, &nix, &mut differences);
    }
    println!("{count} programs, {failed} of them failing, {} differences", differences.len());
    assert!(count > 0 && differences.is_empty(), "{}", differences.concat());
}
