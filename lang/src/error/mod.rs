//! Errors of an evaluation.
//!
//! An [`Error`] is one pointer, so results stay small and cheap to pass. It keeps positions as
//! [`Pos`] numbers; [`Evaluator::report`](crate::Evaluator::report) resolves them to files and
//! lines, and makes a [`Report`] that a program can print.

pub(crate) mod absent;
mod codes;
mod report;

use crate::host::{HostError, HostErrorKind};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::syntax::SyntaxError;
use crate::text::suggest::Suggestions;
use std::fmt;

pub use crate::text::suggest::{alternatives, suggest};
pub use codes::CODES;
pub use report::{Label, Report, Trace, origin_name};

pub type Result<T> = std::result::Result<T, Error>;

/// The situation, in the user's words. Situations that no code distinguishes are
/// [`ErrorKind::Other`].
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// `throw`: caught by `tryEval`.
    #[error("{0}")]
    Throw(String),
    /// A failed `assert`: caught by `tryEval`.
    #[error("{0}")]
    Assertion(String),
    /// A name that the search path does not have: caught by `tryEval`.
    #[error("{0}")]
    LookupPath(String),
    #[error("evaluation aborted with the following error message: '{0}'")]
    Abort(String),
    #[error("infinite recursion encountered")]
    InfiniteRecursion,
    #[error("stack overflow; max-call-depth exceeded")]
    CallDepth,
    #[error("stack overflow (possible infinite recursion)")]
    StackOverflow,
    /// The limit in bytes.
    #[error("the evaluation needs more than {} MiB of memory", .0 >> 20)]
    OutOfMemory(usize),
    #[error("the evaluation was interrupted")]
    Interrupted,
    #[error("attribute '{}' missing", String::from_utf8_lossy(.name.name()))]
    MissingAttribute {
        name: Symbol,
        /// The position of the definition of the set, if it is known.
        set: Option<Mark>,
    },
    #[error("undefined variable '{}'", String::from_utf8_lossy(.name.name()))]
    UndefinedVariable { name: Symbol },
    #[error("{text}")]
    Type { text: String },
    #[error("{text}")]
    Other { code: &'static str, text: String },
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("{}", syntax_message(.0))]
    Syntax(Vec<SyntaxError>),
}

fn syntax_message(errors: &[SyntaxError]) -> String {
    errors.first().map_or_else(|| "syntax error".to_owned(), |error| error.message.clone())
}

/// One step on the path from the start of the evaluation to the error.
#[derive(Debug, Clone)]
pub struct Frame {
    pub pos: Pos,
    pub what: FrameKind,
}

#[derive(Debug, Clone)]
pub enum FrameKind {
    /// `while calling 'f'`, where the name is known.
    Call(Option<Symbol>),
    /// `while evaluating the attribute 'x'`
    Attribute(Symbol),
    /// `while calling the 'x' builtin`
    Builtin(&'static str),
    /// `addErrorContext`, and remarks of builtins about their arguments.
    Note(String),
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameKind::Call(Some(name)) => write!(f, "while calling '{}'", String::from_utf8_lossy(name.name())),
            FrameKind::Call(None) => f.write_str("while calling anonymous lambda"),
            FrameKind::Attribute(name) => {
                write!(f, "while evaluating the attribute '{}'", String::from_utf8_lossy(name.name()))
            }
            FrameKind::Builtin(name) => write!(f, "while calling the '{name}' builtin"),
            FrameKind::Note(text) => f.write_str(text),
        }
    }
}

/// A range of the text that the error is about.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pub pos: Pos,
    pub len: u32,
}

#[derive(Debug)]
struct Data {
    kind: ErrorKind,
    mark: Option<Mark>,
    help: Option<String>,
    suggestions: Suggestions,
    /// Innermost first.
    trace: Vec<Frame>,
    /// The number of frames left out of the middle of `trace`.
    frames_dropped: usize,
    /// In an infinite recursion: the thunk that needs itself, until the error has left it.
    reentered: Option<usize>,
    /// The number of innermost frames up to that thunk.
    cycle_len: usize,
}

/// The most frames in a trace. Of longer ones the innermost and outermost are kept.
const TRACE_LEN_MAX: usize = 1000;

/// The error of an evaluation.
#[derive(Debug)]
pub struct Error(Box<Data>);

impl Error {
    #[cold]
    pub fn new(kind: ErrorKind) -> Error {
        Error(Box::new(Data {
            kind,
            mark: None,
            help: None,
            suggestions: Suggestions::default(),
            trace: Vec::new(),
            frames_dropped: 0,
            reentered: None,
            cycle_len: 0,
        }))
    }

    /// Makes an error that no code distinguishes from others, with a stable code out of [`CODES`].
    #[cold]
    pub fn other(code: &'static str, text: impl Into<String>) -> Error {
        Error::new(ErrorKind::Other { code, text: text.into() })
    }

    #[cold]
    pub fn type_mismatch(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::Type { text: text.into() })
    }

    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Makes an error of the syntax errors of a file, whose text starts at `base`.
    pub(crate) fn syntax(errors: Vec<SyntaxError>, base: Pos) -> Error {
        let first = errors.first().map(|error| (error.span, error.help.clone()));
        let mut result = Error::new(ErrorKind::Syntax(errors));
        if let Some((span, help)) = first {
            result.0.mark = Some(Mark { pos: Pos(base.0 + span.start), len: span.end - span.start });
            result.0.help = help;
        }
        result
    }

    /// Returns true when `tryEval` turns it into `success = false`.
    pub fn is_catchable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Throw(_) | ErrorKind::Assertion(_) | ErrorKind::LookupPath(_))
    }

    /// Sets the position of the error, unless it has one already.
    #[must_use]
    pub(crate) fn at(mut self, pos: Pos, len: u32) -> Error {
        if self.0.mark.is_none() && !pos.is_none() {
            self.0.mark = Some(Mark { pos, len });
        }
        self
    }

    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Error {
        self.0.help = Some(text.into());
        self
    }

    /// Suggests the names that were probably meant by `wanted`.
    #[must_use]
    pub(crate) fn suggest(mut self, wanted: Symbol, names: impl Iterator<Item = Symbol>) -> Error {
        let names: Vec<_> = names.map(|name| String::from_utf8_lossy(name.name())).collect();
        let wanted = String::from_utf8_lossy(wanted.name());
        self.0.suggestions = Suggestions::new(&wanted, names.iter().map(|name| &**name));
        self
    }

    #[must_use]
    pub(crate) fn frame(mut self, pos: Pos, what: FrameKind) -> Error {
        if self.0.trace.len() < TRACE_LEN_MAX {
            self.0.trace.push(Frame { pos, what });
        } else {
            // Keep the newest (outermost) in the second half.
            let at = TRACE_LEN_MAX / 2 + self.0.frames_dropped % (TRACE_LEN_MAX / 2);
            self.0.trace[at] = Frame { pos, what };
            self.0.frames_dropped += 1;
        }
        self
    }

    /// Makes the error of an infinite recursion that came back to the thunk at an address.
    #[cold]
    pub(crate) fn cycle(thunk: usize) -> Error {
        let mut error = Error::new(ErrorKind::InfiniteRecursion);
        error.0.reentered = Some(thunk);
        error
    }

    /// Notes that the frames so far are within the thunk at an address.
    #[must_use]
    pub(crate) fn leaves(mut self, thunk: usize) -> Error {
        if self.0.reentered == Some(thunk) {
            self.0.reentered = None;
            if self.0.frames_dropped == 0 {
                self.0.cycle_len = self.0.trace.len();
            }
        }
        self
    }

    #[must_use]
    pub fn note(self, text: impl Into<String>) -> Error {
        self.frame(Pos::NONE, FrameKind::Note(text.into()))
    }

    pub fn mark(&self) -> Option<Mark> {
        self.0.mark
    }

    /// Frames from the error outwards.
    pub fn trace(&self) -> &[Frame] {
        &self.0.trace
    }

    /// Returns a stable name for tests, searching and `--json`.
    pub fn code(&self) -> &'static str {
        match &self.0.kind {
            ErrorKind::Throw(_) => "lang::throw",
            ErrorKind::Assertion(_) => "lang::assertion",
            ErrorKind::LookupPath(_) => "lang::lookup_path",
            ErrorKind::Abort(_) => "lang::abort",
            ErrorKind::InfiniteRecursion => "lang::infinite_recursion",
            ErrorKind::CallDepth => "lang::call_depth",
            ErrorKind::StackOverflow => "lang::stack_overflow",
            ErrorKind::OutOfMemory(_) => "lang::out_of_memory",
            ErrorKind::Interrupted => "lang::interrupted",
            ErrorKind::MissingAttribute { .. } => "lang::missing_attribute",
            ErrorKind::UndefinedVariable { .. } => "lang::undefined_variable",
            ErrorKind::Type { .. } => "lang::type",
            ErrorKind::Other { code, .. } => code,
            ErrorKind::Host(error) if error.kind == HostErrorKind::TooLarge => "lang::out_of_memory",
            ErrorKind::Host(error) if error.kind == HostErrorKind::NotFound => {
                error.code.unwrap_or("lang::no_such_file")
            }
            ErrorKind::Host(error) => error.code.unwrap_or("lang::host"),
            ErrorKind::Syntax(errors) => errors.first().map_or("lang::syntax", |error| error.code),
        }
    }

    /// Returns true when a file that was read does not exist.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(&self.0.kind, ErrorKind::Host(error) if error.kind == HostErrorKind::NotFound)
    }

    /// Returns the similar names that Nix suggests.
    pub fn suggestions(&self) -> &[String] {
        &self.0.suggestions.near
    }

    /// Returns the next step, when one is known.
    pub fn help_text(&self) -> Option<String> {
        if self.0.help.is_some() {
            return self.0.help.clone();
        }
        let likely: Vec<String> = self.0.suggestions.likely.iter().map(|name| format!("`{name}`")).collect();
        if !likely.is_empty() {
            return Some(format!("did you mean {}?", alternatives(&likely)));
        }
        match &self.0.kind {
            ErrorKind::OutOfMemory(_) => {
                Some("is a list or string growing without end? `--max-eval-memory SIZE` allows more".to_owned())
            }
            ErrorKind::Host(error) if error.kind == HostErrorKind::TooLarge => {
                Some("`--max-eval-memory SIZE` allows more".to_owned())
            }
            ErrorKind::Host(error) => error.help.clone(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error::new(kind)
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Error {
        Error::new(ErrorKind::Host(error))
    }
}
