//! Decompression by a thread of its own, some blocks ahead of the thread that writes the files.
//!
//! Each block comes with the number of bytes of the archive that were read for it. So limits, and
//! the offsets in messages, follow the blocks that were taken, and do not depend on the lead of the
//! other thread.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Number of bytes decompressed at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// The most blocks that may wait.
const BLOCKS_AHEAD: usize = 8;

/// A reader that counts the bytes read of an archive.
pub struct Counted<'a, R> {
    pub inner: R,
    pub position: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.position.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Bytes read of `plain`, and the value of `read` after them.
type Block = io::Result<(Vec<u8>, u64)>;

/// Calls `work` with the bytes of `plain`, which another thread reads. `position` follows the
/// blocks that `work` has taken; `read` counts the bytes of the archive that `plain` has taken.
pub fn with<T>(
    plain: impl Read + Send,
    read: &AtomicU64,
    position: &Cell<u64>,
    work: impl FnOnce(Ahead<'_>) -> T,
) -> T {
    std::thread::scope(|scope| {
        let (blocks, arriving) = sync_channel(BLOCKS_AHEAD);
        // It ends when its blocks are no longer taken.
        scope.spawn(move || send(plain, read, &blocks));
        work(Ahead { arriving, position, block: Vec::new(), taken: 0 })
    })
}

fn send(mut plain: impl Read, read: &AtomicU64, blocks: &SyncSender<Block>) {
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let ended = (&mut plain).take(BLOCK_BYTES as u64).read_to_end(&mut block);
        let is_last = block.len() < BLOCK_BYTES;
        // Bytes before an error are still sent.
        let is_refused = !block.is_empty() && blocks.send(Ok((block, read.load(Ordering::Relaxed)))).is_err();
        if let Err(error) = ended {
            // The receiver may be gone.
            let _ = blocks.send(Err(error));
            return;
        }
        if is_refused || is_last {
            return;
        }
    }
}

/// The blocks as one stream.
pub struct Ahead<'a> {
    arriving: Receiver<Block>,
    position: &'a Cell<u64>,
    block: Vec<u8>,
    /// Number of bytes taken of the block.
    taken: usize,
}

impl Read for Ahead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() {
            // The other thread is gone after its last block.
            let Ok(next) = self.arriving.recv() else { return Ok(0) };
            let (block, position) = next?;
            self.position.set(position);
            (self.block, self.taken) = (block, 0);
        }
        let n = (&self.block[self.taken..]).read(buffer)?;
        self.taken += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes, then an error.
    struct Failing(io::Cursor<Vec<u8>>);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("broken")),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn bytes_arrive_in_order_with_their_positions() {
        let bytes: Vec<u8> = (0..BLOCK_BYTES * 3 + 17).map(|at| (at % 253) as u8).collect();
        let (read, position) = (AtomicU64::new(0), Cell::new(0));
        let plain = Counted { inner: io::Cursor::new(bytes.clone()), position: &read };
        let got = with(plain, &read, &position, |mut ahead| {
            let mut got = vec![0; 10];
            ahead.read_exact(&mut got).unwrap();
            assert_eq!(position.get(), BLOCK_BYTES as u64);
            ahead.read_to_end(&mut got).unwrap();
            got
        });
        assert!(got == bytes);
        assert_eq!(position.get(), bytes.len() as u64);
    }

    #[test]
    fn an_error_comes_after_the_bytes_before_it() {
        let (read, position) = (AtomicU64::new(0), Cell::new(0));
        let mut got = Vec::new();
        let failing = Failing(io::Cursor::new(vec![7; BLOCK_BYTES + 5]));
        let error = with(failing, &read, &position, |mut ahead| ahead.read_to_end(&mut got).unwrap_err());
        assert_eq!((error.to_string().as_str(), got.len()), ("broken", BLOCK_BYTES + 5));
    }

    #[test]
    fn a_reader_that_stops_early_ends_the_thread() {
        let (read, position) = (AtomicU64::new(0), Cell::new(0));
        let first = with(io::repeat(1), &read, &position, |mut ahead| {
            let mut byte = [0];
            ahead.read_exact(&mut byte).map(|()| byte[0])
        });
        assert_eq!(first.unwrap(), 1);
    }
}
