//! Progress of one call, and its limits.

use crate::error::{EntryError, UnpackError};
use crate::{Options, RATIO_FROM_BYTES, Stats};
use filesystem::{Entry, Sink, printable};
use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;

/// Progress of one call, shared by the parser and the sink.
pub struct Progress<'a> {
    pub options: &'a Options,
    stats: Cell<Stats>,
    /// Bytes read of the archive at hand.
    pub position: Cell<u64>,
    /// Bytes of files out of the archive at hand.
    bytes_from_this: Cell<u64>,
}

impl<'a> Progress<'a> {
    pub fn new(options: &'a Options) -> Self {
        Self { options, stats: Cell::default(), position: Cell::new(0), bytes_from_this: Cell::new(0) }
    }

    pub fn start_archive(&self) {
        self.position.set(0);
        self.bytes_from_this.set(0);
    }

    pub fn stats(&self) -> Stats {
        self.stats.get()
    }

    pub fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Checks that one more entry is allowed. To be called before each.
    pub fn check_entry(&self) -> Result<(), EntryError> {
        self.check_cancelled()?;
        let max = self.options.limits.entries_max;
        if self.stats.get().entries() >= max {
            return Err(EntryError::Limit(format!("{max} entries")));
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<(), EntryError> {
        if self.options.cancel.load(Ordering::Relaxed) { Err(EntryError::Cancelled) } else { Ok(()) }
    }

    /// Counts bytes of a file.
    ///
    /// # Errors
    /// [`EntryError::Limit`] when there are too many.
    pub fn count_bytes(&self, bytes: u64) -> Result<(), EntryError> {
        self.count(|stats| stats.bytes += bytes);
        let bytes_from_this = self.bytes_from_this.get() + bytes;
        self.bytes_from_this.set(bytes_from_this);
        let limits = self.options.limits;
        if self.stats.get().bytes > limits.bytes_max {
            return Err(EntryError::Limit(format!("{} bytes", limits.bytes_max)));
        }
        let ratio_bytes = limits.ratio_max.saturating_mul(self.position.get().max(1));
        if bytes_from_this > RATIO_FROM_BYTES && bytes_from_this > ratio_bytes {
            return Err(EntryError::Limit(format!("{} bytes out of one", limits.ratio_max)));
        }
        Ok(())
    }

    /// Gives a regular file of `size` bytes to `sink`, as long as its contents keep to the limits.
    pub fn give_file<S: Sink<Error: Into<EntryError>>>(
        &self,
        sink: &mut S,
        entry: Entry<'_>,
        size: u64,
        contents: &mut dyn Read,
    ) -> Result<(), EntryError> {
        if size > self.options.limits.bytes_max {
            return Err(EntryError::Limit(format!("{} bytes", self.options.limits.bytes_max)));
        }
        let mut contents = BoundedContents { inner: contents, progress: self, left: size, error: None };
        let taken = sink.entry(entry, &mut contents);
        // A sink that failed because its reader did knows the reason only as an error of the
        // reader.
        if let Some(error) = contents.error {
            return Err(error);
        }
        taken.map_err(Into::into)?;
        self.count(|stats| stats.files += 1);
        Ok(())
    }

    /// Adds the archive and the name of the entry to an error.
    pub fn place(&self, archive: &Path, entry: &[u8], error: EntryError) -> UnpackError {
        let archive = archive.to_owned();
        let entry = printable(entry);
        match error {
            EntryError::Refused(reason) => UnpackError::Refused { archive, entry, reason },
            EntryError::Limit(limit) => UnpackError::Limit { archive, entry, limit },
            EntryError::OutOfSpace(source) => UnpackError::OutOfSpace { archive, entry, source },
            EntryError::System(source) => UnpackError::System { archive, entry, source },
            EntryError::Read(source) => UnpackError::Broken { archive, offset: self.position.get(), source },
            EntryError::Cancelled => UnpackError::Cancelled { archive },
        }
    }
}

/// The contents of a file, counted, and with an error where they end too early.
struct BoundedContents<'a> {
    inner: &'a mut dyn Read,
    progress: &'a Progress<'a>,
    /// Bytes that the archive still promises.
    left: u64,
    /// The reason for which reading failed.
    error: Option<EntryError>,
}

impl BoundedContents<'_> {
    fn fail(&mut self, error: EntryError) -> io::Error {
        self.error = Some(error);
        io::Error::other("the contents cannot be read")
    }
}

impl Read for BoundedContents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Err(error) = self.progress.check_cancelled() {
            return Err(self.fail(error));
        }
        let count = match self.inner.read(buffer) {
            Ok(0) if self.left > 0 => return Err(self.fail(EntryError::Read(io::ErrorKind::UnexpectedEof.into()))),
            Ok(count) => count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.fail(EntryError::Read(error))),
        };
        self.left = self.left.saturating_sub(count);
        match self.progress.count_bytes(count) {
            Ok(()) => Ok(count as usize),
            Err(error) => Err(self.fail(error)),
        }
    }
}
