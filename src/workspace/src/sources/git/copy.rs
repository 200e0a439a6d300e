//! The copies of repositories from elsewhere.
//!
//! ```text
//! git/<hash of the URL>/            a bare repository, with the whole history of what was asked for
//!     refs/eval/…                   what was fetched, so that the next time only what is new comes
//!     fetched/<hash of a name>      changed when that name was last asked for
//! git/<hash of the URL>-shallow/    likewise, of each commit only its files
//! ```
//!
//! One process at a time changes a copy, and the others wait.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use gix::error::message;
use gix::object::tree::EntryKind;
use gix::{ObjectId, Repository};
use lang::host::HostResult;
use model::HashAlgorithm;
use os::private;

use super::{Request, chain, remote};
use crate::sources::{Sources, failed, other};

/// A copy, as long as no other process has it.
pub(super) struct LocalCopy {
    folder: PathBuf,
    _lock: File,
}

impl LocalCopy {
    /// The copy that a request to `url` is answered from.
    ///
    /// # Errors
    /// When it cannot be locked.
    pub fn of(sources: &Sources, url: &gix::Url, request: &Request<'_>) -> HostResult<LocalCopy> {
        let key = HashAlgorithm::Sha256.hash(url.to_bstring().as_slice()).hex();
        let shallow = if request.shallow { "-shallow" } else { "" };
        let folder = sources.folder("git")?.join(format!("{key}{shallow}"));
        let _lock = lock(&folder.with_extension("lock"))?;
        Ok(LocalCopy { folder, _lock })
    }

    /// Opens it; one that is not there, or cannot be opened, is made anew.
    pub fn open(&self) -> HostResult<Repository> {
        let folder = &self.folder;
        let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
        if let Ok(repository) = gix::open_opts(folder, options.clone()) {
            return Ok(repository);
        }
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|cause| failed("cannot remove", folder, &cause))?;
        }
        // What is made below it follows the umask, and is out of others' reach.
        private::make_directories(folder).map_err(|cause| failed("cannot make the folder", folder, &cause))?;
        gix::ThreadSafeRepository::init_opts(folder, gix::create::Kind::Bare, gix::create::Options::default(), options)
            .map(Into::into)
            .map_err(|error| other(format!("cannot make the Git repository `{}`: {}", folder.display(), chain(&error))))
    }

    /// The file that is changed when `name` was asked for.
    pub fn stamp(&self, name: &str) -> PathBuf {
        self.folder.join("fetched").join(HashAlgorithm::Sha256.hash(name.as_bytes()).hex())
    }
}

/// Removes the copy that a request is answered from if something in it cannot be read, and tells whether it was so.
///
/// # Errors
/// When the URL is none; when the copy cannot be locked or removed.
pub(super) fn forget_damaged(sources: &Sources, request: &Request<'_>) -> HostResult<bool> {
    let copy = LocalCopy::of(sources, &remote::parse(request.url)?, request)?;
    let is_damaged = !is_whole(&copy.open()?);
    if is_damaged {
        fs::remove_dir_all(&copy.folder).map_err(|cause| failed("cannot remove", &copy.folder, &cause))?;
    }
    Ok(is_damaged)
}

/// Whether the files of all that was fetched can be read.
fn is_whole(repository: &Repository) -> bool {
    let commits = || -> gix::Result<Vec<ObjectId>> {
        let mut trees = Vec::new();
        for reference in repository.references()?.prefixed("refs/eval/")? {
            let mut reference = reference.map_err(|_| gix::Error::from(message("a reference cannot be read")))?;
            trees.push(reference.peel_to_commit()?.tree_id()?.detach());
        }
        Ok(trees)
    };
    let mut seen = HashSet::new();
    let Ok(mut objects) = commits() else { return false };
    while let Some(id) = objects.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Ok(object) = repository.find_object(id) else { return false };
        let Ok(tree) = object.try_into_tree() else { continue };
        for entry in tree.iter() {
            match entry {
                Ok(entry) if entry.kind() != EntryKind::Commit => objects.push(entry.object_id()),
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
    true
}

/// Notes that a name was fetched just now, and what it stands for, if anything.
pub(super) fn touch(stamp: &Path, target: Option<&str>) -> HostResult<()> {
    let parent = stamp.parent().unwrap_or(stamp);
    let written = private::make_directories(parent)
        .and_then(|()| private::write_file(stamp, target.unwrap_or_default().as_bytes()));
    written.map_err(|cause| failed("cannot write", stamp, &cause))
}

fn lock(place: &Path) -> HostResult<File> {
    let locked = private::open_file(place).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|cause| failed("cannot lock", place, &cause))
}
