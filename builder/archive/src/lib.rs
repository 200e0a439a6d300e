//! Archives: what `builtin:unpack` does, and what imports read.
//!
//! The format is found by content, never by name: Debian packages (their data archive), tar with
//! pax and GNU extensions, zip; each plain or compressed. Parsers (`tarball.rs`, `zipfile.rs`) turn
//! an archive into a stream of [`filesystem::Entry`], and a [`Sink`] takes it: a directory on a
//! disk ([`unpack`], `destination.rs`), or another, such as [`filesystem::TreeBuilder`] ([`read`]).
//! Everything is streamed; only the windows of the decoders and the description of one entry are
//! held in memory.
//!
//! Archives are hostile until shown otherwise, and the invariant is that no content of theirs makes
//! [`unpack`] read, write or link to anything outside of the destination, and that sizes are
//! bounded ([`Limits`]). The result is a function of the archives' content: later entries replace
//! earlier ones of the same name, as tar does it. On a disk only the executable bit of the owner is
//! kept of the metadata; set-id bits and owners are dropped.
//!
//! An archive is one stream, as xz and gzip cannot be split: one thread decompresses it and another
//! writes the files (`ahead.rs`). Callers run several archives in parallel.

mod error;

mod progress;

mod ahead;
mod ar;
mod description;
mod destination;
mod format;
mod tarball;
mod zipfile;

#[cfg(test)]
mod tests;

pub use error::{EntryError, UnpackError};

use ahead::Counted;
use destination::Destination;
use filesystem::Sink;
use format::Format;
use os::SysError;
use os::space::{FreeSpace, STORE_FULL};
use progress::Progress;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Choices for one call.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of leading components that are dropped of each path; entries with no more than these
    /// vanish.
    pub strip: usize,
    /// Bounds on the result.
    pub limits: Limits,
    /// Free space of the destination, if it is not just that of a store.
    pub room: Option<Arc<FreeSpace>>,
    /// Set to `true` to cancel.
    pub cancel: Arc<AtomicBool>,
}

/// Bounds on the result of one call.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of all archives together.
    pub entries_max: u64,
    /// Bytes of all files together.
    pub bytes_max: u64,
    /// Largest number of bytes that one byte of an archive expands to; checked once 64 MiB are
    /// unpacked. Gzip cannot do more than 1,032, and honest xz and zstd archives stay far below.
    pub ratio_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries_max: 10_000_000, bytes_max: 256 << 30, ratio_max: 2_000 }
    }
}

/// Below this many bytes no ratio is suspicious.
const RATIO_FROM_BYTES: u64 = 64 << 20;

/// Metadata that a parser reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metadata {
    /// The executable bit of the owner. Other fields are not even looked at: an archive with a
    /// wrong owner unpacks.
    Executable,
    /// Owners, permissions, times, extended attributes and devices.
    Full,
}

/// Counts of the entries that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Regular files.
    pub files: u64,
    /// Directory entries, also of directories that were there.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Devices, pipes and sockets; never on a disk.
    pub special: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Time of the last change in any entry, in seconds since 1970. 0 when no entry says, as those
    /// of a zip file need not.
    pub newest: u64,
}

impl Stats {
    fn entries(&self) -> u64 {
        self.files + self.directories + self.symlinks + self.hard_links + self.special
    }
}

/// Unpacks the archives one over the other into `dest`, which is made if need be.
///
/// # Errors
/// Names the archive and the entry or offset. Files written before the error stay: the caller
/// removes the directory.
pub fn unpack(archives: &[PathBuf], dest: &Path, options: &Options) -> Result<Stats, UnpackError> {
    let own_room = FreeSpace::new(dest, STORE_FULL);
    let room = options.room.as_deref().unwrap_or(&own_room);
    fs::create_dir_all(dest).map_err(|error| SysError::io("make directory", dest, &error))?;
    let progress = Progress::new(options);
    let mut destination = Destination::open(dest, room, &progress)?;
    let reader = Reader { metadata: Metadata::Executable, progress: &progress };
    archives.iter().try_for_each(|archive| reader.read(archive, &mut destination))?;
    Ok(progress.stats())
}

/// Reads the archives one after the other, and gives all their entries with full metadata to
/// `sink`. The free space of [`Options`] is not checked: a sink knows where it writes.
///
/// Of the extended attributes, those in records `SCHILY.xattr.*` are read, as GNU tar and bsdtar
/// write them.
///
/// # Errors
/// Names the archive and the entry or offset.
pub fn read<S>(archives: &[PathBuf], sink: &mut S, options: &Options) -> Result<Stats, UnpackError>
where
    S: Sink,
    S::Error: Into<EntryError>,
{
    let progress = Progress::new(options);
    let reader = Reader { metadata: Metadata::Full, progress: &progress };
    archives.iter().try_for_each(|archive| reader.read(archive, sink))?;
    Ok(progress.stats())
}

/// A reader of archives for one call.
struct Reader<'a> {
    metadata: Metadata,
    progress: &'a Progress<'a>,
}

impl Reader<'_> {
    fn read<S: Sink<Error: Into<EntryError>>>(&self, archive: &Path, sink: &mut S) -> Result<(), UnpackError> {
        self.progress.start_archive();
        let read = AtomicU64::new(0);
        let position = &self.progress.position;
        let open = |error| UnpackError::Open(SysError::io("open", archive, &error));
        let broken =
            |source| UnpackError::Broken { archive: archive.to_owned(), offset: read.load(Ordering::Relaxed), source };
        let wrong = |reason: String| UnpackError::Format { archive: archive.to_owned(), reason };

        let mut file = File::open(archive).map_err(open)?;
        if !file.metadata().map_err(open)?.is_file() {
            return Err(wrong("it is not a regular file".to_owned()));
        }
        let (start, _) = format::peek(&file).map_err(broken)?;
        file.rewind().map_err(broken)?;
        let format = format::detect(&start);
        if format == Format::Zip {
            return zipfile::read(archive, BufReader::new(file), sink, self);
        }
        let counted = BufReader::with_capacity(1 << 17, Counted { inner: file, position: &read });
        let stream: Box<dyn Read + Send> = match format {
            Format::Deb => deb_data(counted).map_err(broken)?.ok_or_else(|| {
                wrong(
                    "it is an `ar` archive but not a Debian package: `debian-binary` and `data.tar` are not both in it"
                        .to_owned(),
                )
            })?,
            _ => Box::new(counted),
        };
        // The data archive of a package and a bare stream go the same way from here.
        let (start, stream) = format::peek(stream).map_err(broken)?;
        match format::detect(&start) {
            Format::Tar => ahead::with(stream, &read, position, |stream| tarball::read(archive, stream, sink, self)),
            Format::Compressed(compression) => {
                let plain = format::decompress(compression, stream).map_err(broken)?;
                let (start, plain) = format::peek(plain).map_err(broken)?;
                if format::detect(&start) != Format::Tar {
                    return Err(wrong(format!("it is compressed with {} but no tar is inside", compression.name())));
                }
                ahead::with(plain, &read, position, |plain| tarball::read(archive, plain, sink, self))
            }
            _ => Err(wrong(format!(
                "it is neither tar, deb nor zip, plain or compressed with gzip, bzip2, xz or zstd; it starts with {}",
                start.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
            ))),
        }
    }
}

/// Returns the data archive of a Debian package, still compressed; none if it is not one.
fn deb_data<'a>(stream: impl Read + Send + 'a) -> io::Result<Option<Box<dyn Read + Send + 'a>>> {
    let mut reader = ar::Reader::new(stream)?;
    let mut is_deb = false;
    while let Some(member) = reader.next_member()? {
        is_deb |= member.name == "debian-binary";
        if is_deb && (member.name == "data.tar" || member.name.starts_with("data.tar.")) {
            return Ok(Some(Box::new(reader.into_content(&member))));
        }
    }
    Ok(None)
}
