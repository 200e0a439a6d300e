//! The directories of a build: where it works and where its outputs come to lie, on the store's file system.
//!
//! What they are in is used by one build after the other. The output directory is new for each. The build directory is too, but
//! for one that the build before has left as it got it, as those do that only write their outputs: to make and remove a
//! directory takes longer than much that is built.
//!
//! Invariant: only the user who builds can reach them, as what a build makes there may be set-uid for a moment; and no build
//! finds anything of another in them.

use crate::{
    error::{BuildError, io_error},
    request::{OutputPlace, Request},
    sandbox,
};
use nix::time::{ClockId, clock_gettime};
use os::lock;
use std::{
    cell::Cell,
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Mutex,
};
use store::{LocalStore, ScratchPath};

/// What no build uses at the moment.
#[derive(Default)]
pub(crate) struct IdleScratch(Mutex<Vec<IdleDirectory>>);

struct IdleDirectory {
    parent: ScratchPath,
    /// The build directory that is there.
    fresh: Option<Snapshot>,
}

/// The directories of one build, removed when dropped. What they are in serves the next build, which does not see it.
pub(crate) struct Scratch<'a> {
    /// There until the drop.
    parent: Option<ScratchPath>,
    idle: &'a IdleScratch,
    /// How the build directory was before the build, if whatever is done to it will show.
    before: Option<Snapshot>,
    fifo_made: Cell<bool>,
    pub build: PathBuf,
    pub output: PathBuf,
}

impl Scratch<'_> {
    /// Takes what a former build has left, or makes anew.
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

    /// Where the job tokens are to be handed out; for a build that wants any.
    pub fn fifo(&self) -> PathBuf {
        self.fifo_made.set(true);
        self.build.with_file_name("jobserver")
    }

    /// Moves what is inside to `dest`, replacing what is there, with the request beside it.
    pub fn keep(self, dest: &Path, request: &Request) -> Result<(), BuildError> {
        sandbox::remove_tree(dest)?;
        // What a failed build left is for nobody but the user who ran it.
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
        let path = dest.join("request.json");
        let json = serde_json::to_vec_pretty(&request).expect("a request is plain data");
        fs::write(&path, json).map_err(|e| io_error("write", &path, e))
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let Some(parent) = self.parent.take() else { return };
        let untouched = self.before.filter(|before| Snapshot::at(&self.build).is_ok_and(|now| now == *before));
        // A build may leave directories that only `remove_tree` can empty. What stays is swept by a collection.
        let gone = |path: &Path| sandbox::remove_tree(path).is_ok();
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

/// How an empty directory looks. Whoever may write to it and changes what is not listed here changes the last of the times with it,
/// which nobody can set.
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

    /// Makes a directory. `None`, and no directory, where its times do not come from this machine's clock or are too coarse to tell
    /// one change from the next.
    fn of_new(path: &Path) -> Option<Snapshot> {
        let before = now(ClockId::CLOCK_REALTIME_COARSE)?;
        fs::create_dir(path).ok()?;
        let snapshot = Snapshot::at(path).ok();
        let after = now(ClockId::CLOCK_REALTIME)?;
        let told = snapshot
            .filter(|snapshot| before <= snapshot.changed && snapshot.changed <= after && snapshot.changed.1 != 0);
        if told.is_none() {
            // Taking the place makes it anew.
            let _ = fs::remove_dir(path);
        }
        told
    }

    /// Whether a change from now on gets a later time: file systems take times from a clock that stands still for milliseconds.
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

    /// Uses the place once, with `work` done in the build directory, and returns the directory that the next one gets.
    fn next_after(work: impl FnOnce(&Path)) -> (u64, u64) {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::open(root.path()).unwrap();
        let idle = IdleScratch::default();
        drop(Scratch::take(&store, &idle).unwrap());
        // Longer than the clock of file systems stands still.
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
    fn what_a_build_has_not_touched_serves_the_next() {
        let (first, second) = next_after(|_| {});
        assert_eq!(first, second);
    }

    #[test]
    fn what_a_build_has_changed_is_made_anew() {
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
            let before = scratch.before.expect("it is settled by now");
            change(&scratch.build);
            assert!(Snapshot::at(&scratch.build).unwrap() != before, "change {nr} does not show");
            drop(scratch);
            let next = Scratch::take(&store, &idle).unwrap();
            assert_eq!(fs::read_dir(&next.build).unwrap().count(), 0, "change {nr}");
            assert_eq!(fs::metadata(&next.build).unwrap().mode(), before.mode, "change {nr}");
        }
    }
}
