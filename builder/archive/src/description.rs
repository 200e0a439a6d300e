//! Pax headers and number fields of tar entries, where readers may disagree.
//!
//! Of several records of a kind the `tar` crate takes the first, and instead of a record that is no
//! number it takes the field of the tar header. GNU tar and bsdtar take the last record, or stop.
//! All readers must see one archive, so a description that can be read in two ways is an error.

use crate::Metadata;
use crate::error::EntryError;
use crate::format::BLOCK;
use filesystem::{Stat, Time};
use std::collections::BTreeMap;
use std::io::{self, Read};
use tar::Header;

/// Start of the keys of extended attributes, as GNU tar, bsdtar and star write them.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The longest description of the whole archive, in bytes; it is held in memory.
const GLOBAL_BYTES_MAX: u64 = 1 << 20;

/// The records that decide what an entry is; each may be there once.
const DECISIVE: [&[u8]; 3] = [b"path", b"linkpath", b"size"];

/// Facts of the pax header before an entry.
#[derive(Debug, Default)]
pub struct Described {
    /// Time of the last change in seconds since 1970, 0 for earlier times.
    pub changed: Option<u64>,
    /// The records of [`DECISIVE`] that the header has.
    records: Vec<&'static [u8]>,
    /// Only with full metadata.
    metadata: DescribedMetadata,
}

/// Metadata of a pax header, which adds to that of the tar header or replaces it.
#[derive(Debug, Default)]
struct DescribedMetadata {
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

type Record<'r> = (&'r [u8], &'r [u8]);

impl Described {
    /// Reads the pax header of an entry, with the `wanted` metadata, from the blocks before it, ending
    /// in its own. The crate splits records at line ends, which values of attributes may have; so it may
    /// not see names and sizes after such a value, and then the entry is refused.
    pub fn of_entry<R: Read>(blocks: &[u8], entry: &tar::Entry<R>, wanted: Metadata) -> Result<Self, EntryError> {
        let mut described = Self::default();
        for (key, value) in records(pax_header(blocks)).map_err(EntryError::Read)? {
            described.add((key, value))?;
            let is_seen = match key {
                b"path" => *entry.path_bytes() == *value,
                b"linkpath" => entry.link_name_bytes().is_some_and(|target| *target == *value),
                b"size" => number(value) == Some(entry.size()),
                _ => true,
            };
            if !is_seen {
                return refused(format!("its pax header can be read in two ways: `{}`", key.escape_ascii()));
            }
            if wanted == Metadata::Executable {
                continue;
            }
            let metadata = &mut described.metadata;
            match key {
                b"uid" => metadata.uid = number(value),
                b"gid" => metadata.gid = number(value),
                b"mtime" => {
                    let time = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    metadata.mtime = Some(time.ok_or_else(no_time)?);
                }
                _ => {
                    let Some(name) = key.strip_prefix(XATTR) else { continue };
                    if metadata.xattrs.insert(name.to_owned(), value.to_owned()).is_some() {
                        return refused(format!("its pax header has two records `{}`", key.escape_ascii()));
                    }
                }
            }
        }
        Ok(described)
    }

    /// Takes one record, and refuses those that readers understand in several ways.
    fn add(&mut self, (key, value): Record<'_>) -> Result<(), EntryError> {
        if key.starts_with(b"GNU.sparse.") {
            return refused("it is a sparse file in pax format; pack it without `--sparse`");
        }
        if let Some(record) = DECISIVE.iter().find(|&&record| record == key) {
            if self.records.contains(record) {
                return refused(format!("its pax header has two records `{}`", record.escape_ascii()));
            }
            self.records.push(record);
        }
        match key {
            b"size" | b"uid" | b"gid" if number(value).is_none() => refused(format!(
                "the `{}` of its pax header is no number: `{}`",
                key.escape_ascii(),
                value.escape_ascii()
            )),
            b"mtime" => match seconds(value) {
                Some(seconds) => {
                    self.changed = Some(seconds);
                    Ok(())
                }
                None => refused(format!("the `mtime` of its pax header is no time: `{}`", value.escape_ascii())),
            },
            _ => Ok(()),
        }
    }

    /// Returns the full metadata of an entry with this header.
    pub fn stat(&self, header: &Header, mode: u32) -> Result<Stat, EntryError> {
        let fields = header.as_old();
        let owner = |record: Option<u64>, field: &[u8], of_header: io::Result<u64>, what: &str| {
            let number = match record {
                Some(number) => Some(number),
                None if is_blank(field) => Some(0),
                None => of_header.ok(),
            };
            let number = number.and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| EntryError::Refused(format!("its {what} is no number of 32 bits")))
        };
        let metadata = &self.metadata;
        let mtime = metadata.mtime.or_else(|| header_mtime(header)).ok_or_else(no_time)?;
        Ok(Stat {
            mode: mode & 0o7777,
            uid: owner(metadata.uid, &fields.uid, header.uid(), "owner")?,
            gid: owner(metadata.gid, &fields.gid, header.gid(), "group")?,
            mtime,
            xattrs: metadata.xattrs.clone(),
        })
    }

    /// Corrects a name from the `tar` crate, which is the value of the pax record `record` or GNU's
    /// long name. GNU tar reads the latter as a C string and so ignores zero bytes at its end,
    /// which it writes itself; in a record they belong to the name.
    pub fn name<'n>(&self, name: &'n [u8], record: &[u8]) -> &'n [u8] {
        if self.records.contains(&record) {
            return name;
        }
        let end = name.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        &name[..end]
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, EntryError> {
    Err(EntryError::Refused(reason.into()))
}

/// Refuses a pax header of the whole archive with facts that decide what each entry is: some
/// readers believe it, and others do not.
pub fn check_global<R: Read>(entry: &mut tar::Entry<R>) -> Result<(), EntryError> {
    if entry.size() > GLOBAL_BYTES_MAX {
        return refused("it describes the whole archive with more than 1 MiB");
    }
    for extension in entry.pax_extensions().map_err(EntryError::Read)?.into_iter().flatten() {
        let extension = extension.map_err(EntryError::Read)?;
        let key = extension.key_bytes();
        if DECISIVE.contains(&key) || key.starts_with(b"GNU.sparse.") {
            return refused(format!("it sets `{}` for all entries", key.escape_ascii()));
        }
    }
    Ok(())
}

fn no_time() -> EntryError {
    EntryError::Refused("its time is no number of 64 bits".to_owned())
}

/// Returns the time of the last change in a header, in seconds since 1970; 0 for earlier times and
/// an empty field.
pub fn header_time(header: &Header) -> Result<u64, EntryError> {
    let field = &header.as_old().mtime;
    if is_negative(field) || is_blank(field) {
        return Ok(0);
    }
    header.mtime().or_else(|_| refused(format!("its time is no number: `{}`", field.escape_ascii())))
}

/// Returns the modification time, negative before 1970; `None` when it does not fit.
fn header_mtime(header: &Header) -> Option<Time> {
    let field = &header.as_old().mtime;
    if is_negative(field) {
        let (high, low) = field.split_at(field.len() - 8);
        let seconds = i64::from_be_bytes(low.try_into().ok()?);
        return (high.iter().all(|&byte| byte == 0xff) && seconds < 0).then_some(Time::of_seconds(seconds));
    }
    let seconds = header_time(header).ok()?;
    i64::try_from(seconds).ok().map(Time::of_seconds)
}

/// Returns true for GNU's form of numbers below zero, which do not fit in octal digits.
fn is_negative(field: &[u8]) -> bool {
    field[0] == 0xff
}

fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|&byte| matches!(byte, 0 | b' '))
}

/// Returns the contents of the pax header among the blocks that describe an entry; empty when there
/// is none.
fn pax_header(blocks: &[u8]) -> &[u8] {
    // Blocks before the first header are padding of the entry before, less than one; the own header
    // comes last.
    let mut rest = &blocks[blocks.len() % BLOCK..];
    while let Some((block, after)) = rest.split_at_checked(BLOCK) {
        let header = Header::from_byte_slice(block);
        let kind = header.entry_type();
        if !(kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions()) {
            break;
        }
        let len = header.entry_size().ok().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        if kind.is_pax_local_extensions() {
            return after.get(..len).unwrap_or_default();
        }
        rest = after.get(len.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    &[]
}

/// Splits the records of a pax header: a length in decimal digits, a space, key, `=` and value, and
/// a line end.
fn records(mut bytes: &[u8]) -> io::Result<Vec<Record<'_>>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed pax extension");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|&byte| byte == b' ').ok_or_else(malformed)?;
        let len = number(&bytes[..space]).and_then(|len| usize::try_from(len).ok()).ok_or_else(malformed)?;
        let (record, after) = bytes.split_at_checked(len).ok_or_else(malformed)?;
        let text = record.get(space + 1..).and_then(|text| text.strip_suffix(b"\n")).ok_or_else(malformed)?;
        let equals = text.iter().position(|&byte| byte == b'=').ok_or_else(malformed)?;
        records.push((&text[..equals], &text[equals + 1..]));
        bytes = after;
    }
    Ok(records)
}

/// Reads decimal digits that fit in a `u64`; no sign, which `parse` would accept.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Reads seconds since 1970, which may have a fraction; 0 for earlier times.
fn seconds(value: &[u8]) -> Option<u64> {
    let (is_negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let (whole, fraction) = (number(parts.next()?)?, parts.next().unwrap_or(b"0"));
    let is_number = fraction.iter().all(u8::is_ascii_digit);
    is_number.then_some(if is_negative { 0 } else { whole })
}
