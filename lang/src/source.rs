//! Where text comes from: files, spans in them, lines and columns.

use std::sync::Arc;

/// A range of bytes in one file, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: u32, end: u32) -> Self {
        Span { start, end }
    }

    /// The smallest span that covers both.
    pub fn to(self, end: Span) -> Span {
        Span { start: self.start.min(end.start), end: self.end.max(end.end) }
    }
}

/// Index of a file in the evaluator's table of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// What a text was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An absolute path.
    File(Arc<str>),
    /// `--expr`
    CommandLine,
    StandardInput,
    /// Text that came from nowhere the user can open, with a name for messages.
    Internal(&'static str),
}

/// One text and the offsets of its lines.
#[derive(Debug)]
pub struct Source {
    pub origin: Origin,
    pub text: Arc<[u8]>,
    line_starts: std::sync::OnceLock<Vec<u32>>,
}

impl Source {
    pub fn new(origin: Origin, text: Arc<[u8]>) -> Self {
        Source { origin, text, line_starts: std::sync::OnceLock::new() }
    }

    /// Returns line and column of a byte offset, both from 1; columns count bytes, as Nix does.
    pub fn position(&self, offset: u32) -> (u32, u32) {
        let starts = self.line_starts.get_or_init(|| {
            let mut starts = vec![0];
            starts.extend(memchr::memchr_iter(b'\n', &self.text).map(|at| at as u32 + 1));
            starts
        });
        let line = starts.partition_point(|&start| start <= offset);
        (line as u32, offset - starts[line - 1] + 1)
    }
}
