//! The book's page of errors explains every code, and its examples end in the errors of their
//! sections. The page of builtins equals their table; `UPDATE_EXP=1` writes it.
#![allow(clippy::disallowed_methods, reason = "a test reads the page and the sources")]

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// Collects codes from sources: `"lang::…"`, and the first argument of syntax errors.
fn codes_in(directory: &Path, except: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            codes_in(&path, except, codes);
        } else if path != except && path.extension().is_some_and(|extension| extension == "rs") {
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
fn the_page_and_the_list_have_the_codes_of_the_sources() {
    let page = page();
    let explained: BTreeSet<&str> =
        sections(&page).into_iter().map(|(code, _)| code).filter(|code| is_of_language(code)).collect();
    let listed: BTreeSet<&str> = lang::error::CODES.iter().copied().collect();
    let mut used = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // The list itself is not a use.
    codes_in(&sources, &sources.join("error/codes.rs"), &mut used);
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    let without =
        |left: &BTreeSet<&str>, right| left.difference(right).map(|code| (*code).to_owned()).collect::<Vec<_>>();
    assert_eq!(without(&used, &listed), [""; 0], "used, but not in `CODES`");
    assert_eq!(without(&listed, &used), [""; 0], "in `CODES`, but not used");
    assert_eq!(without(&listed, &explained), [""; 0], "in `CODES`, but not explained");
    assert_eq!(without(&explained, &listed), [""; 0], "explained, but not in `CODES`");
}

/// Returns false for codes of other libraries, and for those of the command, which checks them.
fn is_of_language(code: &str) -> bool {
    let of_others = ["build::", "prefix::", "store::"].iter().any(|start| code.starts_with(start));
    !of_others && !["error", "installable", "interrupted", "io", "registry", "usage"].contains(&code)
}

fn builtins_page() -> String {
    let mut page = "# Builtins

`ev repl` prints the same text for each: `:doc builtins.map`. Builtins marked in the second
column are in scope without `builtins.`; the others are in scope as `__name`.

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
