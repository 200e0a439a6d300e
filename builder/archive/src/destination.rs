//! Writing entries below one directory, and nowhere else.
//!
//! An entry's parent directory is opened with `openat2` as if the destination were the root of the file system: a
//! symbolic link on the way is followed, as real packages need (`lib` → `usr/lib`), but `..` and absolute targets end
//! at the destination, and the kernel sees to it even if somebody else changes the tree meanwhile. On a kernel without
//! `openat2` links on the way are refused instead. The last component is never followed: what is there is removed first,
//! and files are only ever created exclusively.
//!
//! The result depends on the entries alone: modes are 755 and 644, owners and times are the writer's.

use super::error::{EntryError, shown};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// How deep paths may be; far below what recursive tools survive.
const DEPTH_MAX: usize = 200;

/// How often a name that reappears is removed again before we give up on it.
const RACES_MAX: u32 = 16;

/// The name of an entry in its canonical form: components, none of them `.`, `..` or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryPath {
    /// Components joined by slashes.
    joined: Vec<u8>,
    /// Where the last component starts.
    last: usize,
}

impl EntryPath {
    /// Checks a name from an archive and drops its first `strip` components; none if nothing is left.
    pub fn new(name: &[u8], strip: usize) -> Result<Option<Self>, EntryError> {
        let refuse = |reason: &str| Err(EntryError::Refused(reason.to_owned()));
        if name.is_empty() {
            return refuse("its name is empty");
        }
        if name.starts_with(b"/") {
            return refuse("its path is absolute");
        }
        if name.contains(&0) {
            return refuse("its path contains a zero byte");
        }
        let mut components: Vec<&[u8]> = Vec::new();
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return refuse("its path contains `..`"),
                component if component.len() > 255 => {
                    return refuse("a component of its path is longer than 255 bytes");
                }
                component => components.push(component),
            }
        }
        if components.len() > DEPTH_MAX {
            return refuse("its path has more than 200 components");
        }
        if components.len() <= strip {
            return Ok(None);
        }
        let components = &components[strip..];
        let joined = components.join(&b'/');
        let last = joined.len() - components[components.len() - 1].len();
        Ok(Some(Self { joined, last }))
    }

    fn parent(&self) -> &[u8] {
        &self.joined[..self.last.saturating_sub(1)]
    }

    fn name(&self) -> &[u8] {
        &self.joined[self.last..]
    }
}

/// A directory being filled.
pub(super) struct Destination {
    root: OwnedFd,
    /// The parent of the last entry: archives list a directory's files together.
    cached: Option<(Vec<u8>, OwnedFd)>,
    has_openat2: bool,
}

impl Destination {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let root = open(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { root, cached: None, has_openat2: true })
    }

    /// Makes a directory; one that is there, or a symbolic link to one inside the tree, stays as it is.
    pub fn directory(&mut self, path: &EntryPath) -> Result<(), EntryError> {
        let name = path.name().to_owned();
        for _ in 0..RACES_MAX {
            let parent = self.parent(path)?;
            match mkdirat(parent, name.as_slice(), Mode::from_bits_truncate(0o755)) {
                Ok(()) => {
                    let made = openat(
                        parent,
                        name.as_slice(),
                        OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                        Mode::empty(),
                    )
                    .map_err(|errno| system("openat", &path.joined, errno))?;
                    return fchmod(&made, Mode::from_bits_truncate(0o755))
                        .map_err(|errno| system("fchmod", &path.joined, errno));
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(system("mkdirat", &path.joined, errno)),
            }
            match stat(parent, &name).map_err(|errno| system("fstatat", &path.joined, errno))? {
                None => {}
                Some(there) if kind(&there) == SFlag::S_IFDIR => return Ok(()),
                Some(there) if kind(&there) == SFlag::S_IFLNK && self.resolve(&path.joined).is_ok() => return Ok(()),
                Some(_) => self.remove(path)?,
            }
        }
        Err(system("mkdirat", &path.joined, Errno::EEXIST))
    }

    /// Creates an empty file, replacing any file or link of that name, and returns it for writing.
    pub fn file(&mut self, path: &EntryPath, executable: bool) -> Result<File, EntryError> {
        let name = path.name().to_owned();
        let mode = Mode::from_bits_truncate(if executable { 0o755 } else { 0o644 });
        for _ in 0..RACES_MAX {
            let parent = self.parent(path)?;
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            match openat(parent, name.as_slice(), flags, mode) {
                Ok(fd) => {
                    // The umask may have taken bits away.
                    fchmod(&fd, mode).map_err(|errno| system("fchmod", &path.joined, errno))?;
                    return Ok(File::from(fd));
                }
                Err(Errno::EEXIST) => self.remove(path)?,
                Err(errno) => return Err(system("openat", &path.joined, errno)),
            }
        }
        Err(system("openat", &path.joined, Errno::EEXIST))
    }

    /// Makes a symbolic link, replacing any file or link of that name.
    pub fn symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), EntryError> {
        if target.is_empty() || target.contains(&0) {
            return Err(EntryError::Refused("its link target is empty or contains a zero byte".to_owned()));
        }
        let name = path.name().to_owned();
        for _ in 0..RACES_MAX {
            let parent = self.parent(path)?;
            match symlinkat(target, parent, name.as_slice()) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => self.remove(path)?,
                Err(errno) => return Err(system("symlinkat", &path.joined, errno)),
            }
        }
        Err(system("symlinkat", &path.joined, Errno::EEXIST))
    }

    /// Gives a file that was written before another name. Where the file system allows no further link it is copied;
    /// the answer is how many bytes that took.
    pub fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<u64, EntryError> {
        let missing = || {
            EntryError::Refused(format!("it is a hard link to `{}`, which is not in the tree", shown(&target.joined)))
        };
        let from = self.open_directory(target.parent()).map_err(|_| missing())?;
        let old = stat(&from, target.name())
            .map_err(|errno| system("fstatat", &target.joined, errno))?
            .ok_or_else(missing)?;
        if !matches!(kind(&old), SFlag::S_IFREG | SFlag::S_IFLNK) {
            return Err(EntryError::Refused(format!(
                "it is a hard link to `{}`, which is not a file",
                shown(&target.joined)
            )));
        }
        let name = path.name().to_owned();
        for _ in 0..RACES_MAX {
            let parent = self.parent(path)?;
            match linkat(&from, target.name(), parent, name.as_slice(), AtFlags::empty()) {
                Ok(()) => return Ok(0),
                Err(Errno::EEXIST) => {
                    let there = stat(parent, &name).map_err(|errno| system("fstatat", &path.joined, errno))?;
                    if there.is_some_and(|there| (there.st_dev, there.st_ino) == (old.st_dev, old.st_ino)) {
                        return Ok(0);
                    }
                    self.remove(path)?;
                }
                Err(Errno::EMLINK | Errno::EPERM | Errno::EXDEV) if kind(&old) == SFlag::S_IFREG => {
                    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    let source = openat(&from, target.name(), flags, Mode::empty())
                        .map_err(|errno| system("openat", &target.joined, errno))?;
                    let mut copy = self.file(path, old.st_mode & 0o100 != 0)?;
                    return std::io::copy(&mut File::from(source), &mut copy).map_err(|error| {
                        system(
                            "copy_file_range",
                            &path.joined,
                            Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
                        )
                    });
                }
                Err(errno) => return Err(system("linkat", &path.joined, errno)),
            }
        }
        Err(system("linkat", &path.joined, Errno::EEXIST))
    }

    /// Returns the directory an entry belongs in, made if need be.
    fn parent(&mut self, path: &EntryPath) -> Result<&OwnedFd, EntryError> {
        let wanted = path.parent();
        if wanted.is_empty() {
            return Ok(&self.root);
        }
        if self.cached.as_ref().is_none_or(|(cached, _)| cached != wanted) {
            let fd = match self.resolve(wanted) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) => self.make_directories(wanted)?,
                Err(errno) => return Err(unusable_parent(wanted, errno)),
            };
            self.cached = Some((wanted.to_owned(), fd));
        }
        let (_, fd) = self.cached.as_ref().expect("filled two lines above");
        Ok(fd)
    }

    fn make_directories(&mut self, wanted: &[u8]) -> Result<OwnedFd, EntryError> {
        let mut above = self.open_directory(b"").map_err(|errno| unusable_parent(wanted, errno))?;
        let mut end = 0;
        for component in wanted.split(|byte| *byte == b'/') {
            end += component.len() + usize::from(end > 0);
            let so_far = &wanted[..end];
            let next = match self.resolve(so_far) {
                Err(Errno::ENOENT) => {
                    match mkdirat(&above, component, Mode::from_bits_truncate(0o755)) {
                        // A link that leads nowhere is there, and in the way.
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(errno) => return Err(system("mkdirat", so_far, errno)),
                    }
                    let made = self.resolve(so_far).map_err(|errno| unusable_parent(so_far, errno))?;
                    fchmod_path(&made).map_err(|errno| system("fchmod", so_far, errno))?;
                    made
                }
                other => other.map_err(|errno| unusable_parent(so_far, errno))?,
            };
            above = next;
        }
        Ok(above)
    }

    fn open_directory(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        if path.is_empty() { self.resolve(b".") } else { self.resolve(path) }
    }

    /// Opens a directory of the tree, following links as if the destination were `/`.
    fn resolve(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        if self.has_openat2 {
            let how =
                OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            // EAGAIN: somebody renamed something meanwhile, so the kernel cannot promise that `..` stayed inside.
            for _ in 0..RACES_MAX {
                match openat2(&self.root, path, how) {
                    Err(Errno::EAGAIN) => {}
                    Err(Errno::ENOSYS | Errno::EPERM) => {
                        self.has_openat2 = false;
                        break;
                    }
                    other => return other,
                }
            }
            if self.has_openat2 {
                return Err(Errno::EAGAIN);
            }
        }
        let mut fd = openat(&self.root, ".", flags, Mode::empty())?;
        for component in path.split(|byte| *byte == b'/') {
            fd = openat(&fd, component, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
        }
        Ok(fd)
    }

    /// Removes what has an entry's name: a file or link, or an empty directory.
    fn remove(&mut self, path: &EntryPath) -> Result<(), EntryError> {
        let name = path.name().to_owned();
        let parent = self.parent(path)?;
        let removed = match unlinkat(parent, name.as_slice(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => unlinkat(parent, name.as_slice(), UnlinkatFlags::RemoveDir),
            other => other,
        };
        // A link that went may have been on the way to the cached directory.
        self.cached = None;
        match removed {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                Err(EntryError::Refused("a directory with files in it has this name already".to_owned()))
            }
            Err(errno) => Err(system("unlinkat", &path.joined, errno)),
        }
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn stat(parent: &impl AsFd, name: &[u8]) -> Result<Option<FileStat>, Errno> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn fchmod_path(directory: &OwnedFd) -> Result<(), Errno> {
    fchmod(directory, Mode::from_bits_truncate(0o755))
}

fn unusable_parent(path: &[u8], errno: Errno) -> EntryError {
    let path = shown(path);
    EntryError::Refused(match errno {
        Errno::ENOENT => format!("its parent `{path}` leads through a symbolic link to nowhere"),
        Errno::ENOTDIR => format!("its parent `{path}` is not a directory"),
        Errno::ELOOP => format!("its parent `{path}` leads through a symbolic link that is not followed"),
        errno => return system("openat2", path.as_bytes(), errno),
    })
}

fn system(call: &str, path: &[u8], errno: Errno) -> EntryError {
    EntryError::System(format!("{call}(`{}`)", shown(path)), errno)
}
