//! Archives into a directory: what `builtin:unpack` does.
//!
//! The format is found out by content, never by name: Debian packages (their data archive), tar with pax and GNU
//! extensions, zip; each plain or compressed. Everything is streamed; nothing but the decoders' windows is held in memory.
//!
//! Archives are hostile until shown otherwise, and the invariant is that whatever they contain, nothing outside the
//! destination is read, written or linked to (`destination.rs`), and that sizes are bounded ([`Limits`]). The result is a
//! function of the archives' content: of the metadata only the executable bit of the owner is kept, set-id bits and owners
//! are dropped, and later entries replace earlier ones of the same name, as tar does it.
//!
//! An archive is one stream, as xz and gzip cannot be taken apart: one thread decompresses it and another writes the files
//! (`ahead.rs`). Callers run several archives in parallel.

mod error;

mod ahead;
mod ar;
mod description;
mod destination;
mod format;
mod tarball;
mod zipfile;

#[cfg(test)]
mod tests;

pub use error::UnpackError;

use ahead::Counted;
use destination::Destination;
use error::{EntryError, shown};
use format::Format;
use os::space::{FreeSpace, STORE_FULL};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How to unpack.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many leading components of each path are dropped; entries with no more than these vanish.
    pub strip: usize,
    /// What is too much.
    pub limits: Limits,
    /// The room where the destination is, if it is not just that of a store.
    pub room: Option<Arc<FreeSpace>>,
    /// Set to `true` to make it stop.
    pub cancel: Arc<AtomicBool>,
}

/// Bounds on what one call may write.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of all archives together.
    pub entries_max: u64,
    /// Bytes of all files together.
    pub bytes_max: u64,
    /// How many bytes may come out of one byte of an archive; looked at once 64 MiB have come out of it. Gzip cannot do
    /// more than 1,032, and honest xz and zstd archives stay far below.
    pub ratio_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries_max: 10_000_000, bytes_max: 256 << 30, ratio_max: 2_000 }
    }
}

/// Below this many bytes no ratio is suspicious.
const RATIO_FROM_BYTES: u64 = 64 << 20;

/// About what an inode and a name take on a disk.
const ENTRY_BYTES: u64 = 512;

/// What was written.
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
    /// Bytes of files.
    pub bytes: u64,
    /// When the entry that was changed last was changed: seconds since 1970. 0 when no entry says, as those of a zip file
    /// need not.
    pub newest: u64,
}

impl Stats {
    fn entries(&self) -> u64 {
        self.files + self.directories + self.symlinks + self.hard_links
    }
}

/// Unpacks the archives one over the other into `dest`, which is made if need be.
///
/// # Errors
/// Names the archive and the entry or offset. What was written until then stays: the caller throws the directory away.
pub fn unpack(archives: &[PathBuf], dest: &Path, options: &Options) -> Result<Stats, UnpackError> {
    let open_dest = |source| UnpackError::Open { call: "make directory", path: dest.to_owned(), source };
    fs::create_dir_all(dest).map_err(open_dest)?;
    let mut destination = Destination::open(dest).map_err(|errno| open_dest(errno.into()))?;
    let mut stats = Stats::default();
    let own_room = FreeSpace::new(dest, STORE_FULL);
    for archive in archives {
        let position = Cell::new(0);
        let mut sink = Sink {
            destination: &mut destination,
            options,
            room: options.room.as_deref().unwrap_or(&own_room),
            stats: &mut stats,
            position: &position,
            bytes_from_this: 0,
            buffer: vec![0; 1 << 17],
        };
        unpack_one(archive, &mut sink)?;
    }
    Ok(stats)
}

fn unpack_one(archive: &Path, sink: &mut Sink) -> Result<(), UnpackError> {
    let read = AtomicU64::new(0);
    let open = |source| UnpackError::Open { call: "open", path: archive.to_owned(), source };
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
        return zipfile::unpack(archive, BufReader::new(file), sink);
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
    // A package's data archive and a bare stream go the same way from here.
    let (start, stream) = format::peek(stream).map_err(broken)?;
    match format::detect(&start) {
        Format::Tar => ahead::with(stream, &read, sink.position, |stream| tarball::unpack(archive, stream, sink)),
        Format::Compressed(compression) => {
            let plain = format::decompress(compression, stream).map_err(broken)?;
            let (start, plain) = format::peek(plain).map_err(broken)?;
            if format::detect(&start) != Format::Tar {
                return Err(wrong(format!("it is compressed with {} but no tar is inside", compression.name())));
            }
            ahead::with(plain, &read, sink.position, |plain| tarball::unpack(archive, plain, sink))
        }
        _ => Err(wrong(format!(
            "it is neither tar, deb nor zip, plain or compressed with gzip, bzip2, xz or zstd; it starts with {}",
            start.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
        ))),
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

/// Where the entries of an archive go: the destination, with the bounds and the counts.
struct Sink<'a> {
    destination: &'a mut Destination,
    options: &'a Options,
    room: &'a FreeSpace,
    stats: &'a mut Stats,
    /// Bytes read of the archive at hand.
    position: &'a Cell<u64>,
    bytes_from_this: u64,
    buffer: Vec<u8>,
}

impl Sink<'_> {
    /// Called before each entry.
    fn next_entry(&self) -> Result<(), EntryError> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(EntryError::Cancelled);
        }
        let max = self.options.limits.entries_max;
        if self.stats.entries() >= max {
            return Err(EntryError::Limit(format!("{max} entries")));
        }
        // Names take room, too.
        Ok(self.room.claim(ENTRY_BYTES)?)
    }

    fn count_bytes(&mut self, bytes: u64) -> Result<(), EntryError> {
        self.stats.bytes += bytes;
        self.bytes_from_this += bytes;
        let limits = self.options.limits;
        if self.stats.bytes > limits.bytes_max {
            return Err(EntryError::Limit(format!("{} bytes", limits.bytes_max)));
        }
        let ratio_bytes = limits.ratio_max.saturating_mul(self.position.get().max(1));
        if self.bytes_from_this > RATIO_FROM_BYTES && self.bytes_from_this > ratio_bytes {
            return Err(EntryError::Limit(format!("{} bytes out of one", limits.ratio_max)));
        }
        Ok(())
    }

    /// Writes a regular file of `size` bytes from `content`.
    fn write_file(
        &mut self,
        path: &destination::EntryPath,
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), EntryError> {
        if size > self.options.limits.bytes_max {
            return Err(EntryError::Limit(format!("{} bytes", self.options.limits.bytes_max)));
        }
        self.room.require(size)?;
        let mut file = self.destination.file(path, executable)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut written = 0;
        let result = loop {
            if self.options.cancel.load(Ordering::Relaxed) {
                break Err(EntryError::Cancelled);
            }
            let n = match content.read(&mut buffer) {
                Ok(0) if written < size => break Err(EntryError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(0) => break Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Err(EntryError::Read(error)),
            };
            written += n as u64;
            if let Err(error) = self.count_bytes(n as u64).and_then(|()| Ok(self.room.claim(n as u64)?)) {
                break Err(error);
            }
            if let Err(error) = file.write_all(&buffer[..n]) {
                let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                break Err(EntryError::System("write".to_owned(), errno));
            }
        };
        self.buffer = buffer;
        self.stats.files += 1;
        result
    }

    /// Puts the archive and the entry's name to an error.
    fn place(&self, archive: &Path, entry: &[u8], error: EntryError) -> UnpackError {
        let archive = archive.to_owned();
        let entry = shown(entry);
        match error {
            EntryError::Refused(reason) => UnpackError::Refused { archive, entry, reason },
            EntryError::Limit(limit) => UnpackError::Limit { archive, entry, limit },
            EntryError::OutOfSpace(source) => UnpackError::OutOfSpace { archive, entry, source },
            EntryError::System(call, errno) => UnpackError::System { archive, entry, call, errno },
            EntryError::Read(source) => UnpackError::Broken { archive, offset: self.position.get(), source },
            EntryError::Cancelled => UnpackError::Cancelled { archive },
        }
    }
}
