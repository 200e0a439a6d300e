//! Free space on a file system, and the part of it that is kept.
//!
//! Writers of large amounts claim space first: fetching, unpacking, adding and copying fail while
//! there is still enough space for the database, for logs and for the collector. So the collector
//! can always clear a full disk. A claim reserves nothing, since other programs write to the disk
//! as well; the store's database has a reserve file for that.

use rustix::fs::StatVfs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest amount that is kept, on a large file system.
const KEPT_BYTES_MAX: u64 = 256 << 20;
/// The part that is kept on a smaller one: one fiftieth.
const KEPT_PART: u64 = 50;
/// The kernel is queried again after so many bytes, or after a fourth of the kept amount.
const STEP_BYTES_MAX: u64 = 1 << 20;

/// Advice for a store whose file system is full.
pub const STORE_FULL: &str =
    "free some space there (`ev store gc` drops what nothing keeps) or set EVAL_ROOT to a larger file system";

/// The free space on one file system.
#[derive(Debug)]
pub struct FreeSpace {
    at: PathBuf,
    help: &'static str,
    kept_bytes: OnceLock<u64>,
    /// Bytes granted since the last query of the kernel.
    granted_bytes: AtomicU64,
}

/// Too little free space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not enough space for {}: {} are free where `{}` is, and {} of them are kept so that the store can still be cleaned",
    shown(*wanted_bytes), shown(*free_bytes), at.display(), shown(*kept_bytes)
)]
pub struct OutOfSpace {
    pub at: PathBuf,
    pub wanted_bytes: u64,
    pub free_bytes: u64,
    pub kept_bytes: u64,
    /// The next step for the user.
    pub help: &'static str,
}

impl FreeSpace {
    /// Returns the free space on the file system of `at`, which need not exist yet. `help` is the
    /// advice when there is too little.
    pub fn new(at: impl Into<PathBuf>, help: &'static str) -> Self {
        // The first claim queries the kernel.
        let granted_bytes = AtomicU64::new(u64::MAX / 2);
        Self { at: at.into(), help, kept_bytes: OnceLock::new(), granted_bytes }
    }

    /// Returns the advice of messages.
    pub fn help(&self) -> &'static str {
        self.help
    }

    /// Returns the bytes that may still be written; `None` where the kernel reports no size.
    pub fn available_bytes(&self) -> Option<u64> {
        let system = file_system(&self.at)?;
        Some(system.f_bavail.saturating_mul(system.f_frsize).saturating_sub(kept_bytes(&system)))
    }

    /// Claims space for `bytes` more. Cheap: the kernel is queried once a mebibyte.
    ///
    /// # Errors
    /// [`OutOfSpace`] when less than the kept amount would be left.
    pub fn claim(&self, bytes: u64) -> Result<(), OutOfSpace> {
        let step = self.kept_bytes.get().map_or(0, |&kept| STEP_BYTES_MAX.min(kept / 4));
        if self.granted_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) < step {
            return Ok(());
        }
        self.require(bytes)?;
        self.granted_bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Does the same as [`FreeSpace::claim`], for a large amount that is written later: queries the
    /// kernel at once, and grants nothing.
    ///
    /// # Errors
    /// [`OutOfSpace`].
    pub fn require(&self, bytes: u64) -> Result<(), OutOfSpace> {
        let Some(system) = file_system(&self.at) else { return Ok(()) };
        let kept_bytes = *self.kept_bytes.get_or_init(|| kept_bytes(&system));
        let free_bytes = system.f_bavail.saturating_mul(system.f_frsize);
        if free_bytes.saturating_sub(kept_bytes) >= bytes {
            return Ok(());
        }
        // The next claim must query the kernel again.
        self.granted_bytes.store(u64::MAX / 2, Ordering::Relaxed);
        Err(OutOfSpace { at: self.at.clone(), wanted_bytes: bytes, free_bytes, kept_bytes, help: self.help })
    }
}

/// Returns the amount to keep free on the file system of `path`; `None` where the kernel reports no
/// size.
pub fn kept_bytes_at(path: &Path) -> Option<u64> {
    file_system(path).map(|system| kept_bytes(&system))
}

/// Returns the bytes that an ordinary user can still write to the file system of `path`.
pub fn free_bytes_at(path: &Path) -> Option<u64> {
    file_system(path).map(|system| system.f_bavail.saturating_mul(system.f_frsize))
}

/// Returns the capacity of the file system of `path`.
pub fn capacity_bytes_at(path: &Path) -> Option<u64> {
    file_system(path).map(|system| capacity_bytes(&system))
}

fn capacity_bytes(system: &StatVfs) -> u64 {
    system.f_blocks.saturating_mul(system.f_frsize)
}

fn kept_bytes(system: &StatVfs) -> u64 {
    KEPT_BYTES_MAX.min(capacity_bytes(system) / KEPT_PART)
}

/// Returns the kernel's report on a file system; `None` for one without a size, as some network
/// file systems and unlimited ones in memory.
fn file_system(at: &Path) -> Option<StatVfs> {
    let there = at.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    (there.f_blocks > 0).then_some(there)
}

/// Formats a number of bytes for people.
pub fn shown(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match UNITS.iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / f64::from(1u32 << shift)),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_disk_has_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("not/made/yet");
        let capacity = capacity_bytes_at(&at).unwrap();
        let room = FreeSpace::new(&at, STORE_FULL);
        assert_eq!(room.claim(1), Ok(()));
        for _ in 0..2 {
            let error = room.claim(capacity).unwrap_err();
            assert_eq!((error.wanted_bytes, error.kept_bytes), (capacity, kept_bytes_at(&at).unwrap()));
        }
        assert_eq!(room.claim(1), Ok(()), "what was refused was not written");
    }

    #[test]
    fn bytes_for_people() {
        let texts = [0, 1023, 1024, 1536 << 10, 5 << 30].map(shown);
        assert_eq!(texts, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 MiB", "5.0 GiB"]);
    }
}
