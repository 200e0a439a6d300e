//! `prefix check`: finds references out of a prefix.

use crate::print::say;
use crate::report::Failure;
use clap::Args;
use deliver::audit::{self, Policy};
use deliver::prefix;
use model::terminal::in_line;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Check {
    /// Prefix, or the root that contains it
    pub dir: PathBuf,
    /// Path of the prefix, when the directory does not show it
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<PathBuf>,
    /// Print findings as JSON
    #[arg(long)]
    pub json: bool,
}

impl Check {
    pub fn run(self) -> Result<(), Failure> {
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
