//! Makes the texts of two runs equal: paths, hashes, process ids and times become words.

use std::path::Path;

/// The characters of a store path's hash: base 32 without `e`, `o`, `t` and `u`.
const HASH_CHARS: &str = "0123456789abcdfghijklmnpqrsvwxyz";
const HASH_LEN: usize = 32;

/// Replaces each of `paths` by its word, then every part that differs from run to run.
pub fn normalise(text: &str, paths: &[(&Path, &str)]) -> String {
    let mut text = text.to_owned();
    for (path, word) in paths {
        text = text.replace(&*path.to_string_lossy(), word);
    }
    text = hashes(&text);
    text = after(&text, " in ", "[TIME]", time_len);
    // A plan says how long it takes when builds took long before, which the machine's load decides.
    text = after(&text, "; at least ", "[TIME]", time_len).replace("; at least [TIME]", "");
    text = after(&text, "process ", "[PID]", digits_len);
    text = after(&text, "\"durationSecs\": ", "\"[TIME]\"", |rest| rest.find([',', '\n']).unwrap_or(0));
    after(&text, "\"registrationTime\": ", "\"[TIME]\"", digits_len)
}

/// Replaces `<hash>-name` by `[HASH]-name`.
fn hashes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dash) = rest.find('-') {
        let (before, after) = rest.split_at(dash);
        let hash = before.rfind(|c| !HASH_CHARS.contains(c)).map_or(0, |at| at + char_len(before, at));
        if before.len() - hash == HASH_LEN {
            out.push_str(&before[..hash]);
            out.push_str("[HASH]");
        } else {
            out.push_str(before);
        }
        out.push('-');
        rest = &after[1..];
    }
    out + rest
}

fn char_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

/// Replaces the text after each `start` by `word`, up to the length that `len` returns; 0 leaves
/// it.
fn after(text: &str, start: &str, word: &str, len: impl Fn(&str) -> usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(start) {
        let (before, follows) = rest.split_at(at + start.len());
        out.push_str(before);
        let taken = len(follows);
        if taken > 0 {
            out.push_str(word);
        }
        rest = &follows[taken..];
    }
    out + rest
}

/// Returns the length of `3.2 s`, `12 s` or `4 min 05 s` at the start of a text.
fn time_len(text: &str) -> usize {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    if number == 0 {
        return 0;
    }
    if text[number..].starts_with(" min ") {
        let minutes = number + " min ".len();
        return minutes + time_len(&text[minutes..]);
    }
    if text[number..].starts_with(" s") { number + " s".len() } else { 0 }
}

fn digits_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}
