//! POSIX extended regular expressions, with the results of C++'s `std::regex` in GNU's library.
//!
//! `builtins.match` and `builtins.split` are defined by that library, whose choice among several matches is neither
//! POSIX's nor Perl's: an alternation tries both sides and the longer match wins, a repetition takes what it can get
//! and gives back only where nothing matches otherwise. So this module walks the same automaton in the same order
//! (`run`), made from the same grammar (`parse`, `program`), without the original's recursion and without its
//! exponential times: what has failed at a place once is remembered.
//!
//! Bytes are the alphabet, `.` matches all of them but NUL, classes are those of the C locale. Caching compiled
//! expressions is the caller's business.

mod parse;
mod program;
mod run;

use std::ops::Range;

use program::Program;

/// A compiled expression.
#[derive(Debug)]
pub struct Regex {
    program: Program,
}

/// Why a pattern is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {offset}")]
pub struct RegexError {
    pub message: &'static str,
    /// In the pattern.
    pub offset: usize,
}

/// A walk needs more memory than it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory limit exceeded by regular expression")]
pub struct TooMuchMemory;

/// What the groups of an expression matched, in order of their opening parentheses; none where a group took no part.
pub type Groups = Vec<Option<Range<usize>>>;

/// One match found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    pub range: Range<usize>,
    pub groups: Groups,
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is not an extended regular expression, or when its repetitions make it too large.
    pub fn new(pattern: &[u8]) -> Result<Regex, RegexError> {
        let parsed = parse::parse(pattern)?;
        let program = Program::new(&parsed).ok_or(RegexError { message: "expression is too large", offset: 0 })?;
        Ok(Regex { program })
    }

    /// Matches the whole text, as `builtins.match` does.
    ///
    /// # Errors
    /// When finding out takes too much memory.
    pub fn match_whole(&self, text: &[u8]) -> Result<Option<Groups>, TooMuchMemory> {
        run::Run::new(&self.program, text).whole()
    }

    /// Finds the matches that `builtins.split` splits at: each begins where the last one ended or later, and an empty
    /// one is followed by what matches non-empty at the same place, if anything does.
    pub fn matches<'t>(&'t self, text: &'t [u8]) -> Matches<'t> {
        Matches { run: run::Run::new(&self.program, text), last: None, first: true, length: text.len() }
    }
}

/// The matches of an expression in a text, from left to right.
#[derive(Debug)]
pub struct Matches<'t> {
    run: run::Run<'t>,
    last: Option<Range<usize>>,
    first: bool,
    length: usize,
}

impl Iterator for Matches<'_> {
    type Item = Result<Match, TooMuchMemory>;

    fn next(&mut self) -> Option<Result<Match, TooMuchMemory>> {
        let found = self.find();
        if self.run.is_out_of_memory() {
            self.last = None;
            return Some(Err(TooMuchMemory));
        }
        found.map(Ok)
    }
}

impl Matches<'_> {
    fn find(&mut self) -> Option<Match> {
        let found = if std::mem::take(&mut self.first) {
            self.run.search(0, true)
        } else {
            let last = self.last.take()?;
            let mut start = last.end;
            let mut longer = None;
            if last.is_empty() {
                if start == self.length {
                    return None;
                }
                // `^` still holds here if the empty match was the first thing in the text.
                longer = self.run.non_empty_at(start);
                start += usize::from(longer.is_none());
            }
            longer.or_else(|| self.run.search(start, false))
        };
        self.last = found.as_ref().map(|found| found.range.clone());
        found
    }
}

#[cfg(test)]
mod tests;
