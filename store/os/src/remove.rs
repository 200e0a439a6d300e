//! Removal of trees that other users, or hostile builds, may have written.
//!
//! Nothing outside of the tree is touched, in spite of all that may be in it: symbolic links out of
//! it, directories without permissions, a hundred thousand levels of them, mount points. All work
//! is relative to open directories, none of which was reached through a symbolic link, and stays on
//! one file system. The number of open descriptors is bounded.
//!
//! The directory above the tree must be one that no other process writes to: a TOCTOU race there
//! could exchange the tree itself.

use crate::dir::{Dir, DirEntry, FileKind, kind};
use crate::error::SysError;
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Levels that are open at once. A directory below them is first moved up.
const OPEN_LEVELS: usize = 32;

/// The permissions that emptying a directory takes.
const OWNER_ALL: u32 = 0o700;

/// A directory being emptied.
struct Level {
    dir: Dir,
    /// Entries that are still in it.
    entries: Vec<DirEntry>,
    /// The directory's name in the level above.
    name: Vec<u8>,
}

/// Removes `path` and everything below it; a path that does not exist is no error. Links in the
/// path to its parent are followed, and a link at `path` itself is removed.
///
/// # Errors
/// [`SysError`] with the first name that could not be removed.
pub fn remove_tree(path: &Path) -> Result<(), SysError> {
    // Most are empty.
    if std::fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(SysError::new("remove", path, Errno::EINVAL));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match Dir::open_to_search(parent) {
        Err(error) if error.errno == Errno::ENOENT => Ok(()),
        Err(error) => Err(error),
        Ok(parent) => parent.remove_all(name.as_bytes()).map(drop),
    }
}

impl Dir {
    /// Removes `name` and all below it, and makes directories writable for that; a name that does
    /// not exist is no error. Returns the bytes freed: those of files that had no other name.
    ///
    /// # Errors
    /// [`SysError`] with the first name that could not be removed; `EBUSY` for a mount point, as
    /// `rmdir` gives it.
    pub fn remove_all(&self, name: &[u8]) -> Result<u64, SysError> {
        let Some(found) = self.find(name)? else { return Ok(0) };
        if kind(&found) != FileKind::Directory {
            self.remove_file(name)?;
            return Ok(freed_by(&found));
        }
        let mut freed = 0;
        let mut moved = 0u64;
        let mut levels = vec![Level::enter(self, name, found.st_dev)?];
        while let Some(mut level) = levels.pop() {
            let Some(next) = level.entries.pop() else {
                levels.last().map_or(self, |above| &above.dir).remove_empty_dir(&level.name)?;
                continue;
            };
            levels.push(level);
            let dir = &levels[levels.len() - 1].dir;
            // Another process may have removed it.
            let Some(stat) = dir.find(&next.name)? else { continue };
            if kind(&stat) != FileKind::Directory {
                dir.remove_file(&next.name)?;
                freed += freed_by(&stat);
            } else if levels.len() < OPEN_LEVELS {
                let entered = Level::enter(dir, &next.name, found.st_dev)?;
                levels.push(entered);
            } else {
                check_device(dir, &next.name, &stat, found.st_dev)?;
                let name = move_up(dir, &next.name, &levels[0].dir, &mut moved)?;
                levels[0].entries.push(DirEntry { name, ..next });
            }
        }
        Ok(freed)
    }
}

fn freed_by(stat: &FileStat) -> u64 {
    if stat.st_nlink == 1 && kind(stat) == FileKind::File { stat.st_size as u64 } else { 0 }
}

/// Refuses a mount point: its contents are not part of the tree.
fn check_device(dir: &Dir, name: &[u8], stat: &FileStat, device: u64) -> Result<(), SysError> {
    if stat.st_dev == device { Ok(()) } else { Err(SysError::new("remove", dir.join(name), Errno::EBUSY)) }
}

impl Level {
    /// Opens a directory of the file system `device` and lists it, giving its owner all permissions
    /// first.
    fn enter(parent: &Dir, name: &[u8], device: u64) -> Result<Self, SysError> {
        let is_meant = |found: &FileStat| kind(found) == FileKind::Directory && found.st_dev == device;
        let opened = match parent.open_dir_as_is(name) {
            Err(error) if error.errno == Errno::EACCES => {
                parent.chmod(name, OWNER_ALL, is_meant)?;
                parent.open_dir_as_is(name)
            }
            opened => opened,
        };
        let mut dir = opened?;
        // Of the open directory, as the name may lead to another one by this time.
        let stat = dir.stat_self()?;
        check_device(parent, name, &stat, device)?;
        if stat.st_mode & OWNER_ALL != OWNER_ALL {
            dir.chmod_self(OWNER_ALL)?;
        }
        let entries = dir.list()?;
        Ok(Self { dir, entries, name: name.to_vec() })
    }
}

/// Moves a directory that is too deep to the top of the tree, and returns its name there.
fn move_up(from: &Dir, name: &[u8], top: &Dir, moved: &mut u64) -> Result<Vec<u8>, SysError> {
    // A directory can be moved only by a user who may write to it, as its `..` changes.
    from.make_movable(name)?;
    loop {
        *moved += 1;
        let up = format!(".moved-up-{moved}").into_bytes();
        match from.rename(name, top, &up) {
            Ok(()) => return Ok(up),
            Err(error) if matches!(error.errno, Errno::ENOTDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, open, openat};
    use nix::sys::stat::{Mode, mkdirat};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn hostile_trees_vanish_and_nothing_else_does() {
        let scratch = tempfile::tempdir().unwrap();
        let precious = scratch.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "stays").unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        symlink(&precious, tree.join("link")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        fs::hard_link(precious.join("file"), tree.join("second name")).unwrap();
        for (name, mode) in [("closed", 0o000), ("unwritable", 0o555), ("unsearchable", 0o600)] {
            fs::create_dir(tree.join(name)).unwrap();
            fs::write(tree.join(name).join("file"), "goes").unwrap();
            fs::create_dir(tree.join(name).join("directory")).unwrap();
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let above = Dir::open(scratch.path()).unwrap();
        assert_eq!(above.remove_all(b"tree").unwrap(), 3 * 4, "files with another name free nothing");
        assert!(fs::symlink_metadata(&tree).is_err());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "stays");
        remove_tree(&tree).expect("a path that does not exist needs no removal");
        remove_tree(&tree.join("below/it")).expect("nor does one below it");
    }

    #[test]
    fn a_link_in_the_place_of_the_tree_is_removed_alone() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("kept")).unwrap();
        symlink("kept", scratch.path().join("link")).unwrap();
        remove_tree(&scratch.path().join("link")).unwrap();
        assert!(scratch.path().join("kept").is_dir());
        assert!(fs::symlink_metadata(scratch.path().join("link")).is_err());
    }

    #[test]
    fn depth_is_no_defence() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        // Names that look like the ones used while moving up, one of them a file.
        fs::write(tree.join(".moved-up-1"), "").unwrap();
        fs::create_dir_all(tree.join(".moved-up-2/full")).unwrap();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = open(&tree, flags, Mode::empty()).unwrap();
        for _ in 0..5000 {
            mkdirat(&at, "deep", Mode::S_IRWXU).unwrap();
            at = openat(&at, "deep", flags, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(fs::symlink_metadata(&tree).is_err());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left beside the tree");
    }

    #[test]
    fn a_path_that_cannot_be_removed_is_named() {
        let error = remove_tree(Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "cannot remove `/`: Invalid argument (EINVAL)");
    }
}
