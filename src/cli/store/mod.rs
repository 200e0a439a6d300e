//! `store`: adds to, verifies and cleans the store.

mod add;
mod gc;
mod rebuild_db;
mod verify;

use super::Global;
use crate::report::Failure;
use clap::Subcommand;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum Store {
    /// Add a file or a directory, and print its path on this machine
    Add(add::Add),
    /// Read everything, and compare it with its checksums
    Verify(verify::Verify),
    /// Delete everything that no link, profile or running build needs
    Gc(gc::Gc),
    /// Rebuild the database from the files on disk
    RebuildDb(rebuild_db::RebuildDb),
}

impl Store {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Store::Add(command) => command.run(global),
            Store::Verify(command) => command.run(global),
            Store::Gc(command) => command.run(global),
            Store::RebuildDb(command) => command.run(global),
        }
    }
}

/// Returns that many days, or the longest time that there is.
fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 60 * 60))
}
