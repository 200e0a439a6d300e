//! Texts and positions in them: files, spans, lines and columns.

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

/// A byte offset in the concatenation of all sources of a [`SourceMap`]: file and offset in four
/// bytes. 0 is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Pos(pub u32);

impl Pos {
    pub const NONE: Pos = Pos(0);

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Origin of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An absolute path.
    File(Arc<str>),
    /// `--expr`
    CommandLine,
    StandardInput,
    /// A text that the user cannot open, with a name for messages.
    Internal(&'static str),
}

/// A text and the offsets of its lines.
#[derive(Debug)]
pub struct SourceText {
    pub origin: Origin,
    pub text: Arc<[u8]>,
    line_starts: std::sync::OnceLock<Vec<u32>>,
}

impl SourceText {
    pub fn new(origin: Origin, text: Arc<[u8]>) -> Self {
        SourceText { origin, text, line_starts: std::sync::OnceLock::new() }
    }

    /// Returns line and column of a byte offset, both from 1; columns count bytes, as in Nix.
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

/// All texts read so far, each with its start in the concatenation that [`Pos`] indexes.
#[derive(Debug, Default)]
pub struct SourceMap {
    /// The start of each source, ascending.
    bases: Vec<u32>,
    sources: Vec<std::sync::Arc<SourceText>>,
}

/// The most bytes of source text that one evaluator reads.
const TEXT_BYTES_MAX: usize = u32::MAX as usize - 1;

impl SourceMap {
    /// Adds a source and returns the position of its first byte; `None` when the 4 GiB are full.
    pub fn add(&mut self, source: Arc<SourceText>) -> Option<Pos> {
        let base = match (self.bases.last(), self.sources.last()) {
            (Some(&base), Some(last)) => base as usize + last.text.len() + 1,
            _ => 1,
        };
        if base + source.text.len() > TEXT_BYTES_MAX {
            return None;
        }
        self.bases.push(base as u32);
        self.sources.push(source);
        Some(Pos(base as u32))
    }

    /// Returns the source that a position is in and the offset there.
    pub fn locate(&self, pos: Pos) -> Option<(&Arc<SourceText>, u32)> {
        if pos.is_none() {
            return None;
        }
        let index = self.bases.partition_point(|&base| base <= pos.0).checked_sub(1)?;
        Some((&self.sources[index], pos.0 - self.bases[index]))
    }
}
