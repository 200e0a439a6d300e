//! Warnings, traces and slow downloads of a session, on standard error.

use crate::nix_text;
use crate::print::remark;
use crate::progress::bytes as in_words;
use lang::host::Severity;
use std::path::Path;
use workspace::Reporter;

/// Prints reports in this program's form.
pub struct Console {
    pub shows_downloads: bool,
    pub shows_locks: bool,
}

impl Reporter for Console {
    fn message(&self, severity: Severity, text: &str) {
        match severity {
            Severity::Trace => remark!("trace: {text}"),
            Severity::Warn | Severity::Warning => remark!("warning: {text}"),
        }
    }

    fn warning(&self, text: &str) {
        remark!("warning: {text}");
    }

    fn locked(&self, file: &Path, changes: &[String]) {
        if self.shows_locks {
            remark!("wrote {}", file.display());
            changes.iter().for_each(|change| remark!("  {change}"));
        }
    }

    fn fetching(&self, url: &str, bytes: u64) {
        if self.shows_downloads {
            remark_fetching(url, bytes);
        }
    }
}

/// Prints reports in Nix's form.
pub struct NixConsole;

impl Reporter for NixConsole {
    fn message(&self, severity: Severity, text: &str) {
        let label = match severity {
            Severity::Trace => "trace: ",
            Severity::Warn => "evaluation warning: ",
            Severity::Warning => "warning: ",
        };
        nix_text::say(&nix_text::labelled(label, text));
    }

    fn notice(&self, report: &lang::Report) {
        nix_text::say(&nix_text::warning(report));
    }

    fn warning(&self, text: &str) {
        self.message(Severity::Warning, text);
    }

    fn fetching(&self, url: &str, bytes: u64) {
        remark_fetching(url, bytes);
    }
}

fn remark_fetching(url: &str, bytes: u64) {
    match bytes {
        0 => remark!("fetching `{url}`"),
        _ => remark!("fetching `{url}`: {}", in_words(bytes)),
    }
}
