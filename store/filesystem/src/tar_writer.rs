//! Writes a file system as a tar stream, in the pax format of POSIX.1-2001.
//!
//! Equal file systems give equal bytes, on each machine: entries come in the order of the walk,
//! records of a pax header in one order, and such a header is there only where the fields of the
//! entry's own header cannot hold a value. Names of owners are left out. Extended attributes are
//! records `SCHILY.xattr.*`, as GNU tar, bsdtar and container tools read them. The stream ends with
//! two blocks of zeros and no further padding.

use crate::{Contents, Device, Entry, EntryKind, FileSystem, SendError, Sink, Stat, Time, TreePath};
use std::io::{self, Read, Write};
use tar::{EntryType, Header};

/// Length of a block, in bytes.
const BLOCK: usize = 512;
/// Lengths of the fields for the name and the target of a link.
const NAME_BYTES: usize = 100;
/// The largest values that the octal digits of a field hold: size and time, and the numbers of
/// owners and devices.
const ELEVEN_DIGITS_MAX: u64 = (1 << 33) - 1;
const SEVEN_DIGITS_MAX: u32 = (1 << 21) - 1;

/// Choices for a tar stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct TarOptions {
    /// Times after this one are set to it, so that times of a build do not get into an image.
    pub mtime_max: Option<Time>,
}

/// A file system that cannot be written as tar.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("cannot write `{path}`: tar has no sockets")]
    Socket { path: TreePath },
    #[error("cannot write `{path}`: tar has no device {}:{}", device.major, device.minor)]
    Device { path: TreePath, device: Device },
    #[error("cannot write `{path}`: {source}")]
    Stat { path: TreePath, source: crate::StatError },
    #[error("cannot write `{path}`: its contents have fewer or more than {size} bytes")]
    Size { path: TreePath, size: u64 },
    #[error("cannot read the contents of `{path}`")]
    Read { path: TreePath, source: io::Error },
    #[error("cannot write the tar stream")]
    Write(#[source] io::Error),
}

/// Writes `file_system` to `out`.
///
/// # Errors
/// [`SendError`] when contents cannot be opened or read, an entry does not fit into tar, or writing
/// fails.
pub fn write_tar<T>(
    file_system: &FileSystem<T>,
    contents: &dyn Contents<T>,
    options: TarOptions,
    out: impl Write,
) -> Result<(), SendError<TarError>> {
    let mut writer = TarWriter::new(out, options);
    file_system.send(contents, &mut writer)?;
    writer.finish().map(drop).map_err(|error| SendError::Sink(TarError::Write(error)))
}

/// A sink that writes entries as tar, in the order in which they come.
pub struct TarWriter<W> {
    out: W,
    options: TarOptions,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W, options: TarOptions) -> Self {
        Self { out, options, buffer: vec![0; 64 << 10] }
    }

    /// Writes the end of the stream and returns the writer below.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.write_padding(bytes.len() as u64)
    }

    fn write_padding(&mut self, len: u64) -> io::Result<()> {
        let part = len % BLOCK as u64;
        let missing = if part == 0 { 0 } else { BLOCK - part as usize };
        self.out.write_all(&[0; BLOCK][..missing])
    }

    fn write_contents(&mut self, path: &TreePath, size: u64, contents: &mut dyn Read) -> Result<(), TarError> {
        let wrong_size = || TarError::Size { path: path.clone(), size };
        let mut left = size;
        loop {
            let count = match contents.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(TarError::Read { path: path.clone(), source }),
            };
            left = left.checked_sub(count as u64).ok_or_else(wrong_size)?;
            if count == 0 {
                break;
            }
            self.out.write_all(&self.buffer[..count]).map_err(TarError::Write)?;
        }
        if left > 0 {
            return Err(wrong_size());
        }
        self.write_padding(size).map_err(TarError::Write)
    }
}

impl<W: Write> Sink for TarWriter<W> {
    type Error = TarError;

    fn entry(&mut self, entry: Entry<'_>, contents: &mut dyn Read) -> Result<(), TarError> {
        let path = entry.path;
        entry.stat.check().map_err(|source| TarError::Stat { path: path.clone(), source })?;
        let member = Member::new(entry, self.options)?;
        if !member.records.is_empty() {
            let header = extension_header(path, member.records.len());
            self.out.write_all(header.as_bytes()).map_err(TarError::Write)?;
            self.write_padded(&member.records).map_err(TarError::Write)?;
        }
        self.out.write_all(member.header.as_bytes()).map_err(TarError::Write)?;
        match entry.kind {
            EntryKind::File { size } => self.write_contents(path, size, contents),
            _ => Ok(()),
        }
    }
}

/// The header of a member, and the pax records that come before it.
struct Member {
    header: Header,
    records: Vec<u8>,
}

impl Member {
    fn new(entry: Entry<'_>, options: TarOptions) -> Result<Self, TarError> {
        let mut header = Header::new_ustar();
        let kind = match entry.kind {
            EntryKind::Directory => EntryType::Directory,
            EntryKind::File { .. } => EntryType::Regular,
            EntryKind::Symlink { .. } => EntryType::Symlink,
            EntryKind::HardLink { .. } => EntryType::Link,
            EntryKind::CharacterDevice(_) => EntryType::Char,
            EntryKind::BlockDevice(_) => EntryType::Block,
            EntryKind::Fifo => EntryType::Fifo,
            EntryKind::Socket => return Err(TarError::Socket { path: entry.path.clone() }),
        };
        header.set_entry_type(kind);
        header.set_mode(entry.stat.mode);
        let mut member = Self { header, records: Vec::new() };
        member.set_names(entry);
        member.set_size(if let EntryKind::File { size } = entry.kind { size } else { 0 });
        member.set_owners_and_time(entry.stat, options);
        if let EntryKind::CharacterDevice(device) | EntryKind::BlockDevice(device) = entry.kind {
            if device.major > SEVEN_DIGITS_MAX || device.minor > SEVEN_DIGITS_MAX {
                return Err(TarError::Device { path: entry.path.clone(), device });
            }
            member.set_device(device);
        }
        // A hard link has the attributes of its target.
        if !matches!(entry.kind, EntryKind::HardLink { .. }) {
            for (name, value) in &entry.stat.xattrs {
                member.record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
            }
        }
        member.header.set_cksum();
        Ok(member)
    }

    fn set_names(&mut self, entry: Entry<'_>) {
        let mut name = entry.path.as_bytes().to_vec();
        if entry.path.is_root() {
            name.push(b'.');
        }
        if entry.kind == EntryKind::Directory {
            name.push(b'/');
        }
        let target: &[u8] = match entry.kind {
            EntryKind::Symlink { target } => target,
            EntryKind::HardLink { target } => target.as_bytes(),
            _ => b"",
        };
        let needs = |text: &[u8]| text.len() > NAME_BYTES;
        let is_binary = |text: &[u8]| needs(text) && std::str::from_utf8(text).is_err();
        if is_binary(&name) || is_binary(target) {
            // Records are UTF-8 unless this one comes before.
            self.record(b"hdrcharset", b"BINARY");
        }
        if needs(&name) {
            self.record(b"path", &name);
        }
        if needs(target) {
            self.record(b"linkpath", target);
        }
        let fields = self.header.as_old_mut();
        fill(&mut fields.name, &name);
        fill(&mut fields.linkname, target);
    }

    fn set_size(&mut self, size: u64) {
        if size > ELEVEN_DIGITS_MAX {
            self.record(b"size", size.to_string().as_bytes());
        }
        self.header.set_size(if size > ELEVEN_DIGITS_MAX { 0 } else { size });
    }

    fn set_owners_and_time(&mut self, stat: &Stat, options: TarOptions) {
        for (key, number) in [(&b"uid"[..], stat.uid), (b"gid", stat.gid)] {
            if number > SEVEN_DIGITS_MAX {
                self.record(key, number.to_string().as_bytes());
            }
        }
        let fits = |number: u32| if number > SEVEN_DIGITS_MAX { 0 } else { number.into() };
        self.header.set_uid(fits(stat.uid));
        self.header.set_gid(fits(stat.gid));
        let time = options.mtime_max.map_or(stat.mtime, |max| stat.mtime.min(max));
        let seconds = u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= ELEVEN_DIGITS_MAX);
        if seconds.is_none() || time.nanoseconds > 0 {
            self.record(b"mtime", time.to_string().as_bytes());
        }
        self.header.set_mtime(seconds.unwrap_or(0));
    }

    fn set_device(&mut self, device: Device) {
        let fields = self.header.as_ustar_mut().expect("the header was made as one of this format");
        fields.set_device_major(device.major);
        fields.set_device_minor(device.minor);
    }

    /// Appends a record: its length in decimal digits, which counts itself, a space, key and value,
    /// a line end.
    fn record(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        self.records.extend_from_slice(format!("{len} ").as_bytes());
        self.records.extend_from_slice(&[key, b"=", value, b"\n"].concat());
    }
}

/// Returns the header of the member that holds the records for the one after it.
fn extension_header(path: &TreePath, len: usize) -> Header {
    let mut header = Header::new_ustar();
    fill(&mut header.as_old_mut().name, &[b"PaxHeaders/", path.name()].concat());
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(len as u64);
    header.set_cksum();
    header
}

/// Writes the start of `text` into a field.
fn fill(field: &mut [u8], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}
