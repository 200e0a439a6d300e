//! Imports have one style: those of a file are one block, and each names the items of one module. rustfmt sorts a block
//! by itself, but chooses neither of the two.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn imports_are_one_block_of_modules() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["builder", "lang", "src", "store", "tests"] {
        collect(&top.join(directory), &mut files);
    }
    assert!(files.len() > 400, "only {} files were found", files.len());
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let shown = file.strip_prefix(top).unwrap().display().to_string();
            mistakes(&text).into_iter().map(move |(line, what)| format!("{shown}:{line}: {what}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_are_found() {
    assert_eq!(mistakes("use a::b;\nuse c::{D, e::f};\n"), [(2, "an import of several modules")]);
    assert_eq!(mistakes("use a::{\n    B,\n    c::D,\n};\n"), [(1, "an import of several modules")]);
    assert_eq!(mistakes("use a::b;\n\nuse c::d;\n"), [(3, "a second block of imports")]);
    assert_eq!(mistakes("pub use a::b;\n\nuse c::{d, self};\n\nfn f() {}\n"), []);
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// Returns line numbers from 1, and what is wrong there.
fn mistakes(text: &str) -> Vec<(usize, &'static str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    // The line after the last import, and how far that one is indented.
    let mut last: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < lines.len() {
        let indent = lines[at].len() - lines[at].trim_start().len();
        let is_private = lines[at].trim_start().starts_with("use ");
        if !is_private && !lines[at].trim_start().starts_with("pub use ") {
            at += 1;
            continue;
        }
        let end = (at..lines.len()).find(|&line| lines[line].ends_with(';')).unwrap_or(at);
        let item = lines[at..=end].concat();
        if item.split_once('{').is_some_and(|(_, names)| names.contains("::")) {
            found.push((at + 1, "an import of several modules"));
        }
        let blank = |(line, _): &(usize, usize)| *line < at && lines[*line..at].iter().all(|line| line.is_empty());
        if is_private && last.as_ref().is_some_and(|last| last.1 == indent && blank(last)) {
            found.push((at + 1, "a second block of imports"));
        }
        last = is_private.then_some((end + 1, indent));
        at = end + 1;
    }
    found
}
