//! `prefix install`, `prefix check`: the delivery of prefixes.

use std::path::PathBuf;

use builder::audit::{self, Policy};
use clap::{Args, Subcommand, ValueEnum};
use store::export::prefix;

use super::{Building, Global, Source};
use crate::evaluate::{Mode, Session, Wanted};
use crate::print::say;
use crate::progress::Progress;
use crate::report::Failure;

#[derive(Debug, Subcommand)]
pub enum Prefix {
    /// Build a prefix and put it below a root
    Install(Box<Install>),
    /// Go back to the generation before the current one
    Rollback(Installed),
    /// Remove a prefix with all its generations
    Uninstall(Installed),
    /// List what was installed, newest last
    Generations(Installed),
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
    /// Replace what somebody else put at the prefix's path
    #[arg(long)]
    pub force: bool,
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

#[derive(Debug, Args)]
pub struct Installed {
    /// The prefix, as `/usr/local/my-stuff`
    pub prefix: PathBuf,
    /// The root below which it lies
    #[arg(long, value_name = "ROOT", default_value = "/")]
    pub to: PathBuf,
    /// Go on although files were changed or added by somebody else
    #[arg(long)]
    pub force: bool,
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
            Prefix::Rollback(at) => {
                let installed = prefix::rollback(&at.to, &at.prefix, None, at.force).map_err(failure)?;
                say!("{}\tgeneration {}", installed.path.display(), installed.generation)?;
                Ok(())
            }
            Prefix::Uninstall(at) => prefix::uninstall(&at.to, &at.prefix, at.force).map_err(failure),
            Prefix::Generations(at) => {
                for generation in prefix::generations(&at.to, &at.prefix).map_err(failure)? {
                    let current = if generation.current { "\tcurrent" } else { "" };
                    say!("{}\t{}{current}", generation.number, generation.source.display())?;
                }
                Ok(())
            }
        }
    }
}

fn failure(error: impl std::error::Error) -> Failure {
    Failure::new(error.to_string())
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
        let options = prefix::InstallOptions { force: self.force, ..prefix::InstallOptions::default() };
        let installed =
            prefix::install(&session.store.physical_path(&path), &self.to, mode, &options).map_err(failure)?;
        if mode == prefix::Mode::Symlink {
            // The link stays outside of the store, so the store has to be told that it needs the tree.
            let name = format!("prefix-{}-{}", installed.generation, path.hash_text());
            let name = store::StorePathName::new(&name).map_err(failure)?;
            session.store.add_named_root(&name, &path)?;
        }
        say!("{}", installed.path.display())?;
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
                say!("{finding}")?;
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
