//! Programs made at random, evaluated here and by Nix: trees and values must be the same, and both must fail or neither.
//!
//! A second test gives builtins and operators every kind of value for every argument, sensible or not.
//!
//! Many programs go into one run of Nix, as elements of a list; when a list differs it is halved until the program is found.
//!
//! ```text
//! DIFFERENTIAL_NIX=path/to/nix-instantiate DIFFERENTIAL_SECS=60 DIFFERENTIAL_SEED=1 \
//!     cargo test --release -p lang --test differential -- --ignored --nocapture
//! DIFFERENTIAL_ONE_IN=1      of the combinations of arguments one in so many is tried, 20 by default
//! DIFFERENTIAL_MAX=500       stops after so many differences, 20 by default
//! ORACLE_NIX=path/to/tree    instead of DIFFERENTIAL_NIX: the reference of the corpus, run by its own loader
//! ```
#![allow(clippy::disallowed_methods, reason = "a test that runs another evaluator, for a given time")]

use std::time::{Duration, Instant};

mod evaluators;
#[path = "../support/generate.rs"]
mod generate;
mod matrix;
#[path = "../support/mod.rs"]
mod support;
use evaluators::{Nix, Ours};
use generate::{Generator, Random};

/// Programs in one run of Nix.
const BATCH: usize = 250;
/// Of the programs that fail here one in so many is given to Nix, each alone, since it would end a whole batch.
const FAILING_ONE_IN: usize = 15;

/// After as many differences the rest would be repetition.
fn differences_max() -> usize {
    number("DIFFERENTIAL_MAX", 20) as usize
}

/// What [`wrapped`] makes of a program that throws.
const THROWN: &str = "{ success = false; value = false; }";

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

/// Whether Nix complains of one argument, before it has evaluated the next.
fn is_about_an_argument(error: &str) -> bool {
    const STARTS: [&str; 5] =
        ["expected ", "cannot coerce ", "the string ", "unknown hash algorithm ", "negative start "];
    error.strip_prefix("error: ").is_some_and(|text| STARTS.iter().any(|start| text.starts_with(start)))
}

/// Halves `programs` until single ones are found that differ.
fn narrow(programs: &[(String, String)], nix: &Nix, differences: &mut Vec<String>) {
    if differences.len() >= differences_max() {
        return;
    }
    let text = list(programs.iter().map(|(program, _)| program));
    let wanted = nix.eval(&text);
    let got: String = programs.iter().map(|(_, value)| format!("{value} ")).collect();
    if wanted.as_deref() == Ok(&format!("[ {got}]\n")) {
        return;
    }
    match programs {
        [_] if wanted.as_ref().is_err_and(|error| nix.lacks_store(error)) => {}
        // Both fail, here by the argument that throws: `known-differences/arguments-before-types.nix`.
        [(_, value)] if value == THROWN && wanted.as_ref().is_err_and(|error| is_about_an_argument(error)) => {}
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
    let wanted = nix.parse(&text);
    let got = ours.parse(&text, nix.old);
    if differences.len() >= differences_max() || wanted == got {
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

/// Compares what `programs` mean; of those that fail here, one in `failing_one_in` is given to Nix alone.
fn compare(
    programs: Vec<String>,
    failing_one_in: usize,
    nix: &Nix,
    ours: &mut Ours,
    differences: &mut Vec<String>,
) -> usize {
    let mut good = Vec::new();
    let mut failed = 0;
    for program in programs {
        match ours.eval(&wrapped(&program)) {
            Ok(value) => good.push((program, value)),
            Err(error) => {
                failed += 1;
                if failed % failing_one_in == 0
                    && let Ok(value) = nix.eval(&wrapped(&program))
                {
                    differences.push(format!("{program}\n  Nix:  {value:?}\n  ours: error: {error}\n"));
                }
            }
        }
    }
    narrow(&good, nix, differences);
    failed
}

#[test]
#[ignore = "needs another Nix, and time"]
fn random_programs_mean_the_same() {
    let nix = Nix::new();
    let until = Instant::now() + Duration::from_secs(number("DIFFERENTIAL_SECS", 60));
    let mut seed = number("DIFFERENTIAL_SEED", 1) << 32;
    let mut ours = Ours::new(nix.folder());
    let mut differences = Vec::new();
    let (mut count, mut failed) = (0, 0);
    while Instant::now() < until && differences.len() < differences_max() {
        let mut programs = Vec::new();
        for _ in 0..BATCH {
            seed += 1;
            programs.push(Generator { random: Random::new(seed) }.program());
        }
        count += programs.len();
        narrow_trees(&programs, &nix, &mut ours, &mut differences);
        failed += compare(programs, FAILING_ONE_IN, &nix, &mut ours, &mut differences);
    }
    println!("{count} programs, {failed} of them failing, {} differences", differences.len());
    assert!(count > 0 && differences.is_empty(), "{}", differences.concat());
}

#[test]
#[ignore = "needs another Nix, and time"]
fn builtins_take_and_refuse_the_same() {
    let nix = Nix::new();
    let mut ours = Ours::new(nix.folder());
    let mut random = Random::new(number("DIFFERENTIAL_SEED", 1));
    let one_in = number("DIFFERENTIAL_ONE_IN", 20) as usize;
    let mut differences = Vec::new();
    let (mut count, mut failed) = (0, 0);
    for template in matrix::TEMPLATES {
        let mut programs: Vec<String> = matrix::programs(template);
        // All of what one argument can be, and as many of the combinations.
        if programs.len() > matrix::VALUES.len() {
            programs.retain(|_| random.one_in(one_in));
        }
        count += programs.len();
        for batch in programs.chunks(BATCH) {
            failed += compare(batch.to_vec(), FAILING_ONE_IN, &nix, &mut ours, &mut differences);
        }
        if differences.len() >= differences_max() {
            break;
        }
    }
    println!("{count} programs, {failed} of them failing, {} differences", differences.len());
    assert!(count > 0 && differences.is_empty(), "{}", differences.concat());
}
