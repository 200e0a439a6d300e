//! Reads whole files, into memory or into a digest.

use model::tree::Digest;
use nix::errno::Errno;
use os::SysError;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Files up to this size are read into memory at once.
pub(crate) const SMALL_MAX: u64 = 1 << 20;

/// Reads an open file of `expected` bytes into a buffer that the thread reuses, and passes the
/// bytes to `work`.
pub(crate) fn with_small_file<T>(
    file: &mut File,
    expected: usize,
    work: impl FnOnce(std::io::Result<&[u8]>) -> T,
) -> T {
    thread_local! {
        static BYTES: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    BYTES.with_borrow_mut(|bytes| {
        // One more byte shows the end of the file in the same call.
        if bytes.len() < expected + 1 {
            bytes.resize(expected + 1, 0);
        }
        let mut size = 0;
        loop {
            if size == bytes.len() {
                bytes.resize(size * 2, 0);
            }
            match file.read(&mut bytes[size..]) {
                Ok(0) => return work(Ok(&bytes[..size])),
                Ok(read) => {
                    size += read;
                    if size == expected {
                        return work(Ok(&bytes[..size]));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return work(Err(error)),
            }
        }
    })
}

/// Returns the digest and the size of an open file, from its current position on.
pub(crate) fn hash_file(file: &mut File, path: &Path) -> Result<(Digest, u64), SysError> {
    hash_file_unless(file, path, || false)
}

/// Does the same as [`hash_file`]; fails with `ECANCELED` soon after `stop` returns true.
pub(crate) fn hash_file_unless(
    file: &mut File,
    path: &Path,
    stop: impl Fn() -> bool,
) -> Result<(Digest, u64), SysError> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(1 << 18, 0);
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        loop {
            if stop() {
                return Err(SysError::new("read", path, Errno::ECANCELED));
            }
            match file.read(buffer) {
                Ok(0) => return Ok((Digest::from(hasher.finalize()), size)),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    size += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(SysError::io("read", path, &error)),
            }
        }
    })
}
