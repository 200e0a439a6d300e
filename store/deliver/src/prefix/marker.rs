//! The marker of a generation, and small files of a directory that others may have written.

use super::error::Result;
use super::names::{MARKER, NUMBER_MAX};
use super::{InstallMode, SysError};
use nix::errno::Errno;
use os::dir::{Dir, FileKind, kind};
use os::mode;
use serde::{Deserialize, Serialize};
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// The longest marker; its path has at most 4096 bytes, of which each takes six at most in JSON.
const MARKER_BYTES_MAX: u64 = 32 << 10;

/// The content of [`MARKER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub generation: u32,
    pub mode: InstallMode,
    pub source: PathBuf,
    /// Time of the installation, in seconds since 1970: the time of the file.
    #[serde(skip)]
    pub installed_secs: i64,
}

impl Marker {
    /// Reads the marker of a generation. Without a readable marker the directory is treated as
    /// foreign.
    pub fn read(generation: &Dir) -> Result<Option<Self>> {
        let Some((text, modified)) = read_small(generation, MARKER.as_bytes(), MARKER_BYTES_MAX)? else {
            return Ok(None);
        };
        let marker: Option<Self> = serde_json::from_slice(&text).ok();
        Ok(marker
            .filter(|marker| (1..=NUMBER_MAX).contains(&marker.generation))
            .map(|marker| Self { installed_secs: modified, ..marker }))
    }

    /// Writes the marker of a generation that has none.
    pub fn write(&self, generation: &Dir) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|error| SysError::io("write", generation.join(MARKER.as_bytes()), &error.into()))?;
        write_new(generation, MARKER.as_bytes(), &text)
    }
}

/// Reads the regular file `name` with its time, up to `bytes_max`; `None` when this user can read
/// no such file. Never waits for another kind of file, nor follows a link.
pub(super) fn read_small(dir: &Dir, name: &[u8], bytes_max: u64) -> Result<Option<(Vec<u8>, i64)>> {
    // Tested first, since opening a device can have an effect.
    if !dir.find(name)?.is_some_and(|stat| kind(&stat) == FileKind::File) {
        return Ok(None);
    }
    let file = match dir.open_file(name) {
        Ok(file) => file,
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ELOOP | Errno::EACCES | Errno::ENXIO) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let wrong = |error: std::io::Error| SysError::io("read", dir.join(name), &error);
    let metadata = file.metadata().map_err(wrong)?;
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut text).map_err(wrong)?;
    Ok((text.len() as u64 <= bytes_max).then(|| (text, metadata.mtime())))
}

/// Writes the file `name`, which must not exist: writable by its owner and readable by all,
/// independent of the umask.
pub(super) fn write_new(dir: &Dir, name: &[u8], text: &[u8]) -> Result<()> {
    let mut file = dir.create_file(name, mode::PRIVATE_FILE)?;
    let wrong = |error: std::io::Error| SysError::io("write", dir.join(name), &error);
    file.write_all(text).map_err(wrong)?;
    Ok(set_mode(&file, mode::FILE).map_err(wrong)?)
}

pub(super) fn set_mode(file: &File, mode: u32) -> std::io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}
