//! Counts the words that the style page replaces, and sentences with a clause as their subject.
//!
//! The words are read from the table of the page, so that page and test agree. Each top-level
//! directory has a budget, which must equal its count: a new word fails, and so does a budget that
//! is too large.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/src/style.md";

/// Words left in each top-level directory; `other` is all else.
const BUDGETS: [(&str, usize); 8] = [
    // the language
    ("lang", 0),
    // the store and its crates
    ("store", 0),
    // builds, and the crates that fetch, unpack and confine
    ("builder", 0),
    // the command and the library below it
    ("src", 0),
    // tests of the whole, and the oracles
    ("tests", 0),
    // the book
    ("docs", 0),
    // the package set
    ("corpus", 0),
    // files at the top
    ("other", 0),
];

/// First words of clauses that must not be the subject of a sentence.
const OPENERS: [&str; 7] = ["what", "whether", "who", "whom", "whose", "how", "why"];

/// The user of this name is no person of unknown identity.
const USER: &str = "nobody";

/// A field of the C structure `flock`.
const FIELD: &str = "l_whence";

/// Files with text from elsewhere, or made by a program.
const NOT_PROSE: [&str; 6] = ["lock", "json", "patch", "svg", "snap", "new"];

#[test]
fn each_directory_keeps_its_budget() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = count(top);
    let mut wrong = Vec::new();
    for (directory, budget) in BUDGETS {
        let hits = &found[directory].hits;
        if hits.len() > budget {
            wrong.extend(hits.iter().cloned());
            wrong.push(format!("{directory}: {} where {budget} are left; see {PAGE}", hits.len()));
        } else if hits.len() < budget {
            wrong.push(format!("{directory}: lower the budget to {}", hits.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Prints the counts: `cargo test --test suite -- --ignored --nocapture plain_english`.
#[test]
#[ignore = "prints a table"]
fn counts_of_each_directory() {
    let top = std::env::var_os("PLAIN_ENGLISH_TOP").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    println!("{:8} {:>6} {:>8} {:>13} {:>9}", "", "words", "openers", "comment lines", "per 1000");
    for (directory, tally) in count(&top) {
        let openers = tally.hits.iter().filter(|hit| hit.ends_with(" …")).count();
        println!(
            "{directory:8} {:6} {openers:8} {:13} {:9.1}",
            tally.hits.len() - openers,
            tally.comment_lines,
            tally.hits.len() as f64 * 1000.0 / tally.comment_lines.max(1) as f64
        );
    }
    if std::env::var_os("PLAIN_ENGLISH_HITS").is_some() {
        count(&top).values().flat_map(|tally| &tally.hits).for_each(|hit| println!("{hit}"));
    }
}

#[test]
fn words_and_openers_are_found() {
    let words = Words::of_page(
        "| we say | not |\n|---|---|\n| a | `gizmo*`, `acts as` |\n| b | `nobody` |\n\n| c | `not this` |\n",
    );
    let hits = |kind, text| hits(&words, kind, text);
    assert_eq!(hits(Kind::Rust, "fn make_gizmo(inMy: MyGizmos) {}\n"), ["1: gizmo", "1: gizmos"]);
    assert_eq!(hits(Kind::Rust, "// a\n// It acts\n// as one. \"\\ngizmo\"\n"), ["2: acts as", "3: gizmo"]);
    assert_eq!(hits(Kind::Rust, "nobody \"nobody\" nobody:x:1:\n"), ["1: nobody"]);
    assert_eq!(hits(Kind::Rust, "acts.as, (acts), as, ungizmo"), Vec::<String>::new());
    let comments =
        "/// What is\n/// so. Why? How\n/// so!\n\nlet a = 1; // who\n/// - whether\n/// It is what it is.\n";
    assert_eq!(hits(Kind::Rust, comments), ["1: what …", "2: how …", "5: who …", "6: whether …"]);
    let quoted = "let a = \"x @ what\"; let b = 'a'; @ [`What`] is\n".replace('@', "//");
    assert_eq!(hits(Kind::Rust, &quoted), Vec::<String>::new());
    let page = "# How it is\n\n```\nwhat is code\n```\n\n| what | why |\n|---|---|\n| **What** is | no |\n";
    assert_eq!(hits(Kind::Markdown, page), ["1: how …", "9: what …"]);
    assert_eq!(hits(Kind::Hash, "# why\nx = 1; # whose\necho \"#what\"\n"), ["1: why …", "2: whose …"]);
    let script = "{ a = ''\n  b ''${c} gizmo\n''; # gizmo\n}";
    let script = without_scripts(script);
    assert_eq!(hits(Kind::Hash, &script), ["3: gizmo"]);
    assert_eq!(hits(Kind::Sql, "-- how\nSELECT 1;\n"), ["1: how …"]);
}

/// Form of the comments in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rust,
    Markdown,
    Hash,
    Sql,
}

#[derive(Default)]
struct Tally {
    hits: Vec<String>,
    comment_lines: usize,
}

/// Words and phrases of the table, by their first word.
struct Words {
    phrases: BTreeMap<String, Vec<Vec<String>>>,
    stems: Vec<String>,
}

impl Words {
    fn of_page(page: &str) -> Words {
        let mut words = Words { phrases: BTreeMap::new(), stems: Vec::new() };
        let table = page.lines().skip_while(|line| *line != "| we say | not |").skip(2);
        for row in table.take_while(|line| line.starts_with('|')) {
            let (_, not) = row.trim_end_matches('|').rsplit_once('|').expect("a row has two columns");
            for phrase in not.split('`').skip(1).step_by(2) {
                if let Some(stem) = phrase.strip_suffix('*') {
                    words.stems.push(stem.to_owned());
                    continue;
                }
                let phrase: Vec<String> = tokens(phrase).map(|token| token.word).collect();
                words.phrases.entry(phrase[0].clone()).or_default().push(phrase);
            }
        }
        words
    }
}

fn count(top: &Path) -> BTreeMap<&'static str, Tally> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let words = Words::of_page(&fs::read_to_string(here).unwrap());
    assert!(words.phrases.len() > 20, "the table of the page has another form");
    let mut found: BTreeMap<_, _> = BUDGETS.iter().map(|(directory, _)| (*directory, Tally::default())).collect();
    let mut files = Vec::new();
    collect(top, &mut files);
    files.sort();
    for file in files {
        let name = file.strip_prefix(top).unwrap();
        let first = name.iter().next().and_then(|first| first.to_str()).unwrap_or_default();
        let extension = name.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if NOT_PROSE.contains(&extension) || name.to_str().is_some_and(|name| name.starts_with("LICENSE")) {
            continue;
        }
        let Ok(mut text) = fs::read_to_string(&file) else { continue };
        if name == Path::new(PAGE) {
            let kept = text.lines().map(|line| if line.starts_with('|') { "" } else { line });
            text = kept.collect::<Vec<_>>().join("\n");
        }
        if extension == "nix" {
            text = without_scripts(&text);
        }
        let kind = match extension {
            "rs" | "c" | "h" => Kind::Rust,
            "md" => Kind::Markdown,
            "sql" => Kind::Sql,
            _ => Kind::Hash,
        };
        let directory = if BUDGETS.iter().any(|(directory, _)| *directory == first) { first } else { "other" };
        let tally = found.get_mut(directory).expect("each directory has a budget");
        tally.comment_lines += prose(kind, &text).iter().filter(|line| !line.text.is_empty()).count();
        tally.hits.extend(hits(&words, kind, &text).iter().map(|hit| format!("{}:{hit}", name.display())));
    }
    found
}

/// Blanks the indented strings of an expression. They are the scripts of builds, and part of the
/// keys of their actions: rewording a comment there would build the package again.
fn without_scripts(text: &str) -> String {
    let text = ["'''", "''$", "''\\"].iter().fold(text.to_owned(), |text, escape| text.replace(escape, "   "));
    let pieces = text.split("''").enumerate();
    let blank = |piece: &str| piece.chars().filter(|letter| *letter == '\n').collect::<String>();
    pieces.map(|(number, piece)| if number % 2 == 0 { piece.to_owned() } else { blank(piece) }).collect()
}

/// Lists the files below `directory`, without the output of programs.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_file() {
            files.push(path);
        } else if kind.is_dir() && !["target", ".git"].iter().any(|name| entry.file_name() == *name) {
            collect(&path, files);
        }
    }
}

/// Each hit as `line: word`, in the order of lines.
fn hits(words: &Words, kind: Kind, text: &str) -> Vec<String> {
    let mut hits = Vec::new();
    let text = &text.replace(FIELD, "");
    let tokens: Vec<Token> = tokens(text).filter(|token| token.word != USER || !token.quoted).collect();
    for (index, token) in tokens.iter().enumerate() {
        if words.stems.iter().any(|stem| token.word.starts_with(stem.as_str())) {
            hits.push((token.line, token.word.clone()));
        }
        let phrases = words.phrases.get(&token.word).map_or(&[][..], Vec::as_slice);
        let found = phrases.iter().find(|phrase| {
            let rest = tokens[index + 1..].iter().take(phrase.len() - 1);
            rest.len() == phrase.len() - 1
                && rest.zip(&phrase[1..]).all(|(token, word)| token.joined && token.word == *word)
        });
        hits.extend(found.map(|phrase| (token.line, phrase.join(" "))));
    }
    hits.extend(openers(&prose(kind, text)).into_iter().map(|(line, word)| (line, format!("{word} …"))));
    hits.sort_by_key(|(line, _)| *line);
    hits.into_iter().map(|(line, word)| format!("{line}: {word}")).collect()
}

/// A word of prose or a part of an identifier, in lower case.
struct Token {
    word: String,
    line: usize,
    /// Set when only white space, an underscore or the sign of a comment is before it.
    joined: bool,
    /// Set between quotes, and for a field of `/etc/passwd` or of a command's option.
    quoted: bool,
}

fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    std::iter::from_fn(move || {
        let mut joined = true;
        while at < bytes.len() && !bytes[at].is_ascii_alphabetic() {
            match bytes[at] {
                b'\n' => line += 1,
                // the letter of an escape such as `\n` is no part of a word
                b'\\' if bytes.get(at + 1).is_some_and(|next| *next != b'\n') => at += 1,
                b' ' | b'\t' | b'_' | b'/' | b'!' | b'#' | b'*' | b'>' | b'\'' => {}
                _ => joined = false,
            }
            at += 1;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_alphabetic() {
            at += 1;
            if bytes[at - 1].is_ascii_lowercase() && bytes.get(at).is_some_and(u8::is_ascii_uppercase) {
                break;
            }
        }
        let quoted = |byte: Option<&u8>| byte.is_some_and(|byte| b"`\":=".contains(byte));
        let quoted = quoted(bytes.get(at)) || quoted(start.checked_sub(1).and_then(|before| bytes.get(before)));
        (start < at).then(|| Token { word: text[start..at].to_ascii_lowercase(), line, joined, quoted })
    })
}

/// A line of a comment, or of a page.
struct Prose<'a> {
    line: usize,
    text: &'a str,
    /// Set where a sentence cannot go on from the line before.
    starts: bool,
}

/// The prose of a file. An empty text ends a paragraph.
fn prose(kind: Kind, text: &str) -> Vec<Prose<'_>> {
    if kind == Kind::Markdown {
        return page(text);
    }
    let sign = match kind {
        Kind::Rust => "//",
        Kind::Sql => "--",
        _ => "#",
    };
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        let all = line.trim_start();
        let (text, starts) = if let Some(comment) = all.strip_prefix(sign) {
            (comment.trim_start_matches(['/', '!', '#']).trim(), false)
        } else if let Some((_, comment)) = trailing(line, sign) {
            (comment.trim(), true)
        } else {
            ("", true)
        };
        if text.starts_with("```") {
            fenced = !fenced;
        }
        let text = if fenced { "" } else { text };
        found.push(Prose { line: index + 1, text, starts: starts || starts_item(text) });
    }
    found
}

/// The comment that ends a line of code, unless its sign is inside of quotes.
fn trailing<'a>(line: &'a str, sign: &str) -> Option<(&'a str, &'a str)> {
    line.match_indices(sign)
        .filter(|(at, _)| line[..*at].ends_with(' ') && line[..*at].matches('"').count().is_multiple_of(2))
        .find(|(at, _)| line[at + sign.len()..].starts_with(' '))
        .map(|(at, _)| (&line[..at], &line[at + sign.len()..]))
}

fn page(text: &str) -> Vec<Prose<'_>> {
    let mut found = Vec::new();
    let (mut fenced, mut table) = (false, 0);
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let indented = line.starts_with("    ");
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
        }
        table = if line.starts_with('|') { table + 1 } else { 0 };
        if fenced || indented || line.starts_with("```") || (1..=2).contains(&table) {
            found.push(Prose { line: line_number, text: "", starts: true });
        } else if table > 2 {
            let cells = line.trim_matches('|').split('|').map(str::trim);
            found.extend(cells.map(|text| Prose { line: line_number, text, starts: true }));
        } else {
            let heading = line.starts_with('#');
            let text = line.trim_start_matches(['#', '>']).trim();
            found.push(Prose { line: line_number, text, starts: heading || starts_item(text) });
            if heading {
                found.push(Prose { line: line_number, text: "", starts: true });
            }
        }
    }
    found
}

/// True for the first line of an item of a list.
fn starts_item(text: &str) -> bool {
    let number = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    text.starts_with("- ") || text.starts_with("* ") || (number.len() < text.len() && number.starts_with(". "))
}

/// Sentences that begin with one of [`OPENERS`] and are not questions.
fn openers(prose: &[Prose<'_>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // the sentence that the last word belongs to: its line and opener
    let mut open: Option<(usize, String)> = None;
    let mut fresh = true;
    for line in prose {
        if line.starts || line.text.is_empty() {
            found.extend(open.take());
            fresh = true;
        }
        let text = line.text.trim_start_matches(['-', '*', '>']);
        let text = if starts_item(line.text) {
            text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
        } else {
            text
        };
        for word in text.split_whitespace() {
            let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric() && !"`[]_".contains(letter));
            if fresh && !bare.is_empty() {
                fresh = false;
                let opener = bare.to_lowercase();
                open = OPENERS.contains(&opener.as_str()).then_some((line.line, opener));
            }
            match word.trim_end_matches(['*', '_', ')', '"', '”', '\'']).chars().last() {
                Some('?') => (open, fresh) = (None, true),
                Some('.' | '!') => {
                    found.extend(open.take());
                    fresh = true;
                }
                _ => {}
            }
        }
    }
    found.extend(open);
    found
}
