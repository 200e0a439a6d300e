//! A part of a tree: the files of some domains, without the excluded ones, from below one path to
//! below another.
//!
//! Every file and link belongs to one domain: that of the first rule whose glob matches its path,
//! else the domain `""`. Globs are relative to the root of the given tree, also when only the part
//! below `subdir` is selected. Directories that become empty because files are left out vanish;
//! those that were empty stay.

use super::union::glob_set;
use super::walk::join;
use super::{DEPTH_MAX, Directories, Directory, Node, TreeError, lookup};
use globset::GlobSet;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The part of a tree to select, and its new path.
#[derive(Clone, Debug)]
pub struct Selection {
    rules: GlobSet,
    /// The domain of each rule.
    domains_of_rules: Vec<String>,
    /// The domains to keep; all when `None`.
    domains: Option<BTreeSet<String>>,
    exclude: GlobSet,
    subdir: Vec<u8>,
    at: Vec<u8>,
}

impl Default for Selection {
    /// Selects everything, at its own path.
    fn default() -> Self {
        Self {
            rules: GlobSet::empty(),
            domains_of_rules: Vec::new(),
            domains: None,
            exclude: GlobSet::empty(),
            subdir: Vec::new(),
            at: Vec::new(),
        }
    }
}

impl Selection {
    /// Keeps only the files of `domains`, where `rules` are pairs of domain and glob.
    ///
    /// # Errors
    /// [`TreeError::Glob`].
    pub fn domains(mut self, rules: &[(String, String)], domains: Option<BTreeSet<String>>) -> Result<Self, TreeError> {
        self.rules = glob_set(rules.iter().map(|(_, glob)| glob.as_str()))?;
        self.domains_of_rules = rules.iter().map(|(domain, _)| domain.clone()).collect();
        self.domains = domains;
        Ok(self)
    }

    /// Excludes matches; a directory that matches goes with all below it.
    ///
    /// # Errors
    /// [`TreeError::Glob`].
    pub fn exclude<'a>(mut self, globs: impl IntoIterator<Item = &'a str>) -> Result<Self, TreeError> {
        self.exclude = glob_set(globs)?;
        Ok(self)
    }

    /// Selects only the part below this path of the tree.
    pub fn subdir(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.subdir = path.into();
        self
    }

    /// Moves the result below this path.
    pub fn at(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.at = path.into();
        self
    }

    /// Returns the domain of the file at `path`.
    pub fn domain(&self, path: &[u8]) -> &str {
        let first = self.rules.matches(OsStr::from_bytes(path)).into_iter().min();
        first.map_or("", |rule| &self.domains_of_rules[rule])
    }

    fn keeps(&self, path: &[u8]) -> bool {
        self.domains.as_ref().is_none_or(|domains| domains.contains(self.domain(path)))
    }
}

/// Returns the selected part of `root`.
///
/// # Errors
/// When there is nothing at `subdir`, a path of `at` has an invalid component, or a directory
/// cannot be read or written.
pub fn select(directories: &dyn Directories, root: &Node, selection: &Selection) -> Result<Node, TreeError> {
    let start = lookup(directories, root, &selection.subdir)?;
    let names = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec).collect()
    };
    let base = names(&selection.subdir).join(&b'/');
    let everything = selection.domains.is_none() && selection.exclude.is_empty();
    let mut node = if everything { Some(start) } else { filter(directories, &start, &base, selection, 0)? };
    for name in names(&selection.at).into_iter().rev() {
        let mut directory = Directory::new();
        if let Some(node) = node {
            directory.insert(name, node)?;
        }
        node = Some(directories.save(&directory)?);
    }
    match node {
        Some(node) => Ok(node),
        None => directories.save(&Directory::new()),
    }
}

fn filter(
    directories: &dyn Directories,
    node: &Node,
    path: &[u8],
    selection: &Selection,
    depth: usize,
) -> Result<Option<Node>, TreeError> {
    if depth > DEPTH_MAX {
        return Err(TreeError::Depth { path: String::from_utf8_lossy(path).into_owned() });
    }
    if !path.is_empty() && selection.exclude.is_match(OsStr::from_bytes(path)) {
        return Ok(None);
    }
    let Node::Directory { digest, .. } = node else {
        return Ok(selection.keeps(path).then(|| node.clone()));
    };
    let directory = directories.load(digest)?;
    let mut result = Directory::new();
    for (name, inner) in directory.iter() {
        if let Some(inner) = filter(directories, inner, &join(path, name), selection, depth + 1)? {
            result.insert(name, inner)?;
        }
    }
    if result == *directory {
        return Ok(Some(node.clone()));
    }
    if result.is_empty() { Ok(None) } else { directories.save(&result).map(Some) }
}
