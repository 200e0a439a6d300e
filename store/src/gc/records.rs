//! Removes old logs, build records, and directories of failed builds.
//!
//! Log and records of a valid derivation stay, so that users can ask how it was made. Those of
//! other derivations, and directories of failed builds that no user has entered, stay for the time
//! that the user sets. An unfinished log belongs to a dead process.

use super::GcReport;
use crate::db::{DELETE_OLD_BUILDS, DELETE_OLD_LOGS};
use crate::error::StoreError;
use crate::local::LocalStore;
use model::path::StorePath;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use os::dir::Dir;
use std::path::Path;
use std::time::Duration;

/// The longest time without a line for a log whose process cannot be seen from here.
const UNFINISHED: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes records older than `keep` whose derivation is not `valid`.
pub(super) fn sweep(
    store: &LocalStore,
    valid: impl Fn(&StorePath) -> bool,
    keep: Duration,
    dry_run: bool,
    report: &mut GcReport,
) -> Result<(), StoreError> {
    let limit = store.now().saturating_sub(keep.as_secs());
    if let Some(logs) = find(&store.log_dir())? {
        for name in logs.names()? {
            // A build that ends renames its log.
            let Some(stat) = logs.find(&name)? else { continue };
            let text = String::from_utf8_lossy(&name);
            let changed_at = stat.st_mtime.max(0) as u64;
            let old = if let Some(derivation) = text.strip_suffix(".zst") {
                changed_at < limit && !StorePath::parse(derivation).is_ok_and(|path| valid(&path))
            } else if let Some(writer) = text.strip_suffix(".part").and_then(|rest| rest.rsplit('.').next()) {
                changed_at < store.now().saturating_sub(UNFINISHED.as_secs())
                    && !Path::new("/proc").join(writer).exists()
            } else {
                false
            };
            if old {
                if !dry_run {
                    logs.remove_file(&name)?;
                }
                report.removed_logs += 1;
                report.freed_bytes += stat.st_size as u64;
            }
        }
    }
    if let Some(failed) = find(&store.root().join("failed"))? {
        for name in failed.names()? {
            let Some(stat) = failed.find(&name)? else { continue };
            if (stat.st_mtime.max(0) as u64) < limit && !is_entered(&failed, &name) {
                report.leftovers += 1;
                if !dry_run {
                    report.freed_bytes += failed.remove_all(&name)?;
                }
            }
        }
    }
    let (count, bytes) = store.database.read(|session| session.old_logs(limit))?;
    if !dry_run {
        store.database.write(|session| {
            session.execute(DELETE_OLD_LOGS, [limit as i64])?;
            session.execute(DELETE_OLD_BUILDS, [limit as i64])
        })?;
    }
    report.removed_logs += count;
    report.freed_bytes += bytes;
    Ok(())
}

/// Returns whether a user has entered the failed build of this directory: it is locked then.
fn is_entered(failed: &Dir, name: &[u8]) -> bool {
    let directory = std::fs::File::open(failed.join(name));
    directory.is_ok_and(|directory| Flock::lock(directory, FlockArg::LockExclusiveNonblock).is_err())
}

fn find(path: &Path) -> Result<Option<Dir>, StoreError> {
    match Dir::open(path) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.errno == Errno::ENOENT => Ok(None),
        Err(error) => Err(error.into()),
    }
}
