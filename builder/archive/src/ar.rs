//! The `ar` format, as far as Debian packages use it: a magic line, then members with a 60-byte
//! header each, padded to even lengths. Names have at most 16 characters; the long-name tables of
//! object libraries do not occur.

use std::io::{self, Read};

/// Start of every `ar` archive.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";

/// The header of one member.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub size: u64,
}

/// Reads members one after the other from a stream.
pub struct Reader<R> {
    inner: R,
    /// Bytes of the current member not yet read, with its padding.
    left: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the magic.
    pub fn new(mut inner: R) -> io::Result<Self> {
        let mut magic = [0; 8];
        inner.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(invalid("no `ar` archive".to_owned()));
        }
        Ok(Self { inner, left: 0 })
    }

    /// Skips the rest of the current member and reads the next header; none at the end of the
    /// archive.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        let skipped = io::copy(&mut (&mut self.inner).take(self.left), &mut io::sink())?;
        // The padding of the last member is left out by some writers.
        if skipped < self.left && self.left - skipped > 1 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = 0;
        let mut header = [0; 60];
        let mut filled = 0;
        while filled < header.len() {
            match self.inner.read(&mut header[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        if &header[58..] != b"`\n" {
            return Err(invalid("the header of an `ar` member does not end as it should".to_owned()));
        }
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_end().to_owned();
        let name = text(0..16);
        let name = name.strip_suffix('/').unwrap_or(&name).to_owned();
        let no_size = || invalid(format!("`ar` member `{name}` has no valid size"));
        let digits = text(48..58);
        // `parse` takes a sign as well.
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let size: u64 = digits.parse().ok().filter(|_| is_number).ok_or_else(no_size)?;
        self.left = size + size % 2;
        Ok(Some(Member { name, size }))
    }

    /// Returns the content of the member whose header was just read; the reader is used up.
    pub fn into_content(self, member: &Member) -> Exactly<R> {
        Exactly { inner: self.inner, left: member.size }
    }
}

/// A reader of a known number of bytes, to which an early end is an error.
pub struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        match self.inner.read(&mut buffer[..want])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).bytes());
            bytes.extend(*content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn members_and_padding() {
        let bytes = archive(&[("a", b"odd"), ("b/", b"even"), ("c", b"")]);
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(member) = reader.next_member().unwrap() {
            seen.push((member.name, member.size));
        }
        assert_eq!(seen, [("a".to_owned(), 3), ("b".to_owned(), 4), ("c".to_owned(), 0)]);
    }

    #[test]
    fn truncated_anywhere_is_an_error() {
        let bytes = archive(&[("a", b"content"), ("b", b"more")]);
        for len in 0..bytes.len() {
            let read = || -> io::Result<()> {
                let mut reader = Reader::new(&bytes[..len])?;
                while reader.next_member()?.is_some_and(|member| member.name != "b") {}
                let mut content = Vec::new();
                reader.into_content(&Member { name: "b".into(), size: 4 }).read_to_end(&mut content)?;
                Ok(())
            };
            assert!(read().is_err(), "cut at {len}");
        }
    }
}
