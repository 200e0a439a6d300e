//! The page of the promises against attacks names the test of each promise: the tests exist, and
//! are run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/src/threat-model.md";

/// Directories of tests with a promise a file; true if the page must name each file.
const DIRECTORIES: [(&str, bool); 5] = [
    ("builder/tests/sandbox/attacks", true),
    ("builder/tests/sandbox/promises", false),
    ("builder/tests/sandbox/successive", true),
    ("builder/tests/realise/hostile", true),
    ("store/deliver/src/prefix/tests", false),
];

#[test]
fn each_promise_names_tests_that_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(top.join(PAGE)).unwrap();
    let mut sources = Vec::new();
    for directory in ["builder", "store", "lang", "src", "tests"] {
        collect(&top.join(directory), &mut sources);
    }
    let rows = rows(&page);
    let mut wrong = Vec::new();
    for (row, names) in &rows {
        if names.is_empty() {
            wrong.push(format!("no test: {row}"));
        }
        wrong.extend(names.iter().filter(|name| !exists(top, &sources, name)).map(|name| format!("no such: {name}")));
    }
    assert!(rows.len() >= 80, "{} rows: has the page another form?", rows.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_attack_is_on_the_page() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(top.join(PAGE)).unwrap();
    let rows = rows(&page);
    let named: BTreeSet<&str> = rows.iter().flat_map(|(_, names)| names).copied().collect();
    let mut wrong = Vec::new();
    for (directory, on_page) in DIRECTORIES {
        let (_, module) = directory.rsplit_once('/').unwrap();
        let modules = fs::read_to_string(top.join(directory).join("mod.rs")).unwrap();
        for entry in fs::read_dir(top.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_stem().unwrap().to_str().unwrap();
            if file == "mod" {
                continue;
            }
            if !modules.lines().any(|line| line == format!("mod {file};")) {
                wrong.push(format!("{}: it is not compiled", path.display()));
            }
            let (whole, inside) = (format!("{module}::{file}"), format!("{module}::{file}::"));
            if on_page && !named.iter().any(|name| *name == whole || name.starts_with(&inside)) {
                wrong.push(format!("{}: the page does not name it", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the rows of the tables whose last column is headed "test", with the names in that
/// column.
fn rows(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut rows = Vec::new();
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
            let names = last.split('`').skip(1).step_by(2).filter(|name| !["store", "realise"].contains(name));
            rows.push((line, names.collect()));
        }
    }
    rows
}

/// Returns whether `name` is a file or directory, a module with tests, or a test.
fn exists(top: &Path, sources: &[(PathBuf, String)], name: &str) -> bool {
    if name.contains('/') {
        return top.join(name).exists();
    }
    let Some((module, test)) = name.rsplit_once("::") else { return false };
    let module = module.replace("::", "/");
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
