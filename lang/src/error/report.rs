//! Errors in the form that programs print: positions resolved to files and lines, frames as text.

use super::{Error, ErrorKind, Mark};
use crate::source::{Origin, Pos, SourceText, Span};
use crate::syntax::SyntaxError;
use std::sync::Arc;

/// An error with its positions resolved and its frames as text.
#[derive(Debug, Clone)]
pub struct Report {
    pub code: &'static str,
    pub message: String,
    pub labels: Vec<Label>,
    pub help: Option<String>,
    /// The similar names that Nix suggests, the closest first; `help` has those that were probably
    /// meant.
    pub suggestions: Vec<String>,
    /// The error of the host behind this one, such as that of a build that the evaluation needed.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// Innermost first.
    pub trace: Vec<Trace>,
    /// The number of frames missing from `trace`.
    pub frames_dropped: usize,
    /// The number of innermost frames that are a cycle: the last of them needs the first, and the
    /// first the last.
    pub cycle_len: usize,
    /// More errors of the same text, when it cannot be parsed.
    pub further: Vec<Report>,
}

#[derive(Debug, Clone)]
pub struct Label {
    pub source: Arc<SourceText>,
    pub start: u32,
    pub end: u32,
    pub text: String,
}

#[derive(Debug, Clone)]
pub struct Trace {
    pub text: String,
    /// Source and byte offset in it.
    pub place: Option<(Arc<SourceText>, u32)>,
}

impl Report {
    /// Returns the report of a finding in a text: an error, or a warning.
    pub(crate) fn of_text(finding: &SyntaxError, source: &Arc<SourceText>) -> Report {
        let label =
            |(span, text): (Span, String)| Label { source: source.clone(), start: span.start, end: span.end, text };
        let labels = std::iter::once((finding.span, String::new())).chain(finding.labels.iter().cloned());
        Report {
            code: finding.code,
            message: finding.message.clone(),
            labels: labels.map(label).collect(),
            help: finding.help.clone(),
            suggestions: Vec::new(),
            cause: None,
            trace: Vec::new(),
            frames_dropped: 0,
            cycle_len: 0,
            further: Vec::new(),
        }
    }
}

/// The longest message. Values and names in it may be longer, and are cut.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

impl Error {
    /// Returns the message, cut to a bounded length unless the expression itself gave it.
    fn message(&self) -> String {
        let mut message = self.to_string();
        if message.len() > MESSAGE_BYTES_MAX && !matches!(self.kind(), ErrorKind::Throw(_) | ErrorKind::Abort(_)) {
            let whole = message.len();
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&end| message.is_char_boundary(end));
            message.truncate(end.unwrap_or(0));
            message.push_str(&format!("… ({whole} bytes)"));
        }
        message
    }

    pub(crate) fn report(&self, sources: &crate::source::SourceMap) -> Report {
        let place = |pos: Pos| sources.locate(pos).map(|(source, offset)| (source.clone(), offset));
        let label = |mark: Mark, text: &str| {
            let (source, start) = place(mark.pos)?;
            let end = (start + mark.len).min(source.text.len() as u32);
            Some(Label { source, start: start.min(end), end, text: text.to_owned() })
        };
        let mut labels: Vec<Label> = self.mark().and_then(|mark| label(mark, "")).into_iter().collect();
        let mut further = Vec::new();
        if let (ErrorKind::Syntax(errors), Some(first)) = (self.kind(), labels.first()) {
            let source = first.source.clone();
            let mut reports = errors.iter().map(|error| Report::of_text(error, &source));
            labels = reports.next().map_or(labels, |report| report.labels);
            further.extend(reports);
        }
        if let (ErrorKind::MissingAttribute { set: Some(mark), .. }, false) = (self.kind(), labels.is_empty()) {
            labels.extend(label(*mark, "the set is defined here"));
        }
        Report {
            code: self.code(),
            message: self.message(),
            labels,
            help: self.help_text(),
            suggestions: self.suggestions().to_vec(),
            cause: match self.kind() {
                ErrorKind::Host(error) => error.cause.clone(),
                _ => None,
            },
            trace: self
                .trace()
                .iter()
                .map(|frame| Trace { text: frame.what.to_string(), place: place(frame.pos) })
                .collect(),
            frames_dropped: self.0.frames_dropped,
            cycle_len: self.0.cycle_len,
            further,
        }
    }
}

/// Returns the name of an origin as Nix prints it in positions.
pub fn origin_name(origin: &Origin) -> String {
    match origin {
        Origin::File(path) => path.to_string(),
        Origin::CommandLine => "«string»".to_owned(),
        Origin::StandardInput => "«stdin»".to_owned(),
        Origin::Internal(name) => format!("«{name}»"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostError;
    use crate::source::SourceMap;

    #[test]
    fn an_error_of_the_host_keeps_its_code_help_and_cause() {
        let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let host = HostError::from_cause(cause).code("store::out_of_space").help("free some space");
        let report = Error::from(host).note("while building").report(&SourceMap::default());
        assert_eq!((report.code, report.help.as_deref()), ("store::out_of_space", Some("free some space")));
        let cause = report.cause.as_deref().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
        let plain = Error::from(HostError::unsupported("building")).report(&SourceMap::default());
        assert_eq!((plain.code, plain.help, plain.cause.is_none()), ("lang::host", None, true));
    }
}
