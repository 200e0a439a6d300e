//! What is demanded of an output before it is registered: the hash of a fixed one, the references it may have, its size;
//! and, when something was built twice, in what the two differ.
//!
//! Everything here looks at trees already taken over by the store, so nothing a builder left running could change them
//! between check and registration.

use crate::{
    attributes::Attributes,
    error::{BuildError, HashMismatch, attribute, cause, io_error},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{Read, Write},
    path::Path,
};
use store::{
    Derivation, Hash, HashAlgorithm, Hasher, Ingestion, LocalStore, StoreModel, StorePath, archive,
    tree::{Directories, Node},
};

/// How many differences of two trees are listed.
const DIFFERENCES_MAX: usize = 50;

/// Checks a fixed output, whose contents are `node` and lie at `host`.
pub(crate) fn check_fixed(
    derivation: &Derivation,
    attributes: &Attributes,
    node: &Node,
    host: &Path,
    place: &str,
) -> Result<(), BuildError> {
    let Some((ingestion, expected)) = derivation.fixed_output() else { return Ok(()) };
    let actual = match ingestion {
        Ingestion::Flat | Ingestion::Text => match node {
            Node::File { digest, executable: false, .. } => {
                if expected.algorithm() == HashAlgorithm::Blake3 {
                    Hash::from(*digest)
                } else {
                    hash_file(expected.algorithm(), host)?
                }
            }
            other => return Err(BuildError::NotFlat { place: place.to_owned(), kind: with_article(other.kind()) }),
        },
        Ingestion::Recursive => hash_nar(expected.algorithm(), host)?,
    };
    if actual == *expected {
        return Ok(());
    }
    let written = attributes.text("outputHash")?.filter(|text| !text.is_empty());
    let mut urls = attributes.words("urls")?.unwrap_or_default();
    urls.extend(attributes.text("url")?);
    Err(mismatch(derivation.name.as_str(), written.as_deref(), expected, &actual, urls))
}

/// The error of a fixed output that is not what was specified; both hashes in the form of `written`.
pub(crate) fn mismatch(
    name: &str,
    written: Option<&str>,
    expected: &Hash,
    actual: &Hash,
    urls: Vec<String>,
) -> BuildError {
    let sri = expected.sri();
    let written = written.unwrap_or(&sri);
    BuildError::HashMismatch(Box::new(HashMismatch {
        name: name.to_owned(),
        specified: written.to_owned(),
        actual: in_form_of(written, actual),
        urls,
    }))
}

/// Prints `hash` the way the user wrote another one.
fn in_form_of(written: &str, hash: &Hash) -> String {
    let algorithm = hash.algorithm().name();
    if written.strip_prefix(algorithm).is_some_and(|rest| rest.starts_with('-')) {
        return hash.sri();
    }
    let labelled = written.strip_prefix(algorithm).and_then(|rest| rest.strip_prefix(':'));
    let digits = labelled.unwrap_or(written);
    let text = if digits.len() == hash.hex().len() {
        hash.hex()
    } else if digits.len() == hash.base32().len() {
        hash.base32()
    } else {
        hash.base64()
    };
    if labelled.is_some() { format!("{algorithm}:{text}") } else { text }
}

fn hash_file(algorithm: HashAlgorithm, path: &Path) -> Result<Hash, BuildError> {
    let mut file = File::open(path).map_err(|e| io_error("open", path, e))?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).map_err(|e| io_error("read", path, e))? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn hash_nar(algorithm: HashAlgorithm, path: &Path) -> Result<Hash, BuildError> {
    struct Sink(Hasher);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(Hasher::new(algorithm));
    archive::write(path, &mut sink).map_err(cause)?;
    Ok(sink.0.finish())
}

fn with_article(kind: &'static str) -> &'static str {
    match kind {
        "executable file" => "an executable file",
        "directory" => "a directory",
        "symbolic link" => "a symbolic link",
        _ => "a file",
    }
}

/// Checks `allowedReferences`, `disallowedReferences`, `allowedRequisites`, `disallowedRequisites`, `maxSize` and
/// `maxClosureSize` for each output; with structured attributes they are under `outputChecks.<output>`.
///
/// `references` are those of each output, `bytes` its size; other outputs count by their own references.
pub(crate) fn check_references(
    store: &LocalStore,
    attributes: &Attributes,
    paths: &BTreeMap<String, StorePath>,
    references: &BTreeMap<String, BTreeSet<StorePath>>,
    bytes: &BTreeMap<String, u64>,
) -> Result<(), BuildError> {
    for (output, refs) in references {
        for rule in ["allowedReferences", "disallowedReferences", "allowedRequisites", "disallowedRequisites"] {
            let Some(named) = rule_words(attributes, output, rule)? else { continue };
            let named = named.iter().map(|word| rule_path(rule, word, paths)).collect::<Result<BTreeSet<_>, _>>()?;
            let closure;
            let seen = if rule.ends_with("Requisites") {
                closure = requisites(store, output, paths, references)?;
                &closure
            } else {
                refs
            };
            let bad: Vec<String> = seen
                .iter()
                .filter(|path| named.contains(path) == rule.starts_with("dis"))
                .map(|path| StoreModel::Native.print(path))
                .collect();
            if !bad.is_empty() {
                return Err(BuildError::Reference { output: output.clone(), rule, paths: bad });
            }
        }
        for (rule, closure) in [("maxSize", false), ("maxClosureSize", true)] {
            let Some(max) = rule_number(attributes, output, rule)? else { continue };
            let mut actual = bytes[output];
            if closure {
                for path in requisites(store, output, paths, references)? {
                    match paths.iter().find(|(_, own)| **own == path) {
                        Some((own, _)) if own == output => {}
                        Some((own, _)) => actual += bytes[own],
                        None => actual += store.path_info(&path)?.map_or(0, |info| info.bytes),
                    }
                }
            }
            if actual > max {
                return Err(BuildError::Size { output: output.clone(), rule, actual, max, closure });
            }
        }
    }
    Ok(())
}

fn rule_words(attributes: &Attributes, output: &str, rule: &str) -> Result<Option<Vec<String>>, BuildError> {
    let Some(structured) = attributes.structured() else { return attributes.words(rule) };
    let Some(value) = structured.get("outputChecks").and_then(|checks| checks.get(output)?.get(rule)) else {
        return Ok(None);
    };
    let words = value.as_array().and_then(|items| items.iter().map(|i| i.as_str().map(str::to_owned)).collect());
    words.map(Some).ok_or_else(|| attribute(&format!("outputChecks.{output}.{rule}"), "expected a list of strings"))
}

fn rule_number(attributes: &Attributes, output: &str, rule: &str) -> Result<Option<u64>, BuildError> {
    let Some(structured) = attributes.structured() else { return attributes.number(rule) };
    let Some(value) = structured.get("outputChecks").and_then(|checks| checks.get(output)?.get(rule)) else {
        return Ok(None);
    };
    let number = value.as_u64().map(Some);
    number.ok_or_else(|| attribute(&format!("outputChecks.{output}.{rule}"), "expected a whole number"))
}

/// The store path that a rule names: by path, or by the name of an output.
fn rule_path(rule: &str, word: &str, paths: &BTreeMap<String, StorePath>) -> Result<StorePath, BuildError> {
    if let Some(path) = paths.get(word) {
        return Ok(path.clone());
    }
    StoreModel::Native
        .parse(word)
        .map_err(|_| attribute(rule, format!("`{word}` is neither a store path nor an output")))
}

/// Everything an output reaches, itself included only when it refers to itself.
fn requisites(
    store: &LocalStore,
    output: &str,
    paths: &BTreeMap<String, StorePath>,
    references: &BTreeMap<String, BTreeSet<StorePath>>,
) -> Result<BTreeSet<StorePath>, BuildError> {
    let own: BTreeMap<&StorePath, &String> = paths.iter().map(|(name, path)| (path, name)).collect();
    let mut seen = BTreeSet::new();
    let mut others = BTreeSet::new();
    let mut todo: Vec<StorePath> = references[output].iter().cloned().collect();
    while let Some(path) = todo.pop() {
        if seen.insert(path.clone()) {
            match own.get(&path).and_then(|name| references.get(*name)) {
                Some(refs) => todo.extend(refs.iter().cloned()),
                None => {
                    others.insert(path);
                }
            }
        }
    }
    seen.extend(crate::inputs::closure(store, &others)?);
    Ok(seen)
}

/// One place at which two builds of an output differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub output: String,
    /// Relative to the output; empty for the output itself.
    pub path: String,
    pub change: Change,
}

/// How the second build differs from the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    Kind {
        before: &'static str,
        after: &'static str,
    },
    Contents {
        before_bytes: u64,
        after_bytes: u64,
    },
    Target {
        before: String,
        after: String,
    },
    /// There are more differences than are listed.
    More,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.path.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}: ", self.output, self.path)?;
        match &self.change {
            Change::Added => write!(f, "only in the second build"),
            Change::Removed => write!(f, "only in the first build"),
            Change::Kind { before, after } => write!(f, "first {}, then {}", with_article(before), with_article(after)),
            Change::Contents { before_bytes, after_bytes } if before_bytes == after_bytes => {
                write!(f, "other contents ({before_bytes} bytes both times)")
            }
            Change::Contents { before_bytes, after_bytes } => {
                write!(f, "other contents ({before_bytes} bytes, then {after_bytes})")
            }
            Change::Target { before, after } => write!(f, "first a link to `{before}`, then to `{after}`"),
            Change::More => write!(f, "and more"),
        }
    }
}

/// Lists where `after` differs from `before`, in order of path, equal subtrees passed over.
pub(crate) fn differences(
    directories: &dyn Directories,
    output: &str,
    before: &Node,
    after: &Node,
) -> Result<Vec<Difference>, BuildError> {
    let mut found = Vec::new();
    let mut todo = vec![(Vec::new(), Some(before.clone()), Some(after.clone()))];
    while let Some((path, before, after)) = todo.pop() {
        if before == after {
            continue;
        }
        let change = match (before, after) {
            (Some(Node::Directory { digest: a, .. }), Some(Node::Directory { digest: b, .. })) => {
                let (a, b) = (directories.load(&a).map_err(cause)?, directories.load(&b).map_err(cause)?);
                let names: BTreeSet<&[u8]> = a.iter().chain(b.iter()).map(|(name, _)| name).collect();
                for name in names.into_iter().rev() {
                    todo.push((store::tree::walk::join(&path, name), a.get(name).cloned(), b.get(name).cloned()));
                }
                continue;
            }
            (Some(Node::File { executable: x, size: a, .. }), Some(Node::File { executable: y, size: b, .. }))
                if x == y =>
            {
                Change::Contents { before_bytes: a, after_bytes: b }
            }
            (Some(Node::Symlink { target: a }), Some(Node::Symlink { target: b })) => Change::Target {
                before: String::from_utf8_lossy(&a).into_owned(),
                after: String::from_utf8_lossy(&b).into_owned(),
            },
            (Some(a), Some(b)) => Change::Kind { before: a.kind(), after: b.kind() },
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
        };
        let more = found.len() == DIFFERENCES_MAX;
        found.push(Difference {
            output: output.to_owned(),
            path: if more { String::new() } else { String::from_utf8_lossy(&path).into_owned() },
            change: if more { Change::More } else { change },
        });
        if more {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::tree::{Digest, Directory, MemoryDirectories};

    #[test]
    fn hashes_are_printed_as_they_were_written() {
        let hash = HashAlgorithm::Sha256.hash(b"x");
        for written in [hash.sri(), hash.hex(), hash.base32(), hash.base64(), format!("sha256:{}", hash.base32())] {
            assert_eq!(in_form_of(&written, &hash), written);
        }
    }

    #[test]
    fn differing_files_are_named() {
        let directories = MemoryDirectories::new();
        let file = |text: &str, executable| Node::File {
            digest: Digest::of(text.as_bytes()),
            executable,
            size: text.len() as u64,
        };
        let tree = |entries: Vec<(&str, Node)>| {
            let mut directory = Directory::new();
            for (name, node) in entries {
                directory.insert(name, node).unwrap();
            }
            directories.save(&directory).unwrap()
        };
        let link = |target: &str| Node::Symlink { target: target.into() };
        let before = tree(vec![
            ("a", tree(vec![("same", file("x", false)), ("text", file("one", false))])),
            ("b", file("x", false)),
            ("gone", link("a")),
            ("l", link("a")),
        ]);
        let after = tree(vec![
            ("a", tree(vec![("same", file("x", false)), ("text", file("three", false))])),
            ("b", file("x", true)),
            ("l", link("b")),
            ("new", link("a")),
        ]);
        let text: Vec<String> =
            differences(&directories, "out", &before, &after).unwrap().iter().map(|d| d.to_string()).collect();
        assert_eq!(
            text,
            [
                "out/a/text: other contents (3 bytes, then 5)",
                "out/b: first a file, then an executable file",
                "out/gone: only in the first build",
                "out/l: first a link to `a`, then to `b`",
                "out/new: only in the second build",
            ]
        );
        assert!(differences(&directories, "out", &after, &after).unwrap().is_empty());
    }
}
