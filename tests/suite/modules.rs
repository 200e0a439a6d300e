//! The list of modules in ARCHITECTURE is the first sentence of each module's header, so it never drifts.
//!
//! `UPDATE_EXP=1 cargo test --test suite modules` writes it.

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/ARCHITECTURE.md";
const START: &str = "<!-- modules: written by tests/suite/modules.rs -->\n";
const END: &str = "<!-- end of modules -->\n";

/// The crates, as directories, each with the sentence that says what it is for.
const CRATES: [(&str, &str); 13] = [
    ("lang", "the language: text to values and derivations"),
    ("store/model", "names, hashes, derivations, trees and messages, as values without input or output"),
    ("store/os", "system calls on files, and their errors"),
    ("store/filesystem", "file systems with owners and modes, which images are made from"),
    ("store", "trees and records on this machine's disks"),
    ("store/deliver", "trees put where they are used"),
    ("builder", "store paths made from derivations"),
    ("builder/sandbox", "one build, with nothing but its inputs"),
    ("builder/fetch", "files from the network"),
    ("builder/archive", "archives into entries"),
    ("src/workspace", "evaluation and building as a library, for the command and for services"),
    ("src", "the command `eval`"),
    ("tests/support", "helpers shared by the tests of several crates"),
];

#[test]
fn each_module_is_on_the_map() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(top.join(PAGE)).unwrap();
    let (before, rest) = page.split_once(START).expect("the page has the start mark");
    let (_, after) = rest.split_once(END).expect("the page has the end mark");
    let expected = format!("{before}{START}\n{}\n{END}{after}", list(top));
    if page == expected {
        return;
    }
    if std::env::var_os("UPDATE_EXP").is_some() {
        fs::write(top.join(PAGE), expected).unwrap();
        return;
    }
    panic!(
        "{PAGE} has another list of modules than the sources; `UPDATE_EXP=1 cargo test --test suite modules` writes it"
    );
}

fn list(top: &Path) -> String {
    let mut lines = Vec::new();
    for (directory, purpose) in CRATES {
        lines.push(format!("\n**`{directory}`**: {purpose}\n"));
        let source = if directory == "src" { top.join("src") } else { top.join(directory).join("src") };
        let mut modules: Vec<(String, PathBuf)> = fs::read_dir(&source)
            .unwrap_or_else(|error| panic!("{}: {error}", source.display()))
            .map(|entry| entry.unwrap().path())
            .filter_map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let file = if path.is_dir() { path.join("mod.rs") } else { path };
                (file.extension().is_some_and(|end| end == "rs") && file.exists()).then_some((name, file))
            })
            .filter(|(name, _)| !matches!(name.as_str(), "lib.rs" | "tests" | "tests.rs"))
            .collect();
        modules.sort();
        lines.extend(modules.into_iter().map(|(name, file)| format!("- `{name}`: {}", first_sentence(&file))));
    }
    lines.join("\n").trim().to_owned() + "\n"
}

/// Returns the first sentence of a file's header.
fn first_sentence(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let header: Vec<&str> = text
        .lines()
        .skip_while(|line| line.starts_with("#!["))
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    assert!(!header.is_empty(), "{} has no header that says what it is for", file.display());
    let paragraph = header.join(" ");
    let end = paragraph.find(". ").unwrap_or(paragraph.len());
    // Links of rustdoc mean nothing on the page.
    paragraph[..end].trim_end_matches('.').trim_end_matches(':').replace("[`", "`").replace("`]", "`")
}
