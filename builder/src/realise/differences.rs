//! Differences between two builds of an output, found on their trees.

use crate::BuildError;
use crate::error::{Change, Difference};
use model::tree::walk::join;
use model::tree::{Directories, Node};
use std::collections::BTreeSet;

/// Most differences of two trees that are listed.
const DIFFERENCES_MAX: usize = 50;

/// Lists where `after` differs from `before`, in order of path. Equal subtrees are skipped.
pub(super) fn differences(
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
                let (a, b) = (directories.load(&a)?, directories.load(&b)?);
                let names: BTreeSet<&[u8]> = a.iter().chain(b.iter()).map(|(name, _)| name).collect();
                for name in names.into_iter().rev() {
                    todo.push((join(&path, name), a.get(name).cloned(), b.get(name).cloned()));
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
    use model::tree::{Digest, Directory, MemoryDirectories};

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
