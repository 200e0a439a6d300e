//! Directories as bytes: message `Directory` of the Remote Execution API v2, in the one canonical form.
//!
//! ```proto
//! message Directory     { repeated FileNode files = 1; repeated DirectoryNode directories = 2; repeated SymlinkNode symlinks = 3; }
//! message FileNode      { string name = 1; Digest digest = 2; bool is_executable = 4; }
//! message DirectoryNode { string name = 1; Digest digest = 2; }
//! message SymlinkNode   { string name = 1; string target = 2; }
//! message Digest        { string hash = 1; int64 size_bytes = 2; }
//! ```
//!
//! Canonical: each list sorted by the bytes of the names, no name twice in the whole directory, fields in ascending
//! order, default values left out, no other fields. Reading refuses anything else, so a directory has one digest.

use super::{Digest, Directory, Node, TreeError, is_entry_name};

const VARINT: u8 = 0;
const BYTES: u8 = 2;

impl Directory {
    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * 100);
        encode_nodes(&mut out, self.iter());
        out
    }

    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`TreeError::Encoding`] when the bytes are not what [`Directory::encode`] gives.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let error = |reason| TreeError::Encoding { digest: Digest::of(bytes), reason };
        let mut directory = Self::new();
        for (name, node) in decode_nodes(bytes).map_err(error)? {
            if !is_entry_name(&name) {
                return Err(error("a name is empty, `.`, `..`, or holds a slash or NUL"));
            }
            if directory.entries.insert(name, node).is_some() {
                return Err(error("a name occurs twice"));
            }
        }
        if directory.encode() != bytes {
            return Err(error("it is not sorted, or not in canonical form"));
        }
        Ok(directory)
    }
}

impl Node {
    /// Returns the node as bytes: a directory message whose only entry has no name, which no directory can be.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(100);
        encode_nodes(&mut out, std::iter::once((&b""[..], self)));
        out
    }

    /// Parses what [`Node::to_bytes`] gives; `None` when it is anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut nodes = decode_nodes(bytes).ok()?;
        let (name, node) = nodes.pop()?;
        (nodes.is_empty() && name.is_empty() && node.to_bytes() == bytes).then_some(node)
    }
}

fn encode_nodes<'a>(out: &mut Vec<u8>, nodes: impl Iterator<Item = (&'a [u8], &'a Node)> + Clone) {
    let mut message = Vec::with_capacity(128);
    for field in 1..=3 {
        for (name, node) in nodes.clone() {
            message.clear();
            bytes_field(&mut message, 1, name);
            match node {
                Node::File { digest, executable, size } if field == 1 => {
                    digest_field(&mut message, digest, *size);
                    if *executable {
                        message.extend_from_slice(&[4 << 3 | VARINT, 1]);
                    }
                }
                Node::Directory { digest, size } if field == 2 => digest_field(&mut message, digest, *size),
                Node::Symlink { target } if field == 3 => bytes_field(&mut message, 2, target),
                _ => continue,
            }
            out.push(field << 3 | BYTES);
            varint(out, message.len() as u64);
            out.extend_from_slice(&message);
        }
    }
}

fn digest_field(out: &mut Vec<u8>, digest: &Digest, size: u64) {
    let mut message = Vec::with_capacity(80);
    bytes_field(&mut message, 1, digest.hex().as_bytes());
    if size != 0 {
        message.push(2 << 3 | VARINT);
        varint(&mut message, size);
    }
    bytes_field(out, 2, &message);
}

/// Appends a length-delimited field; an empty one is a default value and left out.
pub fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(field << 3 | BYTES);
        varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// Appends `value` in base 128, least significant group first.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

type Decoded<T> = Result<T, &'static str>;

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn decode_nodes(bytes: &[u8]) -> Decoded<Vec<(Vec<u8>, Node)>> {
    let mut nodes = Vec::new();
    fields(bytes, |field, value| {
        let Field::Bytes(message) = value else { return Err("an entry is not a message") };
        let (mut name, mut target, mut executable, mut digest) = (Vec::new(), Vec::new(), false, None);
        fields(message, |inner, value| {
            match (field, inner, value) {
                (1..=3, 1, Field::Bytes(bytes)) => name = bytes.to_vec(),
                (1 | 2, 2, Field::Bytes(bytes)) => digest = Some(decode_digest(bytes)?),
                (1, 4, Field::Number(number)) => executable = number != 0,
                (3, 2, Field::Bytes(bytes)) => target = bytes.to_vec(),
                _ => return Err("an entry has a field that is not known"),
            }
            Ok(())
        })?;
        nodes.push(match (field, digest) {
            (1, Some((digest, size))) => (name, Node::File { digest, executable, size }),
            (2, Some((digest, size))) => (name, Node::Directory { digest, size }),
            (3, None) => (name, Node::Symlink { target }),
            _ => return Err("an entry has no digest"),
        });
        Ok(())
    })?;
    Ok(nodes)
}

fn decode_digest(bytes: &[u8]) -> Decoded<(Digest, u64)> {
    let (mut digest, mut size) = (None, 0);
    fields(bytes, |field, value| {
        match (field, value) {
            (1, Field::Bytes(hex)) => {
                let text = std::str::from_utf8(hex).map_err(|_| "a digest is not hex")?;
                digest = Some(text.parse::<Digest>().map_err(|_| "a digest is not 64 hex digits")?);
            }
            (2, Field::Number(number)) => size = number,
            _ => return Err("a digest has a field that is not known"),
        }
        Ok(())
    })?;
    Ok((digest.ok_or("a digest is empty")?, size))
}

fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u8, Field<'a>) -> Decoded<()>) -> Decoded<()> {
    while let Some((&key, rest)) = bytes.split_first() {
        bytes = rest;
        let value = match key & 7 {
            VARINT => Field::Number(read_varint(&mut bytes)?),
            BYTES => {
                let length = usize::try_from(read_varint(&mut bytes)?).map_err(|_| "a length is too large")?;
                if length > bytes.len() {
                    return Err("it ends within a field");
                }
                let (field, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(field)
            }
            _ => return Err("a field has a type that is not known"),
        };
        // Field numbers above 15 take more than one byte; the first then has its top bit set and matches none of ours.
        each(key >> 3, value)?;
    }
    Ok(())
}

fn read_varint(bytes: &mut &[u8]) -> Decoded<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("it ends within a number")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is too large")
}
