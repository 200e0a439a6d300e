//! Prefixes installed on this machine, in generations.
//!
//! ```text
//!   ROOT/usr/local/my-stuff/                     the current generation
//!       .eval-generation                         its number and its source
//!   ROOT/usr/local/.my-stuff.generations/
//!       lock                                     locked while anything here changes
//!       1/  2/                                   the others, whole trees, or links into the store (symlink mode)
//!       3.files                                  the files that generation 3 was installed with
//!       kept-1/                                  files that may be the user's, moved aside
//!       copying/  removing/  link  outgoing  switching          work in progress, see `names`
//! ```
//!
//! The current generation is a real directory at its real path, and switching exchanges two
//! directories in one step (`renameat2` with `RENAME_EXCHANGE`). The usual solution, a link at the
//! path, has a flaw: every program would find its files, by `$ORIGIN`, `/proc/self/exe` or
//! `realpath`, below the hidden name. It would not run at the path that it was built for, and a
//! path that it stores would name a generation that vanishes one day. In symlink mode the path is a
//! link, as requested, through `.my-stuff.generations/N` into the store.
//!
//! The first invariant: at any moment the path holds one whole generation, or nothing if none was
//! installed. The generation itself holds its number, so a process killed after the exchange leaves
//! no doubt: the next command finds a directory `3/` whose marker says generation 2, and renames
//! it. Where the file system cannot exchange, two renames replace it; a note written before them
//! says how to finish.
//!
//! The second: all writes are below the root, and there only under reserved names. All work goes
//! through open directories, one name at a time, and follows no link; a file is created where there
//! was none, and a file that is read must be regular and of bounded size. A package that brings a
//! reserved name is refused before anything changes, and any other file with such a name is moved
//! aside.
//!
//! The third: files that may be the user's are never overwritten, hidden unasked or removed. A
//! foreign directory at the path, and files added to or changed in the current generation, stop the
//! command, which lists them. With `force` it continues, and moves them aside; changed files of a
//! generation are moved aside when it is removed.
//!
//! In symlink mode the link `N` is a root of the collector from before it exists until it is
//! removed.

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

use copy::PrefixSource;
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

/// The default number of generations that stay besides the current one.
pub const KEEP: usize = 4;

/// Ways in which files get from the store to the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstallMode {
    /// Own files, with shared blocks where the file system can.
    Copy,
    /// A link to the tree in the store, which must stay there.
    Symlink,
    /// Hard links to the store's files: no space, but the same file system, and read-only files.
    Hardlink,
}

/// Options of an installation.
#[derive(Clone, Copy, Debug)]
pub struct InstallOptions<'a> {
    /// The prefix, absolute; none: the first directory of the tree that looks like one.
    pub prefix: Option<&'a Path>,
    /// Move foreign files that are in the way aside, and continue.
    pub force: bool,
    /// The number of generations that stay besides the current one; the oldest go first.
    pub keep: usize,
    /// Write everything to disk before the switch, so that it survives a power cut.
    pub durable: bool,
    /// The store that contains the tree, and keeps it while a link leads there.
    pub store: Option<&'a LocalStore>,
}

impl Default for InstallOptions<'_> {
    fn default() -> Self {
        Self { prefix: None, force: false, keep: KEEP, durable: true, store: None }
    }
}

/// The result of an installation or a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The prefix on this machine.
    pub path: PathBuf,
    /// The current generation.
    pub generation: u32,
    /// The previous one.
    pub previous: Option<u32>,
    /// Files that were moved aside.
    pub kept: Vec<PathBuf>,
}

/// The result of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The prefix on this machine.
    pub path: PathBuf,
    /// The removed generations.
    pub generations: Vec<u32>,
    /// Files that were moved aside.
    pub kept: Vec<PathBuf>,
}

/// The generation to switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one before the current.
    Previous,
    /// The one with the highest number.
    Newest,
    /// The one with this number.
    Number(u32),
}

/// One installed state of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The number of the generation; numbers only grow.
    pub number: u32,
    /// True for the generation at the path.
    pub current: bool,
    /// The mode of its installation.
    pub mode: InstallMode,
    /// The source tree.
    pub source: PathBuf,
    /// The time of the installation, in seconds since 1970.
    pub installed_secs: i64,
}

/// Installs the prefix in `tree` (which holds `usr/local/my-stuff/…`) below `root` as a new
/// generation, and switches to it. Does nothing when the current generation is that already, and
/// unchanged.
///
/// # Errors
/// [`PrefixError::Foreign`] when foreign files are at the path, or the current generation was
/// changed by hand. After any error, and after a kill, the path is as before.
pub fn install(tree: &Path, root: &Path, mode: InstallMode, options: &InstallOptions<'_>) -> Result<Installed> {
    let tree = std::fs::canonicalize(tree).map_err(|error| SysError::io("open", tree, &error))?;
    let prefix = match options.prefix {
        Some(prefix) => prefix.to_owned(),
        None => find_prefix(&tree)?,
    };
    let source = PrefixSource::open(&tree, &prefix)?;
    let opened = OpenPrefix::open(root, &prefix, Access::Make)?;
    let current = opened.check_foreign(options.force)?;
    let number = match opened.is_installed(&source, mode, current)? {
        Some(number) => {
            if mode == InstallMode::Symlink {
                opened.root_of_link(number, &source, options, || Ok(()))?;
            }
            number
        }
        None => {
            let number = opened.next_number()?;
            let made = opened.make_generation(&source, (number, mode), options);
            if let Err(error) = made.and_then(|()| opened.switch_to(number, current)) {
                // A generation that is not at the path is useless; the first error is the one to
                // report.
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
/// [`PrefixError::NotInstalled`]; [`PrefixError::Damaged`] when the marker at the path is damaged.
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

/// Removes the prefix and all its generations; files that were moved aside stay.
///
/// # Errors
/// [`PrefixError::NotInstalled`]; [`PrefixError::Foreign`] as [`install`], and with `force` too
/// when all files at the path are foreign.
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

/// Removes generations other than the current: all but the newest `keep`, as far as they are older
/// than `older_than`.
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

    /// Returns the current generation when it was made from `source` in this mode and is unchanged.
    fn is_installed(&self, source: &PrefixSource, mode: InstallMode, current: Current) -> Result<Option<u32>> {
        let is_it = match current {
            Current::Linked(number) => {
                let text = self.hidden.read_link(number.to_string().as_bytes()).ok();
                mode == InstallMode::Symlink && text.is_some_and(|text| text == source.path.as_os_str().as_bytes())
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

    /// Makes a whole generation, with its number, that is not at the path yet.
    fn make_generation(
        &self,
        source: &PrefixSource,
        (number, mode): (u32, InstallMode),
        options: &InstallOptions<'_>,
    ) -> Result<()> {
        let name = number.to_string();
        if mode == InstallMode::Symlink {
            let target = source.path.as_os_str().as_bytes();
            return self
                .root_of_link(number, source, options, || Ok(self.hidden.make_link(name.as_bytes(), target)?));
        }
        let copied = self.copy(source, (number, mode), options.durable);
        if copied.is_err() {
            // The partial copy would keep a full disk full.
            let _ = self.drop_copy(number);
        }
        copied
    }

    fn copy(&self, source: &PrefixSource, (number, mode): (u32, InstallMode), durable: bool) -> Result<()> {
        let copy = source.copy(&self.hidden, mode)?;
        List::of(&copy)?.write(&self.hidden, number)?;
        // The marker comes last, since it says that the copy is complete.
        Marker { generation: number, mode, source: source.tree.clone(), installed_secs: 0 }.write(&copy)?;
        if durable {
            nix::unistd::syncfs(&copy).map_err(|errno| SysError::new("write out", copy.path(), errno))?;
        }
        Ok(self.hidden.rename(names::COPYING, &self.hidden, number.to_string().as_bytes())?)
    }

    /// Calls `make` for the link of a generation, which becomes a root of the store.
    fn root_of_link(
        &self,
        number: u32,
        source: &PrefixSource,
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
