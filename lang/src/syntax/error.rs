//! Mistakes in a text, with their spans and the next step.

use crate::source::Span;

/// One mistake in the text. Several can come from one parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Stable name, for searching and for tests.
    pub code: &'static str,
    pub message: String,
    pub span: Span,
    /// Further spans with their relation to the mistake; the main span may have a label here too.
    pub labels: Vec<(Span, String)>,
    /// The next step.
    pub help: Option<String>,
}

impl SyntaxError {
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        SyntaxError { code, message: message.into(), span, labels: Vec::new(), help: None }
    }

    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// A piece of the text for a message: one line, not too long, invalid UTF-8 replaced.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const LENGTH_MAX: usize = 40;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut text = String::from_utf8_lossy(line).into_owned();
    if text.chars().count() > LENGTH_MAX {
        text = text.chars().take(LENGTH_MAX).collect();
        text.push('…');
    }
    text
}
