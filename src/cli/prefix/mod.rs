//! `prefix`: installs, switches and checks prefixes.

mod check;
mod generations;
mod install;
mod prune;
mod switch;
mod uninstall;

use super::Global;
use crate::print::{path_in_line, remark};
use crate::report::Failure;
use clap::{Args, Subcommand};
use deliver::prefix::{PrefixError, Wanted};
use std::path::{Component, Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum Prefix {
    /// Build a prefix, and install it below a root
    Install(Box<install::Install>),
    /// Switch to the generation before the current one
    Rollback(Change),
    /// Switch to a generation, by default the newest
    Switch(switch::Switch),
    /// Remove a prefix with all its generations
    Uninstall(Change),
    /// Remove generations other than the current one
    Prune(prune::Prune),
    /// List the generations, the newest last
    Generations(generations::Generations),
    /// Find references out of the prefix: loaders, libraries, interpreters, links, names of build
    /// directories
    Check(check::Check),
}

/// An installed prefix.
#[derive(Debug, Args)]
pub struct At {
    /// Path of the prefix, such as `/usr/local/my-stuff`
    pub prefix: PathBuf,
    /// Root that the prefix is installed below
    #[arg(long, value_name = "ROOT", default_value = "/")]
    pub to: PathBuf,
}

#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    pub at: At,
    /// Move files that were changed or added by hand aside, and continue
    #[arg(long)]
    pub force: bool,
}

impl Prefix {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Prefix::Install(command) => command.run(global),
            Prefix::Rollback(change) => switch::switch(&change, Wanted::Previous, global),
            Prefix::Switch(command) => command.run(global),
            Prefix::Uninstall(change) => uninstall::uninstall(&change, global),
            Prefix::Prune(command) => command.run(),
            Prefix::Generations(command) => command.run(),
            Prefix::Check(command) => command.run(),
        }
    }

    /// Returns whether a failure is also printed to standard output, where a program expects JSON.
    pub fn wants_json(&self) -> bool {
        matches!(self, Prefix::Generations(command) if command.json)
    }
}

fn failed(error: PrefixError) -> Failure {
    let failure = Failure::new(error.to_string()).code(error.code());
    match error.help() {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// Prints the paths of files that belong to no generation and were kept.
fn remark_kept(kept: &[PathBuf]) {
    for path in kept {
        remark!("files that were not installed are kept in `{}`", path_in_line(path));
    }
}

/// Prints the next step when the prefix is in a system extension that is a directory: since 258,
/// systemd compares that directory with the one it has merged, and nothing below it.
fn remark_refresh(to: &Path, global: &Global) {
    let Ok(root) = std::fs::canonicalize(to) else { return };
    let mut names = root.components().skip_while(|part| part.as_os_str() != "extensions").skip(1);
    if !global.quiet && matches!(names.next(), Some(Component::Normal(_))) {
        remark!(
            "an extension changed inside: `systemd-sysext refresh --always-refresh=yes` shows it (systemd 258 and later)"
        );
    }
}
