#![allow(unsafe_code, reason = "a mapping of a file is memory that others may change")]
//! The bytes of a file: small files are read, large ones mapped, so that no file is in memory
//! whole.

use memmap2::Mmap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;

/// Files of this size and above are mapped; for smaller ones that takes longer than reading.
const MAPPED_FROM_BYTES: u64 = 1 << 20;

pub(super) enum Content {
    Read(Vec<u8>),
    Mapped(Mmap),
}

impl Content {
    pub fn of(path: &Path) -> io::Result<Content> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() < MAPPED_FROM_BYTES {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            return Ok(Content::Read(bytes));
        }
        // SAFETY: the mapping is read-only, of a regular file, and no process writes to a tree
        // under audit: it is in the store, or its user asks about it. If that user truncates a file
        // during the audit, the kernel ends this process.
        unsafe { Mmap::map(&file) }.map(Content::Mapped)
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Content::Read(bytes) => bytes,
            Content::Mapped(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_the_files_bytes() {
        let place = tempfile::tempdir().unwrap();
        for size in [0, 5, MAPPED_FROM_BYTES as usize - 1, MAPPED_FROM_BYTES as usize + 3] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let path = place.path().join("file");
            std::fs::write(&path, &bytes).unwrap();
            let content = Content::of(&path).unwrap();
            assert!(*content == *bytes, "{size}");
            assert_eq!(matches!(content, Content::Mapped(_)), size as u64 >= MAPPED_FROM_BYTES);
        }
        assert!(Content::of(&place.path().join("none")).is_err());
    }
}
