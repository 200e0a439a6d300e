//! `prefix uninstall`: removes a prefix.

use super::{Change, failed, remark_kept, remark_refresh};
use crate::cli::Global;
use crate::report::Failure;
use deliver::prefix;

pub fn uninstall(Change { at, force }: &Change, global: &Global) -> Result<(), Failure> {
    let removed = prefix::uninstall(&at.to(global), &at.prefix, *force).map_err(failed)?;
    remark_kept(&removed.kept);
    remark_refresh(&at.to(global), global);
    Ok(())
}
