//! Working trees: their tracked files, and their differences from the last commit.

use super::Request;
use super::tree::{Ignored, check_depth};
use crate::sources::{failed, other};
use gix::bstr::ByteSlice;
use gix::index::entry::Mode;
use gix::object::tree::EntryKind;
use gix::progress::Discard;
use gix::worktree::stack::state::attributes::Source as AttributeSource;
use gix::{ObjectId, Repository};
use lang::host::HostResult;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A working tree.
pub(super) struct WorkingTree {
    /// The tracked files, with their directories.
    pub members: BTreeSet<PathBuf>,
    /// Set when it differs from `HEAD`.
    pub is_changed: bool,
}

impl WorkingTree {
    /// Reads the working tree in `workdir` and, if requested, those of its submodules that exist.
    pub fn look(
        repository: &Repository,
        workdir: &Path,
        head: Option<ObjectId>,
        request: &Request<'_>,
    ) -> HostResult<WorkingTree> {
        let index = repository
            .index_or_empty()
            .map_err(|error| other(format!("cannot read the Git repository `{}`: {error}", workdir.display())))?;
        let changes = changed(repository, workdir, head, request.submodules, &|_| true)?;
        let mut ignored =
            Ignored::new(repository, &index, AttributeSource::WorktreeThenIdMapping, request.export_ignore)?;
        let mut members = BTreeSet::from([PathBuf::new()]);
        for entry in index.entries() {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(entry.path(&index).as_bytes()));
            if entry.mode == Mode::COMMIT {
                let place = workdir.join(&path);
                if request.submodules
                    && let Ok(inner) = super::open(&place)
                {
                    let head = inner.head_id().ok().map(gix::Id::detach);
                    let tree = WorkingTree::look(&inner, &place, head, request)?;
                    members.extend(path.ancestors().map(Path::to_owned));
                    members.extend(tree.members.iter().map(|member| path.join(member)));
                }
                continue;
            }
            if fs::symlink_metadata(workdir.join(&path)).is_ok() && !ignored.has_or_above(&path, entry.mode)? {
                members.extend(path.ancestors().map(Path::to_owned));
            }
        }
        Ok(WorkingTree { members, is_changed: head.is_none() || !changes.is_empty() })
    }
}

/// Returns the tracked files of a working tree that differ from the commit `head` or from the
/// index, and those that only one of the two has, among the files that are wanted.
pub(super) fn changed(
    repository: &Repository,
    workdir: &Path,
    head: Option<ObjectId>,
    submodules: bool,
    wanted: &dyn Fn(&Path) -> bool,
) -> HostResult<Vec<PathBuf>> {
    let read = |error: gix::Error| other(format!("cannot read the Git repository `{}`: {error}", workdir.display()));
    let index = repository.index_or_empty().map_err(read)?;
    let tree = match head {
        Some(head) => Some(repository.find_commit(head).and_then(|commit| commit.tree_id()).map_err(read)?.detach()),
        None => None,
    };
    // Git notes the tree that the index was the same as, until an entry changes.
    let is_noted = index.tree().is_some_and(|noted| {
        Some(noted.id) == tree && noted.num_entries.is_some_and(|count| count as usize == index.entries().len())
    });
    let mut committed = BTreeMap::new();
    if let Some(tree) = tree.filter(|_| !is_noted) {
        flatten(repository, tree, &mut PathBuf::new(), 0, &mut committed)?;
    }
    let written = index.timestamp();
    let mut changed = Vec::new();
    for entry in index.entries() {
        let path = Path::new(std::ffi::OsStr::from_bytes(entry.path(&index).as_bytes()));
        let mode = entry.mode;
        let same =
            is_noted || committed.remove(path).is_some_and(|(kind, id)| id == entry.id && kind_of(mode) == Some(kind));
        if !wanted(path) {
            continue;
        }
        let place = workdir.join(path);
        if mode == Mode::COMMIT {
            let mut is_changed = !same;
            if submodules && let Ok(inner) = super::open(&place) {
                let head = inner.head_id().ok().map(gix::Id::detach);
                is_changed |=
                    head != Some(entry.id) || !self::changed(&inner, &place, head, submodules, &|_| true)?.is_empty();
            }
            changed.extend(is_changed.then(|| path.to_owned()));
            continue;
        }
        // A sparse checkout leaves it out.
        let is_skipped = entry.flags.contains(gix::index::entry::Flags::SKIP_WORKTREE);
        let is_unchanged = same
            && match fs::symlink_metadata(&place) {
                Err(_) => is_skipped,
                Ok(meta) => {
                    // The index has the time and size of a file with this content. A file modified
                    // when the index was written, or later, is racily clean: it may have changed
                    // again within the resolution of the clock.
                    let noted = &entry.stat;
                    let as_noted = i64::from(noted.mtime.secs) == meta.mtime()
                        && i64::from(noted.mtime.nsecs) == meta.mtime_nsec()
                        && u64::from(noted.size) == meta.len()
                        && noted.size > 0
                        && (meta.mtime(), meta.mtime_nsec())
                            < (written.unix_seconds(), i64::from(written.nanoseconds()));
                    same_kind(mode, &meta) && (as_noted || content_id(&place, &meta)? == Some(entry.id))
                }
            };
        changed.extend((!is_unchanged).then(|| path.to_owned()));
    }
    changed.extend(committed.into_keys().filter(|path| wanted(path)));
    Ok(changed)
}

fn kind_of(mode: Mode) -> Option<EntryKind> {
    mode.to_tree_entry_mode().map(|mode| mode.kind())
}

fn same_kind(mode: Mode, meta: &fs::Metadata) -> bool {
    match kind_of(mode) {
        Some(EntryKind::Link) => meta.is_symlink(),
        Some(EntryKind::Blob) => meta.is_file() && meta.mode() & 0o100 == 0,
        Some(EntryKind::BlobExecutable) => meta.is_file() && meta.mode() & 0o100 != 0,
        _ => false,
    }
}

/// Returns Git's object id for the content of a file or link.
fn content_id(place: &Path, meta: &fs::Metadata) -> HostResult<Option<ObjectId>> {
    let (format, kind) = (gix::hash::Kind::Sha1, gix::objs::Kind::Blob);
    if meta.is_symlink() {
        let target = fs::read_link(place).map_err(|cause| failed("cannot read", place, &cause))?;
        return gix::objs::compute_hash(format, kind, target.as_os_str().as_bytes()).map(Some).map_err(other);
    }
    if !meta.is_file() {
        return Ok(None);
    }
    let mut file = fs::File::open(place).map_err(|cause| failed("cannot read", place, &cause))?;
    let never = AtomicBool::new(false);
    gix::objs::compute_stream_hash(format, kind, &mut file, meta.len(), &mut Discard, &never)
        .map(Some)
        .map_err(|error| other(format!("cannot read `{}`: {error}", place.display())))
}

/// Collects all files of a tree by path.
fn flatten(
    repository: &Repository,
    tree: ObjectId,
    path: &mut PathBuf,
    depth: usize,
    found: &mut BTreeMap<PathBuf, (EntryKind, ObjectId)>,
) -> HostResult<()> {
    let read = |error: gix::Error| other(format!("cannot read the tree '{tree}': {error}"));
    check_depth(depth)?;
    for entry in repository.find_tree(tree).map_err(read)?.iter() {
        let entry = entry.map_err(read)?;
        path.push(std::ffi::OsStr::from_bytes(entry.filename().as_bytes()));
        match entry.kind() {
            EntryKind::Tree => flatten(repository, entry.object_id(), path, depth + 1, found)?,
            kind => drop(found.insert(path.clone(), (kind, entry.object_id()))),
        }
        path.pop();
    }
    Ok(())
}
