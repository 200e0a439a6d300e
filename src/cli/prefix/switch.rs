//! `prefix switch` and `prefix rollback`: change the current generation.

use super::{Change, failed, remark_kept, remark_refresh};
use crate::cli::Global;
use crate::print::{path_in_line, say};
use crate::report::Failure;
use clap::Args;
use deliver::prefix;

#[derive(Debug, Args)]
pub struct Switch {
    #[command(flatten)]
    pub change: Change,
    /// Number of the generation, as `ev prefix generations` lists it [default: the newest]
    pub generation: Option<u32>,
}

impl Switch {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let wanted = self.generation.map_or(prefix::Wanted::Newest, prefix::Wanted::Number);
        switch(&self.change, wanted, global)
    }
}

pub fn switch(Change { at, force }: &Change, wanted: prefix::Wanted, global: &Global) -> Result<(), Failure> {
    let installed = prefix::switch(&at.to(global), &at.prefix, wanted, *force).map_err(failed)?;
    remark_kept(&installed.kept);
    say!("{}\tgeneration {}", path_in_line(&installed.path), installed.generation)?;
    remark_refresh(&at.to(global), global);
    Ok(())
}
