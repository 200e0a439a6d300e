//! Text of builds, expressions and paths, made safe to show on a terminal.
//!
//! A terminal obeys the bytes it is sent. C0 and C1 control characters and the sequences they begin
//! (ECMA-48) move the cursor, change its title or answer as if a user had typed, and bidirectional
//! controls (Unicode, UAX #9) show a line in another order than it has ("Trojan source",
//! CVE-2021-42574). All text that was not written by this program passes [`visible`], or
//! [`screen_line`] when it is a line of a build's log.

use std::borrow::Cow;

pub use crate::line::in_line;

/// Returns true when a terminal does something else with a character than show it at its place.
///
/// Line feeds and tabs are left to the caller's layout: values in a line pass [`in_line`] before.
pub fn is_active(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Arabic letter mark, left-to-right and right-to-left marks; embeddings and overrides;
        // isolates
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // line and paragraph separators break a line on some terminals
        '\u{2028}' | '\u{2029}' => true,
        c => c.is_control(),
    }
}

/// Returns a text with its active characters made visible: `^[` for ESC, as other C0 ones in caret
/// notation, and `<U+202E>` for the rest.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_visible(&mut shown, c));
    Cow::Owned(shown)
}

fn push_visible(shown: &mut String, c: char) {
    match c {
        c if !is_active(c) => shown.push(c),
        '\0'..='\x1f' => shown.extend(['^', char::from(c as u8 + b'@')]),
        '\x7f' => shown.push_str("^?"),
        c => shown.push_str(&format!("<U+{:04X}>", u32::from(c))),
    }
}

/// Returns the text that a terminal would show for a line of a log: the part after the last
/// carriage return, without escape sequences. Invalid UTF-8 is replaced, control characters are
/// left out and bidirectional ones are made visible.
pub fn screen_line(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = memchr::memrchr(b'\r', line).map_or(line, |at| &line[at + 1..]);
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            // ECMA-48: CSI sequences end in 0x40..0x7e; strings (DCS, SOS, OSC, PM, APC) in BEL or
            // ST; others are one character long.
            '\x1b' => match chars.next() {
                Some('[') => skip_sequence(&mut chars),
                Some('P' | 'X' | ']' | '^' | '_') => skip_string(&mut chars),
                _ => {}
            },
            '\u{9b}' => skip_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            c if c.is_control() && c != '\t' => {}
            c => push_visible(&mut out, c),
        }
    }
    out
}

fn skip_sequence(chars: &mut std::str::Chars<'_>) {
    while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {}
}

fn skip_string(chars: &mut std::str::Chars<'_>) {
    while let Some(c) = chars.next() {
        if matches!(c, '\x07' | '\u{9c}') || (c == '\x1b' && chars.next().is_some()) {
            break;
        }
    }
}

/// Turns bytes that come in pieces into text that is safe to show; characters may be cut between
/// pieces.
#[derive(Debug, Default)]
pub struct VisibleBytes {
    /// The start of a character whose end has not come yet: three bytes at most.
    pending: Vec<u8>,
}

impl VisibleBytes {
    /// Takes the next piece and returns the text that is complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let taken = std::mem::take(&mut self.pending);
        let mut shown = String::with_capacity(taken.len());
        let mut chunks = taken.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            chunk.valid().chars().for_each(|c| push_visible(&mut shown, c));
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && unfinished(invalid) {
                self.pending = invalid.to_vec();
            } else {
                invalid.iter().for_each(|byte| shown.push_str(&format!("<{byte:02X}>")));
            }
        }
        shown
    }

    /// Returns the rest when no more bytes come.
    pub fn finish(self) -> String {
        self.pending.iter().map(|byte| format!("<{byte:02X}>")).collect()
    }
}

/// Returns true when bytes may be the start of a character.
fn unfinished(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_characters_are_in_view() {
        let cases = [
            ("plain é ✓\n\ttext", "plain é ✓\n\ttext"),
            ("\x1b[31mred\x07", "^[[31mred^G"),
            ("a\rb\x00\x7f", "a^Mb^@^?"),
            ("\u{9b}31m \u{9d}0;t\u{9c}", "<U+009B>31m <U+009D>0;t<U+009C>"),
            (
                "\u{202e}cod.exe\u{202c} \u{2066}x\u{2069} \u{200f}",
                "<U+202E>cod.exe<U+202C> <U+2066>x<U+2069> <U+200F>",
            ),
            ("one\u{2028}line\u{85}", "one<U+2028>line<U+0085>"),
        ];
        for (text, shown) in cases {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn a_line_of_a_log_is_what_a_terminal_would_show() {
        let cases: [(&[u8], &str); 9] = [
            (b"1%\r50%\r100%\r", "100%"),
            (b"\x1b[31mred\x1b[0m\x07 \xff", "red \u{fffd}"),
            (b"\x1b]0;title\x07shown", "shown"),
            (b"\x1b]0;title\x1b\\shown", "shown"),
            (b"\x1bPq#0\x1b\\shown \x1b_apc\x07.", "shown ."),
            ("\u{9b}31mred\u{9d}0;title\u{9c} shown".as_bytes(), "red shown"),
            ("a\u{202e}b\tc".as_bytes(), "a<U+202E>b\tc"),
            (b"ends in \x1b[", "ends in "),
            (b"ends in \x1b", "ends in "),
        ];
        for (line, shown) in cases {
            assert_eq!(screen_line(line), shown);
        }
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let text = "é\u{202e}✓ \u{9b}😀\x1b\n".as_bytes();
        let mut whole = text.to_vec();
        whole.extend(b"\xff\x9b end \xe2\x82");
        for size in 1..whole.len() {
            let mut filter = VisibleBytes::default();
            let mut shown: String = whole.chunks(size).map(|piece| filter.push(piece)).collect();
            shown.push_str(&filter.finish());
            assert_eq!(shown, "é<U+202E>✓ <U+009B>😀^[\n<FF><9B> end <E2><82>", "in pieces of {size}");
        }
    }
}
