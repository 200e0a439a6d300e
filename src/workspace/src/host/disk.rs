//! Reads of the file system that the hosts share, with their errors in Nix's words.
//!
//! The path that is read and the path in an error may differ: the first is physical, the second is
//! the one of the expression.

use lang::host::{FileType, HostError, HostErrorKind, HostResult};
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use store::SourceKind;

/// Size of the pieces that a file is read in.
const PIECE_BYTES: usize = 256 << 10;

/// Makes the error of a failed call; `attempt` is a verb phrase, such as "cannot read".
pub(super) fn failed(attempt: &str, path: &Path, cause: &Error) -> HostError {
    let with_cause = |kind| HostError::new(kind, format!("{attempt} '{}': {}", path.display(), os::io_reason(cause)));
    match cause.kind() {
        ErrorKind::NotFound => missing(path),
        ErrorKind::NotADirectory => {
            HostError::new(HostErrorKind::NotFound, format!("'{}' is not a directory", path.display()))
        }
        ErrorKind::PermissionDenied => with_cause(HostErrorKind::Denied),
        ErrorKind::FileTooLarge => with_cause(HostErrorKind::TooLarge),
        _ => with_cause(HostErrorKind::Other),
    }
}

pub(super) fn missing(path: &Path) -> HostError {
    HostError::new(HostErrorKind::NotFound, format!("path '{}' does not exist", path.display()))
}

/// Returns all bytes of the file at `real`, which is called `path` in errors.
///
/// # Errors
/// When it cannot be read; of the kind [`HostErrorKind::TooLarge`] when it has more than
/// `bytes_max`, before any is read if its status says so.
pub(super) fn read(real: &Path, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>> {
    read_at_most(real, bytes_max).map_err(|cause| failed("cannot read", path, &cause))
}

fn read_at_most(real: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let file = File::open(real)?;
    let size = file.metadata()?.len();
    let expected = usize::try_from(size).ok().filter(|&size| size <= bytes_max).ok_or_else(|| {
        let text = format!("its {size} bytes are more than the {bytes_max} that the evaluation may use");
        Error::new(ErrorKind::FileTooLarge, text)
    })?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(expected)?;
    // Devices and pipes have no size, and files grow.
    file.take((bytes_max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let text = format!("it has more than the {bytes_max} bytes that the evaluation may use");
        return Err(Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Passes the bytes of a file to `take` piece by piece, and stops at its first error.
///
/// # Errors
/// When the file cannot be read, and those of `take`.
pub(super) fn read_pieces(real: &Path, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()> {
    let unreadable = |cause| failed("cannot read", path, &cause);
    let mut file = File::open(real).map_err(unreadable)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&piece[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

/// Returns names and types of the entries of a directory, in the order of the file system.
pub(super) fn entries(real: &Path, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
    let read = || -> std::io::Result<Vec<(Vec<u8>, FileType)>> {
        std::fs::read_dir(real)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name().into_vec(), type_of(entry.file_type()?)))
            })
            .collect()
    };
    read().map_err(|cause| failed("cannot list", path, &cause))
}

/// Returns the type of a file, without following a link; `None` when it does not exist.
pub(super) fn file_type(real: &Path, path: &Path) -> HostResult<Option<FileType>> {
    match std::fs::symlink_metadata(real) {
        Ok(meta) => Ok(Some(type_of(meta.file_type()))),
        Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(cause) => Err(failed("cannot access", path, &cause)),
    }
}

pub(super) fn read_link(real: &Path, path: &Path) -> HostResult<PathBuf> {
    std::fs::read_link(real).map_err(|cause| failed("cannot read the link", path, &cause))
}

fn type_of(kind: std::fs::FileType) -> FileType {
    if kind.is_file() {
        FileType::Regular
    } else if kind.is_dir() {
        FileType::Directory
    } else if kind.is_symlink() {
        FileType::Symlink
    } else {
        FileType::Unknown
    }
}

/// Converts a type as the store sees it.
pub(super) fn source_type(kind: SourceKind) -> FileType {
    match kind {
        SourceKind::File => FileType::Regular,
        SourceKind::Directory => FileType::Directory,
        SourceKind::Symlink => FileType::Symlink,
        SourceKind::Other(_) => FileType::Unknown,
    }
}
