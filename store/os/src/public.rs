//! Directories and files of a store with explicit permissions, independent of the umask.
//!
//! Directories are 0755 and files 0644: every user who can reach a store can read it, and one user
//! writes it. Private directories, such as `tmp/<process>/`, get their permissions where they are
//! made. Opening a store tightens its directories that others can write, since they could exchange
//! the entries.

use crate::dir::make_dir;
use crate::error::{Context, SysError};
use crate::mode;
use nix::errno::Errno;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a directory of the store, with those above it. Existing ones do not change.
///
/// # Errors
/// When one cannot be made.
pub fn make_directories(path: &Path) -> Result<(), SysError> {
    match make_dir(path, mode::DIRECTORY) {
        Err(error) if error.errno == Errno::ENOENT => {
            make_directories(path.parent().ok_or(error)?)?;
            make_dir(path, mode::DIRECTORY)
        }
        made => made,
    }
}

/// Makes the missing directories above a store: with the umask, but never writable by others.
pub fn make_parents(root: &Path) -> Result<(), SysError> {
    let Some(parent) = root.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    DirBuilder::new()
        .recursive(true)
        .mode(mode::DIRECTORY)
        .create(parent)
        .context("make directory", parent)
        .map_err(SysError::of_store)
}

/// Opens a file of the store for reading and writing, such as one for locks, and makes a missing
/// one.
///
/// # Errors
/// When it cannot be opened or made.
pub fn open_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false).mode(mode::FILE);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(mode::FILE))?;
            Ok(file)
        }
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// Makes an empty file of the store, unless one exists. That one is not opened, since closing it
/// would release the locks that SQLite has on it elsewhere in this process.
///
/// # Errors
/// When it cannot be made.
pub fn make_file(path: &Path) -> Result<(), SysError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{}.new", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let fresh = PathBuf::from(name);
    drop(open_file(&fresh).context("create", &fresh)?);
    let linked = std::fs::hard_link(&fresh, path);
    let removed = std::fs::remove_file(&fresh).context("remove", &fresh);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(SysError::io("create", path, &error)),
        // Another process was faster.
        _ => removed,
    }
}

/// Makes a file of the store, or truncates it.
///
/// # Errors
/// When it cannot be made.
pub fn create_file(path: &Path) -> std::io::Result<File> {
    let file = open_file(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// Writes a file of the store.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    create_file(path)?.write_all(bytes)
}

/// Makes one of the directories of every store, or removes the write permission of others from an
/// existing one of this user.
pub fn ensure_directory(path: &Path) -> Result<(), SysError> {
    // The directory exists in almost all cases.
    let stat = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_dir(path, mode::DIRECTORY).map_err(SysError::of_store)?;
            std::fs::metadata(path)
        }
        found => found,
    };
    let stat = stat.context("stat", path).map_err(SysError::of_store)?;
    if !stat.is_dir() {
        return Err(SysError::new("enter", path, Errno::ENOTDIR).of_store());
    }
    if stat.mode() & mode::WRITE_BY_OTHERS == 0 || stat.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let closed = stat.mode() & mode::PERMISSIONS & !mode::WRITE_BY_OTHERS;
    match std::fs::set_permissions(path, Permissions::from_mode(closed)).context("chmod", path) {
        // No process can write there.
        Err(error) if error.errno == Errno::EROFS => Ok(()),
        done => done,
    }
}

/// A directory that contains a store, or the store itself, in which another user could exchange
/// entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    pub directory: PathBuf,
    /// The owner, when that is neither root nor the user of this process; otherwise a group or all
    /// users can write the directory.
    pub owner: Option<u32>,
}

impl std::fmt::Display for Exposure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directory = self.directory.display();
        match self.owner {
            Some(uid) => {
                write!(f, "the store is in `{directory}`, which belongs to user {uid}, who can exchange its entries")
            }
            None => {
                write!(f, "the store is in `{directory}`, which other users can write, and so exchange its entries")
            }
        }
    }
}

/// Returns true when this process has the rights of root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Returns the first directory on the path to `root` that lets another user exchange the store.
pub fn exposure(root: &Path) -> Option<Exposure> {
    let root = root.canonicalize().ok()?;
    let own = nix::unistd::geteuid().as_raw();
    // In a user namespace all unmapped users look like this one, root among them.
    let unknown = is_in_user_namespace().then(overflow_uid);
    let above: Vec<&Path> = root.ancestors().collect();
    above.into_iter().rev().find_map(|directory| {
        let stat = std::fs::metadata(directory).ok()?;
        let is_trusted = stat.uid() == 0 || stat.uid() == own || Some(stat.uid()) == unknown;
        // In a sticky directory only the owner can rename an entry, so ours stays.
        let is_sticky = stat.mode() & 0o1000 != 0 && directory != root;
        let exposed = !is_trusted || (stat.mode() & mode::WRITE_BY_OTHERS != 0 && !is_sticky);
        exposed.then(|| Exposure { directory: directory.to_owned(), owner: (!is_trusted).then(|| stat.uid()) })
    })
}

fn is_in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

fn overflow_uid() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
    text.trim().parse().unwrap_or(65534)
}
