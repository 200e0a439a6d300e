//! Outputs of hostile builds, a promise a file: the store adopts the tree that was checked, and
//! nothing else of the machine.

mod beside_outputs;
mod depth;
mod failed_builds;
mod fifos_and_sockets;
mod fixed_outputs;
mod hard_links;
mod job_tokens;
mod links_in_outputs;
mod links_in_place_of_outputs;
mod many_files;
mod names;
mod output_names;
mod place_out_of_reach;
mod replaced_after_check;
mod sparse_and_huge_files;
mod swapped_files;
mod times_and_permissions;

use crate::common::World;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Everything below `root` that could be written, run with privileges, or carries a time of its
/// own.
fn not_normalised(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if stat.mtime() != 1 || (!stat.is_symlink() && stat.mode() & 0o7222 != 0) {
            found.push(format!("{} {:o} {}", path.display(), stat.mode(), stat.mtime()));
        }
    }
    found
}

/// A file and a directory outside, which have to stay as they are.
struct Precious {
    place: tempfile::TempDir,
    before: Vec<(u32, u64, i64, i64)>,
}

impl Precious {
    fn new() -> Precious {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("directory")).unwrap();
        fs::write(place.path().join("directory/file"), "stays").unwrap();
        let mut precious = Precious { place, before: Vec::new() };
        fs::set_permissions(precious.file(), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(precious.directory(), fs::Permissions::from_mode(0o750)).unwrap();
        precious.before = precious.look();
        precious
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("directory")
    }

    fn file(&self) -> PathBuf {
        self.directory().join("file")
    }

    fn look(&self) -> Vec<(u32, u64, i64, i64)> {
        [self.directory(), self.file()]
            .map(|path| fs::metadata(path).unwrap())
            .map(|meta| (meta.mode(), meta.nlink(), meta.mtime(), meta.mtime_nsec()))
            .into()
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(self.look(), self.before);
        assert_eq!(fs::read_to_string(self.file()).unwrap(), "stays");
        assert_eq!(fs::read_dir(self.directory()).unwrap().count(), 1);
    }
}

/// Checks that all paths in the store have their registered contents.
#[track_caller]
fn assert_clean(world: &World) {
    let report = world.store.verify(false).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Runs the tests above again as an ordinary user: none of them depends on being root.
#[test]
fn as_an_ordinary_user() {
    test_support::ordinary::run_again(
        &["hostile::", "jobserver::", "failing::"],
        &[("SANDBOX_RUN", &crate::common::sandbox_child())],
    );
}
