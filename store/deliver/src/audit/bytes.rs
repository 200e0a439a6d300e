//! Finds names of build directories in the bytes of any file.
//!
//! A hit is the directory's path followed by a slash or by the end of the string, and not the tail
//! of a longer path: `/usr/share/build/x` and `https://example/build/` are not hits. A letter in
//! front is still a hit, since `-I/build/x` and the length byte of a string in a `.pyc` look like
//! that; a run of path characters with another slash in it is not.

use super::{FileFindings, LeakKind};
use memchr::memmem::Finder;

/// The number of bytes of the string at a hit that are shown.
const SHOWN_MAX: usize = 120;

pub(super) struct Needles {
    finders: Vec<Finder<'static>>,
}

impl Needles {
    /// Prepares the search, without directories that contain the prefix itself.
    pub fn new(directories: &[String], prefix: &[u8]) -> Self {
        let finders = directories
            .iter()
            .filter(|directory| !super::tree::is_inside(prefix, directory.as_bytes()))
            .map(|directory| Finder::new(directory.as_bytes()).into_owned())
            .collect();
        Self { finders }
    }

    /// Reports the first hit of each directory, with the number of the others.
    pub fn check(&self, content: &[u8], report: &mut FileFindings) {
        for finder in &self.finders {
            let length = finder.needle().len();
            let mut hits = finder.find_iter(content).filter(|&at| is_hit(content, at, length));
            let Some(first) = hits.next() else { continue };
            let more = match hits.count() {
                0 => String::new(),
                1 => " (and 1 more)".to_owned(),
                more => format!(" (and {more} more)"),
            };
            let string = shown(&content[first..]);
            report.add(
                Some(first as u64),
                LeakKind::BuildDirectory,
                format!("the bytes name a directory of the build: `{string}`{more}"),
                "configure with the final path, map paths with -ffile-prefix-map, or cut the line out after installing",
            );
        }
    }
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+~@%".contains(&byte)
}

/// Returns true when the bytes in front are a word of prose, as in "input/output/error". Type and
/// length of a marshalled string are two letters at the most, and a compiler's option has its dash.
fn is_word(run: &[u8]) -> bool {
    run.len() > 2 && run.iter().all(u8::is_ascii_alphabetic)
}

fn is_hit(content: &[u8], at: usize, length: usize) -> bool {
    let before = &content[..at];
    let run = before.iter().rev().take(255).take_while(|byte| is_path_byte(**byte)).count();
    let run = &before[at - run..];
    match content.get(at + length) {
        Some(b'/') => !run.contains(&b'/') && !run.ends_with(b".") && !is_word(run),
        // The bare directory, as in debug information: only as a string of its own.
        None | Some(0 | b'"' | b'\'' | b':' | b';' | b'\n') => {
            matches!(before.last(), None | Some(0 | b'"' | b'\'' | b'=' | b':' | b'\n')) || run == b"-I" || run == b"-L"
        }
        _ => false,
    }
}

fn shown(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .take(SHOWN_MAX)
        .position(|byte| !(byte.is_ascii_graphic() || *byte >= 0x80) || b"\"'`<>:;,|".contains(byte))
        .unwrap_or(bytes.len().min(SHOWN_MAX));
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8]) -> Vec<(Option<u64>, String)> {
        let needles = Needles::new(&super::super::Policy::default().build_directories, b"/opt/p");
        let mut report = FileFindings { path: b"/opt/p/f", relative: "f".into(), findings: Vec::new() };
        needles.check(content, &mut report);
        report.findings.into_iter().map(|finding| (finding.offset, finding.text)).collect()
    }

    #[test]
    fn hits() {
        let text = |path: &str| format!("the bytes name a directory of the build: `{path}`");
        assert_eq!(check(b"x\0/build/a.c\0/build/b.c\0"), [(Some(2), text("/build/a.c") + " (and 1 more)")]);
        assert_eq!(
            check(b"cc -I/build/x -L/output/out/lib"),
            [(Some(5), text("/build/x")), (Some(16), text("/output/out/lib"))]
        );
        // A marshalled string: type, length byte (`A` is 65), text.
        assert_eq!(check(b"\xfaA/build/Lib/x.py"), [(Some(2), text("/build/Lib/x.py"))]);
        assert_eq!(check(b"\0/build\0"), [(Some(1), text("/build"))]);
        assert_eq!(check(b"a=/eval/store/abc-x:"), [(Some(2), text("/eval/store/abc-x"))]);
        assert_eq!(check(b"-ffile-prefix-map=/source/zlib=."), [(Some(18), text("/source/zlib=."))]);
    }

    #[test]
    fn no_hits() {
        for harmless in [
            &b"/opt/p/share/build/x"[..],
            b"https://a.example/build/x",
            b"../build/x",
            b"/builder/x",
            b"an input/output/error",
            b"to/source or /source",
            b"",
        ] {
            assert_eq!(check(harmless), [], "{}", harmless.escape_ascii());
        }
    }

    #[test]
    fn a_prefix_in_such_a_directory() {
        let needles = Needles::new(&["/build".to_owned()], b"/build/prefix");
        assert!(needles.finders.is_empty());
    }
}
