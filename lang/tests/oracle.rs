//! Comparison with Nix: the values of `tests/lang/eval-okay-*`, and derivations.
//!
//! The reference is Debian's Nix 2.8 of the corpus, not an installed one: `eval build .#oracle-nix`
//! makes its tree, and its own loader runs it there. The test is ignored by default, since that
//! needs the network once; when it runs, it fails without a reference.
//!
//! ```text
//! cargo test -p lang --test oracle -- --ignored
//! EVAL=path/to/eval          the command that builds the reference, instead of `cargo run`
//! ORACLE_NIX=path/to/tree    a reference that is built already
//! ```
#![allow(clippy::disallowed_methods, reason = "a test that runs another evaluator")]

use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use test_support::files::Files;

/// Files about features newer than Nix 2.8: there, overrides of an input's input need a `url`,
/// `getFlake` and content-addressed outputs need a setting, a list that contains itself is
/// printed one level less deep, floats in JSON have six digits, sets of one name merge one level
/// deep, and a source that is a link is the link.
const NEWER_THAN_REFERENCE: &[&str] = &[
    "eval-okay-content-addressed",
    "eval-okay-flake",
    "eval-okay-flake-locked",
    "eval-okay-flake-relocked",
    "eval-okay-json-floats",
    "eval-okay-merge-sets",
    "eval-okay-printing-repeated",
    "eval-okay-printing-root",
    "eval-okay-source-links",
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the tree of the reference.
fn oracle() -> PathBuf {
    if let Some(tree) = std::env::var_os("ORACLE_NIX") {
        return tree.into();
    }
    let mut command = match std::env::var_os("EVAL") {
        Some(eval) => Command::new(eval),
        None => {
            let mut command = Command::new(env!("CARGO"));
            command.args(["run", "--quiet", "--package", "eval", "--"]);
            command
        }
    };
    command.args(["build", "--no-link", "--print-out-paths", ".#oracle-nix"]).current_dir(workspace());
    let output = command.stderr(Stdio::inherit()).output().expect("the command that builds the reference runs");
    assert!(output.status.success(), "the reference cannot be built");
    let text = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(text.lines().last().expect("a build prints its output").trim())
}

struct Nix {
    tree: PathBuf,
    store: tempfile::TempDir,
}

impl Nix {
    fn new() -> Nix {
        Nix { tree: oracle(), store: tempfile::tempdir().unwrap() }
    }

    /// Prints the value of a file. Instantiates into a store of its own, below a temporary
    /// directory.
    fn eval(&self, file: &Path) -> Result<String, String> {
        let tree = |path: &str| self.tree.join(path);
        let loader = tree("lib64/ld-linux-x86-64.so.2");
        let mut command = Command::new(&loader);
        let libraries = [tree("usr/lib/nix"), tree("usr/lib/x86_64-linux-gnu"), tree("lib/x86_64-linux-gnu")];
        command.arg("--library-path").arg(std::env::join_paths(libraries).unwrap());
        command.arg(tree("usr/bin/nix-instantiate")).args(["--eval", "--strict", "--read-write-mode"]).arg(file);
        command.env_clear().env("HOME", self.store.path()).stdin(Stdio::null());
        command.env("NIX_REMOTE", format!("local?root={}", self.store.path().display()));
        command.env("NIX_STORE_DIR", "/nix/store").env("NIX_CONF_DIR", self.store.path());
        let output = command.output().unwrap_or_else(|error| panic!("cannot run {}: {error}", loader.display()));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

fn ours(file: &Path) -> Result<String, String> {
    let options = EvalOptions {
        pure: false,
        store_model: StoreModel::Nix,
        system: Some("x86_64-linux".to_owned()),
        ..EvalOptions::default()
    };
    let host = Arc::new(Files::new(StoreModel::Nix));
    let mut evaluator = Evaluator::new(host.clone(), options);
    let value = evaluator.eval_file(file).and_then(|value| {
        evaluator.force_deep(value)?;
        Ok(value)
    });
    match value {
        Ok(value) => Ok(String::from_utf8(evaluator.print(value).unwrap()).unwrap() + "\n"),
        Err(error) => Err(format!("{}\n{:?}", evaluator.report(&error).message, host.take_messages())),
    }
}

/// Returns the differences, one attribute for each line.
fn difference(file: &Path, nix: &Nix) -> Option<String> {
    let (wanted, got) = match (nix.eval(file), ours(file)) {
        (Ok(wanted), Ok(got)) => (wanted, got),
        (wanted, got) => return Some(format!("{}:\nNix:  {wanted:?}\nours: {got:?}\n", file.display())),
    };
    let lines = |text: &str| text.replace("]; ", "];\n").lines().map(str::to_owned).collect::<Vec<_>>();
    let (wanted, got) = (lines(&wanted), lines(&got));
    let pairs = wanted.iter().zip(&got).filter(|(wanted, got)| wanted != got);
    let text: String = pairs.map(|(wanted, got)| format!("Nix:  {wanted}\nours: {got}\n")).collect();
    (wanted != got).then(|| format!("{}:\n{text}", file.display()))
}

#[test]
#[ignore = "builds Nix 2.8 from the corpus, which needs the network once"]
fn values_and_derivations_are_those_of_nix() {
    let nix = Nix::new();
    let directory = workspace().join("tests/lang");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = name.strip_suffix(".nix").unwrap_or_default();
            stem.starts_with("eval-okay-") && !NEWER_THAN_REFERENCE.contains(&stem)
        })
        .collect();
    assert!(!files.is_empty(), "no files to compare in {}", directory.display());
    files.push(directory.join("oracle/paths.nix"));
    files.sort();
    let differences: Vec<String> = files.iter().filter_map(|file| difference(file, &nix)).collect();
    assert!(differences.is_empty(), "{} of {} differ\n{}", differences.len(), files.len(), differences.concat());
}
