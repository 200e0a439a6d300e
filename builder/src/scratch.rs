//! The directories of a build on the store's file system: its working directory and that of its
//! outputs.
//!
//! Builds reuse the scratch directory that holds both, one after the other. The output directory is
//! new for each build. So is the build directory, unless the build before left it untouched, as
//! those do that only write their outputs: making and removing a directory takes longer than many
//! builds.
//!
//! Invariant: only the user who builds can reach them, since files that a build makes there may be
//! set-uid for a moment; and no build finds anything of another in them.

use crate::error::{BuildError, io_error};
use crate::failed;
use nix::time::{ClockId, clock_gettime};
use os::lock;
use sandbox::request::{OutputPlace, Request};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use store::{LocalStore, ScratchPath};

/// Scratch directories that no build uses at the moment.
#[derive(Default)]
pub(crate) struct IdleScratch(Mutex<Vec<IdleDirectory>>);

struct IdleDirectory {
    parent: ScratchPath,
    /// Snapshot of the build directory, when there is an empty one.
    fresh: Option<Snapshot>,
}

/// The directories of one build, removed when dropped. The next build reuses their parent.
pub(crate) struct Scratch<'a> {
    /// Set until the drop.
    parent: Option<ScratchPath>,
    idle: &'a IdleScratch,
    /// Snapshot of the build directory before the build, when any change will show in the next one.
    before: Option<Snapshot>,
    fifo_made: Cell<bool>,
    pub build: PathBuf,
    pub output: PathBuf,
}

impl Scratch<'_> {
    /// Takes directories that an earlier build left, or makes new ones.
    pub fn take<'a>(store: &LocalStore, idle: &'a IdleScratch) -> Result<Scratch<'a>, BuildError> {
        let place = lock(&idle.0).pop();
        let place = place.map_or_else(
            || Ok(IdleDirectory { parent: store.scratch_dir("build")?, fresh: None }),
            Ok::<_, BuildError>,
        )?;
        let (build, output) = (place.parent.path().join("build"), place.parent.path().join("output"));
        let make = |path: &Path| fs::create_dir(path).map_err(|e| io_error("mkdir", path, e));
        if place.fresh.is_none() {
            make(&build)?;
        }
        make(&output)?;
        let before = place.fresh.filter(Snapshot::is_settled);
        Ok(Scratch { parent: Some(place.parent), idle, before, fifo_made: Cell::new(false), build, output })
    }

    /// Returns the path of the FIFO for job tokens, for a build that asks for any.
    pub fn fifo(&self) -> PathBuf {
        self.fifo_made.set(true);
        self.build.with_file_name("jobserver")
    }

    /// Moves both directories to `dest`, in place of others there, and writes the request beside
    /// them. With `bytes_max`, only when they are not larger; returns whether they were moved.
    pub fn keep(self, dest: &Path, request: &Request, bytes_max: Option<u64>) -> Result<bool, BuildError> {
        let automatic = match bytes_max {
            None => None,
            Some(max) => match failed::bytes_within(&[&self.build, &self.output], max) {
                None => return Ok(false),
                size => size,
            },
        };
        failed::make_room(dest)?;
        // Only the user who ran a failed build may read its files.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dest).map_err(|e| io_error("mkdir", dest, e))?;
        for (from, name) in [(&self.build, "build"), (&self.output, "output")] {
            fs::rename(from, dest.join(name)).map_err(|e| io_error("rename", from, e))?;
        }
        let mut request = request.clone();
        request.jobserver = None;
        request.build_dir = dest.join("build");
        match &mut request.outputs {
            OutputPlace::Rooted { host_dir } | OutputPlace::InStore { host_dir, .. } => *host_dir = dest.join("output"),
        }
        if let Some(bytes) = automatic {
            failed::mark_automatic(dest, bytes)?;
        }
        let path = dest.join(failed::REQUEST);
        let json = serde_json::to_vec_pretty(&request).expect("a request is plain data");
        fs::write(&path, json).map_err(|e| io_error("write", &path, e)).map(|()| true)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let Some(parent) = self.parent.take() else { return };
        let untouched = self.before.filter(|before| Snapshot::at(&self.build).is_ok_and(|now| now == *before));
        // A build may leave directories that only `remove_tree` can empty. A collection removes the
        // rest.
        let gone = |path: &Path| os::remove_tree(path).is_ok();
        if (untouched.is_some() || gone(&self.build))
            && gone(&self.output)
            && (!self.fifo_made.get() || fs::remove_file(self.build.with_file_name("jobserver")).is_ok())
        {
            // Made now, so that it is older than the next build.
            let fresh = untouched.or_else(|| Snapshot::of_new(&self.build));
            lock(&self.idle.0).push(IdleDirectory { parent, fresh });
        }
    }
}

/// Seconds and nanoseconds.
type Time = (i64, i64);

/// A snapshot of an empty directory. Any change that is not listed here also changes the last of
/// the times, which no process can set.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Snapshot {
    inode: (u64, u64),
    mode: u32,
    links: u64,
    size: u64,
    accessed: Time,
    modified: Time,
    changed: Time,
}

impl Snapshot {
    fn at(path: &Path) -> std::io::Result<Snapshot> {
        let now = fs::symlink_metadata(path)?;
        Ok(Snapshot {
            inode: (now.dev(), now.ino()),
            mode: now.mode(),
            links: now.nlink(),
            size: now.size(),
            accessed: (now.atime(), now.atime_nsec()),
            modified: (now.mtime(), now.mtime_nsec()),
            changed: (now.ctime(), now.ctime_nsec()),
        })
    }

    /// Makes a directory. Returns `None`, and makes no directory, when its times do not come from
    /// this machine's clock or are too coarse to distinguish one change from the next.
    fn of_new(path: &Path) -> Option<Snapshot> {
        let before = now(ClockId::CLOCK_REALTIME_COARSE)?;
        fs::create_dir(path).ok()?;
        let snapshot = Snapshot::at(path).ok();
        let after = now(ClockId::CLOCK_REALTIME)?;
        let reliable = snapshot
            .filter(|snapshot| before <= snapshot.changed && snapshot.changed <= after && snapshot.changed.1 != 0);
        if reliable.is_none() {
            // The next build makes it again.
            let _ = fs::remove_dir(path);
        }
        reliable
    }

    /// Returns true when a change from now on gets a later time: file systems take times from a
    /// clock that advances every few milliseconds.
    fn is_settled(&self) -> bool {
        now(ClockId::CLOCK_REALTIME_COARSE).is_some_and(|now| now > self.changed)
    }
}

fn now(clock: ClockId) -> Option<Time> {
    clock_gettime(clock).ok().map(|time| (time.tv_sec(), time.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Runs `work` in a build directory, and returns its inode and that of the next build
    /// directory.
    fn next_after(work: impl FnOnce(&Path)) -> (u64, u64) {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::open(root.path()).unwrap();
        let idle = IdleScratch::default();
        drop(Scratch::take(&store, &idle).unwrap());
        // Longer than a tick of the clock of file systems.
        std::thread::sleep(Duration::from_millis(30));
        let first = Scratch::take(&store, &idle).unwrap();
        let inode = fs::metadata(&first.build).unwrap().ino();
        work(&first.build);
        drop(first);
        let second = Scratch::take(&store, &idle).unwrap();
        assert_eq!(fs::read_dir(&second.build).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&second.output).unwrap().count(), 0);
        (inode, fs::metadata(&second.build).unwrap().ino())
    }

    #[test]
    fn an_untouched_build_directory_is_reused() {
        let (first, second) = next_after(|_| {});
        assert_eq!(first, second);
    }

    #[test]
    fn a_changed_build_directory_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::open(root.path()).unwrap();
        let changes: [fn(&Path); 3] = [
            |build| fs::write(build.join("left"), "x").unwrap(),
            |build| {
                fs::write(build.join("made"), "x").unwrap();
                fs::remove_file(build.join("made")).unwrap();
                let old = fs::metadata(build).unwrap().accessed().unwrap();
                fs::File::open(build).unwrap().set_modified(old).unwrap();
            },
            |build| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(build, fs::Permissions::from_mode(0o777)).unwrap();
            },
        ];
        for (nr, change) in changes.into_iter().enumerate() {
            let idle = IdleScratch::default();
            drop(Scratch::take(&store, &idle).unwrap());
            std::thread::sleep(Duration::from_millis(30));
            let scratch = Scratch::take(&store, &idle).unwrap();
            let before = scratch.before.expect("it is settled");
            change(&scratch.build);
            assert!(Snapshot::at(&scratch.build).unwrap() != before, "change {nr} does not show");
            drop(scratch);
            let next = Scratch::take(&store, &idle).unwrap();
            assert_eq!(fs::read_dir(&next.build).unwrap().count(), 0, "change {nr}");
            assert_eq!(fs::metadata(&next.build).unwrap().mode(), before.mode, "change {nr}");
        }
    }
}
