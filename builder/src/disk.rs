//! Free space on the store's disk, as far as builds themselves write there; for the rest see
//! [`os::space`].

use crate::error::LogSummary;
use os::space::{capacity_bytes_at, free_bytes_at};
use std::path::Path;

/// Returns how much of `bytes` to keep free on the file system of the store: up to a fiftieth of
/// it, and `None` on a small one.
pub(crate) fn reserve(root: &Path, bytes: u64) -> Option<u64> {
    const SMALL_BELOW_BYTES: u64 = 1 << 30;
    let total = capacity_bytes_at(root)?;
    (total >= SMALL_BELOW_BYTES).then_some(bytes.min(total / 50))
}

/// Returns the free bytes of the store's disk when a builder probably failed because the disk is
/// full: the log says so, or the disk does. (A builder may remove its files before it exits, so the
/// disk alone is not enough.)
pub(crate) fn no_space_left(root: &Path, log: &LogSummary) -> Option<u64> {
    const FULL_BELOW_BYTES: u64 = 1 << 20;
    let free = free_bytes_at(root)?;
    let said = log.first_error.iter().chain(&log.tail).any(|line| line.contains("No space left on device"));
    (said || free < FULL_BELOW_BYTES).then_some(free)
}
