//! The list of the files that a generation was installed with, and their changes since.
//!
//! For each file, a list has `SIZE:TIME:MODE PATH` and a NUL; for a link, instead of the size and
//! the rest, `link:` and a part of the digest of its target (`link` alone in lists of earlier
//! versions); for a directory that is too deep, `deep`.

use super::SysError;
use super::error::Result;
use super::marker::{read_small, write_new};
use super::names::{self, MARKER};
use super::switch::make_movable;
use model::tree::Digest;
use nix::errno::Errno;
use os::dir::{Dir, FileKind, kind};
use std::collections::BTreeMap;

/// The longest list that is written or read: some millions of files.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// The deepest nesting of directories that is listed; a deeper directory is treated as a file.
const DEPTH_MAX: usize = 256;

/// Files by their path below a generation, each with a stamp that shows changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List(BTreeMap<Vec<u8>, Vec<u8>>);

impl List {
    /// Lists the files below a directory, without its marker.
    pub fn of(directory: &Dir) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut pending = vec![Vec::new()];
        while let Some(below) = pending.pop() {
            let at = open_below(directory, &below)?;
            for name in at.names()? {
                if below.is_empty() && name == MARKER.as_bytes() {
                    continue;
                }
                let path = join(&below, &name);
                let stat = at.stat(&name)?;
                let stamp = match kind(&stat) {
                    FileKind::Directory => match depth(&path) < DEPTH_MAX && can_be_read(&at, &name)? {
                        true => {
                            pending.push(path);
                            continue;
                        }
                        false => b"deep".to_vec(),
                    },
                    FileKind::Symlink => {
                        format!("link:{}", &Digest::of(&at.read_link(&name)?).hex()[..16]).into_bytes()
                    }
                    FileKind::File | FileKind::Other(_) => {
                        format!("{}:{}:{:o}", stat.st_size, stat.st_mtime, stat.st_mode).into_bytes()
                    }
                };
                found.insert(path, stamp);
            }
        }
        Ok(Self(found))
    }

    /// Reads the files that a generation was installed with; an empty list when that is no longer
    /// known.
    pub fn read(hidden: &Dir, number: u32) -> Result<Self> {
        let text = read_small(hidden, &names::list(number), LIST_BYTES_MAX)?.unwrap_or_default().0;
        let files = text.split(|byte| *byte == 0).filter_map(|line| {
            let space = line.iter().position(|byte| *byte == b' ')?;
            Some((line[space + 1..].to_vec(), line[..space].to_vec()))
        });
        // Earlier versions listed the marker too.
        Ok(Self(files.filter(|(path, _)| path != MARKER.as_bytes()).collect()))
    }

    /// Writes the list of the files that a generation is installed with.
    pub fn write(&self, hidden: &Dir, number: u32) -> Result<()> {
        let name = names::list(number);
        let mut text = Vec::new();
        for (path, stamp) in &self.0 {
            text.extend_from_slice(stamp);
            text.push(b' ');
            text.extend_from_slice(path);
            text.push(0);
        }
        if text.len() as u64 > LIST_BYTES_MAX {
            return Err(SysError::new("write", hidden.join(&name), Errno::EFBIG).into());
        }
        write_new(hidden, &name, &text)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, path: &[u8], stamp: &[u8]) -> bool {
        self.0
            .get(path)
            .is_some_and(|installed| installed == stamp || installed == b"link" && stamp.starts_with(b"link:"))
    }
}

/// Returns the files of a generation that differ from the installed ones, without compiled Python,
/// in the order of their paths.
pub(super) fn changed(generation: &Dir, installed: &List) -> Result<Vec<Vec<u8>>> {
    let now = List::of(generation)?.0.into_iter();
    let changed = now.filter(|(path, stamp)| !is_cache(path) && !installed.has(path, stamp));
    Ok(changed.map(|(path, _)| path).collect())
}

/// Returns true when a generation is as it was installed: nothing changed, added or removed.
pub(super) fn is_whole(generation: &Dir, installed: &List) -> Result<bool> {
    let now = List::of(generation)?;
    let same = |one: &List, other: &List| one.0.iter().all(|(path, stamp)| is_cache(path) || other.has(path, stamp));
    Ok(same(&now, installed) && installed.0.keys().all(|path| is_cache(path) || now.0.contains_key(path)))
}

/// Moves files, given by their paths below a generation, to the same paths below `to`. The
/// directories of the paths keep their permissions, which may have kept other users out.
pub(super) fn move_to(generation: &Dir, paths: &[Vec<u8>], to: &Dir) -> Result<()> {
    for path in paths {
        let (above, name) = split(path);
        let mut from = generation.open_dir_as_is(b".")?;
        let mut into = to.open_dir_as_is(b".")?;
        for name in above.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            from = from.open_dir_as_is(name)?;
            into = match into.make_dir_with(name, from.stat_self()?.st_mode & 0o777 | 0o700) {
                Err(error) if error.errno == Errno::EEXIST => into.open_dir_as_is(name)?,
                made => made?,
            };
        }
        make_movable(&from, name)?;
        from.rename(name, &into, name)?;
    }
    Ok(())
}

/// Opens a directory below another, by its path, without following links.
pub(super) fn open_below(top: &Dir, path: &[u8]) -> Result<Dir> {
    let mut at = top.open_dir_as_is(b".")?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at = at.open_dir_as_is(name)?;
    }
    Ok(at)
}

fn can_be_read(at: &Dir, name: &[u8]) -> Result<bool> {
    match at.open_dir_as_is(name) {
        Ok(_) => Ok(true),
        Err(error) if error.errno == Errno::EACCES => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

fn depth(path: &[u8]) -> usize {
    path.iter().filter(|byte| **byte == b'/').count() + 1
}

/// Running Python adds and removes compiled files.
fn is_cache(path: &[u8]) -> bool {
    split(split(path).0).1 == b"__pycache__"
}
