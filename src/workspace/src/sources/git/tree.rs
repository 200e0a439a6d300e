//! Writes the files of a commit, with the bytes of the repository.

use super::chain;
use super::submodules::Submodules;
use crate::sources::{Sources, failed, other, out_of_space};
use gix::bstr::ByteSlice;
use gix::index::entry::Mode;
use gix::object::tree::EntryKind;
use gix::worktree::stack::state::attributes::Source as AttributeSource;
use gix::{ObjectId, Repository};
use lang::host::HostResult;
use os::private;
use os::space::FreeSpace;
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Trees nested deeper than this are refused, because their paths could not be opened.
const DEPTH_MAX: usize = 1024;

/// Approximate size of an inode and a name on a disk.
const ENTRY_BYTES: u64 = 512;

/// A commit with more files and directories than this is refused: a few small trees that contain
/// each other several times expand to any number.
const ENTRIES_MAX: u64 = 10_000_000;

/// A larger file is refused, because objects are held in memory whole, and a few megabytes of a
/// pack expand to any size.
const BLOB_BYTES_MAX: u64 = 2 << 30;

pub(super) fn check_depth(depth: usize) -> HostResult<()> {
    if depth > DEPTH_MAX {
        return Err(other(format!("the Git repository has directories nested deeper than {DEPTH_MAX}")));
    }
    Ok(())
}

/// Counts the files and directories of a tree before any is created.
///
/// # Errors
/// When they are too many, or a tree cannot be read.
fn check_count(repository: &Repository, tree: ObjectId) -> HostResult<()> {
    let count = count(repository, tree, 0, &mut HashMap::new())?;
    if count > ENTRIES_MAX {
        return Err(other(format!(
            "the tree '{tree}' of the Git repository has {count} files and directories; {ENTRIES_MAX} are allowed"
        )));
    }
    Ok(())
}

/// Reads each tree once, regardless of how often it occurs.
fn count(repository: &Repository, tree: ObjectId, depth: usize, known: &mut HashMap<ObjectId, u64>) -> HostResult<u64> {
    if let Some(&count) = known.get(&tree) {
        return Ok(count);
    }
    check_depth(depth)?;
    let read = |error: gix::Error| other(format!("cannot read the tree '{tree}': {error}"));
    let mut total = 0_u64;
    for entry in repository.find_tree(tree).map_err(read)?.iter() {
        let entry = entry.map_err(read)?;
        let below = match entry.kind() {
            EntryKind::Tree => count(repository, entry.object_id(), depth + 1, known)?,
            _ => 0,
        };
        total = total.saturating_add(below).saturating_add(1);
    }
    known.insert(tree, total);
    Ok(total)
}

/// Writes trees as files.
struct Writer<'w, 'r> {
    repository: &'r Repository,
    space: &'w FreeSpace,
    ignored: Ignored<'r>,
    /// `None` to leave them out.
    submodules: Option<&'w Submodules<'w>>,
}

/// A checkout of trees of one repository.
pub(super) struct Checkout<'c> {
    pub sources: &'c Sources,
    pub repository: &'c Repository,
    pub export_ignore: bool,
    pub submodules: Option<&'c Submodules<'c>>,
}

impl Checkout<'_> {
    /// Writes the files of a tree that is `depth` directories of other repositories deep.
    ///
    /// # Errors
    /// When the tree is damaged or too large, or a file cannot be written.
    pub fn write(&self, tree: ObjectId, directory: &Path, depth: usize) -> HostResult<()> {
        let &Checkout { sources, repository, export_ignore, submodules } = self;
        check_count(repository, tree)?;
        let ignored = match export_ignore {
            true => {
                let index = repository.index_from_tree(&tree).map_err(|error| other(chain(&error)))?;
                Ignored::new(repository, &index, AttributeSource::IdMapping, true)?
            }
            false => Ignored { stack: None },
        };
        let mut writer = Writer { repository, space: &sources.space, ignored, submodules };
        writer.tree(tree, directory, &mut PathBuf::new(), depth)
    }
}

impl Writer<'_, '_> {
    /// Writes the entries of the tree at `path` of the commit to `directory`.
    fn tree(&mut self, tree: ObjectId, directory: &Path, path: &mut PathBuf, depth: usize) -> HostResult<()> {
        let read = |error: gix::Error| other(format!("cannot read the tree '{tree}': {error}"));
        check_depth(depth)?;
        for entry in self.repository.find_tree(tree).map_err(read)?.iter() {
            let entry = entry.map_err(read)?;
            let name = entry.filename().as_bytes();
            if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
                return Err(other(format!("'{}' in the tree '{tree}' is not a file name", name.as_bstr())));
            }
            let name = std::ffi::OsStr::from_bytes(name);
            path.push(name);
            if !self.ignored.has(path, entry.mode().into())? {
                self.entry(entry.kind(), entry.object_id(), &directory.join(name), path, depth)?;
            }
            path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, kind: EntryKind, id: ObjectId, to: &Path, path: &mut PathBuf, depth: usize) -> HostResult<()> {
        // A name needs space, too.
        self.space.claim(ENTRY_BYTES).map_err(out_of_space)?;
        let unwritable = |cause| failed("cannot write", to, &cause);
        let unreadable = |error: gix::Error| other(format!("cannot read the file '{id}': {error}"));
        let blob = || {
            let size = self.repository.find_header(id).map_err(unreadable)?.size();
            if size > BLOB_BYTES_MAX {
                return Err(other(format!(
                    "the file '{id}' of the Git repository has {size} bytes; {BLOB_BYTES_MAX} are allowed"
                )));
            }
            self.repository.find_blob(id).map(|mut blob| blob.take_data()).map_err(unreadable)
        };
        match kind {
            EntryKind::Tree => {
                private::make_directory(to).map_err(unwritable)?;
                self.tree(id, to, path, depth + 1)
            }
            EntryKind::Commit => {
                private::make_directory(to).map_err(unwritable)?;
                // Without submodules the directory stays empty.
                self.submodules.map_or(Ok(()), |submodules| submodules.write(path, id, to, depth + 1))
            }
            EntryKind::Link => symlink(std::ffi::OsStr::from_bytes(&blob()?), to).map_err(unwritable),
            EntryKind::Blob | EntryKind::BlobExecutable => {
                // An existing name may be a link.
                let bytes = blob()?;
                self.space.claim(bytes.len() as u64).map_err(out_of_space)?;
                let made = private::create_file(to, kind == EntryKind::BlobExecutable);
                made.and_then(|mut file| file.write_all(&bytes)).map_err(unwritable)
            }
        }
    }
}

/// Rules of `.gitattributes` that keep files out of archives.
pub(super) struct Ignored<'r> {
    stack: Option<gix::AttributeStack<'r>>,
}

impl<'r> Ignored<'r> {
    /// Reads the rules of an index, or of the working tree before them.
    pub fn new(
        repository: &'r Repository,
        index: &gix::index::State,
        source: AttributeSource,
        wanted: bool,
    ) -> HostResult<Ignored<'r>> {
        let stack = if wanted { Some(repository.attributes_only(index, source).map_err(other)?) } else { None };
        Ok(Ignored { stack })
    }

    /// Returns whether a file, or a directory above it, is kept out.
    pub fn has_or_above(&mut self, path: &Path, mode: Mode) -> HostResult<bool> {
        if self.stack.is_none() {
            return Ok(false);
        }
        for directory in path.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty()) {
            if self.has(directory, Mode::DIR)? {
                return Ok(true);
            }
        }
        self.has(path, mode)
    }

    fn has(&mut self, path: &Path, mode: Mode) -> HostResult<bool> {
        let Some(stack) = &mut self.stack else { return Ok(false) };
        let mut outcome = stack.selected_attribute_matches(["export-ignore"]);
        let platform = stack.at_path(path, Some(mode)).map_err(other)?;
        if !platform.matching_attributes(&mut outcome) {
            return Ok(false);
        }
        Ok(outcome.iter_selected().any(|found| found.assignment.state.is_set()))
    }
}
