//! Finds the store paths that a stream of bytes mentions, by their 32-digit hash parts.
//!
//! Bytes come in chunks of any size; a hash part across two chunks is found. The search advances by
//! up to 32 bytes, as in Boyer-Moore: a byte that is not a digit rules out every window that
//! contains it.

use crate::base32;
use crate::path::{HASH_TEXT_LEN, StorePath};
use std::collections::{BTreeSet, HashMap};
use std::io;

/// A scanner for the hash parts of given store paths.
pub struct ReferenceScanner {
    wanted: HashMap<[u8; HASH_TEXT_LEN], StorePath>,
    found: BTreeSet<StorePath>,
    /// The last bytes of the previous chunk, at most `HASH_TEXT_LEN - 1`.
    tail: Vec<u8>,
}

impl ReferenceScanner {
    pub fn new(candidates: impl IntoIterator<Item = StorePath>) -> Self {
        let wanted = candidates
            .into_iter()
            .map(|path| (path.hash_text().into_bytes().try_into().expect("a hash part has 32 digits"), path))
            .collect();
        Self { wanted, found: BTreeSet::new(), tail: Vec::with_capacity(2 * HASH_TEXT_LEN) }
    }

    /// Scans the next chunk.
    pub fn update(&mut self, bytes: &[u8]) {
        if self.wanted.is_empty() {
            return;
        }
        let head = &bytes[..bytes.len().min(HASH_TEXT_LEN - 1)];
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(head);
        self.scan(&seam);
        self.scan(bytes);
        if bytes.len() >= HASH_TEXT_LEN {
            seam.clear();
            seam.extend_from_slice(&bytes[bytes.len() - (HASH_TEXT_LEN - 1)..]);
        } else {
            seam.drain(..seam.len().saturating_sub(HASH_TEXT_LEN - 1));
        }
        self.tail = seam;
    }

    /// Drops the previous chunk, so that no match spans two files.
    pub fn boundary(&mut self) {
        self.tail.clear();
    }

    fn scan(&mut self, bytes: &[u8]) {
        let mut start = 0;
        while let Some(window) = bytes.get(start..start + HASH_TEXT_LEN) {
            if let Some(last) = window.iter().rposition(|&byte| !base32::is_digit(byte)) {
                start += last + 1;
                continue;
            }
            let window: &[u8; HASH_TEXT_LEN] = window.try_into().expect("the window has that length");
            if let Some(path) = self.wanted.remove(window) {
                self.found.insert(path);
            }
            start += 1;
        }
    }

    /// Returns the store paths whose hash parts occurred.
    pub fn finish(self) -> BTreeSet<StorePath> {
        self.found
    }
}

impl io::Write for ReferenceScanner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::StorePathName;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_exactly_what_is_there(
            hashes in prop::collection::vec(any::<[u8; 20]>(), 1..6),
            present in prop::collection::vec(any::<bool>(), 6),
            noise in "[0-9a-z/ ]{0,80}",
            cuts in prop::collection::vec(1usize..50, 1..40),
        ) {
            let paths: Vec<_> =
                hashes.iter().map(|hash| StorePath::new(*hash, StorePathName::new("x").unwrap())).collect();
            let mut text = noise.clone().into_bytes();
            let mut expected = BTreeSet::new();
            for (path, present) in paths.iter().zip(&present) {
                if *present {
                    expected.insert(path.clone());
                    text.extend_from_slice(path.hash_text().as_bytes());
                    text.extend_from_slice(noise.as_bytes());
                }
            }
            let mut scanner = ReferenceScanner::new(paths);
            let mut rest = text.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                scanner.update(piece);
                rest = after;
            }
            prop_assert_eq!(scanner.finish(), expected);
        }
    }

    #[test]
    fn nothing_is_found_across_a_boundary() {
        let path = StorePath::new([7; 20], StorePathName::new("x").unwrap());
        let text = path.hash_text();
        let mut scanner = ReferenceScanner::new([path]);
        scanner.update(&text.as_bytes()[..10]);
        scanner.boundary();
        scanner.update(&text.as_bytes()[10..]);
        assert!(scanner.finish().is_empty());
    }
}
