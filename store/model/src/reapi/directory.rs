//! Directories and nodes as bytes.
//!
//! ```proto
//! message Directory     { repeated FileNode files = 1; repeated DirectoryNode directories = 2; repeated SymlinkNode symlinks = 3; }
//! message FileNode      { string name = 1; Digest digest = 2; bool is_executable = 4; }
//! message DirectoryNode { string name = 1; Digest digest = 2; }
//! message SymlinkNode   { string name = 1; string target = 2; }
//! message Digest        { string hash = 1; int64 size_bytes = 2; }
//! ```
//!
//! Each list is sorted by the bytes of the names, and no name occurs twice in the whole directory.

use super::wire::{Decoded, Field, decode_digest, digest, element, fields, number, string};
use crate::tree::{Digest, Directory, Node, TreeError};

impl Directory {
    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len() * 100);
        encode_nodes(&mut out, self.iter());
        out
    }

    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`TreeError::Encoding`] when the bytes are not the result of [`Directory::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let error = |reason| TreeError::Encoding { digest: Digest::of(bytes), reason };
        let mut directory = Self::new();
        for (name, node) in decode_nodes(bytes).map_err(error)? {
            match directory.insert(name, node) {
                Ok(None) => {}
                Ok(Some(_)) => return Err(error("a name occurs twice")),
                Err(_) => return Err(error("a name is empty, `.`, `..`, or holds a slash or NUL")),
            }
        }
        if directory.encode() != bytes {
            return Err(error("it is not sorted, or not in canonical form"));
        }
        Ok(directory)
    }
}

impl Node {
    /// Returns the node as bytes: a directory message whose only entry has no name, which no
    /// directory can be.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(100);
        encode_nodes(&mut out, std::iter::once((&b""[..], self)));
        out
    }

    /// Parses the result of [`Node::to_bytes`]; returns `None` for all other bytes.
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
            string(&mut message, 1, name);
            match node {
                Node::File { digest: contents, executable, size } if field == 1 => {
                    digest(&mut message, 2, contents, *size);
                    number(&mut message, 4, u64::from(*executable));
                }
                Node::Directory { digest: contents, size } if field == 2 => digest(&mut message, 2, contents, *size),
                Node::Symlink { target } if field == 3 => string(&mut message, 2, target),
                _ => continue,
            }
            element(out, field, &message);
        }
    }
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
