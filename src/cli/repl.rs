//! `repl`: evaluates expressions interactively, with names that stay defined.
//!
//! On a terminal lines are edited, completed and stored in a history; from a pipe they are read as
//! they arrive and only results are printed, so the same commands work in a script.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::interrupt::interrupts;
use crate::print::{has_failed, say};
use crate::report::Failure;
use clap::Args;
use lang::source::Origin;
use lang::symbol::Symbol;
use lang::{Value, View};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use os::private;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::{Context, Editor, Helper, Highlighter, Hinter, Validator};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use workspace::installable::Outputs;
use workspace::{Environment, Wanted};

#[derive(Debug, Args)]
pub struct Repl {
    /// Load the attributes of these files
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

const HELP: &str = "\
EXPRESSION      print its value, to the depth that is evaluated
NAME = EXPRESSION
                define a name
:a EXPRESSION   add the attributes of a set to the names
:l FILE         add the attributes of a file, called with its defaults
:r              load all files again
:t EXPRESSION   print the type
:p EXPRESSION   evaluate and print all of it
:b EXPRESSION   build a derivation and print its path
:doc EXPRESSION print the documentation of a builtin
:q              quit
";

/// Turns off bracketed paste, which line editors turn on, and ends the line.
const END_OF_PASTE_MODE: &str = "\x1b[?2004l\r\n";

struct Interpreter<'s> {
    session: &'s CommandSession,
    names: RefCell<BTreeMap<String, Value>>,
    files: RefCell<Vec<PathBuf>>,
    cwd: PathBuf,
}

/// Result of a line.
enum Outcome {
    Done,
    /// The text ends too early to be an expression.
    Incomplete,
    Quit,
}

impl Repl {
    pub fn run(mut self, global: &Global) -> Result<(), Failure> {
        // Loaded like the other files, and not the source of attributes.
        let file = self.evaluation.source.file.take();
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let cwd = session.settings().directory.clone();
        let state = Interpreter { session: &session, names: RefCell::default(), files: RefCell::default(), cwd };
        for file in file.iter().chain(&self.files) {
            state.load(file)?;
        }
        if stdin().is_terminal() { interactive(&state, global) } else { piped(&state, global) }
    }
}

fn piped(state: &Interpreter<'_>, global: &Global) -> Result<(), Failure> {
    let mut text = String::new();
    for line in stdin().lock().lines() {
        let line = line.map_err(|cause| Failure::io("cannot read", Path::new("standard input"), cause))?;
        text.push_str(&line);
        text.push('\n');
        match state.line(&text, false) {
            Ok(Outcome::Incomplete) => continue,
            Ok(Outcome::Quit) => return Ok(()),
            Ok(Outcome::Done) => {}
            Err(failure) => print_failure(failure, global)?,
        }
        text.clear();
    }
    match state.line(&text, true) {
        Ok(_) => {}
        Err(failure) => print_failure(failure, global)?,
    }
    Ok(())
}

/// Prints the failure of a line, or returns it when results can no longer be printed.
fn print_failure(failure: Failure, global: &Global) -> Result<(), Failure> {
    if has_failed() {
        return Err(failure);
    }
    failure.print(global.show_trace);
    Ok(())
}

fn interactive(state: &Interpreter<'_>, global: &Global) -> Result<(), Failure> {
    let unusable = |error: ReadlineError| Failure::new(format!("cannot use the terminal: {error}"));
    restore_terminal_at_the_end();
    crate::interrupt::begin_lines();
    let mut editor = Editor::new().map_err(unusable)?;
    editor.set_helper(Some(Completion { state, files: FilenameCompleter::new() }));
    let history = history_file(&state.session.settings().environment);
    if let Some(file) = &history {
        // A missing history is not an error.
        let _ = editor.load_history(file);
    }
    say!("`:?` lists the commands")?;
    let mut text = String::new();
    loop {
        match editor.readline(if text.is_empty() { "> " } else { "… " }) {
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
                let running = crate::interrupt::line();
                let outcome = state.line(&text, line.is_empty());
                drop(running);
                match outcome {
                    Ok(Outcome::Incomplete) => continue,
                    Ok(Outcome::Quit) => break,
                    Ok(Outcome::Done) => {}
                    Err(failure) => print_failure(failure, global)?,
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
            private::make_directories(file.parent().unwrap_or(Path::new("/"))).map(|()| editor.save_history(file));
        if let Err(cause) = saved {
            return Err(Failure::io("cannot write", file, cause));
        }
    }
    Ok(())
}

/// Restores the terminal when a signal ends the process while a line is edited, in which mode it
/// does not echo.
fn restore_terminal_at_the_end() {
    let Ok(before) = tcgetattr(stdin()) else { return };
    crate::interrupt::before_end(move || {
        // The kernel stops a background process that sets a terminal.
        if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp()) {
            // Errors of a terminal that is gone do not matter.
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &before);
            let _ = stdout().write_all(END_OF_PASTE_MODE.as_bytes()).and_then(|()| stdout().flush());
        }
    });
}

/// `$XDG_STATE_HOME/eval/repl-history`
fn history_file(environment: &Environment) -> Option<PathBuf> {
    Some(environment.user_directory("XDG_STATE_HOME", ".local/state")?.join("repl-history"))
}

impl Interpreter<'_> {
    /// Executes one or more lines. `last` means that no more lines follow, so that an incomplete
    /// text is an error.
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
            ":t" | ":type" => self.value(rest).and_then(|value| say!("{}", lang::value::type_with_article(value))),
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
        let value = self
            .session
            .evaluate(|evaluator| evaluator.eval_text_with(text.as_bytes(), Origin::CommandLine, &self.cwd, &names))?;
        Ok(value)
    }

    /// Binds a name by way of a set, so that its value stays lazy.
    fn bind(&self, name: &str, expression: &str) -> Result<(), Failure> {
        let set = self.value(&format!("{{ {name} = {expression}\n; }}"))?;
        let bound = set.as_attrs().and_then(|set| set.get(Symbol::new(name.as_bytes())));
        self.names.borrow_mut().extend(bound.map(|value| (name.to_owned(), value)));
        Ok(())
    }

    fn add(&self, value: Value) -> Result<(), Failure> {
        let Some(set) = value.as_attrs() else {
            let kind = lang::value::type_with_article(value);
            return Err(Failure::new(format!("a set is needed, and this is {kind}")));
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
        let wanted = self.session.derivations_of(value, &Outputs::Default, "the expression")?;
        self.session.write_derivations()?;
        for wanted in wanted {
            match wanted {
                Wanted::Derivation { drv, outputs } => {
                    let _cooperating = interrupts().cooperate();
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

    /// Returns completions of a word: attributes after a dot, else names.
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
    state: &'s Interpreter<'s>,
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
