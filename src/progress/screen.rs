//! The terminal that standard error is: lines that stay, and below them one frame of the live view.
//!
//! After a frame is drawn the cursor is back at the frame's first character. So one sequence, clear
//! to the end of the screen, removes the frame however the terminal has broken its lines since,
//! which it does when its window changes. Everything that is printed goes through [`above`], which
//! removes the frame first.

use model::terminal::visible;
use std::fmt::Write as _;
use std::io::{Write, stderr};
use std::sync::Mutex;
use unicode_width::UnicodeWidthChar;

/// Begin and end of a synchronised update: the terminal shows the frame at once.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";
/// Lines that are too long are cut, not broken, where a terminal counts columns in another way.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
/// Begins at the line's start: a key typed since may have moved the cursor.
const CLEAR: &str = "\r\x1b[J";

/// Columns between tabulator stops.
const TAB: usize = 8;

/// True while a frame is on the screen.
static DRAWN: Mutex<bool> = Mutex::new(false);

/// Writes to standard error, above the frame if there is one. An error of standard error stops no
/// command.
pub fn above(text: &str) {
    let mut drawn = os::lock(&DRAWN);
    let mut out = stderr().lock();
    if std::mem::take(&mut *drawn) {
        let _ = out.write_all(CLEAR.as_bytes());
    }
    let _ = out.write_all(text.as_bytes());
}

/// Removes the frame.
pub fn erase() {
    above("");
}

/// Draws lines as the frame, in place of the one before.
pub fn draw(lines: &[String], width: usize) {
    let mut drawn = os::lock(&DRAWN);
    let _ = stderr().lock().write_all(frame(lines, width).as_bytes());
    *drawn = true;
}

/// Returns the sequence that draws lines in place of the frame before.
fn frame(lines: &[String], width: usize) -> String {
    let mut text = format!("{BEGIN}{CLEAR}{NO_WRAP}");
    for (number, line) in lines.iter().enumerate() {
        let separator = if number > 0 { "\r\n" } else { "" };
        let _ = write!(text, "{separator}{}", fit(line, width.saturating_sub(1)));
    }
    text.push('\r');
    if lines.len() > 1 {
        let _ = write!(text, "\x1b[{}A", lines.len() - 1);
    }
    text + WRAP + END
}

/// Returns a line of at most `width` columns: tabs become spaces, and the end is cut off.
pub fn fit(line: &str, width: usize) -> String {
    let line = visible(line);
    let (mut text, mut column) = (String::new(), 0);
    // The text up to which an ellipsis still fits.
    let mut short = 0;
    for c in line.chars() {
        let columns = if c == '\t' { TAB - column % TAB } else { c.width().unwrap_or(0) };
        if column + columns > width {
            text.truncate(short);
            text.push_str(if width > 0 { "…" } else { "" });
            return text;
        }
        column += columns;
        match c {
            '\t' => text.extend(std::iter::repeat_n(' ', columns)),
            c => text.push(c),
        }
        if column < width {
            short = text.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;

    fn size(of: u16) -> NonZero<u16> {
        NonZero::new(of).expect("no screen is empty")
    }

    fn terminal(height: u16, width: u16) -> vt100::Parser {
        vt100::Parser::new(size(height), size(width), 0)
    }

    /// Returns the rows of a terminal that has shown these texts, without empty rows at the end.
    fn rows(height: u16, width: u16, texts: &[&str]) -> Vec<String> {
        let mut terminal = terminal(height, width);
        texts.iter().for_each(|text| terminal.process(text.as_bytes()));
        shown(&terminal)
    }

    fn shown(terminal: &vt100::Parser) -> Vec<String> {
        let mut rows: Vec<String> = terminal.screen().rows(0, terminal.screen().size().1.get()).collect();
        rows.truncate(rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1));
        rows
    }

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_line_has_at_most_the_columns_of_the_screen() {
        for (line, width, fitted) in [
            ("short", 10, "short"),
            ("exactly so", 10, "exactly so"),
            ("one too long", 10, "one too l…"),
            ("a\tb", 20, "a       b"),
            ("a\tb\tc", 10, "a       b…"),
            ("日本語のログ", 12, "日本語のログ"),
            ("日本語のログ", 11, "日本語のロ…"),
            ("日本語のログ", 10, "日本語の…"),
            ("e\u{301}e\u{301}e\u{301}", 3, "e\u{301}e\u{301}e\u{301}"),
            ("\x1b[31mred", 20, "^[[31mred"),
            ("x", 0, ""),
        ] {
            assert_eq!(fit(line, width), fitted, "{line:?} in {width}");
        }
    }

    #[test]
    fn each_frame_takes_the_place_of_the_one_before() {
        for width in [60, 120] {
            let first = frame(&lines(&["▶ a  configure\tchecking\tfor\tcc", &"ログ".repeat(80), "0/2 built"]), 60);
            let second = frame(&lines(&["▶ b", "1/2 built"]), 60);
            let seen = rows(10, width, &["building a\r\n", &first, &first, &second]);
            assert_eq!(seen, ["building a", "▶ b", "1/2 built"], "{width} columns");
        }
    }

    #[test]
    fn a_frame_at_the_end_of_the_screen_scrolls_once() {
        let shown = frame(&lines(&["one", "two", "three"]), 60);
        let above: String = (0..9).map(|n| format!("line {n}\r\n")).collect();
        let seen = rows(5, 60, &[&above, &shown, &shown, &shown]);
        assert_eq!(seen, ["line 7", "line 8", "one", "two", "three"]);
    }

    #[test]
    fn neither_a_typed_key_nor_a_narrow_window_leaves_anything() {
        let mut terminal = terminal(10, 120);
        let wide = frame(&lines(&[&"x".repeat(110), &"y".repeat(110), "0/1 built"]), 120);
        terminal.process(b"building a\r\n");
        terminal.process(wide.as_bytes());
        // The terminal echoes a Ctrl-C.
        terminal.process(b"^C");
        terminal.screen_mut().set_size(size(10), size(60));
        terminal.process(frame(&lines(&["▶ a", "0/1 built"]), 60).as_bytes());
        assert_eq!(shown(&terminal), ["building a", "▶ a", "0/1 built"]);
        terminal.process(b"^C");
        terminal.process(CLEAR.as_bytes());
        terminal.process(b"stopped  a\r\n");
        assert_eq!(shown(&terminal), ["building a", "stopped  a"]);
    }
}
