//! Removal of directories that a build has written to.
//!
//! Whatever a builder left behind (symbolic links out of the tree, directories without permissions, a hundred thousand
//! levels of them), nothing outside the tree is touched: all work is relative to open directories, none of which was
//! reached through a symbolic link, and on one file system. It needs a bounded number of descriptors.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::SandboxError;
use super::error::Named;

/// Levels that are open at once; what lies deeper is first moved up.
const OPEN_LEVELS: usize = 32;

/// A directory being emptied.
struct Level {
    directory: OwnedFd,
    /// What is still in it.
    names: Vec<CString>,
    /// Its name in the level above.
    name: CString,
}

/// Removes `path` and everything below; that it does not exist is no error.
///
/// The directory above `path` must be one that no build can write to.
///
/// # Errors
/// [`SandboxError::Call`] with the first name that could not be removed.
pub fn remove_tree(path: &Path) -> Result<(), SandboxError> {
    // Most have nothing in them.
    if std::fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    let failed = |errno: Errno| {
        Err::<(), _>(errno).named("remove a build's directory", || format!("unlinkat({})", path.display()))
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(SandboxError::Request { reason: format!("`{}` cannot be removed", path.display()) });
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(name) = CString::new(name.as_bytes()) else { return failed(Errno::EINVAL) };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let removed = open(parent, flags, Mode::empty()).and_then(|parent| remove_at(parent.as_fd(), &name));
    match removed {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => failed(errno),
    }
}

fn remove_at(parent: BorrowedFd, name: &CStr) -> Result<(), Errno> {
    if gone(parent, name)? {
        return Ok(());
    }
    let device = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_dev;
    let mut moved = 0u64;
    let mut levels = vec![enter(parent, name, device)?];
    while let Some(mut level) = levels.pop() {
        let Some(next) = level.names.pop() else {
            let above = levels.last().map_or(parent, |level| level.directory.as_fd());
            unlinkat(above, level.name.as_c_str(), UnlinkatFlags::RemoveDir)?;
            continue;
        };
        levels.push(level);
        let directory = levels[levels.len() - 1].directory.as_fd();
        if gone(directory, &next)? {
            continue;
        }
        if levels.len() < OPEN_LEVELS {
            let entered = enter(directory, &next, device)?;
            levels.push(entered);
        } else {
            let up = move_up(directory, &next, levels[0].directory.as_fd(), &mut moved)?;
            levels[0].names.push(up);
        }
    }
    Ok(())
}

/// Removes what can be removed at once: everything but directories with something in them, for which it returns false.
fn gone(parent: BorrowedFd, name: &CStr) -> Result<bool, Errno> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOTDIR) => unlinkat(parent, name, UnlinkatFlags::NoRemoveDir).map(|()| true),
        Err(Errno::ENOENT) => Err(Errno::ENOENT),
        // It has to be emptied, or there is another reason, which shows then.
        Err(_) => Ok(false),
    }
}

/// Opens a directory and lists it, giving its owner all permissions first.
fn enter(parent: BorrowedFd, name: &CStr, device: libc::dev_t) -> Result<Level, Errno> {
    permit(parent, name)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    if fstat(&directory)?.st_dev != device {
        // Something is mounted here; what it holds is not the build's.
        return Err(Errno::EXDEV);
    }
    let mut names = Vec::new();
    for entry in Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE)?)?.iter() {
        let entry = entry?.file_name().to_owned();
        if entry.as_bytes() != b"." && entry.as_bytes() != b".." {
            names.push(entry);
        }
    }
    Ok(Level { directory, names, name: name.to_owned() })
}

/// Gives the owner all permissions on a directory, never on what a symbolic link in its place names.
fn permit(parent: BorrowedFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle = openat(parent, name, flags, Mode::empty())?;
    let mode = fstat(&handle)?.st_mode;
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    // `fchmod` takes no such handle; its entry in /proc names this very directory, whatever its path is now.
    let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fchmodat(nix::fcntl::AT_FDCWD, itself.as_str(), Mode::S_IRWXU, FchmodatFlags::FollowSymlink)
}

/// Moves a directory that lies too deep to the top of the tree, and returns its name there.
fn move_up(from: BorrowedFd, name: &CStr, top: BorrowedFd, moved: &mut u64) -> Result<CString, Errno> {
    // A directory can be moved only by one who may write to it, as its `..` changes.
    permit(from, name)?;
    loop {
        *moved += 1;
        let up = CString::new(format!(".moved-up-{moved}")).map_err(|_| Errno::EINVAL)?;
        match renameat(from, name, top, up.as_c_str()) {
            Ok(()) => return Ok(up),
            Err(Errno::ENOTDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn hostile_trees_vanish_and_nothing_else_does() {
        let place = tempfile::tempdir().unwrap();
        let precious = place.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "stays").unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        symlink(&precious, tree.join("link")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        for (name, mode) in [("closed", 0o000), ("unwritable", 0o555), ("unsearchable", 0o600)] {
            fs::create_dir(tree.join(name)).unwrap();
            fs::write(tree.join(name).join("file"), "goes").unwrap();
            fs::create_dir(tree.join(name).join("directory")).unwrap();
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(fs::symlink_metadata(&tree).is_err());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "stays");
        remove_tree(&tree).expect("what does not exist needs no removing");
    }

    #[test]
    fn a_link_in_place_of_the_tree_goes_alone() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("kept")).unwrap();
        symlink("kept", place.path().join("link")).unwrap();
        remove_tree(&place.path().join("link")).unwrap();
        assert!(place.path().join("kept").is_dir());
        assert!(fs::symlink_metadata(place.path().join("link")).is_err());
    }

    #[test]
    fn depth_is_no_defence() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        // Names that look like the ones used while moving up, one of them a file.
        fs::write(tree.join(".moved-up-1"), "").unwrap();
        fs::create_dir_all(tree.join(".moved-up-2/full")).unwrap();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = open(&tree, flags, Mode::empty()).unwrap();
        for _ in 0..5000 {
            nix::sys::stat::mkdirat(&at, "deep", Mode::S_IRWXU).unwrap();
            at = openat(&at, "deep", flags, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(fs::symlink_metadata(&tree).is_err());
    }
}
