//! The two evaluators that are compared: the program Nix, and this crate.

use lang::source::Origin;
use lang::syntax::print::{PrintOptions, Style, print};
use lang::syntax::{ParseOptions, parse};
use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use test_support::files::Files;

pub struct Nix {
    directory: tempfile::TempDir,
    /// Directory of Nix's store, for evaluations that need one.
    store: tempfile::TempDir,
    /// True for Nix 2.8, which has no writable store in memory and prints trees in another form.
    pub old: bool,
}

fn nix_command() -> Command {
    if let Some(tree) = std::env::var_os("ORACLE_NIX").map(PathBuf::from) {
        let mut command = Command::new(tree.join("lib64/ld-linux-x86-64.so.2"));
        let libraries = ["usr/lib/nix", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| tree.join(path));
        command.arg("--library-path").arg(std::env::join_paths(libraries).unwrap());
        command.arg(tree.join("usr/bin/nix-instantiate"));
        return command;
    }
    Command::new(std::env::var_os("DIFFERENTIAL_NIX").expect("DIFFERENTIAL_NIX or ORACLE_NIX names the reference"))
}

impl Nix {
    pub fn new() -> Nix {
        let output = nix_command().arg("--version").output().expect("the reference runs");
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        std::fs::write(directory.path().join("data/file"), "1").unwrap();
        Nix { directory, store: tempfile::tempdir().unwrap(), old: version.contains(" 2.8.") }
    }

    /// Returns the directory at which relative paths start.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the value in strict form, or the last line of Nix's error.
    pub fn eval(&self, text: &str) -> Result<String, String> {
        // Some builtins read the derivation of a path.
        let mode: &[&str] = if self.old { &[] } else { &["--read-write-mode"] };
        let store = if self.old { "dummy://" } else { "dummy://?read-only=false" };
        self.run(&[&["--eval", "--strict"], mode].concat(), text, store)
    }

    /// Does the same as [`Nix::eval`], with a store on disk: the one in memory stores neither
    /// references nor texts.
    pub fn eval_with_store(&self, text: &str) -> Result<String, String> {
        let store = format!("local?root={}", self.store.path().display());
        self.run(&["--eval", "--strict", "--read-write-mode"], text, &store)
    }

    pub fn parse(&self, text: &str) -> Result<String, String> {
        self.run(&["--parse"], text, "dummy://")
    }

    fn run(&self, arguments: &[&str], text: &str, store: &str) -> Result<String, String> {
        let file = self.directory.path().join("batch.nix");
        std::fs::write(&file, text).unwrap();
        let mut command = nix_command();
        command.args(arguments).arg(&file).env_clear().stdin(Stdio::null());
        command.env("NIX_REMOTE", store);
        command.env("HOME", "/fake-home").env("NIX_STORE_DIR", "/nix/store");
        command.env("NIX_CONF_DIR", self.directory.path()).env("XDG_CACHE_HOME", self.directory.path());
        let output = command.output().expect("the reference runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let text = String::from_utf8_lossy(&output.stderr);
            let cause = text.rfind("error:").map_or(&*text, |at| &text[at..]);
            Err(cause.lines().next().unwrap_or_default().to_owned())
        }
    }

    /// Returns true when Nix fails because its store is not writable (2.8), or lacks the paths of a
    /// context (newer versions). Such failures are no differences.
    pub fn lacks_store(&self, error: &str) -> bool {
        match self.old {
            true => error.ends_with(".drv' is not valid"),
            false => error.ends_with("is required, but there is no substituter that can build it"),
        }
    }
}

pub struct Ours {
    base: PathBuf,
    evaluator: Evaluator,
}

impl Ours {
    /// Relative paths start at `base`.
    pub fn new(base: &Path) -> Ours {
        let options = EvalOptions {
            pure: false,
            memory_max: Some(1 << 30),
            store_model: StoreModel::Nix,
            system: Some("x86_64-linux".to_owned()),
            ..EvalOptions::default()
        };
        Ours { base: base.to_owned(), evaluator: Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options) }
    }

    pub fn eval(&mut self, text: &str) -> Result<String, String> {
        let evaluator = &mut self.evaluator;
        let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, &self.base).and_then(|value| {
            evaluator.force_deep(value)?;
            Ok(value)
        });
        match value {
            Ok(value) => Ok(String::from_utf8_lossy(&evaluator.print(value).unwrap()).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub fn parse(&mut self, text: &str, old: bool) -> Result<String, String> {
        let arena = bumpalo::Bump::new();
        let options = ParseOptions { separate_string_pieces: true, ..ParseOptions::default() };
        let parsed = parse(&arena, text.as_bytes(), options);
        match parsed.errors.first() {
            Some(error) => Err(error.to_string()),
            None => {
                // Undefined variables are errors of the text too.
                let checked = self.evaluator.parse_text(text.as_bytes(), Origin::CommandLine, &self.base);
                checked.map_err(|error| error.to_string())?;
                let style = if old { Style::Nix2_8 } else { Style::Current };
                let base = std::os::unix::ffi::OsStrExt::as_bytes(self.base.as_os_str());
                let options = PrintOptions { base, home: b"/fake-home", style };
                Ok(String::from_utf8_lossy(&print(parsed.expr, options)).into_owned() + "\n")
            }
        }
    }
}
