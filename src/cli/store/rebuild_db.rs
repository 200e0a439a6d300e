//! `store rebuild-db`: rebuilds the database from the files on disk.

use crate::cli::Global;
use crate::print::remark;
use crate::report::Failure;
use clap::Args;
use store::LocalStore;

#[derive(Debug, Args)]
pub struct RebuildDb {
    /// Replace the database of a newer eval too; its additional records are lost
    #[arg(long)]
    pub downgrade: bool,
}

impl RebuildDb {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        rebuild(global, self.downgrade).map(drop)
    }
}

/// Rebuilds the database, and prints the number of paths found.
pub fn rebuild(global: &Global, downgrade: bool) -> Result<LocalStore, Failure> {
    let settings = global.store_settings()?;
    let (store, paths) = LocalStore::rebuild_db(&settings.root, settings.options(), downgrade)?;
    remark!("{paths} paths found");
    Ok(store)
}
