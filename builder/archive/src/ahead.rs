//! Decompression by a thread of its own, some blocks ahead of whoever writes the files.
//!
//! Each block comes with how much of the archive had been read when it was complete. So limits and the offsets in messages are
//! those of what has arrived, and do not depend on how far ahead the other thread is.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// How much is decompressed at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// How many blocks may wait.
const BLOCKS_AHEAD: usize = 8;

/// A reader that counts what has been read of an archive.
pub(super) struct Counted<'a, R> {
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

/// What was read of `plain`, and where `read` was then.
type Block = io::Result<(Vec<u8>, u64)>;

/// Calls `work` with what `plain` gives, read by another thread. `position` follows the blocks that `work` has come to; `read` is
/// how far into the archive `plain` is.
pub(super) fn with<T>(
    plain: impl Read + Send,
    read: &AtomicU64,
    position: &Cell<u64>,
    work: impl FnOnce(Ahead<'_>) -> T,
) -> T {
    std::thread::scope(|scope| {
        let (blocks, arriving) = sync_channel(BLOCKS_AHEAD);
        // It ends when nobody takes its blocks any more.
        scope.spawn(move || send(plain, read, &blocks));
        work(Ahead { arriving, position, block: Vec::new(), taken: 0 })
    })
}

fn send(mut plain: impl Read, read: &AtomicU64, blocks: &SyncSender<Block>) {
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let ended = (&mut plain).take(BLOCK_BYTES as u64).read_to_end(&mut block);
        let is_last = block.len() < BLOCK_BYTES;
        // What came before an error is worth having.
        let nobody = !block.is_empty() && blocks.send(Ok((block, read.load(Ordering::Relaxed)))).is_err();
        if let Err(error) = ended {
            // Nobody may be there to hear.
            let _ = blocks.send(Err(error));
            return;
        }
        if nobody || is_last {
            return;
        }
    }
}

/// The blocks as one stream.
pub(super) struct Ahead<'a> {
    arriving: Receiver<Block>,
    position: &'a Cell<u64>,
    block: Vec<u8>,
    /// How much of the block is taken.
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
    fn an_error_comes_after_what_was_before_it() {
        let (read, position) = (AtomicU64::new(0), Cell::new(0));
        let mut got = Vec::new();
        let failing = Failing(io::Cursor::new(vec![7; BLOCK_BYTES + 5]));
        let error = with(failing, &read, &position, |mut ahead| ahead.read_to_end(&mut got).unwrap_err());
        assert_eq!((error.to_string().as_str(), got.len()), ("broken", BLOCK_BYTES + 5));
    }

    #[test]
    fn whoever_stops_early_is_not_waited_for() {
        let (read, position) = (AtomicU64::new(0), Cell::new(0));
        let first = with(io::repeat(1), &read, &position, |mut ahead| {
            let mut byte = [0];
            ahead.read_exact(&mut byte).map(|()| byte[0])
        });
        assert_eq!(first.unwrap(), 1);
    }
}
