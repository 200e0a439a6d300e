//! The directories of failed builds, below `<root>/failed/`.
//!
//! ```text
//!   <root>/failed/<derivation>/     mode 0700; locked shared (flock) while it is entered
//!       build, output               as the failure left them
//!       request.json                the sandbox of the build; its time is that of the failure
//!       automatic                   there unless the user asked to keep it: its size in bytes
//! ```
//!
//! Directories that the user asked for stay until a collection finds them old enough. Of others the
//! latest few stay, up to a size of all together: each failure removes the oldest that exceed
//! these. One that is entered is never removed; a new failure of the same derivation renames it.

use crate::error::{BuildError, io_error};
use model::StorePath;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use store::LocalStore;

/// The file whose presence says that the directory was kept without being asked for.
const AUTOMATIC: &str = "automatic";
/// The sandbox of the build.
pub(crate) const REQUEST: &str = "request.json";

/// Bounds on the directories that are kept without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedBounds {
    /// The number of directories.
    pub count: usize,
    /// Their size on disk together.
    pub bytes: u64,
}

/// A failed build whose directories were kept.
#[derive(Clone, Debug)]
pub struct FailedBuild {
    pub path: PathBuf,
    /// The name of the directory: the derivation's, and a number after it where a later failure of
    /// the same derivation replaced it while it was entered.
    pub name: String,
    pub failed_at: SystemTime,
    /// The size, of one that was kept without being asked for.
    automatic_bytes: Option<u64>,
}

/// A failed build that is being entered. Dropping it allows to remove it.
#[derive(Debug)]
pub struct FailedBuildInUse {
    _lock: Flock<File>,
}

impl FailedBuild {
    /// Returns the derivation that failed.
    pub fn drv(&self) -> Option<StorePath> {
        let end = self.name.rfind(".drv")? + ".drv".len();
        StorePath::parse(&self.name[..end]).ok()
    }

    /// Returns the derivation's name, without hash and `.drv`.
    pub fn short_name(&self) -> String {
        let drv = self.drv();
        let name = drv.as_ref().map_or(self.name.as_str(), |drv| drv.name().as_str());
        name.strip_suffix(".drv").unwrap_or(name).to_owned()
    }

    /// Keeps it from being removed or replaced.
    ///
    /// # Errors
    /// When it is being removed.
    pub fn enter(&self) -> Result<FailedBuildInUse, BuildError> {
        let directory = File::open(&self.path).map_err(|e| io_error("open", &self.path, e))?;
        let lock = Flock::lock(directory, FlockArg::LockSharedNonblock)
            .map_err(|(_, errno)| io_error("lock", &self.path, errno.into()))?;
        Ok(FailedBuildInUse { _lock: lock })
    }
}

/// Returns the failed builds whose directories are in the store, the latest first.
///
/// # Errors
/// When the directory of them cannot be read.
pub fn failed_builds(store: &LocalStore) -> Result<Vec<FailedBuild>, BuildError> {
    let parent = store.root().join("failed");
    let entries = match fs::read_dir(&parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("readdir", &parent, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| io_error("readdir", &parent, e))?;
        let (path, Ok(name)) = (entry.path(), entry.file_name().into_string()) else { continue };
        // One that is being written, or removed, has none.
        let Ok(failed_at) = fs::symlink_metadata(path.join(REQUEST)).and_then(|request| request.modified()) else {
            continue;
        };
        let size = fs::read_to_string(path.join(AUTOMATIC)).ok();
        let automatic_bytes = size.map(|text| text.trim().parse().unwrap_or(u64::MAX));
        found.push(FailedBuild { path, name, failed_at, automatic_bytes });
    }
    found.sort_by(|a, b| b.failed_at.cmp(&a.failed_at).then_with(|| a.name.cmp(&b.name)));
    Ok(found)
}

/// Makes room at `dest` for the directories of a failed build: removes those of an earlier failure,
/// or renames them while they are entered.
pub(crate) fn make_room(dest: &Path) -> Result<(), BuildError> {
    let directory = match File::open(dest) {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("open", dest, error)),
    };
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(_lock) => Ok(os::remove_tree(dest)?),
        Err(_) => {
            let mut other = dest.as_os_str().to_owned();
            other.push(format!(".{}", std::process::id()));
            fs::rename(dest, &other).map_err(|e| io_error("rename", dest, e))
        }
    }
}

/// Marks a directory as one that was kept without being asked for.
pub(crate) fn mark_automatic(dest: &Path, bytes: u64) -> Result<(), BuildError> {
    let path = dest.join(AUTOMATIC);
    fs::write(&path, format!("{bytes}\n")).map_err(|e| io_error("write", &path, e))
}

/// Removes the oldest directories that exceed the bounds.
pub(crate) fn prune(store: &LocalStore, bounds: FailedBounds) -> Result<(), BuildError> {
    let (mut count, mut together) = (0, 0u64);
    for failed in failed_builds(store)? {
        let Some(bytes) = failed.automatic_bytes else { continue };
        count += 1;
        together = together.saturating_add(bytes);
        if count <= bounds.count && together <= bounds.bytes {
            continue;
        }
        let Ok(directory) = File::open(&failed.path) else { continue };
        // One that is entered stays until a later failure.
        if let Ok(_lock) = Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            os::remove_tree(&failed.path)?;
        }
    }
    Ok(())
}

/// Returns the size on disk of what is below `paths`; `None` when that is more than `max`, or
/// cannot be found out.
pub(crate) fn bytes_within(paths: &[&Path], max: u64) -> Option<u64> {
    /// A directory entry takes space too, and time to look at.
    const ENTRY_BYTES: u64 = 512;
    let mut bytes = 0u64;
    let mut directories: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).ok()? {
            let entry = entry.ok()?;
            let found = entry.metadata().ok()?;
            bytes = bytes.saturating_add(found.blocks().saturating_mul(512)).saturating_add(ENTRY_BYTES);
            if bytes > max {
                return None;
            }
            if found.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn kept(store: &LocalStore, name: &str, age_secs: u64, automatic_bytes: Option<u64>) -> PathBuf {
        let path = store.root().join("failed").join(name);
        fs::create_dir_all(path.join("build")).unwrap();
        let request = File::create(path.join(REQUEST)).unwrap();
        request.set_modified(SystemTime::now() - Duration::from_secs(age_secs)).unwrap();
        if let Some(bytes) = automatic_bytes {
            mark_automatic(&path, bytes).unwrap();
        }
        path
    }

    fn names(store: &LocalStore) -> Vec<String> {
        failed_builds(store).unwrap().iter().map(|failed| failed.name.clone()).collect()
    }

    #[test]
    fn the_latest_within_the_bounds_stay_and_those_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::open(root.path()).unwrap();
        kept(&store, "a", 50, Some(1));
        kept(&store, "b", 40, None);
        kept(&store, "c", 30, Some(60));
        kept(&store, "d", 20, Some(1));
        kept(&store, "e", 10, Some(40));
        prune(&store, FailedBounds { count: 9, bytes: 1000 }).unwrap();
        assert_eq!(names(&store), ["e", "d", "c", "b", "a"]);
        prune(&store, FailedBounds { count: 3, bytes: 1000 }).unwrap();
        assert_eq!(names(&store), ["e", "d", "c", "b"]);
        prune(&store, FailedBounds { count: 3, bytes: 100 }).unwrap();
        assert_eq!(names(&store), ["e", "d", "b"]);
        prune(&store, FailedBounds { count: 0, bytes: 100 }).unwrap();
        assert_eq!(names(&store), ["b"]);
    }

    #[test]
    fn one_that_is_entered_stays() {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::open(root.path()).unwrap();
        let path = kept(&store, "a", 1, Some(1));
        let in_use = failed_builds(&store).unwrap()[0].enter().unwrap();
        prune(&store, FailedBounds { count: 0, bytes: 0 }).unwrap();
        assert_eq!(names(&store), ["a"]);
        make_room(&path).unwrap();
        assert_eq!(names(&store), [format!("a.{}", std::process::id())]);
        drop(in_use);
        prune(&store, FailedBounds { count: 0, bytes: 0 }).unwrap();
        assert_eq!(names(&store), [""; 0]);
    }

    #[test]
    fn sizes_are_bounded() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("below")).unwrap();
        fs::write(root.path().join("below/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("link")).unwrap();
        assert!(bytes_within(&[root.path()], 50_000).is_none());
        assert!(bytes_within(&[root.path()], 500_000).is_some_and(|bytes| bytes >= 100_000));
    }
}
