//! What pax headers and number fields say of a tar entry, where readers may disagree.
//!
//! The `tar` crate takes the first record of a kind and passes over one that is no number, then believes the header. Other
//! readers take the last, or stop. What one reader sees must not be something else than what another sees, so a description
//! that can be read in two ways is an error.

use super::error::EntryError;
use std::io::Read;
use tar::Header;

/// How many bytes a description of the whole archive may have; it is held in memory.
const GLOBAL_BYTES_MAX: u64 = 1 << 20;

/// The records that say what an entry is; each may be there once.
const DECISIVE: [&[u8]; 3] = [b"path", b"linkpath", b"size"];

/// What the pax header before an entry says of it.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// When it was changed last: seconds since 1970, 0 for what is earlier.
    pub changed: Option<u64>,
    /// Which of [`DECISIVE`] are there.
    records: Vec<&'static [u8]>,
}

impl Described {
    /// A name as the crate gives it, which is that of the pax record `record` or GNU's long name. GNU tar reads the latter as C
    /// does and so takes no notice of zero bytes at its end, which it writes itself; in a record they belong to the name.
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

/// Reads the pax header of an entry.
pub(super) fn read<R: Read>(entry: &mut tar::Entry<R>) -> Result<Described, EntryError> {
    let mut described = Described::default();
    let Some(extensions) = entry.pax_extensions().map_err(EntryError::Read)? else { return Ok(described) };
    for extension in extensions {
        let extension = extension.map_err(EntryError::Read)?;
        let (key, value) = (extension.key_bytes(), extension.value_bytes());
        if key.starts_with(b"GNU.sparse.") {
            return refused("it is a sparse file in pax format; pack it without `--sparse`");
        }
        if let Some(record) = DECISIVE.iter().find(|&&record| record == key) {
            if described.records.contains(record) {
                return refused(format!("its pax header has two records `{}`", record.escape_ascii()));
            }
            described.records.push(record);
        }
        match key {
            b"size" | b"uid" | b"gid" if !is_number(value) => {
                return refused(format!(
                    "the `{}` of its pax header is no number: `{}`",
                    key.escape_ascii(),
                    value.escape_ascii()
                ));
            }
            b"mtime" => match seconds(value) {
                Some(seconds) => described.changed = Some(seconds),
                None => {
                    return refused(format!("the `mtime` of its pax header is no time: `{}`", value.escape_ascii()));
                }
            },
            _ => {}
        }
    }
    Ok(described)
}

/// Refuses a pax header of the whole archive that says what each entry is: some readers believe it, and others do not.
pub(super) fn check_global<R: Read>(entry: &mut tar::Entry<R>) -> Result<(), EntryError> {
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

/// When an entry was changed last as its header says; an empty field says nothing.
pub(super) fn header_time(header: &Header) -> Result<u64, EntryError> {
    let field = &header.as_old().mtime;
    // GNU's form for numbers that have no room in octal digits; times before 1970 among them.
    let is_negative = field[0] == 0xff;
    if is_negative || field.iter().all(|&byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    header.mtime().or_else(|_| refused(format!("its time is no number: `{}`", field.escape_ascii())))
}

/// Decimal digits that a `u64` has room for; no sign, which `parse` would take.
fn is_number(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok())
}

/// Seconds since 1970, with a fraction perhaps; 0 for what is earlier.
fn seconds(value: &[u8]) -> Option<u64> {
    let (sign, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or(b"0"));
    if !is_number(whole) || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if sign { Some(0) } else { std::str::from_utf8(whole).ok()?.parse().ok() }
}
