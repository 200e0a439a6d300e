//! The page that says what is promised against attacks names the test that shows each promise: they exist.

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/src/threat-model.md";

#[test]
fn each_promise_names_tests_that_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(top.join(PAGE)).unwrap();
    let mut sources = Vec::new();
    for directory in ["builder", "store", "lang", "tests"] {
        collect(&top.join(directory), &mut sources);
    }
    let (mut rows, mut wrong) = (0, Vec::new());
    let mut in_table_of_tests = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_table_of_tests = false;
            continue;
        };
        let last = row.rsplit('|').next().unwrap_or_default().trim();
        if last == "test" {
            in_table_of_tests = true;
        } else if in_table_of_tests && !last.starts_with("---") {
            rows += 1;
            let names: Vec<&str> =
                last.split('`').skip(1).step_by(2).filter(|name| !["store", "realise"].contains(name)).collect();
            if names.is_empty() {
                wrong.push(format!("no test: {line}"));
            }
            wrong.extend(
                names.iter().filter(|name| !exists(top, &sources, name)).map(|name| format!("no such: {name}")),
            );
        }
    }
    assert!(rows >= 40, "{rows} rows: has the page another form?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether `name` is a file or folder, a module with tests, or a test.
fn exists(top: &Path, sources: &[(PathBuf, String)], name: &str) -> bool {
    if name.contains('/') {
        return top.join(name).exists();
    }
    let (module, test) = match name.rsplit_once("::") {
        Some((module, test)) => (module.replace("::", "/"), test),
        // The page says so above that table.
        None => ("realise/hostile".to_owned(), name),
    };
    let is = |path: &Path, module: &str| path.with_extension("").ends_with(module);
    let has = |text: &str, test: &str| text.contains(&format!("#[test]\nfn {test}()"));
    let whole = format!("{module}/{test}");
    sources
        .iter()
        .any(|(path, text)| is(path, &module) && has(text, test) || is(path, &whole) && text.contains("#[test]\n"))
}

fn collect(directory: &Path, sources: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            sources.push((path, text));
        }
    }
}
