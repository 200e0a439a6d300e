//! `repl`: expressions, one after the other, with names that stay.
//!
//! On a terminal lines are edited, completed and remembered; from a pipe they are read as they come and nothing but
//! results is printed, so the same commands work in a script.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use lang::source::Origin;
use lang::symbol::Symbol;
use lang::{Value, View};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::{Context, Editor, Helper, Highlighter, Hinter, Validator};
use store::personal;

use super::{Building, Global, Source};
use crate::config;
use crate::evaluate::{Session, Wanted};
use crate::print::{has_failed, say};
use crate::report::Failure;

#[derive(Debug, Args)]
pub struct Repl {
    /// Files whose attributes are in scope from the start
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub building: Building,
}

const HELP: &str = "\
EXPRESSION      print its value, as far as it is evaluated
NAME = EXPRESSION
                give the value a name
:a EXPRESSION   add the attributes of a set to the names
:l FILE         add the attributes of a file, called with its defaults
:r              load all files again
:t EXPRESSION   print the type
:p EXPRESSION   evaluate and print all of it
:b EXPRESSION   build a derivation and print where it lies
:doc EXPRESSION say what a builtin does
:q              end
";

/// Ends what line editors ask of terminals: marks around what is pasted. And the line.
const END_OF_PASTE_MODE: &str = "\x1b[?2004l\r\n";

struct State<'s> {
    session: &'s Session,
    names: RefCell<BTreeMap<String, Value>>,
    files: RefCell<Vec<PathBuf>>,
    cwd: PathBuf,
}

/// What became of a line.
enum Outcome {
    Done,
    /// The text ends too early to be an expression.
    Incomplete,
    Quit,
}

impl Repl {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let session = Session::quiet(global, &self.source, &self.building)?;
        let cwd = std::env::current_dir()
            .map_err(|cause| Failure::io("cannot tell", Path::new("the current folder"), cause))?;
        let state = State { session: &session, names: RefCell::default(), files: RefCell::default(), cwd };
        for file in self.source.file.iter().chain(&self.files) {
            state.load(file)?;
        }
        if stdin().is_terminal() { interactive(&state, global) } else { piped(&state, global) }
    }
}

fn piped(state: &State<'_>, global: &Global) -> Result<(), Failure> {
    let mut text = String::new();
    for line in stdin().lock().lines() {
        let line = line.map_err(|cause| Failure::io("cannot read", Path::new("standard input"), cause))?;
        text.push_str(&line);
        text.push('\n');
        match state.line(&text, false) {
            Ok(Outcome::Incomplete) => continue,
            Ok(Outcome::Quit) => return Ok(()),
            Ok(Outcome::Done) => {}
            Err(failure) => told(failure, global)?,
        }
        text.clear();
    }
    match state.line(&text, true) {
        Ok(_) => {}
        Err(failure) => told(failure, global)?,
    }
    Ok(())
}

/// Prints why a line was not done. Where no result can be printed any more, that ends the program.
fn told(failure: Failure, global: &Global) -> Result<(), Failure> {
    if has_failed() {
        return Err(failure);
    }
    failure.print(global.show_trace);
    Ok(())
}

fn interactive(state: &State<'_>, global: &Global) -> Result<(), Failure> {
    let unusable = |error: ReadlineError| Failure::new(format!("cannot use the terminal: {error}"));
    restore_terminal_at_the_end();
    crate::interrupt::begin_lines();
    let mut editor = Editor::new().map_err(unusable)?;
    editor.set_helper(Some(Completion { state, files: FilenameCompleter::new() }));
    let history = history_file();
    if let Some(file) = &history {
        // No history yet is no reason not to start.
        let _ = editor.load_history(file);
    }
    say!("`:?` lists the commands")?;
    let mut text = String::new();
    loop {
        match editor.readline(if text.is_empty() { "> " } else { "… " }) {
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
                let under_way = crate::interrupt::line();
                let outcome = state.line(&text, line.is_empty());
                drop(under_way);
                match outcome {
                    Ok(Outcome::Incomplete) => continue,
                    Ok(Outcome::Quit) => break,
                    Ok(Outcome::Done) => {}
                    Err(failure) => told(failure, global)?,
                }
                let _ = editor.add_history_entry(text.trim_end());
                text.clear();
            }
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(unusable(error)),
        }
    }
    if let Some(file) = &history {
        let saved =
            personal::make_directories(file.parent().unwrap_or(Path::new("/"))).map(|()| editor.save_history(file));
        if let Err(cause) = saved {
            return Err(Failure::io("cannot write", file, cause));
        }
    }
    Ok(())
}

/// A signal may end the process while a line is edited, and the terminal does not echo then.
fn restore_terminal_at_the_end() {
    let Ok(before) = tcgetattr(stdin()) else { return };
    crate::interrupt::before_end(move || {
        // Who sets a terminal from the background is stopped by it.
        if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp()) {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &before);
            let _ = stdout().write_all(END_OF_PASTE_MODE.as_bytes()).and_then(|()| stdout().flush());
        }
    });
}

/// `$XDG_STATE_HOME/eval/repl-history`
fn history_file() -> Option<PathBuf> {
    Some(config::user_folder("XDG_STATE_HOME", ".local/state")?.join("repl-history"))
}

impl State<'_> {
    /// Does what a line, or several, says. `last`: no more lines will come, so what is incomplete is an error.
    fn line(&self, text: &str, last: bool) -> Result<Outcome, Failure> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return Ok(Outcome::Done);
        }
        let (command, rest) = match trimmed.strip_prefix(':') {
            Some(_) => trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, "")),
            None => ("", trimmed),
        };
        let rest = rest.trim();
        let done = match command {
            "" => match assignment(rest) {
                Some((name, expression)) => self.bind(name, expression),
                None => self.value(rest).and_then(|value| self.print(value)),
            },
            ":q" | ":quit" => return Ok(Outcome::Quit),
            ":?" | ":help" => {
                say!("{}", HELP.trim_end())
            }
            ":a" | ":add" => self.value(rest).and_then(|value| self.add(value)),
            ":l" | ":load" => self.load(Path::new(rest)),
            ":r" | ":reload" => {
                self.session.evaluator().forget_files();
                self.names.borrow_mut().clear();
                let files = std::mem::take(&mut *self.files.borrow_mut());
                files.iter().try_for_each(|file| self.load(file))
            }
            ":t" | ":type" => {
                self.value(rest).and_then(|value| say!("{}", lang::value::print::type_with_article(value)))
            }
            ":p" | ":print" => self.value(rest).and_then(|value| {
                self.session.evaluate(|evaluator| evaluator.force_deep(value))?;
                self.print(value)
            }),
            ":b" | ":build" => self.value(rest).and_then(|value| self.build(value)),
            ":doc" => self.value(rest).and_then(|value| self.doc(value)),
            other => Err(Failure::usage(format!("there is no command `{other}`")).help("`:?` lists the commands")),
        };
        match done {
            // An assignment was evaluated as `{ NAME = …`.
            Err(failure) if !last && failure.ends_early(&format!("{{ {rest}")) && assignment(rest).is_some() => {
                Ok(Outcome::Incomplete)
            }
            Err(failure) if !last && failure.ends_early(rest) && assignment(rest).is_none() => Ok(Outcome::Incomplete),
            Err(failure) => Err(failure),
            Ok(()) => Ok(Outcome::Done),
        }
    }

    fn value(&self, text: &str) -> Result<Value, Failure> {
        let names: Vec<(Symbol, Value)> =
            self.names.borrow().iter().map(|(name, value)| (Symbol::new(name.as_bytes()), *value)).collect();
        self.session
            .evaluate(|evaluator| evaluator.eval_text_with(text.as_bytes(), Origin::CommandLine, &self.cwd, &names))
    }

    /// The value is evaluated when it is asked for, so the name is bound by way of a set.
    fn bind(&self, name: &str, expression: &str) -> Result<(), Failure> {
        let set = self.value(&format!("{{ {name} = {expression}\n; }}"))?;
        let bound = set.as_attrs().and_then(|set| set.get(Symbol::new(name.as_bytes())));
        self.names.borrow_mut().extend(bound.map(|value| (name.to_owned(), value)));
        Ok(())
    }

    fn add(&self, value: Value) -> Result<(), Failure> {
        let Some(set) = value.as_attrs() else {
            let kind = lang::value::print::type_with_article(value);
            return Err(Failure::new(format!("the names come from a set, and this is {kind}")));
        };
        let added = set.iter().map(|attr| (String::from_utf8_lossy(attr.name.name()).into_owned(), attr.value));
        self.names.borrow_mut().extend(added);
        say!("{} names added", set.len())?;
        Ok(())
    }

    fn load(&self, file: &Path) -> Result<(), Failure> {
        let path = self.cwd.join(file);
        self.files.borrow_mut().push(path.clone());
        let value = self.session.evaluate(|evaluator| {
            evaluator.allow_reading(path.parent().unwrap_or(Path::new("/")));
            let value = evaluator.eval_file(&path)?;
            evaluator.auto_call(value, &[])
        })?;
        self.add(value)
    }

    fn build(&self, value: Value) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        self.session.wanted_of(value, &crate::installable::Outputs::Default, "the expression", &mut wanted)?;
        self.session.write_derivations()?;
        for wanted in wanted {
            match wanted {
                Wanted::Derivation { drv, outputs } => {
                    let _orderly = crate::interrupt::orderly();
                    for path in self.session.builder.realise_now(&drv, &outputs)?.values() {
                        say!("{}", self.session.store.physical_path(path).display())?;
                    }
                }
                Wanted::Path(path) => say!("{}", self.session.store.physical_path(&path).display())?,
            }
        }
        Ok(())
    }

    fn doc(&self, value: Value) -> Result<(), Failure> {
        match value.view() {
            View::Builtin(index) => {
                let builtin = &lang::builtins::TABLE[index];
                let plural = if builtin.arity == 1 { "" } else { "s" };
                say!("builtins.{} ({} argument{plural}): {}", builtin.name, builtin.arity, builtin.doc)?;
                Ok(())
            }
            _ => Err(Failure::new("only builtins have documentation")),
        }
    }

    fn print(&self, value: Value) -> Result<(), Failure> {
        let text = self.session.evaluate(|evaluator| evaluator.print(value))?;
        say!("{}", String::from_utf8_lossy(&text))?;
        Ok(())
    }

    /// What a word that is being typed could become: attributes after a dot, else names.
    fn candidates(&self, word: &str) -> Vec<String> {
        let names = |value: Value| -> Vec<String> {
            let set = value.as_attrs();
            set.into_iter()
                .flat_map(|set| set.iter())
                .map(|attr| String::from_utf8_lossy(attr.name.name()).into_owned())
                .collect()
        };
        let (stem, start) = word.rsplit_once('.').map_or((None, word), |(stem, start)| (Some(stem), start));
        let mut all = match stem {
            Some(stem) => self.value(stem).map(names).unwrap_or_default(),
            None => {
                let mut all: Vec<String> = self.names.borrow().keys().cloned().collect();
                all.extend(lang::builtins::TABLE.iter().filter(|builtin| builtin.global).map(|it| it.name.to_owned()));
                all.push("builtins".to_owned());
                all
            }
        };
        all.retain(|name| name.starts_with(start));
        all.sort();
        all.into_iter().map(|name| stem.map_or(name.clone(), |stem| format!("{stem}.{name}"))).collect()
    }
}

/// `name = expression`
fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, expression) = text.split_once('=')?;
    let name = name.trim();
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|each| each.is_ascii_alphanumeric() || "_'-".contains(each));
    (plain && !expression.starts_with('=')).then(|| (name, expression.trim().trim_end_matches(';')))
}

#[derive(Helper, Hinter, Highlighter, Validator)]
struct Completion<'s> {
    state: &'s State<'s>,
    files: FilenameCompleter,
}

impl Completer for Completion<'_> {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let start = line[..at].rfind(|each: char| !(each.is_alphanumeric() || "_'-./~".contains(each)));
        let start = start.map_or(0, |before| before + line[before..].chars().next().map_or(1, char::len_utf8));
        let word = &line[start..at];
        if word.contains('/') || line.starts_with(":l ") {
            return self.files.complete(line, at, context);
        }
        let candidates = self.state.candidates(word).into_iter();
        Ok((start, candidates.map(|text| Pair { display: text.clone(), replacement: text }).collect()))
    }
}
