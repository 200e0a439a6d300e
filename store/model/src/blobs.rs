//! Blobs: bytes that their digest names.

use crate::tree::{Digest, SizedDigest};
use std::collections::HashMap;
use std::error::Error;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// A place from which blobs are read and to which they are written: a store, a cache, a remote
/// engine.
///
/// Contents are streamed in both directions, since a blob may be larger than memory.
pub trait Blobs: Sync {
    /// Returns true when there is a blob with this digest.
    ///
    /// # Errors
    /// [`BlobError::Access`] when the place cannot be asked.
    fn contains(&self, digest: &Digest) -> Result<bool, BlobError>;

    /// Opens a blob for reading from its first byte. A reader that does not trust the place hashes
    /// the bytes itself.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when there is none, [`BlobError::Access`] when it cannot be read.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send + '_>, BlobError>;

    /// Writes the bytes that `contents` returns until its end, and returns the digest that names
    /// them.
    ///
    /// # Errors
    /// [`BlobError::Contents`] when `contents` fails, [`BlobError::Write`] when the place does.
    fn write(&self, contents: &mut dyn Read) -> Result<SizedDigest, BlobError>;

    /// Writes the bytes of a blob whose digest is known. A remote engine names an upload by it, and
    /// so need not read the bytes twice.
    ///
    /// # Errors
    /// As [`Blobs::write`]; [`BlobError::Differs`] when `contents` is another blob.
    fn write_known(&self, digest: &SizedDigest, contents: &mut dyn Read) -> Result<(), BlobError> {
        let found = self.write(contents)?;
        if found == *digest { Ok(()) } else { Err(BlobError::Differs { expected: *digest, found }) }
    }

    /// Returns those of `digests` that are not there, in their order. A remote engine answers for
    /// many in one call.
    ///
    /// # Errors
    /// As [`Blobs::contains`].
    fn missing(&self, digests: &[SizedDigest]) -> Result<Vec<SizedDigest>, BlobError> {
        let mut missing = Vec::new();
        for digest in digests {
            if !self.contains(&digest.digest)? {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }
}

/// Reasons why a blob cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("there is no blob {digest}")]
    Missing { digest: Digest },
    #[error("cannot read blob {digest}")]
    Access { digest: Digest, source: Box<dyn Error + Send + Sync> },
    #[error("the contents are blob {}, and {} was expected", found.digest, expected.digest)]
    Differs { expected: SizedDigest, found: SizedDigest },
    #[error("cannot read the contents of a blob")]
    Contents { source: std::io::Error },
    #[error("cannot write a blob")]
    Write { source: Box<dyn Error + Send + Sync> },
}

/// Blobs in memory: for tests, and for the few that are made before anything is stored.
#[derive(Default)]
pub struct MemoryBlobs {
    known: Mutex<HashMap<Digest, Arc<[u8]>>>,
}

impl Blobs for MemoryBlobs {
    fn contains(&self, digest: &Digest) -> Result<bool, BlobError> {
        Ok(self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest))
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send + '_>, BlobError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = known.get(digest).ok_or(BlobError::Missing { digest: *digest })?;
        Ok(Box::new(Cursor::new(Arc::clone(bytes))))
    }

    fn write(&self, contents: &mut dyn Read) -> Result<SizedDigest, BlobError> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes).map_err(|source| BlobError::Contents { source })?;
        let digest = SizedDigest::of(&bytes);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(digest.digest).or_insert_with(|| bytes.into());
        Ok(digest)
    }
}
