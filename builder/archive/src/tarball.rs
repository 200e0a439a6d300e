//! The entries of a tar stream.
//!
//! Long names and sizes of GNU and pax come from the `tar` crate. Sparse files in GNU's old format are written in full;
//! pax sparse maps are refused, since without them such an entry would silently be a file of holes and headers.

use super::description;
use super::destination::EntryPath;
use super::error::{EntryError, UnpackError};
use super::format::BLOCK;
use super::{RATIO_FROM_BYTES, Sink};
use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use tar::EntryType;

/// How many bytes may describe one entry: its header, long names, attributes, sparse map. They are held in memory.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// Unpacks a stream that starts with a tar header, up to its end.
pub(super) fn unpack(archive: &Path, stream: impl Read, sink: &mut Sink) -> Result<(), UnpackError> {
    let position = sink.position;
    let broken = |source| UnpackError::Broken { archive: archive.to_owned(), offset: position.get(), source };
    let zeros = Cell::new(0);
    // What lies between two entries is description; contents are only counted by who writes them.
    let description_left = Cell::new(DESCRIPTION_BYTES_MAX);
    let mut tar = tar::Archive::new(Watched {
        inner: stream,
        zeros: &zeros,
        description_left: &description_left,
        read: 0,
        position,
        // Twice what files may come to, so that of a file the entry is named that is too much.
        ratio_max: sink.options.limits.ratio_max.saturating_mul(2),
    });
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        description_left.set(u64::MAX);
        let name = entry.path_bytes().into_owned();
        write_entry(&mut entry, &name, sink).map_err(|error| sink.place(archive, &name, error))?;
        // What a skipped entry has left, so that zeros counted from here on are padding or the end.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        zeros.set(0);
        description_left.set(DESCRIPTION_BYTES_MAX);
    }
    description_left.set(u64::MAX);
    // Reading on to the end makes the decoder check what it has at the end: lengths and checksums.
    let mut rest = tar.into_inner();
    let end_seen = zeros.get() >= BLOCK;
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    if !end_seen {
        return Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar has no end mark")));
    }
    Ok(())
}

fn write_entry<R: Read>(entry: &mut tar::Entry<R>, name: &[u8], sink: &mut Sink) -> Result<(), EntryError> {
    let refuse = |what: &str| Err(EntryError::Refused(what.to_owned()));
    let kind = entry.header().entry_type();
    // Comments on the whole archive, a volume's label: no entries.
    if kind == EntryType::XGlobalHeader {
        return description::check_global(entry);
    }
    if kind.as_byte() == b'V' {
        return Ok(());
    }
    sink.next_entry()?;
    let described = description::read(entry)?;
    let name = described.name(name, b"path");
    let changed = match described.changed {
        Some(changed) => changed,
        None => description::header_time(entry.header())?,
    };
    sink.stats.newest = sink.stats.newest.max(changed);
    let strip = sink.options.strip;
    let Some(path) = EntryPath::new(name, strip)? else {
        if kind != EntryType::Directory && EntryPath::new(name, 0)?.is_none() {
            return refuse("it has the name of the whole tree and is no directory");
        }
        return Ok(());
    };
    let mode = entry.header().mode().map_err(EntryError::Read)?;
    let link_target = || {
        entry
            .link_name_bytes()
            .map(|target| described.name(&target, b"linkpath").to_vec())
            .ok_or_else(|| EntryError::Refused("it is a link without a target".to_owned()))
    };
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
            if name.ends_with(b"/") && entry.size() == 0 =>
        {
            // How tar marked directories before there was a type for them.
            sink.destination.directory(&path)?;
            sink.stats.directories += 1;
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let size = entry.size();
            sink.write_file(&path, mode & 0o100 != 0, size, entry)?;
        }
        EntryType::Directory => {
            sink.destination.directory(&path)?;
            sink.stats.directories += 1;
        }
        EntryType::Symlink => {
            sink.destination.symlink(&path, &link_target()?)?;
            sink.stats.symlinks += 1;
        }
        EntryType::Link => {
            let target = link_target()?;
            let Some(target) = EntryPath::new(&target, strip)? else {
                return refuse("it is a hard link to something that `strip` drops");
            };
            let copied = sink.destination.hard_link(&path, &target)?;
            sink.count_bytes(copied)?;
            sink.stats.hard_links += 1;
        }
        EntryType::Char | EntryType::Block => return refuse("it is a device"),
        EntryType::Fifo => return refuse("it is a fifo"),
        kind => return refuse(&format!("its type `{}` is not known", kind.as_byte().escape_ascii())),
    }
    Ok(())
}

/// Counts the zero bytes that were read last (a whole tar ends with two blocks of them, and one must have been seen), and
/// stops when an entry is described at too much length, or when little unpacks to very much that no file is made of.
struct Watched<'a, R> {
    inner: R,
    zeros: &'a Cell<usize>,
    description_left: &'a Cell<u64>,
    read: u64,
    /// How much of the compressed archive is behind it.
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
                format!("more than {} bytes come out of one", self.ratio_max),
            ));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..most])?;
        self.read += n as u64;
        if left != u64::MAX {
            self.description_left.set(left - n as u64);
        }
        let zeros = buffer[..n].iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros.set(if zeros == n { self.zeros.get().saturating_add(n) } else { zeros });
        Ok(n)
    }
}
