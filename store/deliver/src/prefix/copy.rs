//! Copies a prefix out of a tree: directory by directory, through open handles.

use super::error::{PrefixError, Result};
use super::files::{join, open_below};
use super::marker::set_mode;
use super::names::{self, Below, COPYING};
use super::{InstallMode, SysError};
use os::dir::{Dir, FileKind, kind};
use os::mode;
use rayon::prelude::*;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The number of files of a directory that one thread copies at a time.
const FILES_AT_ONCE: usize = 64;

/// A prefix in a tree.
pub(super) struct PrefixSource {
    /// The tree, with all links of its path resolved.
    pub tree: PathBuf,
    /// The path of the prefix in it.
    pub path: PathBuf,
    dir: Dir,
}

/// Some files of one directory.
struct Files {
    below: Vec<u8>,
    files: Vec<(Vec<u8>, FileKind)>,
}

impl PrefixSource {
    /// Opens the prefix in a tree.
    ///
    /// # Errors
    /// [`PrefixError::NoPrefix`] when it does not exist; [`PrefixError::Reserved`] when it has a
    /// name that the installation writes.
    pub fn open(tree: &Path, prefix: &Path) -> Result<Self> {
        let below = Below::of(prefix)?;
        let mut dir = Dir::open_typed(tree)?;
        for name in below.parents.iter().chain([&below.name]) {
            dir = dir.open_dir_as_is(name).map_err(|_| PrefixError::NoPrefix {
                tree: tree.to_owned(),
                reason: format!("it does not hold `{}`", prefix.display()),
            })?;
        }
        if let Some(name) = dir.names()?.iter().find(|name| names::is_marker(name)) {
            let reason = "the file that says which generation it is has that name";
            return Err(PrefixError::Reserved { path: dir.join(name), reason });
        }
        Ok(Self { tree: tree.to_owned(), path: dir.path().to_owned(), dir })
    }

    /// Copies the prefix to [`COPYING`] in `hidden`: first all directories, then the files, in
    /// parallel. Neither step keeps a handle for each directory, which would exceed the limit on
    /// open files.
    pub fn copy(&self, hidden: &Dir, mode: InstallMode) -> Result<Dir> {
        let top = hidden.make_dir_with(COPYING, mode::DIRECTORY)?;
        let mut work = Vec::new();
        let mut pending = vec![Vec::new()];
        while let Some(below) = pending.pop() {
            let mut from = open_below(&self.dir, &below)?;
            let to = open_below(&top, &below)?;
            let mut files = Vec::new();
            for entry in from.list()? {
                let kind = match entry.kind {
                    Some(kind) => kind,
                    None => kind(&from.stat(&entry.name)?),
                };
                match kind {
                    FileKind::Directory => {
                        to.make_dir_with(&entry.name, mode::DIRECTORY)?;
                        pending.push(join(&below, &entry.name));
                    }
                    FileKind::File | FileKind::Symlink => files.push((entry.name, kind)),
                    FileKind::Other(what) => {
                        let reason = format!("`{}` is a {what}", from.join(&entry.name).display());
                        return Err(PrefixError::NoPrefix { tree: self.tree.clone(), reason });
                    }
                }
            }
            let chunks = files.chunks(FILES_AT_ONCE);
            work.extend(chunks.map(|files| Files { below: below.clone(), files: files.to_vec() }));
        }
        work.par_iter().try_for_each(|files| {
            let (from, to) = (open_below(&self.dir, &files.below)?, open_below(&top, &files.below)?);
            files.files.iter().try_for_each(|(name, kind)| copy_one(&from, &to, name, (*kind, mode)))
        })?;
        Ok(top)
    }
}

fn copy_one(from: &Dir, to: &Dir, name: &[u8], (kind, mode): (FileKind, InstallMode)) -> Result<()> {
    if kind == FileKind::Symlink {
        return Ok(to.make_link(name, &from.read_link(name)?)?);
    }
    if mode == InstallMode::Hardlink {
        return from.hard_link(name, to, name).map_err(|source| PrefixError::HardLink { source: source.outside() });
    }
    let source = from.open_file(name)?;
    let copy = to.create_file(name, mode::PRIVATE_FILE)?;
    copy_contents(source, copy).map_err(|error| SysError::io("copy to", to.join(name), &error).into())
}

fn copy_contents(mut source: File, mut copy: File) -> io::Result<()> {
    let metadata = source.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    io::copy(&mut source, &mut copy)?;
    set_mode(&copy, if mode::is_executable(metadata.mode()) { mode::EXECUTABLE } else { mode::FILE })?;
    // The store's constant time makes all copies equal.
    copy.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.mtime()).unwrap_or(1)))
}
