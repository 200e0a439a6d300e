//! The entries of a zip file, by its central directory.

use super::Sink;
use super::destination::EntryPath;
use super::error::{EntryError, UnpackError};
use std::io::{self, Read, Seek};
use std::path::Path;
use zip::ExtraField;
use zip::result::ZipError;

/// The longest target of a symbolic link.
const TARGET_MAX: u64 = 4096;

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;

/// Unpacks all entries.
pub(super) fn unpack(archive: &Path, file: impl Read + Seek, sink: &mut Sink) -> Result<(), UnpackError> {
    let mut file = file;
    // Zip is read in any order: the whole file counts as read, for offsets in messages and for the ratio.
    let len = file.seek(io::SeekFrom::End(0)).and_then(|len| file.rewind().map(|()| len));
    let len = len.map_err(|source| UnpackError::Broken { archive: archive.to_owned(), offset: 0, source })?;
    sink.position.set(len);
    let broken = |error: ZipError| match error {
        ZipError::UnsupportedArchive(reason) => {
            UnpackError::Format { archive: archive.to_owned(), reason: reason.to_string() }
        }
        ZipError::Io(source) => UnpackError::Broken { archive: archive.to_owned(), offset: len, source },
        other => UnpackError::Broken {
            archive: archive.to_owned(),
            offset: len,
            source: io::Error::other(other.to_string()),
        },
    };
    let mut zip = zip::ZipArchive::new(file).map_err(broken)?;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(broken)?;
        let name = entry.name_raw().to_owned();
        sink.position.set(entry.data_start().unwrap_or(len));
        let placed = write_entry(&mut entry, &name, sink, len);
        placed.map_err(|error| sink.place(archive, &name, error))?;
    }
    Ok(())
}

fn write_entry<R: Read>(
    entry: &mut zip::read::ZipFile<'_, R>,
    name: &[u8],
    sink: &mut Sink,
    len: u64,
) -> Result<(), EntryError> {
    let refuse = |what: &str| Err(EntryError::Refused(what.to_owned()));
    sink.next_entry()?;
    for field in entry.extra_data_fields() {
        if let ExtraField::ExtendedTimestamp(times) = field {
            sink.stats.newest = sink.stats.newest.max(times.mod_time().map_or(0, u64::from));
        }
    }
    let Some(path) = EntryPath::new(name, sink.options.strip)? else { return Ok(()) };
    let mode = entry.unix_mode().unwrap_or(0);
    match mode & S_IFMT {
        _ if name.ends_with(b"/") => {
            sink.destination.directory(&path)?;
            sink.stats.directories += 1;
        }
        S_IFDIR => {
            sink.destination.directory(&path)?;
            sink.stats.directories += 1;
        }
        S_IFLNK => {
            let mut target = Vec::new();
            entry.take(TARGET_MAX + 1).read_to_end(&mut target).map_err(EntryError::Read)?;
            if target.len() as u64 > TARGET_MAX {
                return refuse("its link target is longer than 4,096 bytes");
            }
            sink.destination.symlink(&path, &target)?;
            sink.stats.symlinks += 1;
        }
        0 | S_IFREG => {
            let size = entry.size();
            let position = sink.position.replace(len);
            let written = sink.write_file(&path, mode & 0o100 != 0, size, entry);
            sink.position.set(position);
            written?;
        }
        _ => return refuse("it is neither file, directory nor symbolic link"),
    }
    Ok(())
}
