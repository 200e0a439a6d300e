//! The language suite that comes with Nix 2.8, run against `nix-instantiate` of ours.
//!
//! The suite is other people's and is not kept here: `eval build .#oracle-nix-source` fetches Debian's source package by its
//! hash. The test is ignored by default, since that needs the network once; asked for, it fails when there is no suite.
//!
//! ```text
//! cargo test --test nix-suite -- --ignored
//! EVAL=path/to/eval             the command that is tested, instead of the one cargo built
//! NIX_SOURCE=path/to/source     a suite that is there already
//! ```
//!
//! A case is a file in `tests/lang`, and its name says what is wanted:
//!
//! | category | passes when |
//! |---|---|
//! | `parse-okay` | `--parse -` of the file succeeds |
//! | `parse-fail` | it exits with status 1 |
//! | `eval-okay` | `--eval --strict`, with the case's flags, succeeds and prints what `.exp` holds; where there is an `.exp.xml`, `--xml --no-location` prints that |
//! | `eval-fail` | `--eval` exits with status 1 |
//!
//! Cases of `eval-okay` with neither expectation are switched off by the suite.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Cases that the suite runs; one less would mean that some were overlooked.
const CASES: usize = 136;

fn eval() -> PathBuf {
    std::env::var_os("EVAL").map_or_else(|| env!("CARGO_BIN_EXE_eval").into(), PathBuf::from)
}

fn source() -> PathBuf {
    if let Some(source) = std::env::var_os("NIX_SOURCE") {
        return source.into();
    }
    let mut command = Command::new(eval());
    command.args(["build", "--no-link", "--print-out-paths", ".#oracle-nix-source"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    let output = command.output().expect("the command that fetches the suite runs");
    assert!(output.status.success(), "the suite cannot be fetched");
    let text = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(text.lines().last().expect("a build prints where its output lies").trim())
}

struct Suite {
    /// The folder above `lang`, where the suite wants to be run.
    tests: PathBuf,
    home: tempfile::TempDir,
}

/// What came of a run: its exit status and both outputs.
struct Run {
    status: Option<i32>,
    out: String,
    said: String,
}

impl Suite {
    fn run(&self, arguments: &[&str], input: Stdio) -> Run {
        let mut command = Command::new(eval());
        command.arg("nix-instantiate").args(arguments).current_dir(&self.tests).stdin(input);
        command.env_clear().env("HOME", self.home.path()).env("NIX_CONF_DIR", self.home.path());
        command.env("TEST_VAR", "foo").env("NIX_PATH", "lang/dir3:lang/dir4").env("NIX_STORE_DIR", "/nix/store");
        let output = command.output().expect("the command under test runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Run { status: output.status.code(), out: text(&output.stdout), said: text(&output.stderr) }
    }

    /// Why a case fails; `None` when it passes.
    fn case(&self, name: &str) -> Option<String> {
        let file = format!("lang/{name}.nix");
        let read = |extension: &str| fs::read_to_string(self.tests.join(format!("lang/{name}.{extension}"))).ok();
        let input = || File::open(self.tests.join(&file)).expect("the case is there").into();
        let status = |run: Run, wanted: i32| {
            let Run { status, said, .. } = run;
            (status != Some(wanted)).then(|| format!("exit status {status:?} where {wanted} is wanted\n{said}"))
        };
        let printed = |run: Run, wanted: String| match run {
            Run { status: Some(0), out, .. } if out == wanted => None,
            Run { status, out, said } => Some(format!("wanted: {wanted}got:    {out}{said}exit status {status:?}\n")),
        };
        match name.split('-').take(2).collect::<Vec<_>>()[..] {
            ["parse", "okay"] => status(self.run(&["--parse", "-"], input()), 0),
            ["parse", "fail"] => status(self.run(&["--parse", "-"], input()), 1),
            ["eval", "fail"] => status(self.run(&["--eval", &file], Stdio::null()), 1),
            _ => {
                let text = read("exp").and_then(|wanted| {
                    let flags = read("flags").unwrap_or_default();
                    let mut arguments: Vec<&str> = flags.split_whitespace().collect();
                    arguments.extend(["--eval", "--strict", &file]);
                    printed(self.run(&arguments, Stdio::null()), wanted)
                });
                let xml = read("exp.xml").and_then(|wanted| {
                    printed(self.run(&["--eval", "--xml", "--no-location", "--strict", &file], Stdio::null()), wanted)
                });
                text.or(xml)
            }
        }
    }

    /// The cases' names, sorted, without those that the suite switches off.
    fn cases(&self) -> Vec<String> {
        let files = fs::read_dir(self.tests.join("lang")).expect("the suite has a folder `lang`");
        let files: Vec<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let has = |name: &str| files.iter().any(|file| file == name);
        let mut names: Vec<String> = files
            .iter()
            .filter_map(|file| file.strip_suffix(".nix"))
            .filter(|name| {
                ["parse-okay-", "parse-fail-", "eval-fail-"].iter().any(|category| name.starts_with(category))
                    || name.starts_with("eval-okay-")
                        && (has(&format!("{name}.exp")) || has(&format!("{name}.exp.xml")))
                        && !has(&format!("{name}.exp-disabled"))
            })
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }
}

#[test]
#[ignore = "fetches Nix's sources, which needs the network once"]
fn all_cases_of_the_suite_pass() {
    let tests = source().join("tests");
    assert!(Path::new(&tests).join("lang").is_dir(), "no suite in {}", tests.display());
    let suite = Suite { tests, home: tempfile::tempdir().unwrap() };
    let cases = suite.cases();
    let failed: Vec<String> =
        cases.iter().filter_map(|name| suite.case(name).map(|why| format!("{name}:\n{why}\n"))).collect();
    println!("{} of {} cases pass", cases.len() - failed.len(), cases.len());
    assert!(failed.is_empty(), "{} of {} cases fail\n{}", failed.len(), cases.len(), failed.concat());
    assert_eq!(cases.len(), CASES, "another number of cases than the suite has");
}
