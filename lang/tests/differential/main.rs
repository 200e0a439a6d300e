//! Random programs, evaluated here and by Nix: trees and values must be equal, and either both or
//! neither must fail.
//!
//! A second test passes every kind of value, valid or not, for every argument of builtins and
//! operators.
//!
//! One run of Nix evaluates many programs as a list; a list that differs is bisected.
//!
//! ```text
//! DIFFERENTIAL_NIX=path/to/nix-instantiate DIFFERENTIAL_SECS=60 DIFFERENTIAL_SEED=1 \
//!     cargo test --release -p lang --test differential -- --ignored --nocapture
//! DIFFERENTIAL_ONE_IN=1      tries one in so many combinations of arguments, 20 by default
//! DIFFERENTIAL_MAX=500       stops after so many differences, 20 by default
//! ORACLE_NIX=path/to/tree    instead of DIFFERENTIAL_NIX: the reference of the corpus, run by its own loader
//! ```
#![allow(clippy::disallowed_methods, reason = "a test that runs another evaluator, for a given time")]

use std::time::{Duration, Instant};

mod evaluators;
mod matrix;
use evaluators::{Nix, Ours};
use test_support::programs::{Generator, Random};

/// Programs in one run of Nix.
const BATCH: usize = 250;
/// One in so many of the programs that fail here is evaluated by Nix, each alone, since it would
/// end a whole batch.
const FAILING_ONE_IN: usize = 15;

/// Returns the number of differences after which a test stops.
fn differences_max() -> usize {
    number("DIFFERENTIAL_MAX", 20) as usize
}

/// Value of a [`wrapped`] program that throws.
const THROWN: &str = "{ success = false; value = false; }";

/// Wraps a program so that it is evaluated deeply, and catchable errors do not end it.
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

/// Differences found.
#[derive(Default)]
struct Found {
    differences: Vec<String>,
    /// Differences of the kinds in `known-differences`: which of two errors comes first, by the
    /// order of arguments or attributes.
    explained: Vec<String>,
}

impl Found {
    fn note(&mut self, program: &str, nix: &Result<String, String>, ours: &Result<String, String>) {
        let text = format!("{program}\n  Nix:  {nix:?}\n  ours: {ours:?}\n");
        if is_explained(program, nix, ours) { &mut self.explained } else { &mut self.differences }.push(text);
    }

    fn is_enough(&self) -> bool {
        self.differences.len() >= differences_max()
    }

    #[track_caller]
    fn report(&self, count: usize, failed: usize, explained_one_in: usize) {
        for text in self.explained.iter().take(EXPLAINED_SHOWN) {
            println!("{text}");
        }
        println!(
            "{count} programs, {failed} of them failing, {} differences; {} explained",
            self.differences.len(),
            self.explained.len()
        );
        assert!(count > 0 && self.differences.is_empty(), "{}", self.differences.concat());
        assert!(self.explained.len() <= count / explained_one_in + 5, "too many to be what they are taken for");
    }
}

/// The most explained differences that are shown, and the largest part of programs with one.
const EXPLAINED_SHOWN: usize = 40;
const EXPLAINED_ONE_IN: usize = 10_000;
/// The same for the matrix, where each argument throws once.
const EXPLAINED_ONE_IN_MATRIX: usize = 50;

/// Returns true for differences of a known kind: both fail, but only one of the errors can be
/// caught (`arguments-before-types.nix`, `order-of-attributes.nix`); sets are compared, and one
/// evaluator found a difference before it evaluated the failing attribute
/// (`order-of-attributes.nix`); or a builtin is compared with itself (`functions-equal.nix`).
fn is_explained(program: &str, nix: &Result<String, String>, ours: &Result<String, String>) -> bool {
    let fails =
        |value: &Result<String, String>| value.as_deref().is_ok_and(|text| text.contains(THROWN)) || value.is_err();
    let compares = ["==", "!=", "builtins.elem "].iter().any(|word| program.contains(word));
    match (fails(nix), fails(ours)) {
        (true, true) => true,
        (true, false) | (false, true) => compares,
        (false, false) => compares && program.contains("builtins.add") && nix != ours,
    }
}

/// Returns true for programs that Nix 2.8 evaluates differently: it evaluates all replacements of
/// `replaceStrings`, and prints floats in another form.
fn is_newer(program: &str) -> bool {
    // `.5` and `1.` are floats too.
    let is_fraction = |bytes: &[u8]| matches!(bytes, [b'.', digit] | [digit, b'.'] if digit.is_ascii_digit());
    program.contains("builtins.replaceStrings")
        || (program.contains("builtins.toJSON") && program.as_bytes().windows(2).any(is_fraction))
}

/// Bisects `programs` until single ones differ.
fn narrow(programs: &[(String, String)], nix: &Nix, found: &mut Found) {
    if found.is_enough() {
        return;
    }
    let text = list(programs.iter().map(|(program, _)| program));
    let wanted = nix.eval(&text);
    let got: String = programs.iter().map(|(_, value)| format!("{value} ")).collect();
    // Nix 2.8 escapes every `$` that it prints.
    let plain = |text: &str| if nix.old { text.replace("\\$", "$") } else { text.to_owned() };
    if wanted.as_deref().map(plain) == Ok(plain(&format!("[ {got}]\n"))) {
        return;
    }
    match programs {
        [_] if wanted.as_ref().is_err_and(|error| nix.lacks_store(error)) => {}
        [_] if !nix.old && nix.eval_with_store(&text).as_deref() == Ok(&format!("[ {got}]\n")) => {}
        [(program, value)] => found.note(program, &wanted, &Ok(value.clone())),
        _ => {
            let (left, right) = programs.split_at(programs.len() / 2);
            narrow(left, nix, found);
            narrow(right, nix, found);
        }
    }
}

fn narrow_trees(programs: &[String], nix: &Nix, ours: &mut Ours, found: &mut Found) {
    let text = list(programs.iter());
    let (wanted, got) = (nix.parse(&text), ours.parse(&text, nix.old));
    // The order in which Nix 2.8 prints names depends on earlier texts.
    let wanted = if nix.old && wanted.is_ok() && got.is_ok() { got.clone() } else { wanted };
    if found.is_enough() || wanted == got {
        return;
    }
    match programs {
        [program] if wanted.is_err() && got.is_err() => _ = program,
        [program] => found.differences.push(format!("--parse {program}\n  Nix:  {wanted:?}\n  ours: {got:?}\n")),
        _ => {
            let (left, right) = programs.split_at(programs.len() / 2);
            narrow_trees(left, nix, ours, found);
            narrow_trees(right, nix, ours, found);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Compares the values of `programs`; of those that fail here, Nix evaluates one in
/// `failing_one_in`, alone.
fn compare(programs: Vec<String>, failing_one_in: usize, nix: &Nix, ours: &mut Ours, found: &mut Found) -> usize {
    let mut good = Vec::new();
    let mut failed = 0;
    for program in programs.into_iter().filter(|program| !nix.old || !is_newer(program)) {
        match ours.eval(&wrapped(&program)) {
            Ok(value) => good.push((program, value)),
            Err(error) => {
                failed += 1;
                if failed % failing_one_in == 0
                    && let Ok(value) = nix.eval(&wrapped(&program))
                {
                    found.note(&program, &Ok(value), &Err(error));
                }
            }
        }
    }
    narrow(&good, nix, found);
    failed
}

#[test]
#[ignore = "needs another Nix, and time"]
fn random_programs_mean_the_same() {
    let nix = Nix::new();
    let until = Instant::now() + Duration::from_secs(number("DIFFERENTIAL_SECS", 60));
    let mut seed = number("DIFFERENTIAL_SEED", 1) << 32;
    let mut ours = Ours::new(nix.directory());
    let mut found = Found::default();
    let (mut count, mut failed) = (0, 0);
    while Instant::now() < until && !found.is_enough() {
        let mut programs = Vec::new();
        for _ in 0..BATCH {
            seed += 1;
            programs.push(Generator { random: Random::new(seed) }.program());
        }
        count += programs.len();
        narrow_trees(&programs, &nix, &mut ours, &mut found);
        failed += compare(programs, FAILING_ONE_IN, &nix, &mut ours, &mut found);
    }
    found.report(count, failed, EXPLAINED_ONE_IN);
}

#[test]
#[ignore = "needs another Nix, and time"]
fn builtins_take_and_refuse_the_same() {
    let nix = Nix::new();
    let mut ours = Ours::new(nix.directory());
    let mut random = Random::new(number("DIFFERENTIAL_SEED", 1));
    let one_in = number("DIFFERENTIAL_ONE_IN", 20) as usize;
    let mut found = Found::default();
    let (mut count, mut failed) = (0, 0);
    for template in matrix::TEMPLATES {
        let mut programs: Vec<String> = matrix::programs(template);
        // All values of one argument, and as many of the combinations.
        if programs.len() > matrix::VALUES.len() {
            programs.retain(|_| random.one_in(one_in));
        }
        count += programs.len();
        for batch in programs.chunks(BATCH) {
            failed += compare(batch.to_vec(), FAILING_ONE_IN, &nix, &mut ours, &mut found);
        }
        if found.is_enough() {
            break;
        }
    }
    found.report(count, failed, EXPLAINED_ONE_IN_MATRIX);
}
