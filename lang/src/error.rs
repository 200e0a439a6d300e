//! What can go wrong while evaluating.
//!
//! An [`Error`] is one pointer, so results stay small and cheap to pass; making one formats nothing but what the message
//! itself needs. Places are [`Pos`] numbers until [`Evaluator::report`](crate::Evaluator::report) turns them into
//! files and lines, which happens only for errors that somebody looks at.

use std::fmt;
use std::sync::Arc;

use crate::host::{HostError, HostErrorKind};
use crate::source::{Origin, Pos, Source, Span};
use crate::symbol::Symbol;
use crate::syntax::SyntaxError;
use crate::value::Value;

pub type Result<T> = std::result::Result<T, Error>;

/// What happened, in the user's words; variants are what code asks about, the rest is [`ErrorKind::Other`].
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// `throw`: caught by `tryEval`.
    #[error("{0}")]
    Throw(String),
    /// A failed `assert`: caught by `tryEval`.
    #[error("{0}")]
    Assertion(String),
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
    MissingAttribute { name: Symbol, set: SetRef },
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

/// A set kept for suggestions; not printed.
#[derive(Clone, Copy)]
pub struct SetRef(pub Value);

impl fmt::Debug for SetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetRef")
    }
}

fn syntax_message(errors: &[SyntaxError]) -> String {
    errors.first().map_or_else(|| "syntax error".to_owned(), |error| error.message.clone())
}

/// One step of the way from the start of the evaluation to the error, innermost first.
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
    /// `addErrorContext`, and what builtins say of their arguments.
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

/// A place in the text that has to do with the error.
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
    trace: Vec<Frame>,
    /// How many frames were left out of the middle of `trace`.
    frames_dropped: usize,
    /// Of an infinite recursion: the thunk that needs itself, until the way out of the recursion passes it.
    reentered: Option<usize>,
    /// The innermost frames up to that thunk.
    cycle_len: usize,
}

/// More frames than this tell nobody anything; the innermost and outermost are kept.
const TRACE_LEN_MAX: usize = 1000;

/// An evaluation that failed.
#[derive(Debug)]
pub struct Error(Box<Data>);

impl Error {
    #[cold]
    pub fn new(kind: ErrorKind) -> Error {
        Error(Box::new(Data {
            kind,
            mark: None,
            help: None,
            trace: Vec::new(),
            frames_dropped: 0,
            reentered: None,
            cycle_len: 0,
        }))
    }

    /// An error of a kind nobody needs to ask about, with a stable code.
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

    /// The syntax errors of a file, whose text starts at `base`.
    pub(crate) fn syntax(errors: Vec<SyntaxError>, base: Pos) -> Error {
        let first = errors.first().map(|error| (error.span, error.help.clone()));
        let mut result = Error::new(ErrorKind::Syntax(errors));
        if let Some((span, help)) = first {
            result.0.mark = Some(Mark { pos: Pos(base.0 + span.start), len: span.end - span.start });
            result.0.help = help;
        }
        result
    }

    /// Whether `tryEval` turns it into `success = false`.
    pub fn is_catchable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Throw(_) | ErrorKind::Assertion(_))
    }

    /// Says where it happened, unless that is known better already.
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

    /// An infinite recursion that came back to the thunk at an address.
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

    /// A stable name for tests, searching and `--json`.
    pub fn code(&self) -> &'static str {
        match &self.0.kind {
            ErrorKind::Throw(_) => "lang::throw",
            ErrorKind::Assertion(_) => "lang::assertion",
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
            ErrorKind::Host(error) => error.code.unwrap_or("lang::host"),
            ErrorKind::Syntax(errors) => errors.first().map_or("lang::syntax", |error| error.code),
        }
    }

    /// The next step, when one is known; similar names are looked for only here.
    pub fn help_text(&self) -> Option<String> {
        if self.0.help.is_some() {
            return self.0.help.clone();
        }
        if let ErrorKind::OutOfMemory(_) = &self.0.kind {
            return Some("is a list or string growing without end? `--max-eval-memory SIZE` allows more".to_owned());
        }
        if let ErrorKind::Host(error) = &self.0.kind
            && error.kind == HostErrorKind::TooLarge
        {
            return Some("`--max-eval-memory SIZE` allows more".to_owned());
        }
        if let ErrorKind::Host(error) = &self.0.kind {
            return error.help.clone();
        }
        let ErrorKind::MissingAttribute { name, set } = &self.0.kind else { return None };
        if set.0.as_attrs()?.contains(Symbol::new(b"langVersion"))
            && let Some(why) = crate::builtins::why_absent(name.name())
        {
            return Some(why.to_owned());
        }
        let wanted = String::from_utf8_lossy(name.name()).into_owned();
        let names: Vec<String> =
            set.0.as_attrs()?.iter().map(|attr| String::from_utf8_lossy(attr.name.name()).into_owned()).collect();
        suggest(&wanted, names.iter().map(String::as_str)).map(|name| format!("did you mean `{name}`?"))
    }
}

/// Returns the name closest to `wanted` when it is close enough to be a slip.
pub fn suggest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).clamp(1, 3);
    names
        .filter(|name| name.len().abs_diff(wanted.len()) <= limit)
        .map(|name| (edit_distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
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

/// An error made ready for people: places resolved, frames as text.
#[derive(Debug, Clone)]
pub struct Report {
    pub code: &'static str,
    pub message: String,
    pub labels: Vec<Label>,
    pub help: Option<String>,
    /// The error of the host behind this one, such as that of a build that the evaluation needed.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// From the error outwards.
    pub trace: Vec<Trace>,
    /// How many frames are missing from `trace`.
    pub frames_dropped: usize,
    /// As many of the innermost frames are a cycle: the last of them needs the first, and the first the last.
    pub cycle_len: usize,
    /// Further errors of the same text, when the text could not be parsed.
    pub further: Vec<Report>,
}

#[derive(Debug, Clone)]
pub struct Label {
    pub source: std::sync::Arc<Source>,
    pub start: u32,
    pub end: u32,
    pub text: String,
}

#[derive(Debug, Clone)]
pub struct Trace {
    pub text: String,
    /// Source and byte offset in it.
    pub place: Option<(std::sync::Arc<Source>, u32)>,
}

impl Report {
    /// What a text says about itself, with its place.
    pub(crate) fn of_text(finding: &SyntaxError, source: &std::sync::Arc<Source>) -> Report {
        let Span { start, end } = finding.span;
        Report {
            code: finding.code,
            message: finding.message.clone(),
            labels: vec![Label { source: source.clone(), start, end, text: String::new() }],
            help: finding.help.clone(),
            cause: None,
            trace: Vec::new(),
            frames_dropped: 0,
            cycle_len: 0,
            further: Vec::new(),
        }
    }
}

/// What an error says of a value or a name that is longer than this is cut: no reader gets to its end.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

impl Error {
    /// The message, not endless. What the expression itself says is left as it is.
    fn message(&self) -> String {
        let mut message = self.to_string();
        if message.len() > MESSAGE_BYTES_MAX && !matches!(self.code(), "lang::throw" | "lang::abort") {
            let whole = message.len();
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&end| message.is_char_boundary(end));
            message.truncate(end.unwrap_or(0));
            message.push_str(&format!("… ({whole} bytes)"));
        }
        message
    }

    pub(crate) fn report(&self, sources: &crate::source::SourceMap) -> Report {
        let label = |mark: Mark, text: String| {
            sources.locate(mark.pos).map(|(source, start)| {
                let end = (start + mark.len).min(source.text.len() as u32);
                Label { source: source.clone(), start: start.min(end), end, text }
            })
        };
        let place = |pos: Pos| sources.locate(pos).map(|(source, offset)| (source.clone(), offset));
        let mut further = Vec::new();
        let mut labels: Vec<Label> = self.0.mark.and_then(|mark| label(mark, String::new())).into_iter().collect();
        if let (ErrorKind::Syntax(errors), Some(mark)) = (&self.0.kind, self.0.mark)
            && let (Some((source, offset)), Some(first)) = (place(mark.pos), errors.first())
        {
            let base = mark.pos.0 - offset;
            let labels_of = |error: &SyntaxError| {
                let main = std::iter::once((error.span, String::new()));
                main.chain(error.labels.iter().cloned())
                    .map(|(span, text)| Label { source: source.clone(), start: span.start, end: span.end, text })
                    .collect::<Vec<_>>()
            };
            debug_assert_eq!(mark.pos.0, base + first.span.start);
            labels = labels_of(first);
            further.extend(errors.iter().skip(1).map(|error| Report {
                code: error.code,
                message: error.message.clone(),
                labels: labels_of(error),
                help: error.help.clone(),
                cause: None,
                trace: Vec::new(),
                frames_dropped: 0,
                cycle_len: 0,
                further: Vec::new(),
            }));
        }
        if let ErrorKind::MissingAttribute { set, .. } = &self.0.kind
            && !labels.is_empty()
            && let Some(first) = set
                .0
                .as_attrs()
                .and_then(|set| set.iter().filter(|attr| !attr.pos.is_none()).min_by_key(|attr| attr.pos))
        {
            let mark = Mark { pos: first.pos, len: first.name.name().len() as u32 };
            labels.extend(label(mark, "the set is defined here".to_owned()));
        }
        Report {
            code: self.code(),
            message: self.message(),
            labels,
            help: self.help_text(),
            cause: match &self.0.kind {
                ErrorKind::Host(error) => error.cause.clone(),
                _ => None,
            },
            trace: self
                .0
                .trace
                .iter()
                .map(|frame| Trace { text: frame.what.to_string(), place: place(frame.pos) })
                .collect(),
            frames_dropped: self.0.frames_dropped,
            cycle_len: self.0.cycle_len,
            further,
        }
    }
}

/// The name of an origin as Nix prints it in positions.
pub fn origin_name(origin: &Origin) -> String {
    match origin {
        Origin::File(path) => path.to_string(),
        Origin::CommandLine => "«string»".to_owned(),
        Origin::StandardInput => "«stdin»".to_owned(),
        Origin::Internal(name) => format!("«{name}»"),
    }
}
