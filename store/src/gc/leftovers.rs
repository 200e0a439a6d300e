//! Removes leftovers of dead processes below `tmp/`, and abandoned downloads.

use super::GcReport;
use crate::error::StoreError;
use nix::fcntl::{Flock, FlockArg};
use os::dir::Dir;

/// The directory of partial downloads; see `partial.rs` of the crate `fetch`.
const DOWNLOADS: &[u8] = b"partial";

/// Removes the directories of dead processes, and the downloads that no process has locked.
pub(super) fn sweep(tmp: &Dir, dead: Vec<Vec<u8>>, dry_run: bool, report: &mut GcReport) -> Result<(), StoreError> {
    for name in dead {
        if name == DOWNLOADS {
            sweep_downloads(&tmp.open_dir(&name)?, dry_run, report)?;
            continue;
        }
        report.leftovers += 1;
        if !dry_run {
            report.freed_bytes += tmp.remove_all(&name)?;
        }
    }
    Ok(())
}

fn sweep_downloads(downloads: &Dir, dry_run: bool, report: &mut GcReport) -> Result<(), StoreError> {
    let names = downloads.names()?;
    for name in &names {
        let Some(key) = name.strip_suffix(b".part") else { continue };
        let Ok(file) = downloads.open_file(name) else { continue };
        // A download holds this lock, and checks after taking it that the file still has its name.
        let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        report.leftovers += 1;
        if !dry_run {
            report.freed_bytes += downloads.remove_all(name)?;
            downloads.remove_all(&[key, b".from"].concat())?;
        }
    }
    // Notes of the source of a download that is gone.
    for name in names.iter().filter(|name| name.ends_with(b".from")) {
        let part = [&name[..name.len() - 5], b".part"].concat();
        if !dry_run && downloads.find(&part)?.is_none() {
            downloads.remove_all(name)?;
        }
    }
    Ok(())
}
