//! Detection of formats by content, and decompression.

use super::ar;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::io::{self, BufRead, BufReader, Read};

/// Length of a block of tar, which is enough of a stream to detect its format.
pub const BLOCK: usize = 512;

/// Memory that one decoder may use: the largest presets of xz and zstd fit many times.
const DECODER_MEMORY_MAX: u64 = 1 << 30;

/// The largest window of zstd accepted, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Deb,
    Tar,
    Zip,
    Compressed(Compression),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

/// Returns the format by the first bytes: up to [`BLOCK`] of them, fewer only if the stream ends
/// there.
pub fn detect(start: &[u8]) -> Format {
    const MAGICS: [(&[u8], Format); 8] = [
        (ar::MAGIC, Format::Deb),
        (b"PK\x03\x04", Format::Zip),
        (b"PK\x05\x06", Format::Zip),
        (b"\x1f\x8b", Format::Compressed(Compression::Gzip)),
        (b"BZh", Format::Compressed(Compression::Bzip2)),
        (b"\xfd7zXZ\0", Format::Compressed(Compression::Xz)),
        (b"\x28\xb5\x2f\xfd", Format::Compressed(Compression::Zstd)),
        (b"\x50\x2a\x4d\x18", Format::Compressed(Compression::Zstd)),
    ];
    // A tar starts with a file name, which may happen to be one of the magics: its checksum is the
    // stronger sign.
    if is_tar_block(start) {
        return Format::Tar;
    }
    MAGICS.iter().find(|(magic, _)| start.starts_with(magic)).map_or(Format::Unknown, |(_, format)| *format)
}

/// Returns true for a tar header with a valid checksum, and for the zeros that an empty tar starts
/// with.
fn is_tar_block(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<BLOCK>() else { return false };
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let stored = block[148..156].iter().filter(|byte| !matches!(byte, b' ' | 0)).try_fold(0u32, |sum, byte| {
        matches!(byte, b'0'..=b'7').then(|| sum.wrapping_mul(8).wrapping_add(u32::from(byte - b'0')))
    });
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let field: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    stored == Some(sum - field + 8 * u32::from(b' '))
}

/// Reads up to [`BLOCK`] bytes ahead and returns them with a reader that still gives them all.
pub fn peek<R: Read>(mut inner: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut start = vec![0; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        match inner.read(&mut start[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    start.truncate(filled);
    Ok((start.clone(), io::Cursor::new(start).chain(inner)))
}

/// Returns a reader of the decompressed bytes. Several streams one after the other are one, as in
/// all these tools.
pub fn decompress<'a>(compression: Compression, inner: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let buffered = BufReader::with_capacity(1 << 17, inner);
    Ok(match compression {
        Compression::Gzip => Box::new(Gzip(Some(flate2::bufread::GzDecoder::new(buffered)))),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
        Compression::Xz => {
            Box::new(XzDecoder::new_stream(buffered, Stream::new_stream_decoder(DECODER_MEMORY_MAX, CONCATENATED)?))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// Gzip members one after the other; bytes after the last one, mostly padding, are ignored, as gzip
/// does.
struct Gzip<R: BufRead>(Option<flate2::bufread::GzDecoder<R>>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.0 else { return Ok(0) };
            let n = decoder.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Some(mut rest) = self.0.take().map(flate2::bufread::GzDecoder::into_inner) else { return Ok(0) };
            if rest.fill_buf()?.first() == Some(&0x1f) {
                self.0 = Some(flate2::bufread::GzDecoder::new(rest));
            }
        }
    }
}
