//! Prefix roots put in place on this machine, in generations.
//!
//! ```text
//!   ROOT/usr/local/my-stuff/                     the current generation
//!       .eval-generation                         which one it is, and where it came from
//!   ROOT/usr/local/.my-stuff.generations/
//!       lock                                     held while anything here changes
//!       1/  2/                                   the others, whole trees, or links into the store (symlink mode)
//!       3.files                                  what generation 3 consisted of when it was installed
//!       kept-1/                                  what could be the user's, moved aside
//!       copying/  removing/  link  outgoing  switching          what is under way, see `names`
//! ```
//!
//! The current generation is a real directory at its real path, and switching exchanges two directories in one step
//! (`renameat2` with `RENAME_EXCHANGE`). The usual way, a link at the path, was not taken: every program would find its
//! files, by `$ORIGIN`, `/proc/self/exe` or `realpath`, below the hidden name, so that what runs is not at the path it was
//! built for, and what a tool stores as its own location would name a generation that vanishes one day. In symlink mode
//! the path is a link, as asked for, through `.my-stuff.generations/N` into the store.
//!
//! The first invariant: at any instant the path holds one whole generation, or nothing if none was installed. Which one it is
//! is written in it and not beside it, so that a process killed after the exchange leaves nothing to guess: the next
//! command finds a directory `3/` that says it is generation 2, and renames it. Where the file system cannot exchange, two
//! renames take its place; a note written before says how to finish.
//!
//! The second: nothing is written but below the root, and there only under names of our own. All work goes through open
//! directories, one name at a time, and follows no link; a file is made where there was none, and what is read must be a
//! regular file of some bound. A package that brings a reserved name is refused before anything changes, and what else has
//! one, of whatever kind, is moved out of the way.
//!
//! The third: what could be the user's is never overwritten, hidden unasked or removed. A directory at the path that we did
//! not put there, and files added to or changed in the current generation, stop the command, which names them. With `force`
//! it goes on, and what is in the way is moved aside; files that were changed in a generation are when it is removed.
//!
//! In symlink mode the link `N` is a root of the collector, and made as one before it can be seen. It ends with the link.

mod error;
mod names;

mod lock;
mod open;
mod recover;

mod copy;
mod files;
mod marker;
mod switch;

#[cfg(test)]
mod tests;

pub use error::PrefixError;
pub use names::{MARKER, find_prefix};

use copy::Source;
use error::Result;
use files::List;
use marker::Marker;
use open::{Access, Current, OpenPrefix};
use os::SysError;
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use store::LocalStore;

/// How many generations stay besides the current one, unless another number is given.
pub const KEEP: usize = 4;

/// How files get from the store to their opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Own files, shared blocks where the file system can.
    Copy,
    /// A link to the tree in the store, which must stay there.
    Symlink,
    /// Further names of the store's files: no space, but the same file system, and read-only files.
    Hardlink,
}

/// How to install.
#[derive(Clone, Copy, Debug)]
pub struct InstallOptions<'a> {
    /// The prefix, absolute; none: the first directory of the tree that looks like one.
    pub prefix: Option<&'a Path>,
    /// Go on although foreign files are in the way. They are kept.
    pub force: bool,
    /// How many generations stay besides the current one; the oldest go first.
    pub keep: usize,
    /// Write everything to disk before the switch, so that it survives a power cut.
    pub durable: bool,
    /// The store that the tree lies in, which keeps it while a link leads there.
    pub store: Option<&'a LocalStore>,
}

impl Default for InstallOptions<'_> {
    fn default() -> Self {
        Self { prefix: None, force: false, keep: KEEP, durable: true, store: None }
    }
}

/// What a command left in opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Where the prefix is on this machine.
    pub path: PathBuf,
    /// The generation that is current now.
    pub generation: u32,
    /// The one that was.
    pub previous: Option<u32>,
    /// What was moved aside.
    pub kept: Vec<PathBuf>,
}

/// What a command removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Where the prefix is, or was.
    pub path: PathBuf,
    /// The generations that are gone.
    pub generations: Vec<u32>,
    /// What was moved aside.
    pub kept: Vec<PathBuf>,
}

/// Which generation to switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one before the current.
    Previous,
    /// The one with the highest number.
    Newest,
    /// That of this number.
    Number(u32),
}

/// One installed state of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number; they only grow.
    pub number: u32,
    /// Whether it is the one at the path.
    pub current: bool,
    /// How it was installed.
    pub mode: Mode,
    /// The tree it was made from.
    pub source: PathBuf,
    /// When it was installed, in seconds since 1970.
    pub installed_secs: i64,
}

/// Puts the prefix in `tree` (which holds `usr/local/my-stuff/…`) below `root` as a new generation, and switches to it. When
/// the current generation is that already, and as it was installed, nothing is done.
///
/// # Errors
/// [`PrefixError::Foreign`] when something else is at the path, or the current generation was changed by hand. After any
/// error, and after a kill, the path holds what it held before.
pub fn install(tree: &Path, root: &Path, mode: Mode, options: &InstallOptions<'_>) -> Result<Installed> {
    let tree = std::fs::canonicalize(tree).map_err(|error| SysError::io("open", tree, &error))?;
    let prefix = match options.prefix {
        Some(prefix) => prefix.to_owned(),
        None => find_prefix(&tree)?,
    };
    let source = Source::open(&tree, &prefix)?;
    let opened = OpenPrefix::open(root, &prefix, Access::Make)?;
    let current = opened.check_foreign(options.force)?;
    let number = match opened.is_installed(&source, mode, current)? {
        Some(number) => {
            if mode == Mode::Symlink {
                opened.root_of_link(number, &source, options, || Ok(()))?;
            }
            number
        }
        None => {
            let number = opened.next_number()?;
            let made = opened.make_generation(&source, (number, mode), options);
            if let Err(error) = made.and_then(|()| opened.switch_to(number, current)) {
                // What is not at the path is of no use; the error is that of what went wrong first.
                if opened.current().is_ok_and(|current| current.number() != Some(number)) {
                    let _ = opened.recover().and_then(|()| opened.remove_generation(number));
                }
                return Err(error);
            }
            number
        }
    };
    opened.prune(options.keep, None)?;
    Ok(opened.installed(number, current))
}

/// Lists the generations of a prefix, oldest first.
///
/// # Errors
/// [`PrefixError::NotInstalled`]; [`PrefixError::Damaged`] when what is at the path does not say any more what it is.
pub fn generations(root: &Path, prefix: &Path) -> Result<Vec<Generation>> {
    let opened = OpenPrefix::open(root, prefix, Access::Read)?;
    let known = opened.known()?;
    if known.is_empty() {
        return Err(opened.nothing_known());
    }
    Ok(known.into_values().collect())
}

/// Switches to another generation.
///
/// # Errors
/// [`PrefixError::NoGeneration`]; [`PrefixError::Foreign`] as [`install`].
pub fn switch(root: &Path, prefix: &Path, to: Wanted, force: bool) -> Result<Installed> {
    let opened = OpenPrefix::open(root, prefix, Access::Change)?;
    let current = opened.check_foreign(force)?;
    let known = opened.known()?;
    let wanted = match to {
        Wanted::Number(number) => known.contains_key(&number).then_some(number),
        Wanted::Newest => known.keys().next_back().copied(),
        Wanted::Previous => {
            known.keys().copied().rfind(|number| current.number().is_none_or(|current| *number < current))
        }
    };
    let Some(number) = wanted else {
        if known.is_empty() {
            return Err(opened.nothing_known());
        }
        let wanted = if let Wanted::Number(number) = to { Some(number) } else { None };
        return Err(PrefixError::NoGeneration {
            path: opened.path.clone(),
            wanted,
            known: known.into_keys().collect(),
        });
    };
    if current.number() != Some(number) {
        opened.switch_to(number, current)?;
    }
    Ok(opened.installed(number, current))
}

/// Removes the prefix and all its generations; what was moved aside stays.
///
/// # Errors
/// [`PrefixError::NotInstalled`]; [`PrefixError::Foreign`] as [`install`], and with `force` too when nothing of ours is at
/// the path.
pub fn uninstall(root: &Path, prefix: &Path, force: bool) -> Result<Removed> {
    let opened = OpenPrefix::open(root, prefix, Access::Change)?;
    let current = opened.check_foreign(force)?;
    if current == Current::Foreign {
        if let damaged @ PrefixError::Damaged { .. } = opened.nothing_known() {
            return Err(damaged);
        }
        let (files, more) = opened.foreign_files()?;
        return Err(PrefixError::Foreign { path: opened.path.clone(), files, more });
    }
    let numbers: Vec<u32> = opened.known()?.into_keys().collect();
    if numbers.is_empty() && current == Current::Nothing {
        return Err(opened.nothing_known());
    }
    opened.take_away(current)?;
    for number in &numbers {
        opened.remove_generation(*number)?;
    }
    Ok(opened.removed(numbers))
}

/// Removes generations other than the current: all but the newest `keep`, of those that were installed longer ago than
/// `older_than`.
///
/// # Errors
/// [`PrefixError::NotInstalled`].
pub fn prune(root: &Path, prefix: &Path, keep: usize, older_than: Option<Duration>) -> Result<Removed> {
    let opened = OpenPrefix::open(root, prefix, Access::Change)?;
    if opened.known()?.is_empty() {
        return Err(opened.nothing_known());
    }
    let generations = opened.prune(keep, older_than)?;
    Ok(opened.removed(generations))
}

impl OpenPrefix {
    fn installed(&self, generation: u32, before: Current) -> Installed {
        Installed { path: self.path.clone(), generation, previous: before.number(), kept: self.kept.take() }
    }

    fn removed(&self, generations: Vec<u32>) -> Removed {
        Removed { path: self.path.clone(), generations, kept: self.kept.take() }
    }

    /// Returns the current generation when it is what is to be installed, and as it was installed.
    fn is_installed(&self, source: &Source, mode: Mode, current: Current) -> Result<Option<u32>> {
        let is_it = match current {
            Current::Linked(number) => {
                let text = self.hidden.read_link(number.to_string().as_bytes()).ok();
                mode == Mode::Symlink && text.is_some_and(|text| text == source.path.as_os_str().as_bytes())
            }
            Current::Directory(number) => {
                let directory = self.parent.open_dir_as_is(&self.name)?;
                let marker = Marker::read(&directory)?;
                marker.is_some_and(|marker| (marker.mode, &marker.source) == (mode, &source.tree))
                    && files::is_whole(&directory, &List::read(&self.hidden, number)?)?
            }
            Current::Nothing | Current::Foreign => false,
        };
        Ok(current.number().filter(|_| is_it))
    }

    /// Makes a generation, whole and with its number, that is not at the path yet.
    fn make_generation(
        &self,
        source: &Source,
        (number, mode): (u32, Mode),
        options: &InstallOptions<'_>,
    ) -> Result<()> {
        let name = number.to_string();
        if mode == Mode::Symlink {
            let target = source.path.as_os_str().as_bytes();
            return self
                .root_of_link(number, source, options, || Ok(self.hidden.make_link(name.as_bytes(), target)?));
        }
        let copied = self.copy(source, (number, mode), options.durable);
        if copied.is_err() {
            // A disk that is full should not stay so.
            let _ = self.drop_copy(number);
        }
        copied
    }

    fn copy(&self, source: &Source, (number, mode): (u32, Mode), durable: bool) -> Result<()> {
        let copy = source.copy(&self.hidden, mode)?;
        List::of(&copy)?.write(&self.hidden, number)?;
        // Last, so that a marker says that all is there.
        Marker { generation: number, mode, source: source.tree.clone(), installed_secs: 0 }.write(&copy)?;
        if durable {
            nix::unistd::syncfs(&copy).map_err(|errno| SysError::new("write out", copy.path(), errno))?;
        }
        Ok(self.hidden.rename(names::COPYING, &self.hidden, number.to_string().as_bytes())?)
    }

    /// Calls `make` for the link of a generation, which the store takes for a root.
    fn root_of_link(
        &self,
        number: u32,
        source: &Source,
        options: &InstallOptions<'_>,
        make: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let Some(store) = options.store else { return make() };
        let (path, _) = store.parse_any(&source.path.to_string_lossy())?;
        let hidden = std::fs::canonicalize(self.hidden.path())
            .map_err(|error| SysError::io("resolve", self.hidden.path(), &error))?;
        store.root_of_link(&hidden.join(number.to_string()), &path, make)
    }

    fn prune(&self, keep: usize, older_than: Option<Duration>) -> Result<Vec<u32>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let oldest_secs = older_than.map(|age| now.saturating_sub(age).as_secs() as i64);
        let others: Vec<Generation> = self.known()?.into_values().filter(|generation| !generation.current).collect();
        let beyond = others.len().saturating_sub(keep);
        let old = others.into_iter().take(beyond);
        let gone: Vec<u32> = old
            .filter(|generation| oldest_secs.is_none_or(|oldest| generation.installed_secs < oldest))
            .map(|generation| generation.number)
            .collect();
        for number in &gone {
            self.remove_generation(*number)?;
        }
        Ok(gone)
    }
}
