//! POSIX extended regular expressions, with the results of `std::regex` in GNU's C++ library.
//!
//! `builtins.match` and `builtins.split` are defined by that library, whose choice among several
//! matches is neither POSIX's nor Perl's: an alternation tries both sides and the longer match
//! wins; a repetition is greedy and backtracks only where nothing matches otherwise. So this module
//! walks the same automaton in the same order (`run`), made from the same grammar (`parse`,
//! `program`), but without the original's recursion and exponential time: branches that failed at
//! an offset are memoised.
//!
//! The alphabet is bytes, `.` matches all of them except NUL, and classes are those of the C
//! locale. Callers cache compiled expressions.

mod parse;
mod program;
mod run;

use program::Program;
use std::ops::Range;

/// A compiled expression.
#[derive(Debug)]
pub struct Regex {
    program: Program,
}

/// Reason why a pattern is not a regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {offset}")]
pub struct RegexError {
    pub message: &'static str,
    /// Position in the pattern.
    pub offset: usize,
    /// True when the pattern is valid, but takes too much memory.
    pub is_too_large: bool,
}

/// Error of a match that exceeds its memory limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory limit exceeded by regular expression")]
pub struct TooMuchMemory;

/// Ranges that the groups of an expression matched, in order of their opening parentheses; `None`
/// for a group that took no part.
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
        let program = Program::new(&parsed).ok_or(RegexError {
            message: "expression is too large",
            offset: 0,
            is_too_large: true,
        })?;
        Ok(Regex { program })
    }

    /// Matches the whole text, as `builtins.match` does.
    ///
    /// # Errors
    /// When matching takes too much memory.
    pub fn match_whole(&self, text: &[u8]) -> Result<Option<Groups>, TooMuchMemory> {
        run::Run::new(&self.program, text).whole()
    }

    /// Finds the matches that `builtins.split` splits at: each begins where the last one ended or
    /// later, and after an empty one comes a non-empty match at the same offset, if there is one.
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
                // `^` still matches here if the empty match was at the start of the text.
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
