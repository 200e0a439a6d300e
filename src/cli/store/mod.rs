//! `store`: adds to, verifies and cleans the store.

mod add;
mod cat;
mod delete;
mod diff_closures;
pub mod gc;
mod info;
mod inside;
mod ls;
mod rebuild_db;
mod verify;

pub use diff_closures::split_version;
pub use ls::entries;

use super::Global;
use crate::report::Failure;
use clap::Subcommand;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum Store {
    /// Add a file or a directory, and print its path on this machine
    Add(add::Add),
    /// List what is inside a path
    Ls(ls::Ls),
    /// Print a file of a path
    Cat(cat::Cat),
    /// Compare two closures, package by package
    DiffClosures(Box<diff_closures::DiffClosures>),
    /// Describe the store: place, paths, free space
    Info(info::Info),
    /// Read everything, and compare it with its checksums
    Verify(verify::Verify),
    /// Delete everything that no link, profile or running build needs
    Gc(gc::Gc),
    /// Delete paths that nothing needs, with what refers to them
    Delete(delete::Delete),
    /// Rebuild the database from the files on disk
    RebuildDb(rebuild_db::RebuildDb),
}

impl Store {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Store::Add(command) => command.run(global),
            Store::Ls(command) => command.run(global),
            Store::Cat(command) => command.run(global),
            Store::DiffClosures(command) => command.run(global),
            Store::Info(command) => command.run(global),
            Store::Delete(command) => command.run(global),
            Store::Verify(command) => command.run(global),
            Store::Gc(command) => command.run(global),
            Store::RebuildDb(command) => command.run(global),
        }
    }

    /// Returns whether a failure is also printed to standard output, where a program expects JSON.
    pub fn wants_json(&self) -> bool {
        match self {
            Store::Ls(command) => command.json,
            Store::DiffClosures(command) => command.json,
            Store::Info(command) => command.json,
            Store::Verify(command) => command.json,
            _ => false,
        }
    }
}

/// Returns that many days, or the longest time that there is.
fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 60 * 60))
}
