//! Lints of literals that are valid but better written in another way. Each lint has a level of its
//! own ([`Lints`](super::Lints)); the names are those of the Nix settings.

use super::error::SyntaxError;
use super::parser::Parser;
use super::{ERRORS_MAX, LintLevel};
use crate::source::Span;

impl Parser<'_> {
    /// Checks a bare URL.
    pub fn lint_url(&mut self, text: &[u8], span: Span) {
        let level = self.options.lints.url_literals;
        if level == LintLevel::Ignore {
            return;
        }
        let verdict = if level == LintLevel::Fatal { "disallowed" } else { "discouraged" };
        let message = format!(
            "URL literals are {verdict}. Consider using a string literal \"{}\" instead (lint-url-literals)",
            String::from_utf8_lossy(text)
        );
        self.lint(level, SyntaxError::new("url_literal", span, message));
    }

    /// Checks a path, or the part before its first `${`.
    pub fn lint_path(&mut self, text: &[u8], span: Span) {
        let lints = self.options.lints;
        let shown = || String::from_utf8_lossy(text);
        match text.first() {
            Some(b'/' | b'~') if lints.absolute_path_literals != LintLevel::Ignore => {
                let kind = if text[0] == b'/' { "absolute" } else { "home" };
                let message = format!(
                    "{kind} path literals are not portable. Consider replacing path literal '{}' by a string, \
                     relative path, or parameter (lint-absolute-path-literals)",
                    shown()
                );
                self.lint(lints.absolute_path_literals, SyntaxError::new("absolute_path_literal", span, message));
            }
            Some(b'/' | b'~' | b'.') | None => {}
            Some(_) if lints.short_path_literals != LintLevel::Ignore => {
                let message = format!(
                    "relative path literal '{0}' should be prefixed with '.' for clarity: './{0}' \
                     (lint-short-path-literals)",
                    shown()
                );
                self.lint(lints.short_path_literals, SyntaxError::new("short_path_literal", span, message));
            }
            Some(_) => {}
        }
    }

    fn lint(&mut self, level: LintLevel, finding: SyntaxError) {
        if level == LintLevel::Fatal {
            self.report(finding);
        } else if self.warnings.len() < ERRORS_MAX {
            self.warnings.push(finding);
        }
    }
}
