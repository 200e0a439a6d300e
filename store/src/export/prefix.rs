//! Prefix roots put in place on this machine, in generations.
//!
//! ```text
//!   ROOT/usr/local/my-stuff/                     the current generation
//!       .eval-generation                         which one it is, and where it came from
//!   ROOT/usr/local/.my-stuff.generations/
//!       lock                                     held while anything here changes
//!       1/  2/                                   the others, whole trees, or links into the store (symlink mode)
//!       3.files                                  what generation 3 consisted of when it was installed
//!       incoming/                                one being made
//! ```
//!
//! The current generation is a real directory at its real path, and switching exchanges two directories in one step
//! (`renameat2` with `RENAME_EXCHANGE`). The usual way, a link at the path, was not taken: every program would find its
//! files, by `$ORIGIN`, `/proc/self/exe` or `realpath`, below the hidden name, so that what runs is not at the path it was
//! built for, and what a tool stores as its own location would name a generation that vanishes one day. In symlink mode
//! the path is a link, as asked for, through `.my-stuff.generations/N` into the store.
//!
//! The invariant: at any instant the path holds one whole generation, or nothing if none was installed. Which one it is
//! is written in it and not beside it, so that a process killed after the exchange leaves nothing to guess: the next
//! command finds a directory `3/` that says it is generation 2, and renames it. Where the file system cannot exchange, two
//! renames take its place; a note written before says how to finish.
//!
//! Files that are not ours are never overwritten or hidden unasked: a directory at the path that we did not put there,
//! and files added to or changed in the current generation, stop the command, which names them. With `force` they are
//! kept: the foreign directory as `replaced-K`, the changed generation as it is.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// The file in a generation that says which one it is.
pub const MARKER: &str = ".eval-generation";

/// The note of a switch in two renames, which may have to be finished.
const SWITCHING: &str = "switching";

/// How many foreign files a message lists.
const SHOWN_MAX: usize = 20;

/// Directories that make a directory a prefix and not merely the way to one.
const PREFIX_DIRECTORIES: [&str; 8] = ["bin", "sbin", "lib", "lib64", "libexec", "include", "share", "etc"];

/// How files get from the store to their place.
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
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// The prefix, absolute; none: the first directory of the tree that looks like one.
    pub prefix: Option<PathBuf>,
    /// Go on although foreign files are in the way. They are kept.
    pub force: bool,
    /// How many generations stay besides the current one; the oldest go first.
    pub keep: usize,
    /// Write everything to disk before the switch, so that it survives a power cut.
    pub durable: bool,
}

impl Default for InstallOptions {
    fn default() -> Self {
        Self { prefix: None, force: false, keep: 4, durable: true }
    }
}

/// What a command left in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Where the prefix is on this machine.
    pub path: PathBuf,
    /// The generation that is current now.
    pub generation: u32,
    /// The one that was.
    pub previous: Option<u32>,
    /// Where a foreign directory was moved.
    pub replaced: Option<PathBuf>,
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
}

/// A prefix that was not installed, switched or removed.
#[derive(Debug, Error)]
pub enum PrefixError {
    /// A system call failed.
    #[error("cannot {call} `{}`: {source}", path.display())]
    System {
        /// The call, as a verb.
        call: &'static str,
        /// Its argument.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The tree does not hold the prefix, or not only it.
    #[error("`{}` is no prefix root: {reason}", tree.display())]
    NoPrefix {
        /// The tree.
        tree: PathBuf,
        /// What is missing or too much.
        reason: String,
    },
    /// Files that we did not install are in the way.
    #[error("files that were not installed from the store are in the way at `{}`; --force keeps them aside:{}", path.display(), listed(files, *more))]
    Foreign {
        /// The prefix on this machine.
        path: PathBuf,
        /// Some of the files.
        files: Vec<PathBuf>,
        /// How many there are besides.
        more: usize,
    },
    /// There is no such generation.
    #[error("`{}` has no generation {}; it has {}", path.display(), wanted.map_or("before the current one".to_owned(), |number| number.to_string()), numbers(known))]
    NoGeneration {
        /// The prefix on this machine.
        path: PathBuf,
        /// The number asked for.
        wanted: Option<u32>,
        /// Those there are.
        known: Vec<u32>,
    },
    /// The path below the root goes through a link that leads who knows where.
    #[error("`{}` is a symbolic link; a prefix is only put below real directories of the root", path.display())]
    LinkOnTheWay {
        /// The link.
        path: PathBuf,
    },
}

fn listed(files: &[PathBuf], more: usize) -> String {
    let mut text: String = files.iter().map(|file| format!("\n  {}", file.display())).collect();
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

fn numbers(known: &[u32]) -> String {
    match known {
        [] => "none".to_owned(),
        known => known.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}

type Result<T, E = PrefixError> = std::result::Result<T, E>;

/// What [`MARKER`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Marker {
    generation: u32,
    mode: Mode,
    source: PathBuf,
}

/// Puts the prefix in `tree` (which holds `usr/local/my-stuff/…`) below `root` as a new generation, and switches to it.
///
/// # Errors
/// [`PrefixError::Foreign`] when something else is at the path, or the current generation was changed by hand. After any
/// error, and after a kill, the path holds what it held before.
pub fn install(tree: &Path, root: &Path, mode: Mode, options: &InstallOptions) -> Result<Installed> {
    let tree = fs::canonicalize(tree).map_err(failed("open", tree))?;
    let prefix = match &options.prefix {
        Some(prefix) => prefix.clone(),
        None => find_prefix(&tree)?,
    };
    let from = tree.join(below_slash(&prefix, &tree)?);
    if !from.is_dir() {
        return Err(PrefixError::NoPrefix { tree, reason: format!("it does not hold `{}`", prefix.display()) });
    }
    let place = Place::open(root, &prefix, true)?;
    let current = place.check_in_the_way(options.force)?;
    let number = place.known()?.keys().next_back().map_or(1, |last| last + 1);

    let named = place.numbered(number);
    let marker = Marker { generation: number, mode, source: tree };
    let staged = if mode == Mode::Symlink {
        symlink(&from, &named).map_err(failed("make the link", &named))?;
        let link = place.hidden.join("incoming");
        let text = Path::new(place.hidden.file_name().expect("made by joining a name")).join(number.to_string());
        symlink(&text, &link).map_err(failed("make the link", &link))?;
        link
    } else {
        let incoming = place.hidden.join("incoming");
        copy_tree(&from, &incoming, mode)?;
        let marker_path = incoming.join(MARKER);
        let text = serde_json::to_vec(&marker).map_err(|error| failed("write", &marker_path)(error.into()))?;
        fs::write(&marker_path, text).map_err(failed("write", &marker_path))?;
        place.write_manifest(number, &incoming)?;
        if options.durable {
            let directory = File::open(&incoming).map_err(failed("open", &incoming))?;
            nix::unistd::syncfs(directory).map_err(|errno| failed("write out", &incoming)(errno.into()))?;
        }
        fs::rename(&incoming, &named).map_err(failed("rename", &incoming))?;
        named
    };
    let replaced = place.switch(&staged, current)?;
    place.prune(number, options.keep)?;
    Ok(Installed { path: place.path, generation: number, previous: current.number(), replaced })
}

/// Lists the generations of a prefix, oldest first.
pub fn generations(root: &Path, prefix: &Path) -> Result<Vec<Generation>> {
    let place = Place::open(root, prefix, false)?;
    let current = place.current()?.number();
    let known = place.known()?;
    let generation = |(number, marker): (u32, Marker)| Generation {
        number,
        current: Some(number) == current,
        mode: marker.mode,
        source: marker.source,
    };
    Ok(known.into_iter().map(generation).collect())
}

/// Switches to generation `to`, by default the one before the current.
pub fn rollback(root: &Path, prefix: &Path, to: Option<u32>, force: bool) -> Result<Installed> {
    let place = Place::open(root, prefix, false)?;
    let current = place.check_in_the_way(force)?;
    let known = place.known()?;
    let wanted = match to {
        Some(number) => known.contains_key(&number).then_some(number),
        None => known.keys().copied().rfind(|number| current.number().is_none_or(|current| *number < current)),
    };
    let Some(number) = wanted else {
        return Err(PrefixError::NoGeneration { path: place.path, wanted: to, known: known.into_keys().collect() });
    };
    if current.number() == Some(number) {
        return Ok(Installed { path: place.path, generation: number, previous: Some(number), replaced: None });
    }
    let named = place.numbered(number);
    let staged = if named.is_symlink() {
        let link = place.hidden.join("incoming");
        let text = Path::new(place.hidden.file_name().expect("made by joining a name")).join(number.to_string());
        symlink(&text, &link).map_err(failed("make the link", &link))?;
        link
    } else {
        named
    };
    let replaced = place.switch(&staged, current)?;
    Ok(Installed { path: place.path, generation: number, previous: current.number(), replaced })
}

/// Removes the prefix and all its generations; directories kept aside by `force` stay.
pub fn uninstall(root: &Path, prefix: &Path, force: bool) -> Result<()> {
    let place = Place::open(root, prefix, false)?;
    match place.check_in_the_way(force)? {
        Current::Nothing => {}
        Current::Foreign => {
            let (files, more) = some_files(&place.path)?;
            return Err(PrefixError::Foreign { path: place.path, files, more });
        }
        Current::Linked(_) => fs::remove_file(&place.path).map_err(failed("remove", &place.path))?,
        Current::Directory(number) => {
            // First out of sight in one step: half a prefix is never at the path.
            let named = place.numbered(number);
            fs::rename(&place.path, &named).map_err(failed("rename", &place.path))?;
        }
    }
    for number in place.known()?.into_keys() {
        place.remove_generation(number)?;
    }
    let lock = place.hidden.join("lock");
    fs::remove_file(&lock).map_err(failed("remove", &lock))?;
    match fs::remove_dir(&place.hidden) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(failed("remove", &place.hidden)(error)),
        _ => Ok(()),
    }
}

/// What is at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Current {
    Nothing,
    Foreign,
    Directory(u32),
    Linked(u32),
}

impl Current {
    fn number(self) -> Option<u32> {
        match self {
            Self::Directory(number) | Self::Linked(number) => Some(number),
            Self::Nothing | Self::Foreign => None,
        }
    }
}

/// A prefix's place below a root, locked.
struct Place {
    /// The prefix on this machine.
    path: PathBuf,
    /// The directory with the other generations.
    hidden: PathBuf,
    _lock: Flock<File>,
}

impl Place {
    fn open(root: &Path, prefix: &Path, make: bool) -> Result<Self> {
        let below = below_slash(prefix, root)?;
        let mut parent = root.to_owned();
        let components: Vec<_> = below.components().collect();
        for component in &components[..components.len() - 1] {
            parent.push(component);
            // Of `/` itself the links are the machine's own; in another root they would lead out of it.
            if root != Path::new("/") && parent.is_symlink() {
                return Err(PrefixError::LinkOnTheWay { path: parent });
            }
        }
        let name = below.file_name().unwrap_or_default();
        let path = parent.join(name);
        let hidden = parent.join(format!(".{}.generations", name.to_string_lossy()));
        if make {
            fs::create_dir_all(&hidden).map_err(failed("make directory", &hidden))?;
        } else if !hidden.is_dir() {
            return Err(PrefixError::NoGeneration { path, wanted: None, known: Vec::new() });
        }
        let lock_path = hidden.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let file = file.map_err(failed("open", &lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| failed("lock", &lock_path)(errno.into()))?;
        let place = Self { path, hidden, _lock: lock };
        place.recover()?;
        Ok(place)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.hidden.join(number.to_string())
    }

    fn manifest(&self, number: u32) -> PathBuf {
        self.hidden.join(format!("{number}.files"))
    }

    /// Finishes or undoes what a killed process left.
    fn recover(&self) -> Result<()> {
        let switching = self.hidden.join(SWITCHING);
        if let Ok(name) = fs::read(&switching) {
            let staged = self.hidden.join(std::ffi::OsString::from_vec(name));
            if fs::symlink_metadata(&self.path).is_err() && fs::symlink_metadata(&staged).is_ok() {
                fs::rename(&staged, &self.path).map_err(failed("rename", &staged))?;
            }
            fs::remove_file(&switching).map_err(failed("remove", &switching))?;
        }
        for leftover in ["incoming", "outgoing"] {
            let leftover = self.hidden.join(leftover);
            if leftover.is_symlink() {
                fs::remove_file(&leftover).map_err(failed("remove", &leftover))?;
            } else if leftover.is_dir() {
                match read_marker(&leftover)?.filter(|_| leftover.ends_with("outgoing")) {
                    Some(marker) => self.put_back(&leftover, marker.generation)?,
                    None => remove_tree(&leftover)?,
                }
            }
        }
        for (number, path) in self.numbered_entries()? {
            if !path.is_symlink()
                && let Some(marker) = read_marker(&path)?
                && marker.generation != number
            {
                self.put_back(&path, marker.generation)?;
            }
        }
        Ok(())
    }

    fn put_back(&self, path: &Path, number: u32) -> Result<()> {
        let named = self.numbered(number);
        fs::rename(path, &named).map_err(failed("rename", path))
    }

    fn numbered_entries(&self) -> Result<Vec<(u32, PathBuf)>> {
        let entries = fs::read_dir(&self.hidden).map_err(failed("read directory", &self.hidden))?;
        let mut numbered = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("read directory", &self.hidden))?;
            if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                numbered.push((number, entry.path()));
            }
        }
        numbered.sort();
        Ok(numbered)
    }

    fn current(&self) -> Result<Current> {
        let Ok(metadata) = fs::symlink_metadata(&self.path) else { return Ok(Current::Nothing) };
        if metadata.is_symlink() {
            let target = fs::read_link(&self.path).map_err(failed("read the link", &self.path))?;
            let ours = target.parent().map(Path::as_os_str) == self.hidden.file_name();
            let number = target.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            return Ok(number.filter(|_| ours).map_or(Current::Foreign, Current::Linked));
        }
        if !metadata.is_dir() {
            return Ok(Current::Foreign);
        }
        if let Some(marker) = read_marker(&self.path)? {
            return Ok(Current::Directory(marker.generation));
        }
        let mut entries = fs::read_dir(&self.path).map_err(failed("read directory", &self.path))?;
        Ok(if entries.next().is_none() { Current::Nothing } else { Current::Foreign })
    }

    /// All generations, the current one too.
    fn known(&self) -> Result<BTreeMap<u32, Marker>> {
        let mut known = BTreeMap::new();
        for (number, path) in self.numbered_entries()? {
            if path.is_symlink() {
                let source = fs::read_link(&path).map_err(failed("read the link", &path))?;
                known.insert(number, Marker { generation: number, mode: Mode::Symlink, source });
            } else if let Some(marker) = read_marker(&path)? {
                known.insert(number, marker);
            }
        }
        if let Current::Directory(number) = self.current()?
            && let Some(marker) = read_marker(&self.path)?
        {
            known.insert(number, marker);
        }
        Ok(known)
    }

    /// Returns what is at the path, unless it is or holds something that is not ours and `force` is not given.
    fn check_in_the_way(&self, force: bool) -> Result<Current> {
        let current = self.current()?;
        if force {
            return Ok(current);
        }
        let (files, more) = match current {
            Current::Nothing | Current::Linked(_) => return Ok(current),
            Current::Foreign => some_files(&self.path)?,
            Current::Directory(number) => {
                let changed = self.changed_files(number)?;
                let more = changed.len().saturating_sub(SHOWN_MAX);
                (changed.into_iter().take(SHOWN_MAX).map(|file| self.path.join(file)).collect(), more)
            }
        };
        if files.is_empty() && current != Current::Foreign {
            return Ok(current);
        }
        Err(PrefixError::Foreign { path: self.path.clone(), files, more })
    }

    /// Puts `staged` at the path in one step and the old one away; returns where a foreign one went.
    fn switch(&self, staged: &Path, current: Current) -> Result<Option<PathBuf>> {
        match current {
            // An empty directory may be there; rename replaces it if a directory comes, and a link needs it gone.
            Current::Nothing => {
                if staged.is_symlink() && self.path.is_dir() {
                    fs::remove_dir(&self.path).map_err(failed("remove", &self.path))?;
                }
                fs::rename(staged, &self.path).map_err(failed("rename", staged))?;
                Ok(None)
            }
            Current::Linked(_) if staged.is_symlink() => {
                fs::rename(staged, &self.path).map_err(failed("rename", staged))?;
                Ok(None)
            }
            _ => {
                let old = self.exchange(staged)?;
                match current {
                    Current::Linked(_) => fs::remove_file(&old).map_err(failed("remove", &old))?,
                    Current::Directory(number) => self.put_back(&old, number)?,
                    Current::Foreign | Current::Nothing => {
                        let free = (1..).map(|number| self.hidden.join(format!("replaced-{number}")));
                        let replaced = free.into_iter().find(|path| fs::symlink_metadata(path).is_err());
                        let replaced = replaced.expect("there are more numbers than directories");
                        fs::rename(&old, &replaced).map_err(failed("rename", &old))?;
                        return Ok(Some(replaced));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Exchanges `staged` and what is at the path; returns where the old one is now.
    fn exchange(&self, staged: &Path) -> Result<PathBuf> {
        match renameat2(AT_FDCWD, staged, AT_FDCWD, &self.path, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => return Ok(staged.to_owned()),
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(failed("exchange", &self.path)(errno.into())),
        }
        self.exchange_in_two_steps(staged)
    }

    fn exchange_in_two_steps(&self, staged: &Path) -> Result<PathBuf> {
        let note = self.hidden.join(SWITCHING);
        let outgoing = self.hidden.join("outgoing");
        let name = staged.file_name().unwrap_or_default().as_bytes();
        let mut file = File::create(&note).map_err(failed("write", &note))?;
        file.write_all(name).and_then(|()| file.sync_all()).map_err(failed("write", &note))?;
        fs::rename(&self.path, &outgoing).map_err(failed("rename", &self.path))?;
        fs::rename(staged, &self.path).map_err(failed("rename", staged))?;
        fs::remove_file(&note).map_err(failed("remove", &note))?;
        Ok(outgoing)
    }

    fn prune(&self, current: u32, keep: usize) -> Result<()> {
        let others: Vec<u32> = self.known()?.into_keys().filter(|number| *number != current).collect();
        for number in &others[..others.len().saturating_sub(keep)] {
            self.remove_generation(*number)?;
        }
        Ok(())
    }

    fn remove_generation(&self, number: u32) -> Result<()> {
        let named = self.numbered(number);
        if named.is_symlink() {
            fs::remove_file(&named).map_err(failed("remove", &named))?;
        } else if named.is_dir() {
            remove_tree(&named)?;
        }
        match fs::remove_file(self.manifest(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.manifest(number))(error))
            }
            _ => Ok(()),
        }
    }

    /// Notes every file of a generation with its size and time, to tell later what was added or changed.
    fn write_manifest(&self, number: u32, generation: &Path) -> Result<()> {
        let mut text = Vec::new();
        for (path, stamp) in stamps(generation)? {
            text.extend_from_slice(stamp.as_bytes());
            text.push(b' ');
            text.extend_from_slice(path.as_os_str().as_bytes());
            text.push(0);
        }
        let manifest = self.manifest(number);
        fs::write(&manifest, text).map_err(failed("write", &manifest))
    }

    /// Returns the files of the current generation that are not as they were installed, compiled Python aside.
    fn changed_files(&self, number: u32) -> Result<Vec<PathBuf>> {
        let manifest = self.manifest(number);
        let text = fs::read(&manifest).map_err(failed("read", &manifest))?;
        let installed: BTreeMap<&[u8], &[u8]> = text
            .split(|byte| *byte == 0)
            .filter_map(|line| {
                let space = line.iter().position(|byte| *byte == b' ')?;
                Some((&line[space + 1..], &line[..space]))
            })
            .collect();
        let changed = stamps(&self.path)?.into_iter().filter(|(path, stamp)| {
            let cache = path.parent().is_some_and(|parent| parent.ends_with("__pycache__"));
            !cache && installed.get(path.as_os_str().as_bytes()) != Some(&stamp.as_bytes())
        });
        Ok(changed.map(|(path, _)| path).collect())
    }
}

fn failed<'a>(call: &'static str, path: &'a Path) -> impl Fn(io::Error) -> PrefixError + use<'a> {
    move |source| PrefixError::System { call, path: path.to_owned(), source }
}

fn below_slash<'a>(prefix: &'a Path, tree: &Path) -> Result<&'a Path> {
    prefix
        .strip_prefix("/")
        .ok()
        .filter(|below| {
            below.file_name().is_some() && below.components().all(|part| matches!(part, Component::Normal(_)))
        })
        .ok_or_else(|| PrefixError::NoPrefix {
            tree: tree.to_owned(),
            reason: format!("`{}` is not an absolute path without `..`", prefix.display()),
        })
}

/// Goes down from the top of a prefix root as long as there is one way, to the first directory that looks like a prefix.
pub fn find_prefix(tree: &Path) -> Result<PathBuf> {
    let mut path = PathBuf::from("/");
    let mut at = tree.to_owned();
    loop {
        let entries = fs::read_dir(&at).map_err(failed("read directory", &at))?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed("read directory", &at))?.file_name());
        }
        let looks_like_one = names.iter().any(|name| PREFIX_DIRECTORIES.iter().any(|known| name == known));
        if looks_like_one && path != Path::new("/") {
            return Ok(path);
        }
        match names.as_slice() {
            [name] if at.join(name).is_dir() && !at.join(name).is_symlink() => {
                path.push(name);
                at.push(name);
            }
            _ => {
                let reason = format!(
                    "no single directory with `bin` or `lib` is found; `{}` holds {} entries",
                    path.display(),
                    names.len()
                );
                return Err(PrefixError::NoPrefix { tree: tree.to_owned(), reason });
            }
        }
    }
}

fn read_marker(directory: &Path) -> Result<Option<Marker>> {
    let path = directory.join(MARKER);
    match fs::read(&path) {
        // A marker that cannot be read is no marker: the directory counts as foreign.
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// Copies a directory; files in parallel, once all directories are there.
fn copy_tree(from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let mut files = Vec::new();
    let mut pending = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        fs::create_dir(&to).map_err(failed("make directory", &to))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).map_err(failed("set the mode of", &to))?;
        for entry in fs::read_dir(&from).map_err(failed("read directory", &from))? {
            let entry = entry.map_err(failed("read directory", &from))?;
            let kind = entry.file_type().map_err(failed("stat", &from))?;
            let pair = (entry.path(), to.join(entry.file_name()));
            if kind.is_dir() { pending.push(pair) } else { files.push(pair) }
        }
    }
    files.par_iter().try_for_each(|(from, to)| copy_file(from, to, mode))
}

fn copy_file(from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let metadata = fs::symlink_metadata(from).map_err(failed("stat", from))?;
    if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(failed("read the link", from))?;
        return symlink(target, to).map_err(failed("make the link", to));
    }
    if mode == Mode::Hardlink {
        return fs::hard_link(from, to)
            .map_err(failed("hard-link to another file system, or too often (use --mode copy)", to));
    }
    let wrong = failed("copy to", to);
    let mut source = File::open(from).map_err(failed("open", from))?;
    let mut copy = OpenOptions::new().write(true).create_new(true).open(to).map_err(&wrong)?;
    io::copy(&mut source, &mut copy).map_err(&wrong)?;
    let executable = metadata.mode() & 0o100 != 0;
    copy.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 })).map_err(&wrong)?;
    // The store's constant time, so that a copy is the same wherever and whenever it is made.
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.mtime()).unwrap_or(1));
    copy.set_modified(modified).map_err(&wrong)
}

/// Removes a directory, also one whose subdirectories are read-only.
fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(failed("remove", path)),
    }
}

/// Returns the files below a directory, sorted, each with what tells an untouched file.
fn stamps(directory: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(below) = pending.pop() {
        let at = directory.join(&below);
        for entry in fs::read_dir(&at).map_err(failed("read directory", &at))? {
            let entry = entry.map_err(failed("read directory", &at))?;
            let path = below.join(entry.file_name());
            let metadata = entry.metadata().map_err(failed("stat", &at))?;
            if metadata.is_dir() {
                pending.push(path);
            } else if metadata.is_symlink() {
                found.push((path, "link".to_owned()));
            } else {
                found.push((path, format!("{}:{}:{:o}", metadata.len(), metadata.mtime(), metadata.mode())));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns a few of the files at a path, and how many there are besides.
fn some_files(path: &Path) -> Result<(Vec<PathBuf>, usize)> {
    let metadata = fs::symlink_metadata(path).map_err(failed("stat", path))?;
    if !metadata.is_dir() {
        return Ok((vec![path.to_owned()], 0));
    }
    let all = stamps(path)?;
    let more = all.len().saturating_sub(SHOWN_MAX);
    Ok((all.into_iter().take(SHOWN_MAX).map(|(file, _)| path.join(file)).collect(), more))
}

#[cfg(test)]
mod tests;
