//! Directories and files of one user outside of a store: caches, histories, downloads.
//!
//! They are 0700 and 0600, independent of the umask, as the XDG Base Directory Specification
//! requires: programs run them or read them again, and they may have been fetched with a password.
//! Missing directories above them are made likewise.

use crate::mode;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a directory, with those above it. Removes the write permission of other users from an
/// existing one of this user.
///
/// # Errors
/// When one cannot be made or changed.
pub fn make_directories(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(mode::PRIVATE_DIRECTORY).create(path)?;
    close_to_others(path)
}

/// Makes a new directory.
///
/// # Errors
/// When it cannot be made, or exists.
pub fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new().mode(mode::PRIVATE_DIRECTORY).create(path)
}

/// Makes a new file, and opens it for writing.
///
/// # Errors
/// When it cannot be made, or exists.
pub fn create_file(path: &Path, is_executable: bool) -> Result<File> {
    let permissions = if is_executable { mode::PRIVATE_DIRECTORY } else { mode::PRIVATE_FILE };
    OpenOptions::new().write(true).create_new(true).mode(permissions).open(path)
}

/// Opens a file for reading and writing, and makes a missing one. Removes the write permission of
/// other users from one of this user.
///
/// # Errors
/// When it cannot be opened, made or changed.
pub fn open_file(path: &Path) -> Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode::PRIVATE_FILE).open(path)?;
    close_to_others(path)?;
    Ok(file)
}

/// Writes a file from its start, as [`open_file`] makes it.
///
/// # Errors
/// The errors of [`open_file`] and of writing the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = open_file(path)?;
    file.set_len(0)?;
    file.write_all(bytes)
}

/// Returns true when the file at `path` belongs to another user or others can write it, and so may
/// hold text of theirs. A missing file is not exposed.
pub fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|stat| !is_ours(&stat) || stat.mode() & mode::WRITE_BY_OTHERS != 0)
}

fn is_ours(stat: &std::fs::Metadata) -> bool {
    stat.uid() == nix::unistd::geteuid().as_raw()
}

fn close_to_others(path: &Path) -> Result<()> {
    let stat = std::fs::metadata(path)?;
    if stat.mode() & mode::WRITE_BY_OTHERS == 0 || !is_ours(&stat) {
        return Ok(());
    }
    match std::fs::set_permissions(path, Permissions::from_mode(stat.mode() & mode::PRIVATE_DIRECTORY)) {
        // No process can write there.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
        done => done,
    }
}
