//! Logs in groups that a pipeline's page folds: those of GitHub Actions and of GitLab.
//!
//! Builds run side by side, and a group has no lines of another. So the lines of a build are kept
//! until it ends. Their number is bounded, and the first ones are left out.

use model::terminal::visible;
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes of a log that a group shows.
const BYTES_MAX: usize = 4 << 20;

/// The form of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    Github,
    Gitlab,
}

/// The last lines of a log.
#[derive(Debug, Default)]
pub struct Lines {
    lines: VecDeque<String>,
    bytes: usize,
    left_out: usize,
}

impl Lines {
    pub fn push(&mut self, line: &str) {
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.bytes > BYTES_MAX
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.len();
            self.left_out += 1;
        }
    }
}

impl Groups {
    /// Returns the log of a build as a group; nothing for an empty one.
    pub fn log(self, name: &str, log: &Lines) -> String {
        let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.log_at(name, log, secs)
    }

    fn log_at(self, name: &str, log: &Lines, secs: u64) -> String {
        if log.lines.is_empty() {
            return String::new();
        }
        let mut text = self.begin(name, secs);
        if log.left_out > 0 {
            text.push_str(&format!("({} lines are left out)\n", log.left_out));
        }
        // A line that began as a command of the pipeline would be obeyed.
        log.lines.iter().for_each(|line| text.push_str(&format!("> {}\n", self.line(&visible(line)))));
        text + &self.end(name, secs)
    }

    fn begin(self, name: &str, secs: u64) -> String {
        match self {
            Groups::Github => format!("::group::log of {name}\n"),
            Groups::Gitlab => {
                let id = section(name);
                format!("\x1b[0Ksection_start:{secs}:{id}[collapsed=true]\r\x1b[0Klog of {name}\n")
            }
        }
    }

    fn end(self, name: &str, secs: u64) -> String {
        match self {
            Groups::Github => "::endgroup::\n".to_owned(),
            Groups::Gitlab => format!("\x1b[0Ksection_end:{secs}:{}\r\x1b[0K\n", section(name)),
        }
    }

    /// Returns a line in which nothing is a command: GitHub finds `##[` anywhere in a line.
    pub fn line(self, line: &str) -> String {
        match self {
            Groups::Github => line.replace("##[", "## ["),
            Groups::Gitlab => line.to_owned(),
        }
    }
}

/// Returns the id of a section: letters, digits, `_`, `.` and `-` are allowed.
fn section(name: &str) -> String {
    let id = name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' });
    format!("log_{}", id.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pipeline_has_its_form() {
        let mut log = Lines::default();
        log.push("one");
        log.push("::add-mask::x ##[error]y");
        let text = Groups::Github.log_at("a+b-1.0", &log, 7);
        assert_eq!(text, "::group::log of a+b-1.0\n> one\n> ::add-mask::x ## [error]y\n::endgroup::\n");
        let text = Groups::Gitlab.log_at("a+b-1.0", &log, 7);
        let begin = "\x1b[0Ksection_start:7:log_a_b-1.0[collapsed=true]\r\x1b[0Klog of a+b-1.0\n";
        let end = "\x1b[0Ksection_end:7:log_a_b-1.0\r\x1b[0K\n";
        assert_eq!(text, format!("{begin}> one\n> ::add-mask::x ##[error]y\n{end}"));
        assert_eq!(Groups::Github.log_at("a", &Lines::default(), 7), "");
    }

    #[test]
    fn a_long_log_loses_its_first_lines() {
        let mut log = Lines::default();
        (0..5).for_each(|n| log.push(&format!("{n}{}", "x".repeat(BYTES_MAX / 4))));
        assert!(log.bytes <= BYTES_MAX);
        assert_eq!((log.lines.len(), log.left_out), (3, 2));
        assert!(Groups::Github.log_at("a", &log, 7).contains("\n(2 lines are left out)\n> 2x"));
    }
}
