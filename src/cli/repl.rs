//! `repl`: evaluates expressions interactively, with names that stay defined.
//!
//! On a terminal lines are edited, completed and stored in a history; from a pipe they are read as
//! they arrive and only results are printed, so the same commands work in a script.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::interrupt::interrupts;
use crate::print;
use crate::print::{has_failed, say};
use crate::report::Failure;
use clap::Args;
use lang::source::Origin;
use lang::symbol::Symbol;
use lang::{Display, Value, View};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use os::private;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::{Context, Editor, Helper, Highlighter, Hinter, Validator};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;
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
EXPRESSION      print its value, with the members of a set or list
NAME = EXPRESSION; …
                define names; `inherit (SET) NAME;` too
:a EXPRESSION   add the attributes of a set to the names
:l FILE         add the attributes of a file, called with its defaults
:lf FLAKE       add the attributes of a flake
:ll             list the names that were added last
:r              load all files and flakes again
:t EXPRESSION   print the type
:p EXPRESSION   evaluate and print all of it; a string without quotes
:b EXPRESSION   build a derivation and print its path
:u EXPRESSION   build it, and start a shell with its programs
:log EXPRESSION print the log of its build
:e EXPRESSION   edit the file that defines a package or function
:doc EXPRESSION print the documentation of a builtin
:te [true|false]
                show where an error comes from in full, or not
:? :help        print this list
:q              quit
";

const TRACE_HELP: &str = "`:te` shows the whole trace of errors";

/// Editors that take `+LINE`.
const EDITORS_WITH_LINES: [&str; 6] = ["emacs", "nano", "vi", "kak", "hx", "micro"];

/// Turns off bracketed paste, which line editors turn on, and ends the line.
const END_OF_PASTE_MODE: &str = "\x1b[?2004l\r\n";

struct Interpreter<'s> {
    session: &'s CommandSession,
    names: RefCell<BTreeMap<String, Value>>,
    loaded: RefCell<Vec<Loaded>>,
    /// Names that were added last.
    added: RefCell<Vec<String>>,
    shows_trace: Cell<bool>,
    cwd: PathBuf,
}

/// Origin of names, to be read again by `:r`.
enum Loaded {
    File(PathBuf),
    Flake(String),
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
        let source = &mut self.evaluation.source;
        let file = source.file.take();
        // As in Nix: what is typed may read what its author may.
        source.impure = !source.pure && !source.restrict;
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let cwd = session.settings().directory.clone();
        let state = Interpreter {
            session: &session,
            names: RefCell::default(),
            loaded: RefCell::default(),
            added: RefCell::default(),
            shows_trace: Cell::new(global.show_trace),
            cwd,
        };
        for file in file.iter().chain(&self.files) {
            state.load(file)?;
        }
        if stdin().is_terminal() { interactive(&state) } else { piped(&state) }
    }
}

fn piped(state: &Interpreter<'_>) -> Result<(), Failure> {
    let mut text = String::new();
    for line in stdin().lock().lines() {
        let line = line.map_err(|cause| Failure::io("cannot read", Path::new("standard input"), cause))?;
        text.push_str(&line);
        text.push('\n');
        match state.line(&text, false) {
            Ok(Outcome::Incomplete) => continue,
            Ok(Outcome::Quit) => return Ok(()),
            Ok(Outcome::Done) => {}
            Err(failure) => print_failure(failure, state)?,
        }
        text.clear();
    }
    match state.line(&text, true) {
        Ok(_) => {}
        Err(failure) => print_failure(failure, state)?,
    }
    Ok(())
}

/// Prints the failure of a line, or returns it when results can no longer be printed.
fn print_failure(failure: Failure, state: &Interpreter<'_>) -> Result<(), Failure> {
    if has_failed() {
        return Err(failure);
    }
    failure.print(state.shows_trace.get());
    Ok(())
}

fn interactive(state: &Interpreter<'_>) -> Result<(), Failure> {
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
                    Err(failure) => print_failure(failure, state)?,
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
            "" if is_bindings(rest) => self.bind(rest),
            "" => self.value(rest).and_then(|value| self.print(value)),
            ":q" | ":quit" => return Ok(Outcome::Quit),
            ":?" | ":help" => {
                say!("{}", HELP.trim_end())
            }
            ":a" | ":add" => self.value(rest).and_then(|value| self.add(value)),
            ":l" | ":load" => self.load(Path::new(rest)),
            ":lf" | ":load-flake" => self.load_flake(rest),
            ":ll" | ":last-loaded" => self.added.borrow().iter().try_for_each(|name| say!("{name}")),
            ":r" | ":reload" => self.reload(),
            ":t" | ":type" => self.value(rest).and_then(|value| say!("{}", lang::value::type_with_article(value))),
            ":p" | ":print" => self.value(rest).and_then(|value| {
                let whole = Display { levels: usize::MAX, lines: true, shows_errors: false };
                match value.as_string() {
                    Some(text) => say!("{}", String::from_utf8_lossy(text.bytes())),
                    None => self.display(value, whole),
                }
            }),
            ":b" | ":build" => self
                .value(rest)
                .and_then(|value| self.build(value)?.iter().try_for_each(|path| say!("{}", path.display()))),
            ":u" => self.value(rest).and_then(|value| self.use_in_shell(value)),
            ":log" => self.value(rest).and_then(|value| self.log(value, rest)),
            ":e" | ":edit" => self.value(rest).and_then(|value| self.edit(value)),
            ":te" | ":trace-enable" => self.enable_trace(rest),
            ":bt" | ":st" | ":env" | ":c" | ":s" => {
                Err(Failure::usage(format!("`{command}` is a command of a debugger, and there is none"))
                    .help(TRACE_HELP))
            }
            ":i" | ":install" => Err(Failure::usage("there is no profile to install into")
                .help("`ev prefix` makes a directory of packages; `:u EXPRESSION` tries one")),
            ":doc" => self.value(rest).and_then(|value| self.doc(value)),
            other => Err(Failure::usage(format!("there is no command `{other}`")).help("`:?` lists the commands")),
        };
        match done {
            // Bindings were evaluated as `{ NAME = …`.
            Err(failure) if !last && failure.ends_early(&set_of(rest).0) && is_bindings(rest) => {
                Ok(Outcome::Incomplete)
            }
            Err(failure) if !last && failure.ends_early(rest) && !is_bindings(rest) => Ok(Outcome::Incomplete),
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

    /// Binds names by way of a set, so that their values stay lazy.
    fn bind(&self, bindings: &str) -> Result<(), Failure> {
        let (start, end) = set_of(bindings);
        let set = self.value(&format!("{start}{end}"))?;
        self.names.borrow_mut().extend(members(set));
        Ok(())
    }

    fn add(&self, value: Value) -> Result<(), Failure> {
        let Some(set) = value.as_attrs() else {
            let kind = lang::value::type_with_article(value);
            return Err(Failure::new(format!("a set is needed, and this is {kind}")));
        };
        let added = members(value);
        let mut names: Vec<String> = added.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        *self.added.borrow_mut() = names;
        self.names.borrow_mut().extend(added);
        say!("{} names added", set.len())?;
        Ok(())
    }

    fn reload(&self) -> Result<(), Failure> {
        self.session.evaluator().forget_files();
        self.names.borrow_mut().clear();
        let loaded = std::mem::take(&mut *self.loaded.borrow_mut());
        loaded.into_iter().try_for_each(|loaded| match loaded {
            Loaded::File(file) => self.load(&file),
            Loaded::Flake(reference) => self.load_flake(&reference),
        })
    }

    fn load_flake(&self, reference: &str) -> Result<(), Failure> {
        let reference = if reference.is_empty() { "." } else { reference };
        self.loaded.borrow_mut().push(Loaded::Flake(reference.to_owned()));
        let reference = self.session.flake_reference(reference)?;
        self.session.lock_flake(&reference)?;
        let flake = self.session.evaluate(|evaluator| evaluator.eval_flake(&reference))?;
        self.add(flake)
    }

    fn load(&self, file: &Path) -> Result<(), Failure> {
        let path = self.cwd.join(file);
        self.loaded.borrow_mut().push(Loaded::File(path.clone()));
        let value = self.session.evaluate(|evaluator| {
            evaluator.allow_reading(path.parent().unwrap_or(Path::new("/")));
            let value = evaluator.eval_file(&path)?;
            evaluator.auto_call(value, &[])
        })?;
        self.add(value)
    }

    /// Builds the derivations in a value; returns the physical paths of their outputs.
    fn build(&self, value: Value) -> Result<Vec<PathBuf>, Failure> {
        let mut built = Vec::new();
        let wanted = self.session.derivations_of(value, &Outputs::Default, "the expression")?;
        self.session.write_derivations()?;
        for wanted in wanted {
            match wanted {
                Wanted::Derivation { drv, outputs } => {
                    let _cooperating = interrupts().cooperate();
                    let outputs = self.session.builder.realise_now(&drv, &outputs)?;
                    built.extend(outputs.values().map(|path| self.session.store.physical_path(path)));
                }
                Wanted::Path(path) => built.push(self.session.store.physical_path(&path)),
            }
        }
        Ok(built)
    }

    /// Builds a value, and starts a shell that finds its programs first.
    fn use_in_shell(&self, value: Value) -> Result<(), Failure> {
        let environment = &self.session.settings().environment;
        let mut path: Vec<PathBuf> = self.build(value)?.into_iter().map(|output| output.join("bin")).collect();
        path.extend(environment.variable("PATH").into_iter().flat_map(std::env::split_paths));
        let path = std::env::join_paths(path).map_err(|cause| Failure::new(cause.to_string()))?;
        let shell = environment.variable("SHELL").unwrap_or(OsStr::new("/bin/sh"));
        start(Command::new(shell).env("PATH", path))
    }

    fn log(&self, value: Value, name: &str) -> Result<(), Failure> {
        let wanted = self.session.derivations_of(value, &Outputs::Default, name)?;
        for wanted in wanted {
            let drv = match wanted {
                Wanted::Derivation { drv, .. } => Some(drv),
                Wanted::Path(path) => self.session.store.path_info(&path)?.and_then(|info| info.deriver),
            };
            let log = match &drv {
                Some(drv) => builder::open_log(&self.session.store, drv)?,
                None => None,
            };
            let log =
                log.ok_or_else(|| Failure::new(format!("there is no log of `{name}`")).help("was it built yet?"))?;
            print::log(log, &format!("the log of {name}"), false)?;
        }
        Ok(())
    }

    /// Edits the file that defines a value, and loads all files again.
    fn edit(&self, value: Value) -> Result<(), Failure> {
        let found = self.session.evaluate(|evaluator| evaluator.definition_of(value))?;
        let Some((file, line)) = found else {
            return Err(Failure::new("the value does not say which file defines it")
                .help("functions, files, and packages with `meta.position` do"));
        };
        let environment = &self.session.settings().environment;
        let editor = environment.text("VISUAL").or_else(|| environment.text("EDITOR"));
        let Some(editor) = editor.filter(|editor| !editor.trim().is_empty()) else {
            return Err(Failure::new(format!("no editor is set for {}:{line}", file.display()))
                .help("set `EDITOR` to one, such as `nano`"));
        };
        let mut words = editor.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        if EDITORS_WITH_LINES.iter().any(|name| editor.contains(name)) {
            command.arg(format!("+{line}"));
        }
        start(command.arg(&file))?;
        self.reload()
    }

    fn enable_trace(&self, argument: &str) -> Result<(), Failure> {
        let shows = match argument {
            "" => !self.shows_trace.get(),
            "true" => true,
            "false" => false,
            _ => return Err(Failure::usage("`:te` takes `true`, `false` or nothing")),
        };
        self.shows_trace.set(shows);
        say!("errors show {}", if shows { "all of their trace" } else { "a part of their trace" })
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
        self.display(value, Display { levels: 1, lines: true, shows_errors: true })
    }

    fn display(&self, value: Value, how: Display) -> Result<(), Failure> {
        let text = self.session.evaluate(|evaluator| evaluator.display(value, how))?;
        say!("{}", String::from_utf8_lossy(&text))?;
        Ok(())
    }

    /// Returns completions of a word: attributes after a dot, else names.
    fn candidates(&self, word: &str) -> Vec<String> {
        let names = |value: Value| -> Vec<String> { members(value).into_iter().map(|(name, _)| name).collect() };
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

/// Returns whether a text is bindings: `name = …`, `a."b".c = …`, or `inherit …`.
fn is_bindings(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix("inherit") {
        return rest.starts_with(|next: char| next.is_whitespace() || next == '(');
    }
    let mut rest = text;
    loop {
        let is_name = |each: char| each.is_ascii_alphanumeric() || "_'-".contains(each);
        rest = if rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            rest.trim_start_matches(is_name)
        } else if rest.len() < text.len()
            && let Some((_, after)) = rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"'))
        {
            after
        } else {
            return false;
        };
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            return !after.starts_with('=');
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None => return false,
        }
    }
}

/// Returns the text of a set with bindings, and its end.
fn set_of(bindings: &str) -> (String, &'static str) {
    let bindings = bindings.trim_end();
    (format!("{{ {}", bindings.strip_suffix(';').unwrap_or(bindings)), "\n; }")
}

/// Returns the members of a set.
fn members(set: Value) -> Vec<(String, Value)> {
    let attrs = set.as_attrs().into_iter().flat_map(|set| set.iter());
    attrs.map(|attr| (String::from_utf8_lossy(attr.name.name()).into_owned(), attr.value)).collect()
}

/// Runs a program on the terminal until it ends.
fn start(command: &mut Command) -> Result<(), Failure> {
    let program = PathBuf::from(command.get_program());
    command.status().map(drop).map_err(|cause| Failure::io("cannot start", &program, cause))
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
