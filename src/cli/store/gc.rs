//! `store gc`: deletes everything that is not needed.

use super::days;
use crate::cli::Global;
use crate::cli::session::console;
use crate::cli::sizes;
use crate::print::{remark, say};
use crate::progress::bytes;
use crate::report::Failure;
use clap::Args;
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct Gc {
    /// Print what would be deleted, with sizes, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Keep the newest unneeded paths, up to this size of the whole store, such as `20G`
    #[arg(long, value_name = "SIZE", value_parser = sizes::parse)]
    pub max_size: Option<u64>,
    /// Delete only paths that were registered longer ago than this
    #[arg(long, value_name = "DAYS")]
    pub older_than: Option<u64>,
    /// Keep logs of builds whose derivations are gone, and directories of failed builds, for this
    /// long
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub keep_logs: u64,
}

impl Gc {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = Arc::new(global.store_settings()?.open(&console(global))?);
        if !self.dry_run {
            let options = builder::Options::default();
            builder::Builder::new(store.clone(), options, Arc::new(builder::Silent)).clear_cache()?;
        }
        let options = store::GcOptions {
            dry_run: self.dry_run,
            max_bytes: self.max_size,
            older_than: self.older_than.map(days),
            keep_logs: Some(days(self.keep_logs)),
        };
        let mut printed = Ok(());
        let report = store.gc(options, &mut |path| {
            // A path that cannot be printed is deleted nevertheless, and the error reported at the
            // end.
            if printed.is_ok() {
                printed = say!("{}", store.physical_path(path).display());
            }
        })?;
        remark!(
            "{} paths and {} files {} {}; {} paths with {} stay",
            report.removed,
            report.removed_blobs,
            if self.dry_run { "would free" } else { "freed" },
            bytes(report.freed_bytes),
            report.kept,
            bytes(report.kept_bytes)
        );
        printed
    }
}
