//! `store delete`: deletes paths that nothing needs.

use super::inside;
use crate::cli::Global;
use crate::print::{remark, say};
use crate::progress::bytes;
use crate::report::Failure;
use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Delete {
    /// Paths to delete, with everything that refers to them
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Delete {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = inside::open(global)?;
        let paths = self.paths.iter().map(|path| Ok(inside::locate(&store, path)?.0));
        let paths = paths.collect::<Result<BTreeSet<_>, Failure>>()?;
        let mut printed = Ok(());
        let report = store.delete(&paths, self.dry_run, &mut |path| {
            if printed.is_ok() {
                printed = say!("{}", store.physical_path(path).display());
            }
        })?;
        let verb = if self.dry_run { "would free" } else { "freed" };
        if !global.quiet {
            remark!("{} paths {verb} {}", report.removed, bytes(report.freed_bytes));
        }
        printed
    }
}
