//! Working trees that flakes are read in place: which files belong to them, and their
//! facts.
//!
//! The index is read once; it says which files are tracked. A comparison with the last commit looks
//! at each of them, so it is made only when it matters.

use super::worktree::{self, WorkingTree};
use super::{Attributes, Request, add_rev, add_time, committed, count_revisions, describe_changed, open, unreadable};
use crate::sources::{Obtained, Sources, other};
use gix::bstr::{BStr, ByteSlice};
use gix::index::entry::Mode;
use gix::{ObjectId, Repository};
use lang::host::{FetchValue, HostResult};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A working tree with its index, as both were when it was opened.
pub struct WorkTree {
    root: PathBuf,
    index: gix::index::State,
}

/// Facts that need no look into the files.
pub struct Facts {
    pub attributes: Attributes,
    pub has_rev_count: bool,
    /// The tracked files that differ from the last commit.
    pub changed: Vec<PathBuf>,
}

/// Words of `.gitattributes` by which files in the working tree differ from those of the commit.
const CONVERSIONS: [&[u8]; 5] = [b"filter", b"eol", b"crlf", b"ident", b"encoding"];

/// Returns the root of the working tree that a directory without symbolic links in its path
/// belongs to. One that the repository ignores does not belong to it.
pub fn root_of(directory: &Path) -> Option<PathBuf> {
    let root = directory.ancestors().find(|above| above.join(".git").symlink_metadata().is_ok())?;
    let repository = open(root).ok()?;
    if repository.workdir().is_none_or(|workdir| workdir.canonicalize().ok().as_deref() != Some(root)) {
        return None;
    }
    let below = directory.strip_prefix(root).ok()?;
    if !below.as_os_str().is_empty() {
        let tree = WorkTree::read(root, &repository).ok()?;
        let file = below.join("flake.nix");
        if !tree.has(&file) && tree.ignored(&[(file, false)]).ok()?.contains(&true) {
            return None;
        }
    }
    Some(root.to_owned())
}

impl WorkTree {
    /// Opens the working tree at `root`.
    ///
    /// # Errors
    /// When it is none, or its index cannot be read.
    pub fn open(root: &Path) -> HostResult<WorkTree> {
        WorkTree::read(root, &open(root)?)
    }

    fn read(root: &Path, repository: &Repository) -> HostResult<WorkTree> {
        let index = repository.index_or_empty().map_err(unreadable(repository))?;
        Ok(WorkTree { root: root.to_owned(), index: (**index).clone().into() })
    }

    /// Returns whether a path is a tracked file, a directory with one, or that of a submodule.
    pub fn has(&self, path: &Path) -> bool {
        let name = path.as_os_str().as_bytes();
        name.is_empty()
            || self.index.entry_by_path(name.as_bstr()).is_some()
            || self.index.prefixed_entries([name, b"/"].concat().as_bstr()).is_some()
    }

    /// Returns whether a path is that of a submodule.
    pub fn is_submodule(&self, path: &Path) -> bool {
        let entry = self.index.entry_by_path(path.as_os_str().as_bytes().as_bstr());
        entry.is_some_and(|entry| entry.mode == Mode::COMMIT)
    }

    /// Returns whether a submodule is not checked out.
    pub fn lacks_submodules(&self) -> bool {
        let mut submodules = self.index.entries().iter().filter(|entry| entry.mode == Mode::COMMIT);
        submodules.any(|entry| !self.root.join(path_of(entry.path(&self.index))).join(".git").exists())
    }

    /// Returns for each path whether the rules of `.gitignore` have it; a path comes with true for
    /// a directory.
    ///
    /// # Errors
    /// When the rules cannot be read.
    pub fn ignored(&self, paths: &[(PathBuf, bool)]) -> HostResult<Vec<bool>> {
        let repository = open(&self.root)?;
        let source = gix::worktree::stack::state::ignore::Source::WorktreeThenIdMappingIfNotSkipped;
        let mut stack = repository.excludes(&self.index, None, source).map_err(other)?;
        let mut ignored = Vec::with_capacity(paths.len());
        for (path, is_directory) in paths {
            let mode = if *is_directory { Mode::DIR } else { Mode::FILE };
            ignored.push(stack.at_path(path, Some(mode)).map_err(other)?.is_excluded());
        }
        Ok(ignored)
    }

    /// Returns the tracked files among those wanted that differ from the last commit.
    ///
    /// # Errors
    /// When a file or the repository cannot be read.
    pub fn changed(&self, submodules: bool, wanted: &dyn Fn(&Path) -> bool) -> HostResult<Vec<PathBuf>> {
        let repository = open(&self.root)?;
        worktree::changed(&repository, &self.root, head(&repository), submodules, wanted)
    }

    /// Returns the facts that other programs know of it too.
    ///
    /// # Errors
    /// When a file or the repository cannot be read.
    pub fn facts(&self, submodules: bool) -> HostResult<Facts> {
        let repository = open(&self.root)?;
        let read = unreadable(&repository);
        let head = head(&repository);
        let changed = worktree::changed(&repository, &self.root, head, submodules, &|_| true)?;
        let mut attributes = Attributes::new();
        let mut has_rev_count = false;
        match head.filter(|_| changed.is_empty()) {
            Some(head) => {
                add_rev(&mut attributes, &head.to_string());
                let commit = repository.find_commit(head).map_err(&read)?;
                add_time(&mut attributes, commit.time().map_err(&read)?.seconds);
                attributes.insert("submodules".to_owned(), FetchValue::Bool(submodules));
                has_rev_count = !repository.is_shallow().map_err(&read)?;
            }
            None => {
                let request = Request { submodules, ..Request::new("") };
                describe_changed(&repository, head, &request, &mut attributes).map_err(&read)?;
            }
        }
        Ok(Facts { attributes, has_rev_count, changed })
    }

    /// Returns the number of revisions up to the last commit.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn rev_count(&self) -> HostResult<i64> {
        let repository = open(&self.root)?;
        head(&repository).map_or(Ok(0), |head| count_revisions(&repository, head))
    }

    /// Returns the files that belong to the tree. Without changes they are those of the commit,
    /// which may be fetched from submodules or converted when they are checked out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::sources) fn obtain(&self, sources: Option<&Sources>, submodules: bool) -> HostResult<Obtained> {
        let repository = open(&self.root)?;
        let head = head(&repository);
        let is_clean = head.is_some() && self.changed(submodules, &|_| true)?.is_empty();
        let url = self.root.to_string_lossy();
        let request = Request { submodules, shallow: true, ..Request::new(&url) };
        if let Some(head) = head.filter(|_| is_clean && (submodules || self.converts(&repository))) {
            let sources = sources.ok_or_else(|| other("there is no cache directory for the files of a commit"))?;
            return committed(sources, &repository, head, &request);
        }
        let members = match submodules {
            true => WorkingTree::look(&repository, &self.root, head, &request)?.members,
            false => {
                let files = self.index.entries().iter().map(|entry| path_of(entry.path(&self.index)));
                let files = files.filter(|path| is_clean || !self.is_submodule(path));
                files.flat_map(|path| path.ancestors().map(Path::to_owned).collect::<Vec<_>>()).collect()
            }
        };
        Ok(Obtained { members: Some(members), ..Obtained::tree(self.root.clone()) })
    }

    /// Returns whether files may have other bytes in the working tree than in the repository.
    fn converts(&self, repository: &Repository) -> bool {
        let config = repository.config_snapshot();
        let has_rules = |text: &[u8]| CONVERSIONS.iter().any(|word| text.find(word).is_some());
        let own = repository.common_dir().join("info").join("attributes");
        config.string("core.autocrlf").is_some_and(|value| value != "false")
            || config.string("core.eol").is_some()
            || std::fs::read(own).is_ok_and(|text| has_rules(&text))
            || self
                .index
                .entries()
                .iter()
                .map(|entry| entry.path(&self.index))
                .filter(|path| *path == ".gitattributes" || path.ends_with(b"/.gitattributes"))
                .any(|path| std::fs::read(self.root.join(path_of(path))).is_ok_and(|text| has_rules(&text)))
    }
}

fn head(repository: &Repository) -> Option<ObjectId> {
    repository.head_id().ok().map(gix::Id::detach)
}

fn path_of(name: &BStr) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name))
}
