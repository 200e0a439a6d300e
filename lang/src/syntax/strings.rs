//! Meaning of the text between quotes: escapes, and the indentation of `''…''` strings.

use super::ast::StringPart;
use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

/// Returns the bytes a piece of a `"…"` string stands for.
///
/// `\n`, `\r`, `\t` are those characters, a backslash before anything else is dropped; a carriage
/// return, alone or before a line feed, is a line feed, so a file means the same with any line
/// ends.
pub fn unescape<'a>(arena: &'a Bump, text: &[u8]) -> &'a [u8] {
    let mut out = BumpVec::with_capacity_in(text.len(), arena);
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(byte) => escape(byte),
                None => b'\\',
            },
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                b'\n'
            }
            byte => byte,
        });
    }
    out.into_bump_slice()
}

/// Returns the byte that a backslash and `byte` mean.
pub fn escape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        byte => byte,
    }
}

/// A part of an indented string before its indentation is known.
#[derive(Debug, Clone, Copy)]
pub struct IndentedPart<'a> {
    pub part: StringPart<'a>,
    /// True when spaces in it can be indentation: for plain text, not for escapes and expressions.
    pub plain: bool,
}

/// Removes from every line the spaces that all lines start with, and a last line that is only
/// spaces.
///
/// Follows Nix to the letter: lines of nothing but spaces are ignored unless they end in an
/// expression or an escape, only spaces are indentation, and the text on the opening line is a line
/// of its own. Adjacent texts become one unless `separate` is set; empty parts are dropped.
pub fn strip_indentation<'a>(
    arena: &'a Bump,
    parts: &[IndentedPart<'a>],
    separate: bool,
    out: &mut Vec<StringPart<'a>>,
) {
    let indentation = indentation(parts);
    let mut text = BumpVec::new_in(arena);
    let mut at_line_start = true;
    let mut dropped = 0;
    for (index, part) in parts.iter().enumerate() {
        match part.part {
            StringPart::Expr(_) => {
                flush(arena, &mut text, out);
                out.push(part.part);
                at_line_start = false;
                dropped = 0;
            }
            StringPart::Text(bytes) => {
                let start = text.len();
                if start == 0 {
                    text.reserve(bytes.len());
                }
                strip_lines(bytes, indentation, &mut at_line_start, &mut dropped, &mut text);
                if index + 1 == parts.len() {
                    trim_last_line(&mut text, start);
                }
                if separate {
                    flush(arena, &mut text, out);
                }
            }
        }
    }
    flush(arena, &mut text, out);
}

fn flush<'a>(arena: &'a Bump, text: &mut BumpVec<'a, u8>, out: &mut Vec<StringPart<'a>>) {
    if !text.is_empty() {
        let text = std::mem::replace(text, BumpVec::new_in(arena));
        out.push(StringPart::Text(text.into_bump_slice()));
    }
}

fn strip_lines(
    mut bytes: &[u8],
    indentation: usize,
    at_line_start: &mut bool,
    dropped: &mut usize,
    out: &mut BumpVec<'_, u8>,
) {
    while !bytes.is_empty() {
        if *at_line_start {
            let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
            let drop = spaces.min(indentation.saturating_sub(*dropped));
            *dropped += spaces;
            out.extend_from_slice_copy(&bytes[drop..spaces]);
            bytes = &bytes[spaces..];
            match bytes.first() {
                None => return,
                Some(b'\n') => {
                    out.push(b'\n');
                    bytes = &bytes[1..];
                    *dropped = 0;
                    continue;
                }
                Some(_) => {
                    *at_line_start = false;
                    *dropped = 0;
                }
            }
        }
        let line = match memchr::memchr(b'\n', bytes) {
            Some(end) => {
                *at_line_start = true;
                end + 1
            }
            None => bytes.len(),
        };
        out.extend_from_slice_copy(&bytes[..line]);
        bytes = &bytes[line..];
    }
}

/// Cuts the spaces after the last line feed from `start` on, if nothing else follows it.
fn trim_last_line(text: &mut BumpVec<'_, u8>, start: usize) {
    if let Some(feed) = memchr::memrchr(b'\n', &text[start..])
        && text[start + feed + 1..].iter().all(|&byte| byte == b' ')
    {
        text.truncate(start + feed + 1);
    }
}

/// Returns the least indentation of the lines that are not ignored.
fn indentation(parts: &[IndentedPart<'_>]) -> usize {
    let mut least = usize::MAX;
    let mut current = 0;
    let mut at_line_start = true;
    for part in parts {
        match part.part {
            StringPart::Text(mut bytes) if part.plain => {
                while !bytes.is_empty() {
                    if at_line_start {
                        let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
                        current += spaces;
                        bytes = &bytes[spaces..];
                        match bytes.first() {
                            None => break,
                            Some(b'\n') => {
                                current = 0;
                                bytes = &bytes[1..];
                                continue;
                            }
                            Some(_) => {
                                at_line_start = false;
                                least = least.min(current);
                            }
                        }
                    }
                    let Some(end) = memchr::memchr(b'\n', bytes) else { break };
                    at_line_start = true;
                    current = 0;
                    bytes = &bytes[end + 1..];
                }
            }
            _ => {
                if at_line_start {
                    at_line_start = false;
                    least = least.min(current);
                }
            }
        }
    }
    least
}
