//! `eval`: describes packages, prefixes, stages and images, builds them hermetically and delivers
//! them.
//!
//! One program with three names. The shell has a builtin `eval` that runs its arguments, so `eval
//! build .#x` at a prompt starts the program `build` with the argument `.#x`; `ev` is the name for
//! daily use.
//!
//! Evaluation and builds are in the libraries, from `workspace` down. This crate parses arguments,
//! prints, and handles signals; the table of exit statuses is [`report::Exit`].

mod cli;
mod console;
mod exit;
mod interrupt;
mod nix_text;
mod print;
mod progress;
mod report;

use clap::builder::Styles;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use cli::nix_instantiate::{NixInstantiate, is_name};
use cli::{Cli, ColorChoice, Command};
use exit::Exit;
use model::terminal::is_active;
use print::say;
use report::Failure;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Before any thread exists: a sandbox's child is this program again.
    sandbox::child_entry();
    if cli::completions::answer() {
        return;
    }
    interrupt::install();
    let status = command();
    // Nothing else runs at the end of the process: the allocator would return memory to the kernel
    // piece by piece, which is a twentieth of a short command.
    let _ = std::io::stdout().flush();
    signal_hook::low_level::exit(status.into());
}

/// Runs the command of the arguments, and returns its exit status.
fn command() -> u8 {
    // Nix's own grammar of arguments, which clap cannot express.
    let words: Vec<OsString> = std::env::args_os().collect();
    let own_name = words.first().is_some_and(|name| is_name(name));
    if own_name || words.get(1).is_some_and(|word| word == "nix-instantiate") {
        return NixInstantiate::main(words.into_iter().skip(if own_name { 1 } else { 2 }).collect());
    }
    let mut words = arguments();
    let command = match cli::config::configured(Cli::command(), &mut words) {
        Ok(command) => command,
        Err(failure) => {
            failure.print(false);
            return failure.exit.status();
        }
    };
    let parsed = command.try_get_matches_from(&words).and_then(|matches| {
        let root_is_option = matches.value_source("root") == Some(ValueSource::CommandLine);
        Cli::from_arg_matches(&matches).map(|mut cli| {
            cli.global.root_is_option = root_is_option;
            cli
        })
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayVersion => return print_parsed(&error, false),
        Err(error) => {
            // The texts of help take a third of a short command: only who reads them pays.
            let command = cli::config::configured_again(cli::help::command());
            let with_help = command.clone().try_get_matches_from(&words);
            return print_clap(with_help.err().unwrap_or(error), command, &words);
        }
    };
    match cli.global.color {
        ColorChoice::Auto => {}
        ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
    }
    if let Command::NixInstantiate(command) = cli.command {
        return NixInstantiate::main(command.words);
    }
    let form = ReportForm {
        show_trace: cli.global.show_trace || cli.global.verbose,
        json: wants_json(&cli.command),
        error_format: cli.global.error_format,
    };
    interrupt::before_end(move || form.report(&Failure::interrupted()));
    let result = run(cli);
    let interrupted = interrupt::claim_report();
    match result {
        Ok(()) => Exit::Success.status(),
        Err(failure) => {
            let failure = if interrupted { failure.after_signal() } else { failure };
            let failure = if progress::has_reported() { failure.after_reports() } else { failure };
            form.report(&failure);
            failure.exit.status()
        }
    }
}

/// Prints the help or the error of clap, and returns the exit status.
fn print_clap(mut error: clap::Error, command: clap::Command, words: &[OsString]) -> u8 {
    if error.use_stderr() {
        // Without styles, escape sequences in the text are those of arguments and variables.
        let again = command.clone().styles(Styles::plain()).try_get_matches_from(words);
        let mut plain = again.expect_err("the same arguments are as wrong as before");
        cli::mistakes::advise(&mut plain, command.clone().styles(Styles::plain()), words);
        if plain.render().ansi().to_string().chars().any(is_active) {
            return print_parsed(&plain, true);
        }
    }
    cli::mistakes::advise(&mut error, command, words);
    print_parsed(&error, false)
}

fn print_parsed(error: &clap::Error, is_plain: bool) -> u8 {
    print::of_arguments(error, is_plain).unwrap_or_else(|failure| {
        failure.print(false);
        failure.exit.status()
    })
}

/// Form that failures are reported in.
#[derive(Clone, Copy)]
struct ReportForm {
    show_trace: bool,
    json: bool,
    error_format: cli::ErrorFormat,
}

impl ReportForm {
    fn report(&self, failure: &Failure) {
        // JSON after a part of the result, or after an object with all findings, would make both
        // unreadable.
        if self.json && !print::has_begun() {
            // A second failure would hide the first.
            let _ = say!("{}", failure.to_json());
        }
        match self.error_format {
            cli::ErrorFormat::Text => failure.print(self.show_trace),
            cli::ErrorFormat::Json => print::remark_for_programs(&failure.diagnostic().to_string()),
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Build(command) => command.run(&global),
        Command::Run(command) => command.run(&global),
        Command::Shell(command) => command.run(&global),
        Command::Develop(command) => command.run(&global),
        Command::Expr(command) => command.run(&global),
        Command::Instantiate(command) => command.run(&global),
        Command::NixInstantiate(_) => unreachable!("it has been run, as its errors are Nix's"),
        Command::Flake(command) => command.run(&global),
        Command::Registry(command) => command.run(&global),
        Command::Derivation(command) => command.run(&global),
        Command::Log(command) => command.run(&global),
        Command::PathInfo(command) => command.run(&global),
        Command::WhyDepends(command) => command.run(&global),
        Command::Gc(command) => command.run(&global),
        Command::Hash(command) => command.run(),
        Command::Search(command) => command.run(&global),
        Command::Edit(command) => command.run(&global),
        Command::Fmt(command) => command.run(),
        Command::Config(command) => command.run(&global),
        Command::Store(command) => command.run(&global),
        Command::Prefix(command) => command.run(&global),
        Command::Doctor(command) => command.run(&global),
        Command::Completions(command) => command.run(),
        Command::Repl(command) => command.run(&global),
        Command::Explain(command) => command.run(),
        Command::SelfCommand(command) => command.run(),
    }
}

/// Returns the arguments as if the program had been called `eval`: under the name `build`, the
/// command `build` comes first.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called_build =
        arguments.first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == "build");
    if called_build {
        arguments.insert(1, "build".into());
    }
    arguments
}

/// Returns whether a failure is also printed to standard output, where a program expects JSON.
fn wants_json(command: &Command) -> bool {
    match command {
        Command::Build(command) => command.json,
        Command::Expr(command) => command.json,
        Command::PathInfo(command) => command.json,
        Command::Doctor(command) => command.json,
        Command::Derivation(_) => true,
        Command::WhyDepends(command) => command.json,
        Command::Search(command) => command.json,
        Command::Config(command) => command.wants_json(),
        Command::Store(command) => command.wants_json(),
        Command::Prefix(command) => command.wants_json(),
        Command::Flake(command) => command.wants_json(),
        _ => false,
    }
}
