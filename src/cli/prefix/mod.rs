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
    Check(Box<check::Check>),
}

/// An installed prefix.
#[derive(Debug, Args)]
pub struct At {
    /// Path of the prefix, such as `/usr/local/my-stuff`
    pub prefix: PathBuf,
    /// Root that the prefix is installed below; `--root` means the same here, as no store is used
    /// [default: /]
    #[arg(long, value_name = "ROOT")]
    to: Option<PathBuf>,
}

impl At {
    /// Returns the root: `--to`, else an option `--root`, which other programs call it.
    pub fn to(&self, global: &Global) -> PathBuf {
        let option = global.root.clone().filter(|_| global.root_is_option);
        self.to.clone().or(option).unwrap_or_else(|| PathBuf::from("/"))
    }
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
            Prefix::Prune(command) => command.run(global),
            Prefix::Generations(command) => command.run(global),
            Prefix::Check(command) => command.run(global),
        }
    }

    /// Returns whether a failure is also printed to standard output, where a program expects JSON.
    pub fn wants_json(&self) -> bool {
        match self {
            Prefix::Generations(command) => command.json,
            Prefix::Check(command) => command.json,
            _ => false,
        }
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
