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
use lang::error::{Trace, alternatives, origin_name};
use lang::source::SourceText;
use std::borrow::Cow;
use std::io::IsTerminal;
use std::iter::Peekable;
use std::str::Chars;

/// Frames of a trace that are shown without `--show-trace`, as in Nix.
const FRAMES_SHOWN: usize = 10;

/// Writes lines to standard error. Where it is not a terminal, programs get them as Nix writes
/// them: without escape sequences, and with spaces for tabs.
pub fn say(text: &str) {
    let is_screen = std::io::stderr().is_terminal();
    crate::print::remark_for_programs(&if is_screen { text.into() } else { without_escapes(text) });
}

/// Returns a text without escape sequences, bells and carriage returns, and with spaces for tabs.
/// Columns are counted from the start of the text, as Nix does.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains(['\x1b', '\x07', '\r', '\t']) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\x1b' => skip_sequence(&mut rest),
            '\x07' | '\r' => {}
            '\t' => {
                let width = 8 - column % 8;
                out.push_str(&" ".repeat(width));
                column += width;
            }
            _ => {
                out.push(character);
                column += usize::from(!character.is_control());
            }
        }
    }
    out.into()
}

/// Skips what follows ESC in a sequence (ECMA-48).
fn skip_sequence(rest: &mut Peekable<Chars<'_>>) {
    match rest.next_if(|each| ('\x40'..='\x5f').contains(each)) {
        Some('[') => {
            while rest.next_if(|each| ('\x30'..='\x3f').contains(each)).is_some() {}
            while rest.next_if(|each| ('\x20'..='\x2f').contains(each)).is_some() {}
            rest.next_if(|each| ('\x40'..='\x7e').contains(each));
        }
        Some(']') => {
            while rest.next_if(|&each| each != '\x1b').is_some() {}
            rest.next();
            rest.next_if_eq(&'\\');
        }
        _ => {}
    }
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
    if report.code == "duplicate_attribute"
        && let Some(first) = report.labels.get(1)
    {
        let (line, column) = first.source.position(first.start);
        out.push_str(&format!(" at {}:{line}:{column}", origin_name(&first.source.origin)));
    }
    if let Some(label) = report.labels.first() {
        place(&mut out, 7, &label.source, label.start);
    }
    // Nix suggests attributes and arguments, and no variables.
    if ["lang::missing_attribute", "lang::unexpected_argument"].contains(&report.code) {
        match &report.suggestions[..] {
            [] => {}
            [name] => out.push_str(&format!("\n       Did you mean {name}?")),
            names => out.push_str(&format!("\n       Did you mean one of {}?", alternatives(names))),
        }
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

    /// The results are those of Nix 2.34.8.
    #[test]
    fn escape_sequences_are_left_out() {
        let cases = [
            ("trace: \x1b[31mred\x1b[0m|", "trace: red|"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\|", "link|"),
            ("\x1b(B|\x1bMz|\x1b[1 qw|\x1b7s|\x07\r|\x01|", "(B|z|w|7s||\x01|"),
            ("\x1b]0;t", ""),
            ("\x1b", ""),
            ("trace: red|link|tab\tb|x\ty|", "trace: red|link|tab     b|x     y|"),
            ("1234\n5\tx", "1234\n5   x"),
        ];
        for (text, shown) in cases {
            assert_eq!(without_escapes(text), shown, "{text:?}");
        }
    }
}
