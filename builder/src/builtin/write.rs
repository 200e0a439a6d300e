//! `builtin:write`: a tree from text given in the derivation itself.

use crate::attributes::Attributes;
use crate::error::{BuildError, attribute};
use model::tree::{Digest, Directory, Node, TreeError};
use serde_json::Value;
use std::collections::BTreeMap;
use store::{LocalStore, StoreError};

const FILES: &str = "files";
/// Deeper paths than this are refused; no file system wants them.
const DEPTH_MAX: usize = 128;

/// A tree of texts and links that is not stored yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TextTree {
    File { text: String, executable: bool },
    Link { target: String },
    Directory(BTreeMap<String, TextTree>),
}

/// Reads the attribute `files`.
pub(crate) fn read(attributes: &Attributes) -> Result<TextTree, BuildError> {
    let files = match attributes.json(FILES)? {
        Some(Value::Object(files)) => files,
        Some(_) => return Err(attribute(FILES, "expected a set from paths to what is there")),
        None => return Err(attribute(FILES, "is missing, and this builder needs it")),
    };
    let mut root = BTreeMap::new();
    for (path, value) in &files {
        insert(&mut root, path, entry(path, value)?)?;
    }
    Ok(TextTree::Directory(root))
}

fn entry(path: &str, value: &Value) -> Result<TextTree, BuildError> {
    let wrong = |problem: &str| attribute(FILES, format!("`{path}`: {problem}"));
    let form = r#"expected {"text": "…", "executable": false}, {"link": "target"} or {"directory": true}"#;
    let Value::Object(map) = value else { return Err(wrong(form)) };
    let keys: Vec<&str> = map.keys().map(String::as_str).collect();
    match (keys.as_slice(), map.get("text"), map.get("link"), map.get("directory")) {
        (["text"], Some(Value::String(text)), ..) => Ok(TextTree::File { text: text.clone(), executable: false }),
        (["executable", "text"] | ["text", "executable"], Some(Value::String(text)), ..) => match map["executable"] {
            Value::Bool(executable) => Ok(TextTree::File { text: text.clone(), executable }),
            _ => Err(wrong("`executable` is neither true nor false")),
        },
        (["link"], _, Some(Value::String(target)), _) => {
            if target.is_empty() || target.contains('\0') || target.len() > 4095 {
                return Err(wrong("the target of a link is 1 to 4095 bytes without NUL"));
            }
            Ok(TextTree::Link { target: target.clone() })
        }
        (["directory"], _, _, Some(Value::Bool(true))) => Ok(TextTree::Directory(BTreeMap::new())),
        _ => Err(wrong(form)),
    }
}

fn insert(root: &mut BTreeMap<String, TextTree>, path: &str, new: TextTree) -> Result<(), BuildError> {
    let wrong = |problem: String| attribute(FILES, format!("`{path}`: {problem}"));
    let names: Vec<&str> = path.trim_matches('/').split('/').collect();
    if names.len() > DEPTH_MAX {
        return Err(wrong(format!("is more than {DEPTH_MAX} directories deep")));
    }
    if names.iter().any(|name| matches!(*name, "" | "." | "..") || name.contains('\0') || name.len() > 255) {
        return Err(wrong("is not a path made of plain names".into()));
    }
    let (last, parents) = names.split_last().expect("splitting gives at least one piece");
    let mut at = root;
    for (depth, name) in parents.iter().enumerate() {
        let below = at.entry((*name).to_owned()).or_insert_with(|| TextTree::Directory(BTreeMap::new()));
        match below {
            TextTree::Directory(entries) => at = entries,
            _ => return Err(wrong(format!("`{}` is given too and is not a directory", names[..=depth].join("/")))),
        }
    }
    match (at.get(*last), &new) {
        (None, _) => {
            at.insert((*last).to_owned(), new);
            Ok(())
        }
        // The directory came about as the parent of another path, or is named with and without a
        // slash.
        (Some(TextTree::Directory(_)), TextTree::Directory(_)) => Ok(()),
        (Some(_), _) => Err(wrong("is given twice, or is also a directory of another path".into())),
    }
}

impl TextTree {
    /// Returns the node of the tree. Nothing is stored.
    pub fn node(&self) -> Result<Node, TreeError> {
        let file = |bytes: &[u8], executable| {
            Ok(Node::File { digest: Digest::of(bytes), executable, size: bytes.len() as u64 })
        };
        self.build(&file, &|directory| Ok(directory.node()))
    }

    /// Stores the tree's files and directories and returns its node.
    pub fn store(&self, store: &LocalStore) -> Result<Node, StoreError> {
        self.build(&|bytes, executable| store.put_blob(bytes, executable), &|directory| {
            store.store_directory(directory)
        })
    }

    /// Builds the tree from the nodes that `file` and `directory` return for its parts.
    fn build<E, F, D>(&self, file: &F, directory: &D) -> Result<Node, E>
    where
        E: From<TreeError>,
        F: Fn(&[u8], bool) -> Result<Node, E>,
        D: Fn(&Directory) -> Result<Node, E>,
    {
        match self {
            TextTree::File { text, executable } => file(text.as_bytes(), *executable),
            TextTree::Link { target } => Ok(Node::Symlink { target: target.clone().into_bytes() }),
            TextTree::Directory(entries) => {
                let mut nodes = Directory::new();
                for (name, below) in entries {
                    nodes.insert(name.as_bytes(), below.build(file, directory)?)?;
                }
                directory(&nodes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[track_caller]
    fn check(json: &str) -> String {
        let mut root = BTreeMap::new();
        let files: serde_json::Map<String, Value> = serde_json::from_str(json).unwrap();
        for (path, value) in &files {
            if let Err(e) = entry(path, value).and_then(|new| insert(&mut root, path, new)) {
                return format!("error: {e}");
            }
        }
        format!("{root:?}")
    }

    #[test]
    fn trees_are_put_together() {
        assert_snapshot!(check(r#"{"a/b": {"text": "x", "executable": true}, "a": {"directory": true}, "/a/c/": {"link": "b"}}"#), @r#"{"a": Directory({"b": File { text: "x", executable: true }, "c": Link { target: "b" }})}"#);
    }

    #[test]
    fn mistakes_name_the_path() {
        assert_snapshot!(check(r#"{"a/../b": {"text": "x"}}"#), @"error: attribute `files`: `a/../b`: is not a path made of plain names");
        assert_snapshot!(check(r#"{"a": {"text": "x"}, "a/b": {"text": "x"}}"#), @"error: attribute `files`: `a/b`: `a` is given too and is not a directory");
        assert_snapshot!(check(r#"{"a/b": {"text": "x"}, "a": {"text": "x"}}"#), @"error: attribute `files`: `a/b`: `a` is given too and is not a directory");
        assert_snapshot!(check(r#"{"a": {"txt": "x"}}"#), @r#"error: attribute `files`: `a`: expected {"text": "…", "executable": false}, {"link": "target"} or {"directory": true}"#);
        assert_snapshot!(check(r#"{"a": {"text": "x", "executable": 1}}"#), @"error: attribute `files`: `a`: `executable` is neither true nor false");
    }
}
