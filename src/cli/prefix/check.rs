//! `prefix check`: finds references out of a prefix.

use super::install::build_one;
use crate::cli::session::CommandSession;
use crate::cli::{Evaluation, Global};
use crate::print::say;
use crate::progress::Progress;
use crate::report::Failure;
use clap::Args;
use deliver::audit::{self, Policy};
use deliver::prefix;
use model::terminal::in_line;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Check {
    /// Prefix, or the root that contains it: a directory, or what to build for one, such as
    /// `.#python-prefix`
    #[arg(value_name = "DIR or INSTALLABLE")]
    pub dir: PathBuf,
    /// Path of the prefix, when the directory does not show it
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<PathBuf>,
    /// Print findings as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

impl Check {
    /// Builds an installable; `None` when a directory is named.
    fn built(&self, global: &Global) -> Result<Option<PathBuf>, Failure> {
        let Some(name) = self.dir.to_str() else { return Ok(None) };
        let source = &self.evaluation.source;
        if self.dir.exists() || !name.contains('#') && source.file.is_none() && source.expr.is_none() {
            return Ok(None);
        }
        let progress = Progress::start(global.display());
        let session = CommandSession::open(global, global.settings(&self.evaluation)?, progress.sink())?;
        let built = build_one(&session, name);
        progress.finish();
        Ok(Some(session.store.physical_path(&built?)))
    }

    pub fn run(mut self, global: &Global) -> Result<(), Failure> {
        if let Some(built) = self.built(global)? {
            self.dir = built;
        }
        let failure = |error: &dyn std::error::Error| Failure::new(error.to_string());
        let path = match &self.prefix {
            Some(path) => path.clone(),
            None => prefix::find_prefix(&self.dir)
                .map_err(|error| failure(&error).help("give the path with `--prefix /usr/local/my-stuff`"))?,
        };
        let findings = audit::audit(&self.dir, &path, &Policy::default()).map_err(|error| failure(&error))?;
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
