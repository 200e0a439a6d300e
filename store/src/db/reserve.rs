//! Space reserved for the database, so that it can be opened and shrunk on a disk with no free
//! byte.
//!
//! SQLite writes before it reads: a database with a write-ahead log has an index of that log beside
//! it, made by the first process that opens it. The rows that a collector deletes also go through
//! the log. `db/reserve` is an empty file of some mebibytes; on a full disk a part of it is given
//! up for the log, and allocated again afterwards.

use os::public;
use os::space::{capacity_bytes_at, free_bytes_at, kept_bytes_at};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

/// The largest size of the file.
const RESERVE_BYTES_MAX: u64 = 4 << 20;
/// The file takes at most this part of the file system.
const PART: u64 = 32;
/// Space for opening the database: an index of 32 KiB, and an empty log.
const LENT_BYTES: u64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    /// Set when this process has given up a part of it.
    lent: Mutex<bool>,
}

impl Reserve {
    pub fn new(path: PathBuf) -> Self {
        Self { path, lent: Mutex::new(false) }
    }

    /// Extends the file to its full size, if there is plenty of space. A lack of space is not an
    /// error.
    pub fn keep(&self) {
        let len = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if len >= RESERVE_BYTES_MAX {
            return;
        }
        let wanted = RESERVE_BYTES_MAX.min(capacity_bytes_at(&self.path).unwrap_or(0) / PART);
        let (free, kept) = (free_bytes_at(&self.path).unwrap_or(0), kept_bytes_at(&self.path).unwrap_or(0));
        if len < wanted && free >= kept.saturating_add(wanted) {
            self.extend_to(wanted);
        }
    }

    /// Returns true when free space is down to the reserved amount, so that a large transaction may
    /// fail.
    pub fn is_space_scarce(&self) -> bool {
        let kept = kept_bytes_at(&self.path).unwrap_or(0);
        free_bytes_at(&self.path).is_some_and(|free| free < kept.max(RESERVE_BYTES_MAX))
    }

    /// Returns true when there is so little space that opening the database may need the reserve.
    pub fn is_needed(&self) -> bool {
        free_bytes_at(&self.path).is_some_and(|free| free < RESERVE_BYTES_MAX)
    }

    /// Gives up as much as opening the database needs; returns `false` when nothing is left.
    pub fn lend(&self) -> bool {
        self.shrink(|len| len.saturating_sub(LENT_BYTES))
    }

    /// Gives up all of it.
    pub fn lend_all(&self) -> bool {
        self.shrink(|_| 0)
    }

    fn shrink(&self, to: impl FnOnce(u64) -> u64) -> bool {
        let Ok(file) = File::options().write(true).open(&self.path) else { return false };
        let len = file.metadata().map_or(0, |meta| meta.len());
        if len == 0 || file.set_len(to(len)).is_err() {
            return false;
        }
        *os::lock(&self.lent) = true;
        true
    }

    /// Allocates again the part that was given up, as far as there is space.
    pub fn take_back(&self) {
        if !std::mem::take(&mut *os::lock(&self.lent)) {
            return;
        }
        let len = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        let wanted = RESERVE_BYTES_MAX.min(capacity_bytes_at(&self.path).unwrap_or(0) / PART);
        let room = free_bytes_at(&self.path).unwrap_or(0);
        if room > 0 {
            self.extend_to(wanted.min(len.saturating_add(room)));
        }
    }

    fn extend_to(&self, len: u64) {
        let Ok(file) = public::open_file(&self.path) else { return };
        let Ok(there) = file.metadata() else { return };
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).is_err() {
            // Holes reserve nothing: the earlier size stays, and a kernel that cannot allocate has
            // no reserve.
            let _ = file.set_len(there.len());
        }
    }
}
