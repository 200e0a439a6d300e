//! A prefix below a root, as open directories: opened without following a link, locked, and
//! recovered.

use super::error::{PrefixError, Result, SHOWN_MAX};
use super::marker::Marker;
use super::names::{self, Below, LOCK};
use super::{Generation, InstallMode, SysError, files, lock};
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::sys::stat::FileStat;
use os::dir::{Dir, FileKind, kind};
use os::mode;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The number of attempts to open a prefix that other processes remove each time.
const TRIES: usize = 1000;

/// The access that a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads, even without the permission to change anything.
    Read,
    /// Changes an installed prefix.
    Change,
    /// Creates missing directories.
    Make,
}

/// A prefix below a root, opened and locked.
pub(super) struct OpenPrefix {
    /// The prefix on this machine, for messages.
    pub path: PathBuf,
    /// The directory that holds the prefix.
    pub parent: Dir,
    /// The name of the prefix there.
    pub name: Vec<u8>,
    /// The directory with the other generations.
    pub hidden: Dir,
    /// The name of that directory.
    pub hidden_name: Vec<u8>,
    /// Files that were moved aside, since they may be the user's.
    pub kept: RefCell<Vec<PathBuf>>,
    /// Released last, after all changes.
    lock: Option<Flock<File>>,
}

/// The entry at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    Nothing,
    Foreign,
    Directory(u32),
    Linked(u32),
}

impl Current {
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Directory(number) | Self::Linked(number) => Some(number),
            Self::Nothing | Self::Foreign => None,
        }
    }
}

/// The kind of an entry of the hidden directory.
pub(super) enum Shape {
    Nothing,
    /// A link like the one at the path in symlink mode.
    OwnLink,
    /// Another link.
    Link(PathBuf),
    /// A directory with the marker of a generation.
    Generation(Marker),
    /// Another directory.
    Directory,
    /// A file or something else.
    Other,
}

impl OpenPrefix {
    pub fn open(root: &Path, prefix: &Path, access: Access) -> Result<Self> {
        let below = Below::of(prefix)?;
        let path = root.join(prefix.strip_prefix("/").unwrap_or(prefix));
        if names::is_hidden(below.name) {
            let reason = "generations of another prefix are kept in directories called so";
            return Err(PrefixError::Reserved { path, reason });
        }
        let hidden_name = names::hidden(below.name);
        for _ in 0..TRIES {
            let not_installed = || PrefixError::NotInstalled { path: path.clone() };
            let parent = walk(root, &below.parents, access)?.ok_or_else(not_installed)?;
            let hidden = match enter(&parent, &hidden_name, access) {
                Ok(hidden) => hidden.ok_or_else(|| nothing_at(&parent, below.name, &path))?,
                // Another process has just made or removed it.
                Err(PrefixError::System(error)) if matches!(error.errno, Errno::EEXIST | Errno::ENOENT) => continue,
                Err(error) => return Err(error),
            };
            let mut opened = Self {
                path: path.clone(),
                parent,
                name: below.name.to_vec(),
                hidden,
                hidden_name: hidden_name.clone(),
                kept: RefCell::default(),
                lock: None,
            };
            match opened.check_owner().and_then(|()| lock::take(&opened)) {
                Ok(Some(lock)) => opened.lock = Some(lock),
                Ok(None) => continue,
                // A user without write permission may still read; leftovers of a killed process are
                // shown as they are.
                Err(PrefixError::OtherOwner { .. }) if access == Access::Read => return Ok(opened),
                Err(PrefixError::System(error))
                    if access == Access::Read && matches!(error.errno, Errno::EACCES | Errno::EPERM | Errno::EROFS) =>
                {
                    return Ok(opened);
                }
                Err(error) => return Err(error),
            }
            opened.recover()?;
            return Ok(opened);
        }
        Err(PrefixError::Busy { path: path.with_file_name(OsStr::from_bytes(&hidden_name)) })
    }

    /// Returns true when the hidden directory still has its name.
    pub fn is_in_place(&self) -> Result<bool> {
        let ours = self.hidden.stat_self()?;
        Ok(self
            .parent
            .find(&self.hidden_name)?
            .is_some_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)))
    }

    /// Refuses a directory of generations that another user can write, unless that user could as
    /// well exchange the prefix itself.
    fn check_owner(&self) -> Result<()> {
        let ours = self.hidden.stat_self()?;
        let user = nix::unistd::geteuid().as_raw();
        if ![0, user, self.parent.stat_self()?.st_uid].contains(&ours.st_uid) {
            return Err(PrefixError::OtherOwner { path: self.hidden.path().to_owned(), user: ours.st_uid });
        }
        // Earlier versions made it with the umask.
        if ours.st_uid == user && ours.st_mode & 0o002 != 0 {
            nix::sys::stat::fchmod(&self.hidden, nix::sys::stat::Mode::from_bits_truncate(ours.st_mode & 0o7775))
                .map_err(|errno| SysError::new("chmod", self.hidden.path(), errno))?;
        }
        Ok(())
    }

    /// Returns the kind of entry at the path.
    pub fn current(&self) -> Result<Current> {
        let Some(stat) = self.parent.find(&self.name)? else { return Ok(Current::Nothing) };
        match kind(&stat) {
            FileKind::Symlink => {
                let number = self.own_link(&self.parent.read_link(&self.name)?);
                Ok(number.map_or(Current::Foreign, Current::Linked))
            }
            FileKind::Directory => {
                let directory = match self.parent.open_dir_as_is(&self.name) {
                    Ok(directory) => directory,
                    Err(error) if error.errno == Errno::EACCES => return Ok(Current::Foreign),
                    Err(error) => return Err(error.into()),
                };
                if let Some(marker) = Marker::read(&directory)? {
                    return Ok(Current::Directory(marker.generation));
                }
                Ok(if directory.names()?.is_empty() { Current::Nothing } else { Current::Foreign })
            }
            FileKind::File | FileKind::Other(_) => Ok(Current::Foreign),
        }
    }

    /// Returns the error of a path without a generation.
    pub fn nothing_known(&self) -> PrefixError {
        nothing_at(&self.parent, &self.name, &self.path)
    }

    /// Returns the text of the link at the path in symlink mode.
    pub fn link_text(&self, number: u32) -> Vec<u8> {
        [&self.hidden_name, b"/".as_slice(), number.to_string().as_bytes()].concat()
    }

    /// Returns the generation of a link at the path, if it is one of ours.
    fn own_link(&self, text: &[u8]) -> Option<u32> {
        names::number(text.strip_prefix(self.hidden_name.as_slice())?.strip_prefix(b"/")?)
    }

    /// Returns the kind of an entry of the hidden directory.
    pub fn shape(&self, name: &[u8]) -> Result<Shape> {
        let Some(stat) = self.hidden.find(name)? else { return Ok(Shape::Nothing) };
        Ok(match kind(&stat) {
            FileKind::Symlink => {
                let text = self.hidden.read_link(name)?;
                if self.own_link(&text).is_some() {
                    Shape::OwnLink
                } else {
                    Shape::Link(PathBuf::from(OsStr::from_bytes(&text)))
                }
            }
            FileKind::Directory => match self.hidden.open_dir_as_is(name) {
                Ok(directory) => Marker::read(&directory)?.map_or(Shape::Directory, Shape::Generation),
                Err(error) if error.errno == Errno::EACCES => Shape::Directory,
                Err(error) => return Err(error.into()),
            },
            FileKind::File | FileKind::Other(_) => Shape::Other,
        })
    }

    /// Returns the numbers among the names in the hidden directory.
    pub fn numbered(&self) -> Result<Vec<u32>> {
        let names = self.hidden.names()?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| names::number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns all generations, the current one too.
    pub fn known(&self) -> Result<BTreeMap<u32, Generation>> {
        let current = self.current()?;
        let mut known = BTreeMap::new();
        let mut insert = |marker: Marker| {
            let Marker { generation: number, mode, source, installed_secs } = marker;
            let current = current.number() == Some(number);
            known.insert(number, Generation { number, current, mode, source, installed_secs });
        };
        for number in self.numbered()? {
            let name = number.to_string();
            match self.shape(name.as_bytes())? {
                Shape::Link(source) if source.is_absolute() => {
                    let installed_secs = self.hidden.stat(name.as_bytes())?.st_mtime;
                    insert(Marker { generation: number, mode: InstallMode::Symlink, source, installed_secs });
                }
                Shape::Generation(marker) => insert(marker),
                _ => {}
            }
        }
        if let Current::Directory(_) = current
            && let Some(marker) = Marker::read(&self.parent.open_dir_as_is(&self.name)?)?
        {
            insert(marker);
        }
        Ok(known)
    }

    /// Returns a number that no generation has had, as far as the remaining files show.
    pub fn next_number(&self) -> Result<u32> {
        let names = self.hidden.names()?;
        let here = names.iter().filter_map(|name| names::number(name).or_else(|| names::number_of_list(name)));
        let highest = here.chain(self.current()?.number()).max().unwrap_or(0);
        if highest == names::NUMBER_MAX {
            return Err(PrefixError::NoNumber { path: self.path.clone() });
        }
        Ok(highest + 1)
    }

    /// Returns the entry at the path; an error when it is or contains a foreign file, unless
    /// `force` is given.
    pub fn check_foreign(&self, force: bool) -> Result<Current> {
        let current = self.current()?;
        if force {
            return Ok(current);
        }
        let (files, more) = match current {
            Current::Nothing | Current::Linked(_) => return Ok(current),
            Current::Foreign => self.foreign_files()?,
            Current::Directory(number) => {
                let directory = self.parent.open_dir_as_is(&self.name)?;
                self.first_few(files::changed(&directory, &files::List::read(&self.hidden, number)?)?)
            }
        };
        if files.is_empty() && current != Current::Foreign {
            return Ok(current);
        }
        Err(PrefixError::Foreign { path: self.path.clone(), files, more })
    }

    /// Returns a few of the files at the path, and the number of the others.
    pub fn foreign_files(&self) -> Result<(Vec<PathBuf>, usize)> {
        match self.parent.open_dir_as_is(&self.name) {
            Ok(directory) => Ok(self.first_few(files::changed(&directory, &files::List::default())?)),
            Err(_) => Ok((vec![self.path.clone()], 0)),
        }
    }

    fn first_few(&self, all: Vec<Vec<u8>>) -> (Vec<PathBuf>, usize) {
        let more = all.len().saturating_sub(SHOWN_MAX);
        let shown = all.iter().take(SHOWN_MAX).map(|file| self.path.join(OsStr::from_bytes(file)));
        (shown.collect(), more)
    }

    /// Removes the lock and the hidden directory when no generation is left; files that were moved
    /// aside stay.
    fn release(&self) -> Result<()> {
        let is_ours = |name: &Vec<u8>| names::number(name).or_else(|| names::number_of_list(name)).is_some();
        if self.current()?.number().is_some() || self.hidden.names()?.iter().any(is_ours) {
            return Ok(());
        }
        // A process that waits for the lock sees that it has lost its name, and starts again.
        self.hidden.remove_file(LOCK)?;
        match self.parent.remove_empty_dir(&self.hidden_name) {
            Err(error) if !matches!(error.errno, Errno::ENOTEMPTY | Errno::EEXIST) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for OpenPrefix {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // The next command removes the rest.
            let _ = self.release();
        }
    }
}

/// Returns the error of a path without a generation: none exists, or its marker is damaged.
fn nothing_at(parent: &Dir, name: &[u8], path: &Path) -> PrefixError {
    let is_damaged = parent.open_dir_as_is(name).is_ok_and(|directory| {
        directory.find(names::MARKER.as_bytes()).is_ok_and(|found| found.is_some())
            && !matches!(Marker::read(&directory), Ok(Some(_)))
    });
    let path = path.to_owned();
    match is_damaged {
        true => PrefixError::Damaged { marker: path.join(names::MARKER), path },
        false => PrefixError::NotInstalled { path },
    }
}

/// Opens the parent directory of the prefix; returns `None` when it is missing and `access` does
/// not create it.
fn walk(root: &Path, way: &[&[u8]], access: Access) -> Result<Option<Dir>> {
    let mut at = match Dir::open_typed(root) {
        Ok(dir) => dir,
        Err(error) if error.errno == Errno::ENOENT => {
            if access != Access::Make {
                return Ok(None);
            }
            make_root(root)?;
            Dir::open_typed(root)?
        }
        Err(error) => return Err(error.into()),
    };
    for name in way {
        let next = match at.find(name)? {
            None if access == Access::Make => match at.make_dir_with(name, mode::DIRECTORY) {
                Err(error) if error.errno == Errno::EEXIST => at.open_dir_as_is(name)?,
                made => made?,
            },
            None => return Ok(None),
            Some(stat) if kind(&stat) == FileKind::Symlink => follow(root, &at, name, &stat)?,
            Some(_) => at.open_dir_as_is(name)?,
        };
        at = next;
    }
    Ok(Some(at))
}

/// Makes the root that the user has named, with missing directories above it.
fn make_root(root: &Path) -> Result<()> {
    if let Some(above) = root.parent().filter(|above| !above.as_os_str().is_empty() && !above.exists()) {
        make_root(above)?;
    }
    Ok(os::dir::make_dir(root, mode::DIRECTORY)?)
}

/// Follows a link in the parent path where that is allowed. Links of `/` itself are the machine's
/// own; in another root they would lead out of it. Links of other users are not followed, nor links
/// into a directory of generations.
fn follow(root: &Path, at: &Dir, name: &[u8], stat: &FileStat) -> Result<Dir> {
    let wrong = || PrefixError::LinkInPath { path: at.join(name) };
    let user = nix::unistd::geteuid().as_raw();
    if root != Path::new("/") || ![0, user].contains(&stat.st_uid) {
        return Err(wrong());
    }
    let text = at.read_link(name)?;
    if text.split(|byte| *byte == b'/').any(names::is_hidden) {
        return Err(wrong());
    }
    Ok(at.open_dir_or_link(name)?)
}

/// Opens the hidden directory; returns `None` when it is missing and `access` does not create it.
fn enter(parent: &Dir, name: &[u8], access: Access) -> Result<Option<Dir>> {
    match parent.find(name)? {
        None if access == Access::Make => Ok(Some(parent.make_dir_with(name, mode::DIRECTORY)?)),
        None => Ok(None),
        Some(stat) if kind(&stat) == FileKind::Symlink => Err(PrefixError::LinkInPath { path: parent.join(name) }),
        Some(_) => Ok(Some(parent.open_dir_as_is(name)?)),
    }
}
