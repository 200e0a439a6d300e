//! Trees of flakes that are read in place: their facts, the files that belong to them, and
//! what an evaluation used of them.
//!
//! As in Nix, sources copied from the working tree of a Git repository have tracked files only. An
//! evaluation can read other files, so that a new one works at once; the warning at its end says
//! so, as who clones the repository does not get them.

use super::git::{Facts, WorkTree};
use super::{Obtained, Sources, failed, git, newest};
use lang::flake::FlakeRef;
use lang::host::{FileType, HostError, HostResult, LocalFact, LocalFacts, LocalTree};
use model::{Hash, StorePath};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// The trees of one evaluation.
pub struct LocalTrees {
    opened: Mutex<Vec<Arc<Opened>>>,
    /// The directory of downloads, which belongs to no tree.
    cache: Option<PathBuf>,
}

struct Opened {
    tree: LocalTree,
    index: OnceLock<Result<WorkTree, HostError>>,
    facts: OnceLock<Result<Facts, HostError>>,
    hash: OnceLock<Result<Hash, HostError>>,
    used: Mutex<Used>,
}

/// Paths below the root of a tree.
#[derive(Default, Clone)]
struct Used {
    /// Files that were read, and sources that were copied.
    paths: BTreeSet<PathBuf>,
    /// Files and directories, true for these, that are not tracked and were left out of copies.
    left_out: BTreeSet<(PathBuf, bool)>,
}

/// Files of a tree that an evaluation used, or missed, by their state in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeUse {
    pub tree: LocalTree,
    /// Every path that was used.
    pub used: Vec<PathBuf>,
    /// Tracked files that differ from the last commit.
    pub changed: Vec<PathBuf>,
    pub untracked: Vec<PathBuf>,
    /// Paths that are neither tracked nor ignored, and were left out of copied sources.
    pub left_out: Vec<PathBuf>,
}

impl TreeUse {
    /// Returns warnings for people, at most one of each kind.
    pub fn warnings(&self) -> Vec<String> {
        let root = self.tree.root.display();
        let mut warnings = Vec::new();
        if let Some(first) = self.changed.first() {
            warnings.push(match self.changed.len() {
                1 => format!("Git tree '{root}' is dirty: '{}' differs from the last commit", first.display()),
                count => format!(
                    "Git tree '{root}' is dirty: {count} files differ from the last commit, such as '{}'",
                    first.display()
                ),
            });
        }
        if let Some(first) = self.untracked.first() {
            let (subject, them) = subject(self.untracked.len(), first, "is used", "are used");
            warnings.push(format!("in the Git tree '{root}', {subject} without being tracked; `git add` {them}"));
        }
        if let Some(first) = self.left_out.first() {
            let (subject, them) = subject(self.left_out.len(), first, "is missing", "are missing");
            warnings.push(format!(
                "in the Git tree '{root}', {subject} in copied sources for not being tracked; `git add` {them}"
            ));
        }
        warnings
    }
}

fn subject(count: usize, first: &Path, one: &str, several: &str) -> (String, &'static str) {
    match count {
        1 => (format!("'{}' {one}", first.display()), "it"),
        _ => (format!("{count} files, such as '{}', {several}", first.display()), "them"),
    }
}

/// Directories nested deeper than this are taken for empty.
const DEPTH_MAX: usize = 32;

/// Returns whether a directory has anything but directories in it, which Git does not track.
fn has_files(directory: &Path, depth: usize) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => depth > 0 && has_files(&entry.path(), depth - 1),
        _ => true,
    })
}

impl LocalTrees {
    pub fn new(sources: Option<&Sources>) -> LocalTrees {
        LocalTrees { opened: Mutex::default(), cache: sources.map(|sources| sources.cache.clone()) }
    }

    fn open(&self, tree: &LocalTree) -> Arc<Opened> {
        let mut opened = os::lock(&self.opened);
        if let Some(known) = opened.iter().find(|known| known.tree == *tree) {
            return known.clone();
        }
        let fresh = Arc::new(Opened {
            tree: tree.clone(),
            index: OnceLock::new(),
            facts: OnceLock::new(),
            hash: OnceLock::new(),
            used: Mutex::default(),
        });
        opened.push(fresh.clone());
        fresh
    }

    /// Returns the Git tree that a path is in, and the path below its root.
    fn git_tree(&self, path: &Path) -> Option<(Arc<Opened>, PathBuf)> {
        if self.cache.as_ref().is_some_and(|cache| path.starts_with(cache)) {
            return None;
        }
        let opened = os::lock(&self.opened);
        let inside = opened.iter().filter(|each| each.tree.is_git && path.starts_with(&each.tree.root));
        let nearest = inside.max_by_key(|each| (each.tree.root.as_os_str().len(), each.tree.submodules))?;
        Some((nearest.clone(), path.strip_prefix(&nearest.tree.root).ok()?.to_owned()))
    }

    /// Returns a fact about a tree. `add` copies its files to the store.
    ///
    /// # Errors
    /// When the tree cannot be read, and those of `add`.
    pub(crate) fn fact(
        &self,
        sources: Option<&Sources>,
        tree: &LocalTree,
        fact: LocalFact,
        add: &dyn Fn(&Obtained) -> HostResult<StorePath>,
    ) -> HostResult<LocalFacts> {
        let opened = self.open(tree);
        let mut answer = LocalFacts::default();
        match fact {
            LocalFact::Opened => {
                answer.is_incomplete = tree.is_git && tree.submodules && opened.index()?.lacks_submodules();
            }
            LocalFact::Attributes if tree.is_git => {
                let facts = opened.facts()?;
                answer.attributes = facts.attributes.clone();
                answer.has_rev_count = facts.has_rev_count;
            }
            LocalFact::Attributes => {
                let seconds =
                    newest(&tree.root).map_err(|cause| failed("cannot read the times in", &tree.root, &cause))?;
                git::add_time(&mut answer.attributes, seconds);
            }
            LocalFact::StorePath => answer.path = Some(add(&opened.obtain(sources)?)?),
            LocalFact::NarHash => {
                let hash = opened.hash.get_or_init(|| opened.obtain(sources)?.hash(None)).clone()?;
                answer.attributes.insert("narHash".to_owned(), lang::host::FetchValue::String(hash.sri()));
            }
            LocalFact::RevCount => {
                let count = opened.index()?.rev_count()?;
                answer.attributes.insert("revCount".to_owned(), lang::host::FetchValue::Int(count));
            }
        }
        Ok(answer)
    }

    /// Returns whether a path is in the Git directory of a tree, which expressions do not see.
    pub fn hides(&self, path: &Path) -> bool {
        self.git_tree(path).is_some_and(|(_, below)| below.starts_with(".git"))
    }

    /// Returns whether a directory's entries depend on the rules of a repository.
    pub fn filters(&self, directory: &Path) -> bool {
        self.git_tree(directory).is_some()
    }

    /// Removes the entries that the repository ignores from a directory's, and its own directory.
    ///
    /// # Errors
    /// When the rules cannot be read.
    pub fn retain_visible(&self, directory: &Path, entries: &mut Vec<(Vec<u8>, FileType)>) -> HostResult<()> {
        let Some((opened, below)) = self.git_tree(directory) else { return Ok(()) };
        let index = opened.index()?;
        let path = |name: &[u8]| below.join(OsStr::from_bytes(name));
        let is_own = |name: &[u8]| below.as_os_str().is_empty() && name == b".git";
        let unknown: Vec<(PathBuf, bool)> = entries
            .iter()
            .filter(|(name, _)| !is_own(name) && !index.has(&path(name)))
            .map(|(name, kind)| (path(name), *kind == FileType::Directory))
            .collect();
        let mut ignored = BTreeSet::new();
        if !unknown.is_empty() {
            let flags = index.ignored(&unknown)?;
            ignored.extend(unknown.into_iter().zip(flags).filter(|(_, flag)| *flag).map(|((path, _), _)| path));
        }
        entries.retain(|(name, _)| !is_own(name) && !ignored.contains(&path(name)));
        Ok(())
    }

    /// Notes that a file was read.
    pub fn note_read(&self, path: &Path) {
        if let Some((opened, below)) = self.git_tree(path) {
            os::lock(&opened.used).paths.insert(below);
        }
    }

    /// Notes that a source was copied, and returns the filter for its files if only some belong to
    /// the tree. A source that is not tracked at all is copied whole.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn members_of(&self, source: &Path) -> HostResult<Option<Members>> {
        let Some((opened, below)) = self.git_tree(source) else { return Ok(None) };
        let is_tracked = opened.index()?.has(&below);
        os::lock(&opened.used).paths.insert(below.clone());
        Ok(is_tracked.then_some(Members { opened, below }))
    }

    /// Returns what was used of the Git trees so far.
    ///
    /// # Errors
    /// When a repository cannot be read.
    pub fn uses(&self) -> HostResult<Vec<TreeUse>> {
        let opened = os::lock(&self.opened).clone();
        let mut uses = Vec::new();
        for each in opened.iter().filter(|each| each.tree.is_git) {
            let used = os::lock(&each.used).clone();
            if used.paths.is_empty() {
                continue;
            }
            let left_out: Vec<(PathBuf, bool)> = used.left_out.into_iter().collect();
            let mut found = each.status(used.paths.into_iter().collect())?;
            if !left_out.is_empty() {
                let ignored = each.index()?.ignored(&left_out)?;
                let visible = left_out.into_iter().zip(ignored).filter(|(_, ignored)| !ignored);
                let with_files = visible.filter(|((path, is_directory), _)| {
                    !is_directory || has_files(&each.tree.root.join(path), DEPTH_MAX)
                });
                found.left_out = with_files.map(|((path, _), _)| path).collect();
            }
            uses.push(found);
        }
        Ok(uses)
    }

    /// Returns the state of paths that were used of a tree.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn status(&self, tree: &LocalTree, paths: Vec<PathBuf>) -> HostResult<TreeUse> {
        self.open(tree).status(paths)
    }
}

impl Opened {
    fn index(&self) -> HostResult<&WorkTree> {
        self.index.get_or_init(|| WorkTree::open(&self.tree.root)).as_ref().map_err(Clone::clone)
    }

    fn facts(&self) -> HostResult<&Facts> {
        self.facts.get_or_init(|| self.index()?.facts(self.tree.submodules)).as_ref().map_err(Clone::clone)
    }

    fn obtain(&self, sources: Option<&Sources>) -> HostResult<Obtained> {
        match self.tree.is_git {
            true => self.index()?.obtain(sources, self.tree.submodules),
            false => Ok(Obtained::tree(self.tree.root.clone())),
        }
    }

    fn status(&self, used: Vec<PathBuf>) -> HostResult<TreeUse> {
        let index = self.index()?;
        let changed = match self.facts.get() {
            Some(Ok(facts)) => facts.changed.clone(),
            _ => {
                let all: BTreeSet<&Path> = used.iter().map(PathBuf::as_path).collect();
                index.changed(self.tree.submodules, &|path| path.ancestors().any(|above| all.contains(above)))?
            }
        };
        let in_submodule =
            |path: &Path| self.tree.submodules && path.ancestors().any(|above| index.is_submodule(above));
        let untracked = used.iter().filter(|path| !index.has(path) && !in_submodule(path)).cloned().collect();
        Ok(TreeUse { tree: self.tree.clone(), used, changed, untracked, left_out: Vec::new() })
    }
}

/// The files of a source that belong to the tree that it is in.
pub struct Members {
    opened: Arc<Opened>,
    /// The source, below the root of the tree.
    below: PathBuf,
}

impl Members {
    /// Returns whether a path below the source belongs to the tree.
    pub fn has(&self, path: &Path, is_directory: bool) -> bool {
        let path = self.below.join(path);
        let Ok(index) = self.opened.index() else { return false };
        if path.components().any(|part| part.as_os_str() == ".git") {
            return false;
        }
        let in_submodule = || path.ancestors().any(|above| index.is_submodule(above));
        let is_member = index.has(&path) || self.opened.tree.submodules && in_submodule();
        if !is_member {
            os::lock(&self.opened.used).left_out.insert((path, is_directory));
        }
        is_member
    }
}

/// Returns the working tree of Git that a directory belongs to.
pub fn git_tree_of(directory: &Path) -> Option<LocalTree> {
    git::root_of(directory).map(|root| LocalTree { root, is_git: true, submodules: false })
}

/// Returns the reference that a directory means which is named without a scheme: to the working
/// tree of its repository, or to the directory itself outside of one.
pub fn reference_of_directory(directory: &Path) -> FlakeRef {
    let real = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let in_git = git::root_of(&real).and_then(|root| lang::flake::git_reference(&root, &real));
    in_git.unwrap_or_else(|| FlakeRef::path(&directory.to_string_lossy()))
}
