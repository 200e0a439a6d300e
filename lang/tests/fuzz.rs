//! Random changes of texts go through lexer, parser, printer and evaluator: none panics, overflows
//! or hangs, and the positions of errors are within the text.
//!
//! ```text
//! FUZZ_SECS=600 FUZZ_SEED=1 cargo test -p lang --test fuzz -- --nocapture
//! ```
#![allow(clippy::disallowed_methods, reason = "a test reads its seeds from files and runs against the clock")]

use lang::source::Origin;
use lang::syntax::print::{PrintOptions, Style, print};
use lang::syntax::{LintLevel, Lints, ParseOptions, parse};
use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use test_support::files::Files;
use test_support::mutate::{Random, Rounds, mutate};
use test_support::programs::{self, Generator};

/// Size of the largest seed: longer files make rounds slow and find no more errors.
const SEED_BYTES_MAX: usize = 8 << 10;
/// Timeout of a program; the slowest one here takes less than a hundredth of it.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(60);

const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"\"",
    b"''",
    b"${",
    b"''${",
    b"'''",
    b"''\\",
    b"\\",
    b"/*",
    b"*/",
    b"#",
    b"\n",
    b"\r\n",
    b";",
    b":",
    b",",
    b"...",
    b".",
    b"@",
    b"?",
    b"=",
    b"==",
    b"!=",
    b"<",
    b"<=",
    b">",
    b"++",
    b"//",
    b"+",
    b"-",
    b"*",
    b"/",
    b"!",
    b"&&",
    b"||",
    b"->",
    b"|>",
    b"<|",
    b" or ",
    b" let ",
    b" in ",
    b" rec ",
    b" with ",
    b" inherit ",
    b" if ",
    b" then ",
    b" else ",
    b" assert ",
    b"./a",
    b"../",
    b"~/",
    b"/a/",
    b"<a/b>",
    b"a:b",
    b"http://x",
    b"1.5e9",
    b"9223372036854775807",
    b"__curPos",
    b"__overrides",
    b"__functor",
    b"__toString",
    b"outPath",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"body",
    b"_",
    b"a",
];

fn files_below(directory: &Path, seeds: &mut Vec<Vec<u8>>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.is_symlink())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files_below(&path, seeds);
        } else if path.extension().is_some_and(|extension| extension == "nix") {
            let text = std::fs::read(&path).unwrap();
            if text.len() <= SEED_BYTES_MAX {
                seeds.push(text);
            }
        }
    }
}

/// The language's own test files, and the package set.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seeds = Vec::new();
    files_below(&root.join("tests/lang"), &mut seeds);
    files_below(&root.join("corpus"), &mut seeds);
    assert!(seeds.len() > 100, "{} files", seeds.len());
    seeds
}

fn printed(text: &[u8], options: ParseOptions) -> Option<Vec<u8>> {
    let arena = bumpalo::Bump::new();
    let parsed = parse(&arena, text, options);
    for error in parsed.errors.iter().chain(&parsed.warnings) {
        assert!(error.span.start <= error.span.end && error.span.end as usize <= text.len(), "{error:?}");
        for (span, _) in &error.labels {
            assert!(span.start <= span.end && span.end as usize <= text.len(), "{error:?}");
        }
    }
    let style = if options.separate_string_pieces { Style::Current } else { Style::Nix2_8 };
    // Print trees with errors too: the parser keeps a node for text that it cannot parse.
    let text = print(parsed.expr, PrintOptions { base: b"/base", home: b"/home", style });
    parsed.errors.is_empty().then_some(text)
}

#[test]
fn changed_texts_are_parsed_and_printed() {
    let seeds = seeds();
    let lints = Lints {
        url_literals: LintLevel::Warn,
        short_path_literals: LintLevel::Warn,
        absolute_path_literals: LintLevel::Fatal,
    };
    let mut rounds = Rounds::new("parser", 10_000);
    let (mut understood, mut same) = (0, 0);
    while let Some(mut random) = rounds.next() {
        let (seed, other) = (&seeds[random.below(seeds.len())], &seeds[random.below(seeds.len())]);
        let text = mutate(seed, other, WORDS, &mut random);
        let _watched = rounds.watch(&text);
        let exact = ParseOptions { separate_string_pieces: true, ..ParseOptions::default() };
        printed(&text, ParseOptions { pipe_operators: true, lints, ..ParseOptions::default() });
        let Some(tree) = printed(&text, exact) else { continue };
        understood += 1;
        // Only interpolation, pieces of `''…''` strings, `assert` and floats are printed in
        // another form (see `print`).
        let differs = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
        if [&b"${"[..], b"''", b"assert", b".", b"or", b"//", b"__"].iter().any(|part| differs(part)) {
            continue;
        }
        let again = printed(&tree, exact).unwrap_or_else(|| panic!("not understood: {}", tree.escape_ascii()));
        assert_eq!(again.escape_ascii().to_string(), tree.escape_ascii().to_string());
        same += 1;
    }
    assert!(understood > 100 && same > 10, "too few texts mean something: {understood}, {same}");
}

/// Returns a program with some words exchanged, doubled or removed.
fn shuffled(random: &mut Random) -> String {
    let mut program = || Generator { random: programs::Random::new(random.next_u64()) }.program();
    let (program, other) = (program(), program());
    let split = |text: &str| -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for character in text.chars() {
            let joins = |last: &String| {
                let word = |character: char| character.is_alphanumeric() || "_'.".contains(character);
                word(character) && last.ends_with(word)
            };
            match words.last_mut() {
                Some(last) if joins(last) => last.push(character),
                _ => words.push(character.to_string()),
            }
        }
        words
    };
    let (mut words, others) = (split(&program), split(&other));
    for _ in 0..random.below(4) {
        let at = random.below(words.len());
        let word = others[random.below(others.len())].clone();
        match random.below(4) {
            0 => words[at] = word,
            1 => words.insert(at, word),
            2 if words.len() > 1 => drop(words.remove(at)),
            _ => words[at] = words[random.below(words.len())].clone(),
        }
    }
    words.concat()
}

/// Evaluates a text, and queries its value in every way.
fn use_up(evaluator: &mut Evaluator, text: &str) -> Result<(), lang::Error> {
    let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/"))?;
    evaluator.print(value)?;
    evaluator.xml(value, true, false)?;
    evaluator.force_deep(value)?;
    evaluator.print(value)?;
    evaluator.json(value).map(drop).or_else(|error| if error.code() == "lang::type" { Ok(()) } else { Err(error) })?;
    evaluator.xml(value, false, true)?;
    evaluator.coerce_str(value).map(drop)
}

#[test]
fn changed_programs_are_evaluated() {
    let mut rounds = Rounds::new("evaluator", 4_000);
    let (programs, inbox) = channel::<String>();
    let (outbox, done) = channel::<bool>();
    // A thread evaluates, so that the test can detect a program that does not end.
    let worker = std::thread::spawn(move || {
        let fresh = || {
            let options = EvalOptions {
                store_model: StoreModel::Nix,
                system: Some("x86_64-linux".to_owned()),
                depth_max: 1_000,
                memory_max: Some(64 << 20),
                ..EvalOptions::default()
            };
            Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options)
        };
        let mut evaluator = fresh();
        for (count, program) in inbox.iter().enumerate() {
            let result = use_up(&mut evaluator, &program);
            if let Err(error) = &result {
                let report = evaluator.report(error);
                assert!(!report.code.is_empty(), "{report:?}");
                for label in report.labels.iter().chain(report.further.iter().flat_map(|report| &report.labels)) {
                    assert!(label.start <= label.end && label.end as usize <= label.source.text.len(), "{report:?}");
                }
            }
            if count % 500 == 499 || result.as_ref().is_err_and(|error| error.code() == "lang::out_of_memory") {
                evaluator = fresh();
            }
            if outbox.send(result.is_ok()).is_err() {
                break;
            }
        }
    });
    let mut good = 0;
    while let Some(mut random) = rounds.next() {
        let program = shuffled(&mut random);
        let _watched = rounds.watch(program.as_bytes());
        programs.send(program.clone()).expect("the evaluator lives");
        match done.recv_timeout(PROGRAM_TIME_MAX) {
            Ok(ok) => good += u64::from(ok),
            Err(error) => panic!("the evaluator did not come back: {error}"),
        }
    }
    drop(programs);
    worker.join().expect("the evaluator ends");
    assert!(good > 100, "too few programs mean something: {good}");
}

const LOCK: &[u8] = br#"{ "nodes": {
    "a": { "inputs": { "b": [ "b" ], "c": "c" }, "locked": { "path": "./a", "type": "path" }, "original": { "path": "./a", "type": "path" }, "parent": [ ] },
    "b": { "flake": false, "locked": { "lastModified": 1700000000, "narHash": "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        "type": "tarball", "url": "https://a.example/b" }, "original": { "type": "tarball", "url": "https://a.example/b" } },
    "c": { "locked": { "path": "/nowhere", "type": "path" }, "original": { "path": "/nowhere", "type": "path" } },
    "root": { "inputs": { "a": "a", "b": "b" } } },
    "root": "root", "version": 7 }"#;

/// Evaluating the inputs of a flake ends in a value or an error, for any bytes as its lock file.
#[test]
fn changed_lock_files_are_read() {
    let words: [&[u8]; 12] = [
        b"\"root\"",
        b"\"a\"",
        b"\"b\"",
        b"\"inputs\"",
        b"\"locked\"",
        b"[]",
        b"{",
        b"null",
        b"../",
        b"\"path\"",
        b"\0",
        b"\xff",
    ];
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(place.path().join(name), text).unwrap();
    std::fs::create_dir(place.path().join("a")).unwrap();
    write(
        "a/flake.nix",
        b"{ inputs.b = { }; inputs.c = { }; outputs = inputs: { names = builtins.attrNames inputs; }; }",
    );
    write(
        "flake.nix",
        b"{ inputs.a.url = \"path:./a\"; inputs.b = { url = \"https://a.example/b\"; flake = false; };
            outputs = inputs: { inherit inputs; }; }",
    );
    // The first needs no fetch. The second fetches, which this host refuses.
    let programs =
        ["[ (builtins.attrNames inputs) inputs.a.names ]", "builtins.mapAttrs (_: input: input.outPath) inputs"]
            .map(|asked| format!("with builtins.getFlake {:?}; {asked}", format!("path:{}", place.path().display())));
    let mut rounds = Rounds::new("lock", 3_000);
    let (mut read, mut refused) = (0, 0);
    while let Some(mut random) = rounds.next() {
        let text = mutate(LOCK, LOCK, &words, &mut random);
        let _watched = rounds.watch(&text);
        write("flake.lock", &text);
        // Pure evaluation takes a directory for a flake only from the user.
        let options = EvalOptions { depth_max: 1_000, pure: false, ..EvalOptions::default() };
        let mut evaluator = Evaluator::new(Arc::new(Files::new(StoreModel::Native)), options);
        let program = programs[random.below(2)].as_bytes();
        let value = evaluator.eval_text(program, Origin::CommandLine, Path::new("/"));
        match value.and_then(|value| evaluator.force_deep(value)) {
            Ok(()) => read += 1,
            Err(error) => {
                let report = evaluator.report(&error);
                assert!(!report.code.is_empty(), "{report:?}");
                refused += u32::from(report.code == "lang::flake_lock");
            }
        }
    }
    assert!(read > 10 && refused > 100, "{read} read, {refused} refused");
}
