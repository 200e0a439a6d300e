//! The book's page of errors knows every code, and its examples end in the errors they stand under.
//! The page of builtins is what their table says; `UPDATE_EXP=1` writes it.
#![allow(clippy::disallowed_methods, reason = "a test reads the page and the sources")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;

use test_support::files::Files;

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/src/errors.md");
    fs::read_to_string(page).unwrap()
}

fn sections(page: &str) -> Vec<(&str, &str)> {
    page.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

#[test]
fn every_example_ends_in_its_error() {
    let page = page();
    let mut examples = 0;
    for (code, text) in sections(&page) {
        let Some(example) = text.split("```nix\n").nth(1).and_then(|rest| rest.split("```").next()) else { continue };
        let options = EvalOptions { store_model: StoreModel::Nix, ..EvalOptions::default() };
        let mut evaluator = Evaluator::new(Arc::new(Files::new(StoreModel::Nix)), options);
        let error = evaluator
            .eval_text(example.as_bytes(), Origin::CommandLine, Path::new("/"))
            .and_then(|value| evaluator.force_deep(value))
            .expect_err(code);
        assert_eq!(evaluator.report(&error).code, code, "{example}");
        examples += 1;
    }
    assert!(examples > 20, "the page has {examples} examples");
}

/// Codes in the sources: `"lang::…"`, and the first argument of syntax errors.
fn codes_in(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            codes_in(&path, codes);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut take = |rest: &str| {
                let code: String = rest
                    .chars()
                    .take_while(|&c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':')
                    .collect();
                if rest[code.len()..].starts_with('"') && !code.is_empty() {
                    codes.insert(code);
                }
            };
            text.match_indices("\"lang::").for_each(|(at, _)| take(&text[at + 1..]));
            text.match_indices("SyntaxError::new(").for_each(|(at, start)| {
                if let Some(rest) = text[at + start.len()..].trim_start().strip_prefix('"') {
                    take(rest);
                }
            });
        }
    }
}

#[test]
fn the_page_has_every_code_and_no_other() {
    let page = page();
    let explained: BTreeSet<String> = sections(&page).into_iter().map(|(code, _)| code.to_owned()).collect();
    let mut used = BTreeSet::new();
    codes_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
    assert_eq!(used.difference(&explained).collect::<Vec<_>>(), Vec::<&String>::new(), "not explained");
    // The rest of the page is checked by the command, whose codes and whose libraries' codes they are.
    let of_others = |code: &str| {
        ["build::", "prefix::", "store::"].iter().any(|start| code.starts_with(start))
            || ["error", "installable", "interrupted", "io", "usage"].contains(&code)
    };
    let explained: BTreeSet<String> = explained.into_iter().filter(|code| !of_others(code)).collect();
    assert_eq!(
        explained.difference(&used).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "explained, but nothing ends so"
    );
}

fn builtins_page() -> String {
    let mut page = "# Builtins

`ev repl` prints the same text for each: `:doc builtins.map`. Builtins marked in the second column are in scope without `builtins.`; the others are in scope as `__name`.

| name | in scope | arguments | result |
|---|---|---|---|
"
    .to_owned();
    for builtin in lang::builtins::TABLE {
        let global = if builtin.global { "yes" } else { "" };
        page +=
            &format!("| `{}` | {global} | {} | {} |\n", builtin.name, builtin.arity, builtin.doc.replace('|', "\\|"));
    }
    page
}

#[test]
fn the_page_of_builtins_is_their_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/src/builtins.md");
    let page = builtins_page();
    if std::env::var_os("UPDATE_EXP").is_some() {
        fs::write(&file, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), page, "`UPDATE_EXP=1` writes it");
    for name in ["map", "toJSON", "derivation"] {
        assert!(page.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}
