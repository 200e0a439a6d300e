//! Arguments of `nix-instantiate`, in Nix's own grammar: flags anywhere, settings as flags
//! (`--trace-verbose`, `--no-trace-verbose`, `--max-call-depth 100`), short flags joined (`-vvv`).
//!
//! Settings come from `nix.conf` first, then `$NIX_CONFIG`, then the flags; the last one wins.

use super::settings::Settings;
use std::path::Path;
use workspace::settings::search_path_entry;

/// Format of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    #[default]
    Plain,
    Raw,
    Xml,
    Json,
}

/// Operation on each expression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    #[default]
    Instantiate,
    Evaluate,
    Parse,
    FindFile,
}

/// Source of the value of an argument.
#[derive(Debug, Clone)]
pub enum Argument {
    Expression(String),
    Text(String),
    File(String),
    StandardInput,
}

#[derive(Debug, Default)]
pub struct Arguments {
    pub action: Action,
    pub output: Output,
    pub strict: bool,
    pub no_location: bool,
    /// `--read-write-mode`: the evaluation can read back derivations that it wrote.
    pub read_write: bool,
    /// `-`: the expression is on standard input.
    pub stdin: bool,
    /// `-E`: `files` are expressions.
    pub expressions: bool,
    pub files: Vec<String>,
    pub attrs: Vec<String>,
    pub arguments: Vec<(String, Argument)>,
    pub include: Vec<String>,
    pub settings: Settings,
    pub help: bool,
    pub version: bool,
}

/// Flags of Nix without an effect on the output here, with the number of words that follow each.
const WITHOUT_EFFECT: &[(&str, usize)] = &[
    ("--add-root", 1),
    ("--indirect", 0),
    ("--dry-run", 0),
    ("--repair", 0),
    ("--verbose", 0),
    ("-v", 0),
    ("--quiet", 0),
    ("--debug", 0),
    ("--no-build-output", 0),
    ("-Q", 0),
    ("--print-build-logs", 0),
    ("-L", 0),
    ("--keep-failed", 0),
    ("-K", 0),
    ("--keep-going", 0),
    ("-k", 0),
    ("--fallback", 0),
    ("--no-gc-warning", 0),
    ("--offline", 0),
    ("--refresh", 0),
    ("--max-jobs", 1),
    ("-j", 1),
    ("--cores", 1),
    ("--max-silent-time", 1),
    ("--timeout", 1),
    ("--log-format", 1),
    ("--store", 1),
    ("--eval-store", 1),
    ("--override-flake", 2),
];

impl Arguments {
    /// # Errors
    /// When a flag is unknown, or lacks a word.
    pub fn parse(words: impl IntoIterator<Item = String>, settings: Settings) -> Result<Arguments, String> {
        let mut parsed = Arguments { settings, ..Arguments::default() };
        let mut words = words.into_iter().flat_map(separate);
        while let Some(word) = words.next() {
            parsed.word(&word, &mut words)?;
        }
        Ok(parsed)
    }

    fn word(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut next = || words.next().ok_or_else(|| format!("flag '{word}' requires an argument"));
        match word {
            "-" => self.stdin = true,
            "--help" => self.help = true,
            "--version" => self.version = true,
            "--parse" | "--parse-only" => self.action = Action::Parse,
            "--eval" | "--eval-only" if self.action == Action::Instantiate => self.action = Action::Evaluate,
            "--eval" | "--eval-only" => {}
            "--find-file" => self.action = Action::FindFile,
            "--strict" => self.strict = true,
            "--raw" => self.output = Output::Raw,
            "--xml" => self.output = Output::Xml,
            "--json" => self.output = Output::Json,
            "--no-location" => self.no_location = true,
            "--read-write-mode" => self.read_write = true,
            "--readonly-mode" => self.read_write = false,
            "-E" | "--expr" => self.expressions = true,
            "-A" | "--attr" => self.attrs.push(next()?),
            "-I" | "--include" => self.include.push(next()?),
            "--impure" => self.settings.set("pure-eval", "false")?,
            "--arg" => {
                let name = next()?;
                self.argument(name, Argument::Expression(next()?));
            }
            "--argstr" => {
                let name = next()?;
                self.argument(name, Argument::Text(next()?));
            }
            "--arg-from-file" => {
                let name = next()?;
                self.argument(name, Argument::File(next()?));
            }
            "--arg-from-stdin" => {
                let name = next()?;
                self.argument(name, Argument::StandardInput);
            }
            "--option" => {
                let name = next()?;
                self.settings.set(&name, &next()?)?;
            }
            _ if WITHOUT_EFFECT.iter().any(|(flag, _)| *flag == word) => {
                let count = WITHOUT_EFFECT.iter().find(|(flag, _)| *flag == word).map_or(0, |(_, count)| *count);
                for _ in 0..count {
                    next()?;
                }
            }
            _ if word.starts_with('-') => {
                let name = word.strip_prefix("--").unwrap_or_default();
                if Settings::is_switch(name) {
                    self.settings.set(name, "true")?;
                } else if let Some(name) = name.strip_prefix("no-").filter(|name| Settings::is_switch(name)) {
                    self.settings.set(name, "false")?;
                } else if Settings::is_known(name) {
                    self.settings.set(name, &next()?)?;
                } else {
                    return Err(format!("unrecognised flag '{word}'"));
                }
            }
            _ => self.files.push(word.to_owned()),
        }
        Ok(())
    }

    /// Returns true when the output shows which parts of a value are not evaluated.
    pub fn shows_thunks(&self) -> bool {
        self.action == Action::Evaluate && !self.strict && matches!(self.output, Output::Plain | Output::Xml)
    }

    /// Adds an argument; the last one of a name wins.
    fn argument(&mut self, name: String, value: Argument) {
        self.arguments.retain(|(other, _)| *other != name);
        self.arguments.push((name, value));
    }

    /// Returns the files, by default `default.nix` of the working directory.
    pub fn expression_files(&self) -> Vec<String> {
        if self.files.is_empty() && !self.stdin && !self.expressions {
            return vec!["./default.nix".to_owned()];
        }
        self.files.clone()
    }

    /// Returns the search path: that of flags, then `$NIX_PATH` or else the setting.
    pub fn search_path(&self, here: &Path) -> Vec<(String, String)> {
        let environment = std::env::var("NIX_PATH").ok();
        let entries = self.include.iter().map(String::as_str);
        let more: Vec<&str> = match (&self.settings.nix_path, &environment) {
            (_, Some(path)) => split_search_path(path),
            (Some(entries), None) => entries.split_whitespace().collect(),
            (None, None) => Vec::new(),
        };
        entries.chain(more).map(|entry| search_path_entry(entry, here)).collect()
    }
}

/// Splits `-vvv` into `-v -v -v`, and `-j8` into `-j 8`; returns anything else unchanged.
fn separate(word: String) -> Vec<String> {
    let Some(letters) = word.strip_prefix('-').filter(|rest| rest.len() > 1 && !rest.starts_with('-')) else {
        return vec![word];
    };
    if letters.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return letters.chars().map(|letter| format!("-{letter}")).collect();
    }
    match letters.strip_prefix('j') {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => vec!["-j".to_owned(), number.to_owned()],
        _ => vec![word],
    }
}

/// Splits `$NIX_PATH` at colons, apart from those of URLs.
fn split_search_path(text: &str) -> Vec<&str> {
    let mut entries = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let place = rest.split_once('=').filter(|(name, _)| !name.contains(':')).map_or(rest, |(_, place)| place);
        let skipped = rest.len() - place.len();
        let scheme = ["http:", "https:", "file:", "channel:", "flake:", "git+https:", "git+ssh:"]
            .iter()
            .find(|scheme| place.starts_with(*scheme))
            .map_or(0, |scheme| scheme.len());
        let end = place[scheme..].find(':').map_or(rest.len(), |at| skipped + scheme + at);
        if end > 0 {
            entries.push(&rest[..end]);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Arguments, String> {
        Arguments::parse(words.split(' ').map(str::to_owned), Settings::default())
    }

    #[test]
    fn flags_stand_anywhere() {
        let parsed = parse("a.nix --eval -A x --strict b.nix --arg n 1 --argstr n one -vvv -j8").unwrap();
        assert_eq!(parsed.action, Action::Evaluate);
        assert_eq!(parsed.files, ["a.nix", "b.nix"]);
        assert_eq!(parsed.attrs, ["x"]);
        assert!(matches!(&parsed.arguments[..], [(name, Argument::Text(text))] if name == "n" && text == "one"));
        assert!(parsed.strict);
    }

    #[test]
    fn settings_are_flags() {
        let parsed = parse("--max-call-depth 7 --trace-verbose --no-show-trace --option pure-eval true").unwrap();
        assert_eq!(parsed.settings.max_call_depth, Some(7));
        assert!(parsed.settings.trace_verbose && parsed.settings.pure_eval && !parsed.settings.show_trace);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse("--evil").unwrap_err(), "unrecognised flag '--evil'");
        assert_eq!(parse("--eval -A").unwrap_err(), "flag '-A' requires an argument");
    }

    #[test]
    fn search_paths_hold_urls() {
        assert_eq!(split_search_path("a=https://x/y:b:c=d"), ["a=https://x/y", "b", "c=d"]);
        assert_eq!(split_search_path("lang/dir3:lang/dir4"), ["lang/dir3", "lang/dir4"]);
    }
}
