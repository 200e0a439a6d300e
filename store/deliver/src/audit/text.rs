//! Checks paths in text: the first line of scripts, and the paths for compilers in `.pc` and `.la`
//! files.

use super::tree::{self, Tree};
use super::{FileFindings, LeakKind};

/// The longest first line the kernel reads.
const SCRIPT_LINE_MAX: usize = 255;

/// Checks the interpreter of a script that starts with `#!`.
pub(super) fn check_script(content: &[u8], tree: &Tree, report: &mut FileFindings) {
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line[2..].split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let Some(interpreter) = words.next() else {
        return report.add(
            Some(0),
            LeakKind::Script,
            "`#!` names no interpreter".to_owned(),
            "write the interpreter's path after `#!`",
        );
    };
    let shown = String::from_utf8_lossy(interpreter);
    let offset = line.windows(interpreter.len()).position(|window| window == interpreter).unwrap_or(2) as u64;
    if line.len() > SCRIPT_LINE_MAX {
        report.add(
            Some(0),
            LeakKind::Script,
            format!("the `#!` line has {} bytes, of which the kernel reads {SCRIPT_LINE_MAX}", line.len()),
            "choose a shorter prefix",
        );
    }
    let interpreter_path = tree::normalise(interpreter);
    if !interpreter.starts_with(b"/") || !tree::is_inside(&interpreter_path, tree.prefix()) {
        return report.add(
            Some(offset),
            LeakKind::Script,
            format!("the script is run by `{shown}`, which is not in the prefix"),
            "rewrite the first line to the prefix's interpreter, or drop the file's executable bit",
        );
    }
    if !tree.is_file_inside(&interpreter_path) {
        return report.add(
            Some(offset),
            LeakKind::Script,
            format!("the script is run by `{shown}`, which does not exist"),
            "add the package with the interpreter to the prefix, or leave the script out",
        );
    }
    // `env` looks the real interpreter up in PATH, which is the machine's.
    if interpreter_path.ends_with(b"/env") {
        let program = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'=')).unwrap_or_default();
        report.add(
            Some(offset),
            LeakKind::Script,
            format!("the script is run by `{}` from PATH, by way of `{shown}`", String::from_utf8_lossy(program)),
            "name the interpreter by its path in the prefix",
        );
    }
}

/// Checks that every absolute path in a `.pc` or `.la` file is in the prefix.
pub(super) fn check_paths(content: &[u8], kind: LeakKind, tree: &Tree, report: &mut FileFindings) {
    let mut line_start = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let skipped = line.starts_with(b"#")
            || [&b"Description:"[..], b"Name:", b"URL:", b"Version:", b"License:"]
                .iter()
                .any(|field| line.starts_with(field));
        if !skipped {
            check_line(line, line_start, kind, tree, report);
        }
        line_start += line.len();
    }
}

fn check_line(line: &[u8], line_start: usize, kind: LeakKind, tree: &Tree, report: &mut FileFindings) {
    let is_separator = |byte: u8| byte.is_ascii_whitespace() || b"\"'=,:;".contains(&byte);
    let mut at = 0;
    while at < line.len() {
        if is_separator(line[at]) {
            at += 1;
            continue;
        }
        let end = line[at..].iter().position(|byte| is_separator(*byte)).map_or(line.len(), |len| at + len);
        let word = &line[at..end];
        let option = [&b"-I"[..], b"-L", b"-R", b"-B"]
            .iter()
            .find(|option| word.starts_with(option))
            .map_or(0, |option| option.len());
        let path = &word[option..];
        if path.starts_with(b"/") && !tree::is_inside(&tree::normalise(path), tree.prefix()) {
            report.add(
                Some((line_start + at + option) as u64),
                kind,
                format!("it names `{}`, which is not in the prefix", String::from_utf8_lossy(path)),
                "write the path relative to ${prefix}, or leave the file out",
            );
        }
        at = end;
    }
}
