//! The language suite that comes with Nix 2.8, run against `nix-instantiate` of ours.
//!
//! The suite is not ours and not stored here: `eval build .#oracle-nix-source` fetches Debian's
//! source package by its hash. The test is ignored by default, since that needs the network once;
//! on request, it fails without a suite.
//!
//! ```text
//! cargo test --test nix-suite -- --ignored
//! EVAL=path/to/eval             the command that is tested, instead of the one cargo built
//! NIX_SOURCE=path/to/source     a suite that is there already
//! ```
//!
//! A case is a file in `tests/lang`, and its name gives the expected result:
//!
//! | category | passes when |
//! |---|---|
//! | `parse-okay` | `--parse -` of the file succeeds |
//! | `parse-fail` | it exits with status 1 |
//! | `eval-okay` | `--eval --strict`, with the case's flags, succeeds and prints the contents of `.exp`; if there is an `.exp.xml`, `--xml --no-location` prints that |
//! | `eval-fail` | `--eval` exits with status 1 |
//!
//! Cases of `eval-okay` with neither expectation are switched off by the suite.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Number of cases in the suite; fewer would mean that some were overlooked.
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
    PathBuf::from(text.lines().last().expect("a build prints the path of its output").trim())
}

struct Suite {
    /// The directory above `lang`, the suite's working directory.
    tests: PathBuf,
    home: tempfile::TempDir,
}

/// Exit status and both outputs of a run.
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

    /// Returns the reason of a case's failure; `None` when it passes.
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

    /// Returns the cases' names, sorted, without those that the suite switches off.
    fn cases(&self) -> Vec<String> {
        let files = fs::read_dir(self.tests.join("lang")).expect("the suite has a directory `lang`");
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
