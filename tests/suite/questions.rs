//! Each answer on the page of questions is a file that exists and defines the named item.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/src/questions.md";

#[test]
fn each_answer_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(top.join(PAGE)).unwrap();
    let rows = rows(&page);
    let mut wrong = Vec::new();
    for [question, file, item] in &rows {
        if !question.ends_with('?') {
            wrong.push(format!("not a question: {question}"));
        }
        match fs::read_to_string(top.join(file)) {
            Err(_) => wrong.push(format!("{question} There is no `{file}`.")),
            Ok(text) if !defines(&text, item) => wrong.push(format!("{question} `{file}` does not define `{item}`.")),
            Ok(_) => {}
        }
    }
    let questions: BTreeSet<_> = rows.iter().map(|[question, ..]| question).collect();
    assert!(questions.len() >= 20, "{} questions: has the page another form?", questions.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn definitions_are_recognised() {
    let text = "pub(crate) fn run() {}\nimpl Plan {\n    const fn next(&self) {}\n}\npub struct Entry<T>(T);\n";
    for item in ["run", "Plan::next", "Entry"] {
        assert!(defines(text, item), "{item}");
    }
    for item in ["Plan", "ru", "runs", "Other::next", "T"] {
        assert!(!defines(text, item), "{item}");
    }
}

/// Returns the cells of the table's rows, without backticks.
fn rows(page: &str) -> Vec<[String; 3]> {
    let table = page.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [question, file, item] = cells[..] else { panic!("another form: {line}") };
            [question, file.trim_matches('`'), item.trim_matches('`')].map(str::to_owned)
        })
        .collect()
}

/// Returns whether `text` defines `item`, a name or `Type::name`. The type's `impl` must be in the
/// same file.
fn defines(text: &str, item: &str) -> bool {
    let (owner, name) = item.rsplit_once("::").map_or((None, item), |(owner, name)| (Some(owner), name));
    let words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
    let follows =
        |before: &[&str], word: &str| words.windows(2).any(|pair| before.contains(&pair[0]) && pair[1] == word);
    follows(&["fn", "struct", "enum", "trait", "const", "static", "type", "macro_rules"], name)
        && owner.is_none_or(|owner| {
            text.contains(&format!("impl {owner} "))
                || text.contains(&format!("impl {owner}<"))
                || text.contains(&format!("impl<'a> {owner}<"))
        })
}
