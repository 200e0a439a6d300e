//! The entries of a zip file, by its central directory.

use crate::error::{EntryError, UnpackError};
use crate::{Metadata, Reader};
use filesystem::{Entry, EntryKind, Sink, Stat, Time, TreePath};
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

/// Gives all entries to `sink`.
pub fn read<S: Sink<Error: Into<EntryError>>>(
    archive: &Path,
    mut file: impl Read + Seek,
    sink: &mut S,
    reader: &Reader,
) -> Result<(), UnpackError> {
    let progress = reader.progress;
    // Zip is read in any order: for offsets in messages and for the ratio, the whole file is read.
    let len = file.seek(io::SeekFrom::End(0)).and_then(|len| file.rewind().map(|()| len));
    let len = len.map_err(|source| UnpackError::Broken { archive: archive.to_owned(), offset: 0, source })?;
    progress.position.set(len);
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
        progress.position.set(entry.data_start().unwrap_or(len));
        let given = give_entry(&mut entry, &name, sink, reader, len);
        given.map_err(|error| progress.place(archive, &name, error))?;
    }
    Ok(())
}

fn give_entry<R: Read, S: Sink<Error: Into<EntryError>>>(
    entry: &mut zip::read::ZipFile<'_, R>,
    name: &[u8],
    sink: &mut S,
    reader: &Reader,
    len: u64,
) -> Result<(), EntryError> {
    let refuse = |reason: &str| Err(EntryError::Refused(reason.to_owned()));
    let progress = reader.progress;
    progress.check_entry()?;
    let changed = changed(entry);
    progress.count(|stats| stats.newest = stats.newest.max(changed.unwrap_or(0)));
    let path = match TreePath::parse_stripped(name, progress.options.strip)? {
        Some(path) if !path.is_root() => path,
        _ => return Ok(()),
    };
    let mode = entry.unix_mode().unwrap_or(0);
    let is_directory = name.ends_with(b"/") || mode & S_IFMT == S_IFDIR;
    let stat = Stat {
        mode: match (reader.metadata, mode) {
            (Metadata::Full, 0) if is_directory => 0o755,
            (Metadata::Full, 0) => 0o644,
            (_, mode) => mode & 0o7777,
        },
        mtime: Time::of_seconds(changed.map_or(0, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX))),
        ..Stat::default()
    };
    let mut give = |kind| sink.entry(Entry { path: &path, stat: &stat, kind }, &mut io::empty()).map_err(Into::into);
    match mode & S_IFMT {
        _ if is_directory => {
            give(EntryKind::Directory)?;
            progress.count(|stats| stats.directories += 1);
        }
        S_IFLNK => {
            let mut target = Vec::new();
            entry.take(TARGET_MAX + 1).read_to_end(&mut target).map_err(EntryError::Read)?;
            if target.len() as u64 > TARGET_MAX {
                return refuse("its link target is longer than 4,096 bytes");
            }
            give(EntryKind::Symlink { target: &target })?;
            progress.count(|stats| stats.symlinks += 1);
        }
        0 | S_IFREG => {
            let size = entry.size();
            let position = progress.position.replace(len);
            let given = progress.give_file(
                sink,
                Entry { path: &path, stat: &stat, kind: EntryKind::File { size } },
                size,
                entry,
            );
            progress.position.set(position);
            given?;
        }
        _ => return refuse("it is neither file, directory nor symbolic link"),
    }
    Ok(())
}

/// Returns the time of the last change that an entry gives, in seconds since 1970: the latest, as
/// fields may repeat.
fn changed<R: Read>(entry: &zip::read::ZipFile<'_, R>) -> Option<u64> {
    let times = entry.extra_data_fields().filter_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time().map(u64::from),
        _ => None,
    });
    times.max()
}
