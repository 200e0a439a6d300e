//! Errors and warnings in Nix's form, for programs that read its standard error.
//!
//! ```text
//! error:
//!        … while calling the 'throw' builtin
//!          at /a/b.nix:1:1:
//!             1| throw "x"
//!              | ^
//!
//!        error: x
//! ```

use lang::Report;
use lang::error::{Trace, origin_name};
use lang::source::SourceText;

/// Frames of a trace that are shown without `--show-trace`, as in Nix.
const FRAMES_SHOWN: usize = 10;

/// Writes lines to standard error, byte for byte where it is not a terminal.
pub fn say(text: &str) {
    crate::print::remark_for_programs(text);
}

/// Puts a text after its label, and indents further lines below the first, unless that is empty.
pub fn labelled(label: &str, text: &str) -> String {
    match text.strip_prefix('\n') {
        Some(text) => format!("{}\n{text}", label.trim_end()),
        None => format!("{label}{}", text.replace('\n', &format!("\n{}", " ".repeat(label.chars().count())))),
    }
}

pub fn warning(report: &Report) -> String {
    let mut out = format!("warning: {}", report.message);
    for label in report.labels.iter().take(1) {
        place(&mut out, 9, &label.source, label.start);
    }
    out
}

/// Formats an error without a position, such as one of the command line.
pub fn plain_error(message: &str) -> String {
    format!("error: {}", indented(message, 7))
}

pub fn error(report: &Report, show_trace: bool) -> String {
    let mut out = String::from("error:");
    let frames: Vec<&Trace> = report.trace.iter().rev().collect();
    let truncated = !show_trace && frames.len() > FRAMES_SHOWN;
    let shown = if truncated { &frames[frames.len() - FRAMES_SHOWN..] } else { &frames[..] };
    for frame in shown {
        out.push_str("\n       … ");
        out.push_str(&indented(&frame.text, 9));
        if let Some((source, offset)) = &frame.place {
            place(&mut out, 9, source, *offset);
        }
        out.push('\n');
    }
    if truncated {
        out.push_str("\n       (stack trace truncated; use '--show-trace' to show the full, detailed trace)\n");
    }
    if shown.is_empty() {
        out.push(' ');
    } else {
        out.push_str("\n       error: ");
    }
    out.push_str(&indented(&report.message, 7));
    if let Some(label) = report.labels.first() {
        place(&mut out, 7, &label.source, label.start);
    }
    // Nix suggests attributes, and no variables.
    if let Some(name) = report.suggestion.as_deref().filter(|_| report.code == "lang::missing_attribute") {
        out.push_str(&format!("\n       Did you mean {name}?"));
    }
    out
}

fn indented(text: &str, columns: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(columns)))
}

/// Appends `at FILE:LINE:COLUMN:` with the line, and those before and after it.
fn place(out: &mut String, columns: usize, source: &SourceText, offset: u32) {
    let (line, column) = source.position(offset);
    let start = " ".repeat(columns);
    out.push_str(&format!("\n{start}at {}:{line}:{column}:", origin_name(&source.origin)));
    let line = line as usize;
    let mut lines = source.text.split(|&byte| byte == b'\n').map(|line| String::from_utf8_lossy(line));
    for (number, text) in (1..).zip(&mut lines).skip(line.saturating_sub(2)).take(3) {
        out.push_str(&format!("\n{start} {number:5}| {text}"));
        out.truncate(out.trim_end().len());
        if number == line {
            out.push_str(&format!("\n{start}      |{}^", " ".repeat(column as usize)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_message_stand_below_each_other() {
        assert_eq!(labelled("evaluation warning: ", "a\nb"), "evaluation warning: a\n                    b");
        assert_eq!(labelled("evaluation warning: ", "\na\nb"), "evaluation warning:\na\nb");
    }
}
