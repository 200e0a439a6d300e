//! The pages of the book: each is in the summary, and each link leads to a file and a heading.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn each_page_is_in_the_summary() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src");
    let summary = fs::read_to_string(book.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<&str> = links(&summary).collect();
    let mut pages = Vec::new();
    collect(&book, &mut pages);
    let names = pages.iter().map(|page| page.strip_prefix(&book).unwrap().to_str().unwrap());
    let missing: Vec<&str> = names
        .filter(|name| *name != "SUMMARY.md" && !name.starts_with("changelog/") && !listed.contains(name))
        .collect();
    assert!(listed.len() > 10 && missing.is_empty(), "not in the summary: {missing:?}");
}

#[test]
fn each_link_leads_somewhere() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![top.join("README.md")];
    collect(&top.join("docs"), &mut pages);
    let mut wrong = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let leads = match fs::read_to_string(&target) {
                Ok(text) => heading.is_none_or(|heading| headings(&text).contains(heading)),
                Err(_) => false,
            };
            if !leads {
                wrong.push(format!("{}: {link}", page.strip_prefix(top).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the targets of the links `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// Returns the anchors of a page's headings.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles
        .map(|title| {
            let letters = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            letters.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

fn collect(directory: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}
