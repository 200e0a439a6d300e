//! Local copies of remote repositories.
//!
//! ```text
//! git/<hash of the URL>/            a bare repository, with the whole history of the fetched commits
//!     refs/eval/…                   the fetched commits, so that the next fetch transfers only new objects
//!     fetched/<hash of a name>      modified when that name was last resolved
//! git/<hash of the URL>-shallow/    the same, with only the files of each commit
//! ```
//!
//! One process at a time changes a copy; the others wait for its lock.

use super::{Request, chain, remote};
use crate::sources::{Sources, failed, other};
use gix::error::message;
use gix::object::tree::EntryKind;
use gix::{ObjectId, Repository};
use lang::host::HostResult;
use model::HashAlgorithm;
use os::private;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A copy, locked exclusively.
pub(super) struct LocalCopy {
    directory: PathBuf,
    _lock: File,
}

impl LocalCopy {
    /// Locks the copy for a request to `url`.
    ///
    /// # Errors
    /// When it cannot be locked.
    pub fn of(sources: &Sources, url: &gix::Url, request: &Request<'_>) -> HostResult<LocalCopy> {
        let key = HashAlgorithm::Sha256.hash(url.to_bstring().as_slice()).hex();
        let shallow = if request.shallow { "-shallow" } else { "" };
        let directory = sources.directory("git")?.join(format!("{key}{shallow}"));
        let _lock = lock(&directory.with_extension("lock"))?;
        Ok(LocalCopy { directory, _lock })
    }

    /// Opens it; a missing or damaged one is created again.
    pub fn open(&self) -> HostResult<Repository> {
        let directory = &self.directory;
        let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
        if let Ok(repository) = gix::open_opts(directory, options.clone()) {
            return Ok(repository);
        }
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(|cause| failed("cannot remove", directory, &cause))?;
        }
        // Files below it follow the umask, and other users cannot reach them.
        private::make_directories(directory)
            .map_err(|cause| failed("cannot create the directory", directory, &cause))?;
        gix::ThreadSafeRepository::init_opts(
            directory,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            options,
        )
        .map(Into::into)
        .map_err(|error| {
            other(format!("cannot create the Git repository `{}`: {}", directory.display(), chain(&error)))
        })
    }

    /// Returns the file that is modified when `name` is resolved.
    pub fn stamp(&self, name: &str) -> PathBuf {
        self.directory.join("fetched").join(HashAlgorithm::Sha256.hash(name.as_bytes()).hex())
    }
}

/// Removes the copy for a request if an object in it cannot be read, and returns whether it did.
///
/// # Errors
/// When the URL is not valid, or the copy cannot be locked or removed.
pub(super) fn remove_damaged(sources: &Sources, request: &Request<'_>) -> HostResult<bool> {
    let copy = LocalCopy::of(sources, &remote::parse(request.url)?, request)?;
    let is_damaged = !is_whole(&copy.open()?);
    if is_damaged {
        fs::remove_dir_all(&copy.directory).map_err(|cause| failed("cannot remove", &copy.directory, &cause))?;
    }
    Ok(is_damaged)
}

/// Returns whether the files of all fetched commits can be read.
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

/// Records that a name was resolved just now, and its target, if there is one.
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
