//! `prefix install`: builds a prefix and installs it.

use super::{failed, remark_kept, remark_refresh};
use crate::cli::session::CommandSession;
use crate::cli::{Evaluation, Global};
use crate::interrupt::interrupts;
use crate::print::{path_in_line, remark, say};
use crate::progress::Progress;
use crate::report::Failure;
use clap::{Args, ValueEnum};
use deliver::prefix;
use model::StorePath;
use std::path::PathBuf;
use workspace::Wanted;

#[derive(Debug, Args)]
pub struct Install {
    /// Prefix root to install: `.#python-prefix`, a store path, a result link
    #[arg(value_name = "INSTALLABLE", default_value = ".")]
    pub installable: String,
    /// Root to install the prefix below; `/` is this machine
    #[arg(long, value_name = "ROOT")]
    pub to: PathBuf,
    /// Choose how files are installed
    #[arg(long, value_enum, default_value_t)]
    pub mode: InstallMode,
    /// Move files that `ev` did not install aside, and continue
    #[arg(long)]
    pub force: bool,
    /// Keep this many generations besides the current one, and remove the oldest
    #[arg(long, value_name = "N", default_value_t = prefix::KEEP)]
    pub keep: usize,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum InstallMode {
    /// Copy the files, which then outlive the store
    #[default]
    Copy,
    /// Link to the store; the link keeps the prefix from being collected
    Symlink,
    /// Hard-link the store's files, for a root on the store's file system
    Hardlink,
}

impl Install {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let progress = Progress::start(global.display());
        let session = CommandSession::open(global, global.settings(&self.evaluation)?, progress.sink())?;
        let built = build_one(&session, &self.installable);
        progress.finish();
        let path = built?;
        let mode = match self.mode {
            InstallMode::Copy => prefix::InstallMode::Copy,
            InstallMode::Symlink => prefix::InstallMode::Symlink,
            InstallMode::Hardlink => prefix::InstallMode::Hardlink,
        };
        let options = prefix::InstallOptions {
            force: self.force,
            keep: self.keep,
            store: Some(&session.store),
            ..prefix::InstallOptions::default()
        };
        let installed =
            prefix::install(&session.store.physical_path(&path), &self.to, mode, &options).map_err(failed)?;
        remark_kept(&installed.kept);
        if installed.previous == Some(installed.generation) && !global.quiet {
            remark!("generation {} is current already", installed.generation);
        }
        say!("{}", path_in_line(&installed.path))?;
        remark_refresh(&self.to, global);
        Ok(())
    }
}

/// Builds the output to install.
pub fn build_one(session: &CommandSession, name: &str) -> Result<StorePath, Failure> {
    match session.resolve(&[name.to_owned()])?.into_iter().next() {
        Some(Wanted::Path(path)) => Ok(path),
        Some(Wanted::Derivation { drv, outputs }) => {
            let plan = session.builder.plan(&[builder::Target { drv, outputs }])?;
            let output = plan.targets.first().and_then(|target| target.outputs.values().next().cloned());
            let _cooperating = interrupts().cooperate();
            session.builder.realise(plan)?;
            output.ok_or_else(|| Failure::new(format!("`{name}` has no output")))
        }
        None => Err(Failure::new(format!("`{name}` is empty, and nothing can be installed"))),
    }
}
