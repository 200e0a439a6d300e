//! Names of blobs: `<2 hex>/<64 hex>` below `cas/`, and `.x` at the end of the executable twin.

use data_encoding::HEXLOWER;
use model::tree::Digest;

/// The name of a blob below `cas/`.
pub(crate) struct BlobName {
    bytes: [u8; 3 + 64 + 2],
    len: usize,
}

impl std::ops::Deref for BlobName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the name of a blob below `cas/`.
pub(crate) fn blob_name(digest: &Digest, executable: bool) -> BlobName {
    let mut bytes = [0; 3 + 64 + 2];
    HEXLOWER.encode_mut(digest.bytes(), &mut bytes[3..67]);
    bytes.copy_within(3..5, 0);
    bytes[2] = b'/';
    bytes[67..].copy_from_slice(b".x");
    BlobName { bytes, len: if executable { 69 } else { 67 } }
}

/// Returns the digest and the twin of a blob, given its name within its shard directory.
pub(crate) fn parse_blob_name(name: &[u8]) -> Option<(Digest, bool)> {
    let text = std::str::from_utf8(name).ok()?;
    let (hex, executable) = text.strip_suffix(".x").map_or((text, false), |hex| (hex, true));
    Some((hex.parse().ok()?, executable))
}

/// Returns 63 bits of a blob's digest and one bit for its twin, a fraction of the memory of a
/// digest. Callers must tolerate collisions, which are rare.
pub(crate) fn blob_key(digest: &Digest, executable: bool) -> u64 {
    let bits: [u8; 8] = std::array::from_fn(|at| digest.bytes()[at]);
    u64::from_le_bytes(bits) << 1 | u64::from(executable)
}
