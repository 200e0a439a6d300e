//! `prefix install`, `prefix check` and the commands between: the delivery of prefixes.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use builder::audit::{self, Policy};
use builder::terminal::in_line;
use clap::{Args, Subcommand, ValueEnum};
use deliver::prefix;

use super::{Building, Global, Source};
use crate::evaluate::{Mode, Session, Wanted};
use crate::print::{path_in_line, remark, say};
use crate::progress::Progress;
use crate::report::Failure;

#[derive(Debug, Subcommand)]
pub enum Prefix {
    /// Build a prefix and put it below a root
    #[command(after_help = "Example: ev prefix install .#python-prefix --to /")]
    Install(Box<Install>),
    /// Go back to the generation before the current one
    #[command(after_help = "Example: ev prefix rollback /usr/local/my-stuff")]
    Rollback(Change),
    /// Go to any generation, forward as well: to the newest, if none is named
    #[command(after_help = "Example: ev prefix switch /usr/local/my-stuff 3")]
    Switch(Switch),
    /// Remove a prefix with all its generations
    #[command(after_help = "Example: ev prefix uninstall /usr/local/my-stuff")]
    Uninstall(Change),
    /// Remove generations that are not the current one
    #[command(after_help = "Example: ev prefix prune /usr/local/my-stuff --keep 2")]
    Prune(Prune),
    /// List what was installed and when, newest last
    #[command(after_help = "Example: ev prefix generations /usr/local/my-stuff --json")]
    Generations(Generations),
    /// Find what leads out of a prefix: loaders, libraries, interpreters, links, names of build folders
    Check(Check),
}

#[derive(Debug, Args)]
pub struct Install {
    /// The prefix root to install: `.#python-prefix`, a store path, a result link
    #[arg(value_name = "INSTALLABLE", default_value = ".")]
    pub installable: String,
    /// The root below which it is put; `/` is this machine
    #[arg(long, value_name = "ROOT")]
    pub to: PathBuf,
    /// How files get there
    #[arg(long, value_enum, default_value_t)]
    pub mode: InstallMode,
    /// Go on although there are files that were not installed: keep them aside
    #[arg(long)]
    pub force: bool,
    /// How many generations stay besides the current one; the oldest go first
    #[arg(long, value_name = "N", default_value_t = prefix::KEEP)]
    pub keep: usize,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub building: Building,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum InstallMode {
    /// Files of their own, which live on when the store is gone
    #[default]
    Copy,
    /// A link into the store, which keeps the prefix from being collected
    Symlink,
    /// Names of the store's files; must be on the store's file system
    Hardlink,
}

/// A prefix that was installed.
#[derive(Debug, Args)]
pub struct At {
    /// The prefix, as `/usr/local/my-stuff`
    pub prefix: PathBuf,
    /// The root below which it lies
    #[arg(long, value_name = "ROOT", default_value = "/")]
    pub to: PathBuf,
}

#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    pub at: At,
    /// Go on although files were changed or added by hand: keep them aside
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Switch {
    #[command(flatten)]
    pub change: Change,
    /// The generation's number, as `ev prefix generations` lists it [default: the newest]
    pub generation: Option<u32>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = ["keep", "older_than"])]
pub struct Prune {
    #[command(flatten)]
    pub at: At,
    /// Keep this many, the newest [default: none]
    #[arg(long, value_name = "N")]
    pub keep: Option<usize>,
    /// Only those that were installed longer ago than this, in days
    #[arg(long, value_name = "DAYS")]
    pub older_than: Option<u64>,
}

#[derive(Debug, Args)]
pub struct Generations {
    #[command(flatten)]
    pub at: At,
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The prefix, or the root that holds it
    pub dir: PathBuf,
    /// The path of the prefix, when the folder does not tell
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<PathBuf>,
    /// Print findings as JSON
    #[arg(long)]
    pub json: bool,
}

impl Prefix {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Prefix::Install(command) => command.run(global),
            Prefix::Check(command) => command.run(),
            Prefix::Rollback(change) => change.switch(prefix::Wanted::Previous, global),
            Prefix::Switch(Switch { change, generation }) => {
                change.switch(generation.map_or(prefix::Wanted::Newest, prefix::Wanted::Number), global)
            }
            Prefix::Uninstall(Change { at, force }) => {
                let removed = prefix::uninstall(&at.to, &at.prefix, force).map_err(failed)?;
                tell_kept(&removed.kept);
                tell_of_refresh(&at.to, global);
                Ok(())
            }
            Prefix::Prune(Prune { at, keep, older_than }) => {
                let older_than = older_than.map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60)));
                let removed = prefix::prune(&at.to, &at.prefix, keep.unwrap_or(0), older_than).map_err(failed)?;
                for generation in &removed.generations {
                    say!("{}\tgeneration {generation}", path_in_line(&removed.path))?;
                }
                tell_kept(&removed.kept);
                Ok(())
            }
            Prefix::Generations(command) => command.run(),
        }
    }

    /// Whether a failure is to be told on standard output too.
    pub fn wants_json(&self) -> bool {
        matches!(self, Prefix::Generations(command) if command.json)
    }
}

impl Change {
    fn switch(self, wanted: prefix::Wanted, global: &Global) -> Result<(), Failure> {
        let installed = prefix::switch(&self.at.to, &self.at.prefix, wanted, self.force).map_err(failed)?;
        tell_kept(&installed.kept);
        say!("{}\tgeneration {}", path_in_line(&installed.path), installed.generation)?;
        tell_of_refresh(&self.at.to, global);
        Ok(())
    }
}

impl Generations {
    fn run(self) -> Result<(), Failure> {
        let generations = prefix::generations(&self.at.to, &self.at.prefix).map_err(failed)?;
        if self.json {
            let shown: Vec<_> = generations
                .iter()
                .map(|generation| {
                    serde_json::json!({
                        "generation": generation.number, "current": generation.current, "mode": generation.mode,
                        "source": generation.source, "installedSecs": generation.installed_secs,
                    })
                })
                .collect();
            say!("{}", serde_json::json!({ "version": 1, "prefix": self.at.prefix, "generations": shown }))?;
            return Ok(());
        }
        for generation in generations {
            let current = if generation.current { "\tcurrent" } else { "" };
            let date =
                gix::date::Time::new(generation.installed_secs, 0).format_or_unix(gix::date::time::format::ISO8601);
            say!("{}\t{date}\t{}{current}", generation.number, path_in_line(&generation.source))?;
        }
        Ok(())
    }
}

fn failure(error: impl std::error::Error) -> Failure {
    Failure::new(error.to_string())
}

fn failed(error: prefix::PrefixError) -> Failure {
    let (code, help) = (error.code(), error.help());
    let failed = failure(error).code(code);
    match help {
        Some(help) => failed.help(help),
        None => failed,
    }
}

/// Says where files are that are not part of any generation; nobody else knows.
fn tell_kept(kept: &[PathBuf]) {
    for path in kept {
        remark!("files that were not installed are kept in `{}`", path_in_line(path));
    }
}

/// Says what else is to be done where the prefix is in a system extension that is a directory: since 258, systemd compares
/// that directory itself with what it has merged, and nothing below it.
fn tell_of_refresh(to: &Path, global: &Global) {
    let Ok(root) = std::fs::canonicalize(to) else { return };
    let mut names = root.components().skip_while(|part| part.as_os_str() != "extensions").skip(1);
    if !global.quiet && matches!(names.next(), Some(Component::Normal(_))) {
        remark!(
            "an extension changed inside: `systemd-sysext refresh --always-refresh=yes` shows it (systemd 258 and later)"
        );
    }
}

impl Install {
    fn run(self, global: &Global) -> Result<(), Failure> {
        let progress = Progress::start(global);
        let session = Session::open(global, &self.source, &self.building, &Mode::default(), progress.sink())?;
        let built = build_one(&session, &self.source, &self.installable);
        progress.finish();
        let path = built?;
        let mode = match self.mode {
            InstallMode::Copy => prefix::Mode::Copy,
            InstallMode::Symlink => prefix::Mode::Symlink,
            InstallMode::Hardlink => prefix::Mode::Hardlink,
        };
        let options = prefix::InstallOptions {
            force: self.force,
            keep: self.keep,
            store: Some(&session.store),
            ..prefix::InstallOptions::default()
        };
        let installed =
            prefix::install(&session.store.physical_path(&path), &self.to, mode, &options).map_err(failed)?;
        tell_kept(&installed.kept);
        if installed.previous == Some(installed.generation) && !global.quiet {
            remark!("generation {} is it already", installed.generation);
        }
        say!("{}", path_in_line(&installed.path))?;
        tell_of_refresh(&self.to, global);
        Ok(())
    }
}

/// Builds the one output that a command works with.
fn build_one(session: &Session, source: &Source, name: &str) -> Result<store::StorePath, Failure> {
    let wanted = session.resolve(source, &[name.to_owned()])?;
    match wanted.into_iter().next() {
        Some(Wanted::Path(path)) => Ok(path),
        Some(Wanted::Derivation { drv, outputs }) => {
            let plan = session.builder.plan(&[builder::Target { drv, outputs }])?;
            let output = plan.targets.first().and_then(|target| target.outputs.values().next().cloned());
            let _orderly = crate::interrupt::orderly();
            session.builder.realise(plan)?;
            output.ok_or_else(|| Failure::new(format!("`{name}` has no output")))
        }
        None => Err(Failure::new(format!("`{name}` names nothing to install"))),
    }
}

impl Check {
    fn run(self) -> Result<(), Failure> {
        let path = match &self.prefix {
            Some(path) => path.clone(),
            None => prefix::find_prefix(&self.dir)
                .map_err(|error| failure(error).help("give the path with `--prefix /usr/local/my-stuff`"))?,
        };
        let findings = audit::audit(&self.dir, &path, &Policy::default()).map_err(failure)?;
        if self.json {
            let shown: Vec<_> = findings
                .iter()
                .map(|finding| {
                    serde_json::json!({
                        "file": finding.path, "offset": finding.offset, "kind": finding.kind.name(),
                        "text": finding.text, "help": finding.help,
                    })
                })
                .collect();
            say!("{}", serde_json::json!({ "version": 1, "prefix": path, "findings": shown }))?;
        } else {
            for finding in &findings {
                say!("{}", in_line(&finding.to_string()))?;
            }
        }
        match findings.len() {
            0 => Ok(()),
            count => {
                let places = if count == 1 { "place" } else { "places" };
                let message = format!(
                    "`{}` leads out of the prefix `{}` in {count} {places}",
                    self.dir.display(),
                    path.display()
                );
                Err(Failure::new(message).help("the lines above name each place"))
            }
        }
    }
}
