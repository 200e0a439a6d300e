//! The entries of a tar stream.
//!
//! Long names and sizes of GNU and pax come from the `tar` crate. Sparse files in GNU's old format
//! are written in full; pax sparse maps are refused, since without them such an entry would
//! silently be a file of holes and headers.

use crate::description::{self, Described};
use crate::error::{EntryError, UnpackError};
use crate::format::BLOCK;
use crate::progress::Progress;
use crate::{Metadata, RATIO_FROM_BYTES, Reader};
use filesystem::{Device, Entry, EntryKind, Sink, Stat, TreePath};
use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::path::Path;
use tar::EntryType;

/// The most bytes that may describe one entry: its header, long names, attributes, sparse map. They
/// are held in memory.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// Gives the entries of a stream that starts with a tar header to `sink`, and reads the stream to
/// its end.
pub fn read<S: Sink<Error: Into<EntryError>>>(
    archive: &Path,
    stream: impl Read,
    sink: &mut S,
    reader: &Reader,
) -> Result<(), UnpackError> {
    let progress = reader.progress;
    let position = &progress.position;
    let broken = |source| UnpackError::Broken { archive: archive.to_owned(), offset: position.get(), source };
    let zeros = Cell::new(0);
    // Bytes between two entries are description; contents are only counted by the code that reads
    // them.
    let description_left = Cell::new(DESCRIPTION_BYTES_MAX);
    let captured = RefCell::new(Vec::new());
    let mut tar = tar::Archive::new(Watched {
        inner: stream,
        zeros: &zeros,
        description_left: &description_left,
        captured: &captured,
        read: 0,
        position,
        // Twice the bound of files, so that an error of a file names its entry.
        ratio_max: progress.options.limits.ratio_max.saturating_mul(2),
    });
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        description_left.set(u64::MAX);
        let name = entry.path_bytes().into_owned();
        let given = TarEntry { entry: &mut entry, name: &name, captured: &captured.borrow(), progress }
            .give(sink, reader.metadata);
        given.map_err(|error| progress.place(archive, &name, error))?;
        // The rest of a skipped entry, so that zeros counted from here on are padding or the end.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        zeros.set(0);
        captured.borrow_mut().clear();
        description_left.set(DESCRIPTION_BYTES_MAX);
    }
    description_left.set(u64::MAX);
    // Reading on to the end makes the decoder check lengths and checksums, which are there.
    let mut rest = tar.into_inner();
    let end_seen = zeros.get() >= BLOCK;
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    if !end_seen {
        return Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar has no end mark")));
    }
    Ok(())
}

fn refused<T>(reason: &str) -> Result<T, EntryError> {
    Err(EntryError::Refused(reason.to_owned()))
}

/// An entry of a tar stream.
struct TarEntry<'a, 'b, R: Read> {
    entry: &'a mut tar::Entry<'b, R>,
    /// The entry's name as the `tar` crate gives it.
    name: &'a [u8],
    /// The bytes that describe it.
    captured: &'a [u8],
    progress: &'a Progress<'a>,
}

impl<R: Read> TarEntry<'_, '_, R> {
    fn give<S: Sink<Error: Into<EntryError>>>(self, sink: &mut S, metadata: Metadata) -> Result<(), EntryError> {
        let Self { entry, name, captured, progress } = self;
        let kind = entry.header().entry_type();
        // Comments on the whole archive and the label of a volume are not entries.
        if kind == EntryType::XGlobalHeader {
            return description::check_global(entry);
        }
        if kind.as_byte() == b'V' {
            return Ok(());
        }
        progress.check_entry()?;
        let described = Described::of_entry(captured, entry, metadata)?;
        let name = described.name(name, b"path");
        let changed = match described.changed {
            Some(changed) => changed,
            None => description::header_time(entry.header())?,
        };
        progress.count(|stats| stats.newest = stats.newest.max(changed));
        let strip = progress.options.strip;
        let path = match TreePath::parse_stripped(name, strip)? {
            Some(path) if !path.is_root() || kind == EntryType::Directory => path,
            _ if kind != EntryType::Directory && TreePath::parse(name)?.is_root() => {
                return refused("it has the name of the whole tree and is no directory");
            }
            _ => return Ok(()),
        };
        let mode = entry.header().mode().map_err(EntryError::Read)?;
        let stat = match metadata {
            Metadata::Executable => Stat { mode: mode & 0o7777, ..Stat::default() },
            Metadata::Full => described.stat(entry.header(), mode)?,
        };
        let link_target = || {
            let target = entry.link_name_bytes();
            target
                .map(|target| described.name(&target, b"linkpath").to_vec())
                .ok_or_else(|| EntryError::Refused("it is a link without a target".to_owned()))
        };
        let mut give =
            |kind| sink.entry(Entry { path: &path, stat: &stat, kind }, &mut io::empty()).map_err(Into::into);
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
                if name.ends_with(b"/") && entry.size() == 0 =>
            {
                // The form of directories in tar before there was a type for them.
                give(EntryKind::Directory)?;
                progress.count(|stats| stats.directories += 1);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = entry.size();
                let file = Entry { path: &path, stat: &stat, kind: EntryKind::File { size } };
                progress.give_file(sink, file, size, entry)?;
            }
            EntryType::Directory => {
                give(EntryKind::Directory)?;
                if !path.is_root() {
                    progress.count(|stats| stats.directories += 1);
                }
            }
            EntryType::Symlink => {
                give(EntryKind::Symlink { target: &link_target()? })?;
                progress.count(|stats| stats.symlinks += 1);
            }
            EntryType::Link => {
                let target = match TreePath::parse_stripped(&link_target()?, strip)? {
                    Some(target) if !target.is_root() => target,
                    _ => return refused("it is a hard link to something that `strip` drops"),
                };
                give(EntryKind::HardLink { target: &target })?;
                progress.count(|stats| stats.hard_links += 1);
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                give(match kind {
                    EntryType::Char => EntryKind::CharacterDevice(device(entry.header(), metadata)?),
                    EntryType::Block => EntryKind::BlockDevice(device(entry.header(), metadata)?),
                    _ => EntryKind::Fifo,
                })?;
                progress.count(|stats| stats.special += 1);
            }
            kind => return refused(&format!("its type `{}` is not known", kind.as_byte().escape_ascii())),
        }
        Ok(())
    }
}

fn device(header: &tar::Header, metadata: Metadata) -> Result<Device, EntryError> {
    match (header.device_major(), header.device_minor()) {
        (Ok(Some(major)), Ok(Some(minor))) => Ok(Device { major, minor }),
        _ if metadata == Metadata::Executable => Ok(Device { major: 0, minor: 0 }),
        _ => refused("its device has no numbers"),
    }
}

/// A reader that counts the zero bytes at the end (a whole tar ends with two blocks of them, and
/// one is required), and stops when the description of an entry is too long, or when little unpacks
/// to very much that is not part of a file.
struct Watched<'a, R> {
    inner: R,
    zeros: &'a Cell<usize>,
    description_left: &'a Cell<u64>,
    /// A copy of the description of the next entry.
    captured: &'a RefCell<Vec<u8>>,
    read: u64,
    /// Bytes read of the compressed archive.
    position: &'a Cell<u64>,
    ratio_max: u64,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.description_left.get();
        if left == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the names and attributes of an entry take more than 1 MiB",
            ));
        }
        if self.read > RATIO_FROM_BYTES && self.read / self.ratio_max.max(1) > self.position.get() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("one byte expands to more than {} bytes", self.ratio_max),
            ));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..most])?;
        self.read += n as u64;
        if left != u64::MAX {
            self.description_left.set(left - n as u64);
            self.captured.borrow_mut().extend_from_slice(&buffer[..n]);
        }
        let zeros = buffer[..n].iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros.set(if zeros == n { self.zeros.get().saturating_add(n) } else { zeros });
        Ok(n)
    }
}
