//! Git repositories on this machine: the files of a commit, or of a working tree as it is.
//!
//! Objects are read by the crate `gix`, so no `git` has to be installed, and neither the user's configuration nor a
//! repository's hooks and filters have a say. What comes out are the bytes that the repository holds: no line ends are
//! changed. A working tree counts as changed, as in Nix, when a tracked file differs from `HEAD` or from the index;
//! files that are not tracked do not belong to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use gix::index::entry::Mode;
use gix::object::tree::EntryKind;
use gix::worktree::stack::state::attributes::Source as AttributeSource;
use gix::{ObjectId, Repository};
use lang::host::{FetchValue, HostError, HostErrorKind, HostResult};

use super::{Obtained, Sources, failed, local, other};

/// Trees nested deeper than this are refused, as paths of theirs could not be opened.
const DEPTH_MAX: usize = 1024;

/// What `fetchGit` and its like ask for.
pub(super) struct Request<'r> {
    pub url: &'r str,
    /// `ref`
    pub reference: Option<&'r str>,
    pub rev: Option<&'r str>,
    pub submodules: bool,
    /// Leave out what `.gitattributes` keeps out of archives.
    pub export_ignore: bool,
    pub large_files: bool,
    /// The number of revisions is not asked for.
    pub shallow: bool,
    /// What is not known is zeros: the `rev` of a changed working tree, a number of revisions that is not asked for.
    pub zeros: bool,
}

type Attributes = BTreeMap<String, FetchValue>;

pub(super) fn obtain(sources: &Sources, request: &Request<'_>, say: &dyn Fn(&str)) -> HostResult<Obtained> {
    let Some(folder) = local(request.url) else {
        let message = format!(
            "fetching the Git repository `{}` over the network is not possible here; take an archive of it \
             (`fetchTarball`, or `github:owner/repo` as a flake's input) or a clone on this machine",
            request.url
        );
        return Err(HostError::new(HostErrorKind::Unsupported, message));
    };
    for (asked, what) in [(request.submodules, "`submodules = true`"), (request.large_files, "`lfs = true`")] {
        if asked {
            return Err(HostError::unsupported(&format!("fetching the Git repository `{}` with {what}", request.url)));
        }
    }
    let repository = gix::open_opts(&folder, gix::open::Options::isolated())
        .map_err(|error| other(format!("cannot open the Git repository `{}`: {error}", folder.display())))?;
    let read = |error: gix::Error| other(format!("cannot read the Git repository `{}`: {error}", folder.display()));
    let mut attributes = Attributes::new();
    let commit = match (request.rev, request.reference) {
        (Some(rev), _) => revision(rev)?,
        (None, Some(name)) => resolve(&repository, name)?,
        (None, None) => {
            if let Some(workdir) = repository.workdir() {
                let head = repository.head_id().ok().map(gix::Id::detach);
                if let Some(members) = changed(&repository, workdir, head, request.export_ignore)? {
                    say(&format!("Git tree '{}' is dirty", folder.display()));
                    describe_changed(&repository, head, request, &mut attributes).map_err(read)?;
                    let place = workdir.to_owned();
                    return Ok(Obtained { members: Some(members), attributes, ..Obtained::tree(place) });
                }
            }
            repository.head_id().map_err(read)?.detach()
        }
    };
    let found = repository.find_commit(commit).map_err(|error| {
        other(format!("there is no commit '{commit}' in the Git repository `{}`: {error}", folder.display()))
    })?;
    add_rev(&mut attributes, &commit.to_string());
    if !request.shallow {
        let shallow = repository.is_shallow().map_err(read)?;
        if shallow {
            return Err(other(format!(
                "'{}' is a shallow Git repository, but the number of its revisions is wanted (`shallow = true` leaves it out)",
                folder.display()
            )));
        }
        let mut count = 0;
        for revision in found.ancestors().all().map_err(read)? {
            revision.map_err(read)?;
            count += 1;
        }
        attributes.insert("revCount".to_owned(), FetchValue::Int(count));
    } else if request.zeros {
        attributes.insert("revCount".to_owned(), FetchValue::Int(0));
    }
    add_time(&mut attributes, found.time().map_err(read)?.seconds);
    attributes.insert("submodules".to_owned(), FetchValue::Bool(false));
    let tree = found.tree_id().map_err(read)?.detach();
    let kind = if request.export_ignore { "-archive" } else { "" };
    let place = sources.kept_tree(&format!("git-{commit}{kind}"), |folder| {
        let index = repository.index_from_tree(&tree).map_err(other)?;
        let mut ignored = Ignored::new(&repository, &index, AttributeSource::IdMapping, request.export_ignore)?;
        let mut writer = Writer { repository: &repository, ignored: &mut ignored };
        writer.tree(tree, folder, &mut PathBuf::new(), 0)
    })?;
    Ok(Obtained { attributes, ..Obtained::tree(place) })
}

/// `rev` and `shortRev`
pub(super) fn add_rev(attributes: &mut Attributes, rev: &str) {
    let short = rev.get(..7).unwrap_or(rev);
    attributes.insert("rev".to_owned(), FetchValue::String(rev.to_owned()));
    attributes.insert("shortRev".to_owned(), FetchValue::String(short.to_owned()));
}

/// `lastModified`, and `lastModifiedDate` in the form `19700101000000`
pub(super) fn add_time(attributes: &mut Attributes, seconds: i64) {
    attributes.insert("lastModified".to_owned(), FetchValue::Int(seconds));
    attributes.insert("lastModifiedDate".to_owned(), FetchValue::String(date(seconds)));
}

/// A moment in UTC, as `yyyymmddhhmmss`.
fn date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March, so that a leap day is the last; eras of 400 of them.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + i64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn revision(text: &str) -> HostResult<ObjectId> {
    ObjectId::from_hex(text.as_bytes())
        .map_err(|_| other(format!("'{text}' is not a revision: 40 hexadecimal digits are")))
}

fn resolve(repository: &Repository, name: &str) -> HostResult<ObjectId> {
    let missing = |why: &dyn std::fmt::Display| {
        other(format!("there is no '{name}' in the Git repository `{}`: {why}", repository.git_dir().display()))
    };
    let mut reference = repository.find_reference(name).map_err(|error| missing(&error))?;
    let id = reference.peel_to_id().map_err(|error| missing(&error))?;
    Ok(id.detach())
}

fn describe_changed(
    repository: &Repository,
    head: Option<ObjectId>,
    request: &Request<'_>,
    attributes: &mut Attributes,
) -> Result<(), gix::Error> {
    if request.zeros {
        add_rev(attributes, &"0".repeat(40));
        attributes.insert("revCount".to_owned(), FetchValue::Int(0));
    }
    let mut seconds = 0;
    if let Some(head) = head {
        let text = head.to_string();
        attributes.insert("dirtyRev".to_owned(), FetchValue::String(format!("{text}-dirty")));
        attributes.insert("dirtyShortRev".to_owned(), FetchValue::String(format!("{}-dirty", &text[..7])));
        seconds = repository.find_commit(head)?.time()?.seconds;
    }
    add_time(attributes, seconds);
    attributes.insert("submodules".to_owned(), FetchValue::Bool(false));
    Ok(())
}

/// The tracked files of a working tree that is not what `HEAD` says, with their folders; `None` when it is.
fn changed(
    repository: &Repository,
    workdir: &Path,
    head: Option<ObjectId>,
    export_ignore: bool,
) -> HostResult<Option<BTreeSet<PathBuf>>> {
    let read = |error: gix::Error| other(format!("cannot read the Git repository `{}`: {error}", workdir.display()));
    let index = repository.index_or_empty().map_err(read)?;
    let mut committed = BTreeMap::new();
    if let Some(head) = head {
        let tree = repository.find_commit(head).and_then(|commit| commit.tree_id()).map_err(read)?.detach();
        flatten(repository, tree, &mut PathBuf::new(), 0, &mut committed)?;
    }
    let mut ignored = Ignored::new(repository, &index, AttributeSource::WorktreeThenIdMapping, export_ignore)?;
    let mut dirty = head.is_none();
    let mut members = BTreeSet::from([PathBuf::new()]);
    for entry in index.entries() {
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(entry.path(&index).as_bytes()));
        let mode = entry.mode;
        let same = committed.remove(&path).is_some_and(|(kind, id)| id == entry.id && kind_of(mode) == Some(kind));
        dirty |= !same;
        if mode == Mode::COMMIT {
            continue;
        }
        let place = workdir.join(&path);
        let Ok(meta) = fs::symlink_metadata(&place) else {
            dirty = true;
            continue;
        };
        // The index notes when and how large a file was when it had this content.
        let noted = &entry.stat;
        let as_noted = i64::from(noted.mtime.secs) == meta.mtime()
            && i64::from(noted.mtime.nsecs) == meta.mtime_nsec()
            && u64::from(noted.size) == meta.len()
            && noted.size > 0;
        dirty |= !(same_kind(mode, &meta) && (as_noted || content_id(&place, &meta)? == Some(entry.id)));
        if !ignored.has_or_above(&path, mode)? {
            members.extend(path.ancestors().map(Path::to_owned));
        }
    }
    dirty |= !committed.is_empty();
    Ok(dirty.then_some(members))
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

/// What Git would call the content of a file or link.
fn content_id(place: &Path, meta: &fs::Metadata) -> HostResult<Option<ObjectId>> {
    let unreadable = |cause| failed("cannot read", place, &cause);
    let content = if meta.is_symlink() {
        fs::read_link(place).map_err(unreadable)?.as_os_str().as_bytes().to_vec()
    } else if meta.is_file() {
        fs::read(place).map_err(unreadable)?
    } else {
        return Ok(None);
    };
    gix::objs::compute_hash(gix::hash::Kind::Sha1, gix::objs::Kind::Blob, &content).map(Some).map_err(other)
}

/// All files of a tree, by path.
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

fn check_depth(depth: usize) -> HostResult<()> {
    if depth > DEPTH_MAX {
        return Err(other(format!("the Git repository has folders nested deeper than {DEPTH_MAX}")));
    }
    Ok(())
}

/// What `.gitattributes` keeps out of archives.
struct Ignored<'r> {
    stack: Option<gix::AttributeStack<'r>>,
}

impl<'r> Ignored<'r> {
    /// What the files of an index say, or those of the working tree before them.
    fn new(
        repository: &'r Repository,
        index: &gix::index::State,
        source: AttributeSource,
        wanted: bool,
    ) -> HostResult<Ignored<'r>> {
        let stack = if wanted { Some(repository.attributes_only(index, source).map_err(other)?) } else { None };
        Ok(Ignored { stack })
    }

    /// Whether a file, or a folder that it lies in, is kept out.
    fn has_or_above(&mut self, path: &Path, mode: Mode) -> HostResult<bool> {
        if self.stack.is_none() {
            return Ok(false);
        }
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            if self.has(folder, Mode::DIR)? {
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

/// Writes trees as files.
struct Writer<'w, 'r> {
    repository: &'r Repository,
    ignored: &'w mut Ignored<'r>,
}

impl Writer<'_, '_> {
    /// Fills `folder` with what a tree holds, which lies at `path` in the commit.
    fn tree(&mut self, tree: ObjectId, folder: &Path, path: &mut PathBuf, depth: usize) -> HostResult<()> {
        let read = |error: gix::Error| other(format!("cannot read the tree '{tree}': {error}"));
        check_depth(depth)?;
        for entry in self.repository.find_tree(tree).map_err(read)?.iter() {
            let entry = entry.map_err(read)?;
            let name = entry.filename().as_bytes();
            if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
                return Err(other(format!("'{}' in the tree '{tree}' is no name of a file", name.as_bstr())));
            }
            let name = std::ffi::OsStr::from_bytes(name);
            path.push(name);
            if !self.ignored.has(path, entry.mode().into())? {
                self.entry(entry.kind(), entry.object_id(), &folder.join(name), path, depth)?;
            }
            path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, kind: EntryKind, id: ObjectId, to: &Path, path: &mut PathBuf, depth: usize) -> HostResult<()> {
        let unwritable = |cause| failed("cannot write", to, &cause);
        let blob = || {
            let blob = self.repository.find_blob(id);
            blob.map(|mut blob| blob.take_data())
                .map_err(|error| other(format!("cannot read the file '{id}': {error}")))
        };
        match kind {
            EntryKind::Tree => {
                fs::create_dir(to).map_err(unwritable)?;
                self.tree(id, to, path, depth + 1)
            }
            // A submodule that is not asked for is an empty folder.
            EntryKind::Commit => fs::create_dir(to).map_err(unwritable),
            EntryKind::Link => symlink(std::ffi::OsStr::from_bytes(&blob()?), to).map_err(unwritable),
            EntryKind::Blob => fs::write(to, blob()?).map_err(unwritable),
            EntryKind::BlobExecutable => {
                fs::write(to, blob()?).map_err(unwritable)?;
                fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(unwritable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "19700101000000");
        assert_eq!(date(951_782_400), "20000229000000");
        assert_eq!(date(1_735_689_599), "20241231235959");
        assert_eq!(date(-1), "19691231235959");
    }
}
