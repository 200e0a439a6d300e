//! The union of trees: several roots merged, computed on Merkle nodes.
//!
//! - Directories merge. Where only one distinct directory is at a path, it is reused whole, without
//!   being read.
//! - Identical files and links merge.
//! - A symbolic link to a directory is treated as that directory: where one tree has
//!   `lib -> usr/lib` and another a directory `lib`, the link stays and the other's entries below
//!   `lib` move to `usr/lib`. Two links that lead to the same directory merge too; the later one
//!   stays.
//! - Everything else at one path is a conflict, unless the path matches a pattern of [`Overlap`]:
//!   then the later tree wins.
//!
//! Links are followed in the union, so the directory may come from a third tree. Moves are found
//! first, in rounds, until there are no more; then the result is built. All conflicts are reported,
//! not the first alone.

use super::walk::join;
use super::{DEPTH_MAX, Digest, Directories, Directory, Node, TreeError};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// One of the trees, and its name in messages.
#[derive(Clone, Debug)]
pub struct Layer {
    pub root: Node,
    pub owner: String,
}

/// The result of a union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Union {
    pub root: Node,
    /// Set when a link was treated as a directory: then an overlay mount of the layers differs from
    /// `root`.
    pub redirected: bool,
}

/// The paths at which a later tree may replace the nodes of earlier ones.
#[derive(Clone, Debug)]
pub struct Overlap(GlobSet);

impl Overlap {
    /// No path at all.
    pub fn none() -> Self {
        Self(GlobSet::empty())
    }

    /// Parses globs separated by white space, relative to the root; `**` matches everything, `*` no
    /// slash.
    ///
    /// # Errors
    /// [`TreeError::Glob`].
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        glob_set(text.split_whitespace()).map(Self)
    }

    fn matches(&self, path: &[u8]) -> bool {
        self.0.is_match(OsStr::from_bytes(path))
    }
}

/// Builds a set of globs relative to a root: a leading slash is ignored, `*` and `?` match no
/// slash.
pub(super) fn glob_set<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<GlobSet, TreeError> {
    let mut set = GlobSetBuilder::new();
    for text in globs {
        let error =
            |reason: globset::Error| TreeError::Glob { glob: text.to_owned(), reason: reason.kind().to_string() };
        let glob =
            GlobBuilder::new(text.trim_start_matches('/')).literal_separator(true).backslash_escape(true).build();
        set.add(glob.map_err(error)?);
    }
    set.build().map_err(|reason| TreeError::Glob { glob: String::new(), reason: reason.kind().to_string() })
}

/// Two nodes at one path that do not merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub path: String,
    /// The owner and the node of the earlier one.
    pub first: (String, Node),
    /// The owner and the node of the later one.
    pub second: (String, Node),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((first, a), (second, b)) = (&self.first, &self.second);
        let name = |node: &Node, differs: &str| match node {
            Node::Symlink { target } => format!("a {differs}symbolic link to `{}`", String::from_utf8_lossy(target)),
            Node::File { executable: true, .. } if differs.is_empty() => "an executable file".to_owned(),
            _ => format!("a {differs}{}", node.kind()),
        };
        let differs = if a.kind() == b.kind() { "different " } else { "" };
        write!(f, "`{}` is {} in {first} and {} in {second}", self.path, name(a, ""), name(b, differs))
    }
}

/// All conflicts of a union, in order of path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        f.write_str("the trees do not fit over each other: ")?;
        for (i, conflict) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{conflict}", if i > 0 { "; " } else { "" })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => {}
            more => write!(f, "; and {more} more")?,
        }
        f.write_str(" (add a path to `__overlap` to let the later tree win there)")
    }
}

impl std::error::Error for Conflicts {}

/// Returns the union of `layers`, later ones on top.
///
/// # Errors
/// [`TreeError::Union`] with every conflict; [`TreeError::NotADirectory`] when a layer is not a
/// directory; or when a directory cannot be read or written.
pub fn union(directories: &dyn Directories, layers: &[Layer], overlap: &Overlap) -> Result<Union, TreeError> {
    for layer in layers {
        if !layer.root.is_directory() {
            return Err(TreeError::NotADirectory { path: layer.owner.clone(), found: layer.root.kind() });
        }
    }
    let roots: Vec<Part> =
        layers.iter().enumerate().map(|(layer, tree)| Part { layer, node: tree.root.clone() }).collect();
    if roots.is_empty() {
        return Ok(Union { root: directories.save(&Directory::new())?, redirected: false });
    }
    let mut merge = Merge {
        directories,
        layers,
        overlap,
        roots,
        loaded: HashMap::new(),
        grafts: BTreeMap::new(),
        moved: BTreeSet::new(),
        changed: false,
        building: false,
        conflicts: Vec::new(),
        redirected: false,
    };
    loop {
        merge.changed = false;
        merge.conflicts.clear();
        merge.redirected = false;
        let roots = merge.roots.clone();
        let root = merge.directory(b"", roots, 0)?;
        if merge.changed {
            continue;
        }
        if !merge.conflicts.is_empty() {
            return Err(Conflicts(merge.conflicts).into());
        }
        if merge.building {
            return Ok(Union { root, redirected: merge.redirected });
        }
        merge.building = true;
    }
}

/// The node that one layer has at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    layer: usize,
    node: Node,
}

/// The number of links after which a path is treated as a loop, as in the kernel.
const LINKS_MAX: usize = 40;

struct Merge<'a> {
    directories: &'a dyn Directories,
    layers: &'a [Layer],
    overlap: &'a Overlap,
    roots: Vec<Part>,
    loaded: HashMap<Digest, Arc<Directory>>,
    /// Directories that are treated as being at a path because a link elsewhere leads to it.
    grafts: BTreeMap<Vec<u8>, BTreeSet<Part>>,
    /// All moves so far, from path to path. The set only grows, so the rounds end.
    moved: BTreeSet<(Vec<u8>, Vec<u8>, Part)>,
    changed: bool,
    /// Set when directories are written; otherwise only moves and conflicts are searched.
    building: bool,
    conflicts: Vec<Conflict>,
    redirected: bool,
}

/// The result at a path, once all layers are considered.
enum Outcome {
    Take(Node),
    Descend(Vec<Part>),
    /// A link stays; directories of other layers must move to its target.
    Redirect {
        link: Node,
        to: Vec<u8>,
        directories: Vec<Part>,
    },
    Conflict(Part, Part),
}

impl Merge<'_> {
    /// Merges directories at `path`; returns the result's node, which is meaningless unless
    /// building.
    fn directory(&mut self, path: &[u8], mut parts: Vec<Part>, depth: usize) -> Result<Node, TreeError> {
        if depth > DEPTH_MAX {
            return Err(TreeError::Depth { path: String::from_utf8_lossy(path).into_owned() });
        }
        self.add_grafts(path, &mut parts);
        if parts.len() == 1 && !self.has_grafts_below(path) {
            return Ok(parts.remove(0).node);
        }
        let mut result = Directory::new();
        for (name, parts) in self.entries(&parts)? {
            let inner = join(path, &name);
            let node = match self.outcome(&inner, parts)? {
                Outcome::Take(node) => node,
                Outcome::Descend(parts) => self.directory(&inner, parts, depth + 1)?,
                Outcome::Redirect { link, to, directories } => {
                    self.redirected = true;
                    self.redirect(&inner, &to, directories);
                    link
                }
                Outcome::Conflict(first, second) => {
                    let side = |part: Part| (self.layers[part.layer].owner.clone(), part.node);
                    self.conflicts.push(Conflict {
                        path: String::from_utf8_lossy(&inner).into_owned(),
                        first: side(first),
                        second: side(second),
                    });
                    continue;
                }
            };
            if self.building {
                result.insert(name, node)?;
            }
        }
        if self.building { self.directories.save(&result) } else { Ok(parts.remove(0).node) }
    }

    /// Decides the result at `path`, given the nodes `parts` of some layers (in order, at least
    /// one).
    fn outcome(&mut self, path: &[u8], parts: Vec<Part>) -> Result<Outcome, TreeError> {
        let top = parts.last().expect("a name comes from a part").clone();
        if !top.node.is_directory() && parts.iter().all(|part| part.node == top.node) {
            return Ok(Outcome::Take(top.node));
        }
        let (links, others): (Vec<Part>, Vec<Part>) =
            parts.iter().cloned().partition(|part| matches!(part.node, Node::Symlink { .. }));
        if let Some(other) = others.iter().find(|part| !part.node.is_directory()) {
            let first = parts.iter().find(|part| part.node != other.node).unwrap_or(other);
            let (first, second) = if first.layer <= other.layer { (first, other) } else { (other, first) };
            return Ok(self.conflict(path, &parts, first.clone(), second.clone()));
        }
        let Some(link) = links.last() else {
            return Ok(Outcome::Descend(others));
        };
        // Links, all to the same directory, and directories.
        let mut to: Option<Vec<u8>> = None;
        for part in &links {
            let place = self.resolve(path, &part.node)?;
            if place.is_none() || to.as_ref().is_some_and(|to| Some(to) != place.as_ref()) {
                let against = parts.iter().find(|other| other.node != part.node).unwrap_or(part);
                let (first, second) = if against.layer <= part.layer { (against, part) } else { (part, against) };
                return Ok(self.conflict(path, &parts, first.clone(), second.clone()));
            }
            to = place;
        }
        let to = to.expect("there is a link");
        Ok(Outcome::Redirect { link: link.node.clone(), to, directories: others })
    }

    /// Returns the conflict, or the later tree's node where it may win.
    ///
    /// As in an overlay mount, directories above the last other node merge.
    fn conflict(&self, path: &[u8], parts: &[Part], first: Part, second: Part) -> Outcome {
        if !self.overlap.matches(path) {
            return Outcome::Conflict(first, second);
        }
        let start = parts.iter().rposition(|part| !part.node.is_directory()).map_or(0, |last| last + 1);
        if start < parts.len() {
            Outcome::Descend(parts[start..].to_vec())
        } else {
            Outcome::Take(parts[parts.len() - 1].node.clone())
        }
    }

    /// Moves `directories` at `from`, and all that was moved to `from` or below it, to `to`.
    fn redirect(&mut self, from: &[u8], to: &[u8], directories: Vec<Part>) {
        let mut below = from.to_vec();
        below.push(b'/');
        let stranded: Vec<Vec<u8>> = self
            .grafts
            .range(from.to_vec()..)
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(from))
            .filter(|path| path == from || path.starts_with(&below))
            .collect();
        let mut moves: Vec<(Vec<u8>, Vec<u8>, Part)> =
            directories.into_iter().map(|part| (from.to_vec(), to.to_vec(), part)).collect();
        for path in stranded {
            let mut target = to.to_vec();
            target.extend_from_slice(&path[from.len()..]);
            if target.starts_with(b"/") {
                target.remove(0);
            }
            for part in self.grafts.remove(&path).unwrap_or_default() {
                moves.push((path.clone(), target.clone(), part));
            }
        }
        for (path, target, part) in moves {
            if self.moved.insert((path, target.clone(), part.clone())) {
                self.grafts.entry(target).or_default().insert(part);
                self.changed = true;
            }
        }
    }

    /// Follows `link` at `path` in the union; returns the directory at its end, if there is one.
    fn resolve(&mut self, path: &[u8], link: &Node) -> Result<Option<Vec<u8>>, TreeError> {
        let Node::Symlink { target } = link else { return Ok(None) };
        let mut here: Vec<Vec<u8>> = components(path);
        here.pop();
        if target.starts_with(b"/") {
            here.clear();
        }
        let mut todo: Vec<Vec<u8>> = components(target);
        todo.reverse();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    here.pop();
                    continue;
                }
                _ => {}
            }
            let parts = self.view(&here)?;
            let found: Vec<Node> =
                self.entries(&parts)?.remove(&name).unwrap_or_default().into_iter().map(|part| part.node).collect();
            let inner = found.iter().rev().find_map(|node| match node {
                Node::Symlink { target } => Some(target),
                _ => None,
            });
            if let Some(target) = inner {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(None);
                }
                if target.starts_with(b"/") {
                    here.clear();
                }
                todo.extend(components(target).into_iter().rev());
            } else if found.last().is_some_and(Node::is_directory) {
                here.push(name);
            } else {
                return Ok(None);
            }
        }
        Ok(Some(here.join(&b'/')))
    }

    /// Returns the directories at a path that contains no links.
    fn view(&mut self, path: &[Vec<u8>]) -> Result<Vec<Part>, TreeError> {
        let mut parts = self.roots.clone();
        let mut here = Vec::new();
        self.add_grafts(&here, &mut parts);
        for name in path {
            parts = self.entries(&parts)?.remove(name).unwrap_or_default();
            parts.retain(|part| part.node.is_directory());
            here = join(&here, name);
            self.add_grafts(&here, &mut parts);
        }
        Ok(parts)
    }

    /// Adds directories that were moved to `path`, and drops all but the latest of equal ones.
    fn add_grafts(&self, path: &[u8], parts: &mut Vec<Part>) {
        if let Some(grafts) = self.grafts.get(path) {
            parts.extend(grafts.iter().cloned());
            parts.sort();
        }
        let mut seen = BTreeSet::new();
        let mut keep: Vec<bool> = parts.iter().rev().map(|part| seen.insert(part.node.digest())).collect();
        parts.retain(|_| keep.pop().expect("one flag a part"));
    }

    fn has_grafts_below(&self, path: &[u8]) -> bool {
        let mut below = path.to_vec();
        if !below.is_empty() {
            below.push(b'/');
        }
        self.grafts
            .range(below.clone()..)
            .find(|(graft, _)| !graft.is_empty())
            .is_some_and(|(graft, _)| graft.starts_with(&below))
    }

    /// Returns the entries of the directories `parts` by name, each in order of layers.
    fn entries(&mut self, parts: &[Part]) -> Result<BTreeMap<Vec<u8>, Vec<Part>>, TreeError> {
        let mut entries: BTreeMap<Vec<u8>, Vec<Part>> = BTreeMap::new();
        for part in parts {
            let Node::Directory { digest, .. } = part.node else { continue };
            let directory = match self.loaded.get(&digest) {
                Some(directory) => directory.clone(),
                None => {
                    let directory = self.directories.load(&digest)?;
                    self.loaded.insert(digest, directory.clone());
                    directory
                }
            };
            for (name, node) in directory.iter() {
                entries.entry(name.to_vec()).or_default().push(Part { layer: part.layer, node: node.clone() });
            }
        }
        Ok(entries)
    }
}

fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}
