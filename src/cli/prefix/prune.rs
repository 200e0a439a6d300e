//! `prefix prune`: removes old generations.

use super::{At, failed, remark_kept};
use crate::cli::Global;
use crate::print::{path_in_line, say};
use crate::report::Failure;
use clap::Args;
use deliver::prefix;
use std::time::Duration;

#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = ["keep", "older_than"])]
pub struct Prune {
    #[command(flatten)]
    pub at: At,
    /// Keep this many of the newest generations [default: none]
    #[arg(long, value_name = "N")]
    pub keep: Option<usize>,
    /// Remove only generations that were installed longer ago than this
    #[arg(long, value_name = "DAYS")]
    pub older_than: Option<u64>,
}

impl Prune {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let older_than = self.older_than.map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60)));
        let keep = self.keep.unwrap_or(0);
        let removed = prefix::prune(&self.at.to(global), &self.at.prefix, keep, older_than).map_err(failed)?;
        for generation in &removed.generations {
            say!("{}\tgeneration {generation}", path_in_line(&removed.path))?;
        }
        remark_kept(&removed.kept);
        Ok(())
    }
}
