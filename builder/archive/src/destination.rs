//! The sink that writes entries below one directory of a disk, and nowhere else.
//!
//! An entry's parent directory is opened with `openat2` as if the destination were the root of the
//! file system: a symbolic link in the parent path is followed, as real packages need (`lib` →
//! `usr/lib`), but `..` and absolute targets end at the destination, and the kernel enforces it
//! even against a TOCTOU race with another process. On a kernel without `openat2` links in the
//! parent path are refused instead. The last component is never followed: an entry of that name is
//! removed first, and files are only ever created exclusively.
//!
//! The result depends on the entries alone: modes are 755 and 644, owners and times are the
//! writer's; devices and pipes are refused.

use crate::error::EntryError;
use crate::progress::Progress;
use filesystem::{Entry, EntryKind, Sink, TreePath, printable};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use os::SysError;
use os::space::FreeSpace;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Number of times that a name which reappears is removed again.
const RACES_MAX: u32 = 16;

/// Approximate size of an inode and a name on a disk.
const ENTRY_BYTES: u64 = 512;

/// A directory being filled.
pub struct Destination<'a> {
    root: OwnedFd,
    path: PathBuf,
    room: &'a FreeSpace,
    progress: &'a Progress<'a>,
    buffer: Vec<u8>,
    /// The parent of the last entry: archives list a directory's files together.
    cached: Option<(Vec<u8>, OwnedFd)>,
    has_openat2: bool,
}

impl Sink for Destination<'_> {
    type Error = EntryError;

    fn entry(&mut self, entry: Entry<'_>, contents: &mut dyn Read) -> Result<(), EntryError> {
        let refuse = |reason: &str| Err(EntryError::Refused(reason.to_owned()));
        // Names take space, too.
        self.room.claim(ENTRY_BYTES)?;
        match entry.kind {
            EntryKind::Directory if entry.path.is_root() => Ok(()),
            EntryKind::Directory => self.directory(entry.path),
            EntryKind::File { size } => self.write_file(entry, size, contents),
            EntryKind::Symlink { target } => self.symlink(entry.path, target),
            EntryKind::HardLink { target } => {
                let copied = self.hard_link(entry.path, target)?;
                self.progress.count_bytes(copied)
            }
            EntryKind::CharacterDevice(_) | EntryKind::BlockDevice(_) => refuse("it is a device"),
            EntryKind::Fifo => refuse("it is a fifo"),
            EntryKind::Socket => refuse("it is a socket"),
        }
    }
}

impl<'a> Destination<'a> {
    /// Opens an existing directory.
    pub fn open(path: &Path, room: &'a FreeSpace, progress: &'a Progress<'a>) -> Result<Self, SysError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let root = open(path, flags, Mode::empty()).map_err(|errno| SysError::new("make directory", path, errno))?;
        let buffer = vec![0; 1 << 17];
        Ok(Self { root, path: path.to_owned(), room, progress, buffer, cached: None, has_openat2: true })
    }

    fn write_file(&mut self, entry: Entry<'_>, size: u64, contents: &mut dyn Read) -> Result<(), EntryError> {
        self.room.require(size)?;
        let mut file = self.file(entry.path, entry.stat.mode & 0o100 != 0)?;
        loop {
            let count = match contents.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(EntryError::Read(error)),
            };
            self.room.claim(count as u64)?;
            if let Err(error) = file.write_all(&self.buffer[..count]) {
                return Err(SysError::io("write", self.host_path(entry.path.as_bytes()), &error).into());
            }
        }
    }

    /// Returns the path of an entry on the disk, for messages.
    fn host_path(&self, path: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(path))
    }

    /// Returns the error of a call on the entry at `path`.
    fn system(&self, call: &'static str, path: &[u8], errno: Errno) -> EntryError {
        SysError::new(call, self.host_path(path), errno).into()
    }

    /// Makes a directory; one that is there, or a symbolic link to one inside the tree, stays as it
    /// is.
    fn directory(&mut self, path: &TreePath) -> Result<(), EntryError> {
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
                    .map_err(|errno| self.system("open", path.as_bytes(), errno))?;
                    return fchmod(&made, Mode::from_bits_truncate(0o755))
                        .map_err(|errno| self.system("chmod", path.as_bytes(), errno));
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.system("make directory", path.as_bytes(), errno)),
            }
            match stat(parent, &name).map_err(|errno| self.system("stat", path.as_bytes(), errno))? {
                None => {}
                Some(there) if kind(&there) == SFlag::S_IFDIR => return Ok(()),
                Some(there) if kind(&there) == SFlag::S_IFLNK && self.resolve(path.as_bytes()).is_ok() => return Ok(()),
                Some(_) => self.remove(path)?,
            }
        }
        Err(self.system("make directory", path.as_bytes(), Errno::EEXIST))
    }

    /// Creates an empty file, replacing any file or link of that name, and returns it for writing.
    fn file(&mut self, path: &TreePath, executable: bool) -> Result<File, EntryError> {
        let name = path.name().to_owned();
        let mode = Mode::from_bits_truncate(if executable { 0o755 } else { 0o644 });
        for _ in 0..RACES_MAX {
            let parent = self.parent(path)?;
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            match openat(parent, name.as_slice(), flags, mode) {
                Ok(fd) => {
                    // The umask may have taken bits away.
                    fchmod(&fd, mode).map_err(|errno| self.system("chmod", path.as_bytes(), errno))?;
                    return Ok(File::from(fd));
                }
                Err(Errno::EEXIST) => self.remove(path)?,
                Err(errno) => return Err(self.system("open", path.as_bytes(), errno)),
            }
        }
        Err(self.system("open", path.as_bytes(), Errno::EEXIST))
    }

    /// Makes a symbolic link, replacing any file or link of that name.
    fn symlink(&mut self, path: &TreePath, target: &[u8]) -> Result<(), EntryError> {
        if target.is_empty() || target.contains(&0) {
            return Err(EntryError::Refused("its link target is empty or contains a zero byte".to_owned()));
        }
        let name = path.name().to_owned();
        for _ in 0..RACES_MAX {
            let parent = self.parent(path)?;
            match symlinkat(target, parent, name.as_slice()) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => self.remove(path)?,
                Err(errno) => return Err(self.system("make link", path.as_bytes(), errno)),
            }
        }
        Err(self.system("make link", path.as_bytes(), Errno::EEXIST))
    }

    /// Gives an earlier file another name. Where the file system allows no further link the file is
    /// copied; returns the number of bytes that were copied.
    fn hard_link(&mut self, path: &TreePath, target: &TreePath) -> Result<u64, EntryError> {
        let missing = || {
            EntryError::Refused(format!(
                "it is a hard link to `{}`, which is not in the tree",
                printable(target.as_bytes())
            ))
        };
        let from = self.open_directory(target.parent()).map_err(|_| missing())?;
        let old = stat(&from, target.name())
            .map_err(|errno| self.system("stat", target.as_bytes(), errno))?
            .ok_or_else(missing)?;
        if !matches!(kind(&old), SFlag::S_IFREG | SFlag::S_IFLNK) {
            return Err(EntryError::Refused(format!(
                "it is a hard link to `{}`, which is not a file",
                printable(target.as_bytes())
            )));
        }
        let name = path.name().to_owned();
        for _ in 0..RACES_MAX {
            let parent = self.parent(path)?;
            match linkat(&from, target.name(), parent, name.as_slice(), AtFlags::empty()) {
                Ok(()) => return Ok(0),
                Err(Errno::EEXIST) => {
                    let there = stat(parent, &name).map_err(|errno| self.system("stat", path.as_bytes(), errno))?;
                    if there.is_some_and(|there| (there.st_dev, there.st_ino) == (old.st_dev, old.st_ino)) {
                        return Ok(0);
                    }
                    self.remove(path)?;
                }
                Err(Errno::EMLINK | Errno::EPERM | Errno::EXDEV) if kind(&old) == SFlag::S_IFREG => {
                    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    let source = openat(&from, target.name(), flags, Mode::empty())
                        .map_err(|errno| self.system("open", target.as_bytes(), errno))?;
                    let mut copy = self.file(path, old.st_mode & 0o100 != 0)?;
                    return std::io::copy(&mut File::from(source), &mut copy).map_err(|error| {
                        self.system("copy", path.as_bytes(), Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
                    });
                }
                Err(errno) => return Err(self.system("link", path.as_bytes(), errno)),
            }
        }
        Err(self.system("link", path.as_bytes(), Errno::EEXIST))
    }

    /// Returns the directory an entry belongs in, made if need be.
    fn parent(&mut self, path: &TreePath) -> Result<&OwnedFd, EntryError> {
        let wanted = path.parent();
        if wanted.is_empty() {
            return Ok(&self.root);
        }
        if self.cached.as_ref().is_none_or(|(cached, _)| cached != wanted) {
            let fd = match self.resolve(wanted) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) => self.make_directories(wanted)?,
                Err(errno) => return Err(self.unusable_parent(wanted, errno)),
            };
            self.cached = Some((wanted.to_owned(), fd));
        }
        let (_, fd) = self.cached.as_ref().expect("filled two lines above");
        Ok(fd)
    }

    fn make_directories(&mut self, wanted: &[u8]) -> Result<OwnedFd, EntryError> {
        let mut above = self.open_directory(b"").map_err(|errno| self.unusable_parent(wanted, errno))?;
        let mut end = 0;
        for component in wanted.split(|byte| *byte == b'/') {
            end += component.len() + usize::from(end > 0);
            let so_far = &wanted[..end];
            let next = match self.resolve(so_far) {
                Err(Errno::ENOENT) => {
                    match mkdirat(&above, component, Mode::from_bits_truncate(0o755)) {
                        // A dangling link is in the way.
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(errno) => return Err(self.system("make directory", so_far, errno)),
                    }
                    let made = self.resolve(so_far).map_err(|errno| self.unusable_parent(so_far, errno))?;
                    fchmod_path(&made).map_err(|errno| self.system("chmod", so_far, errno))?;
                    made
                }
                other => other.map_err(|errno| self.unusable_parent(so_far, errno))?,
            };
            above = next;
        }
        Ok(above)
    }

    /// Returns the error of an entry whose parent directory cannot be opened.
    fn unusable_parent(&self, path: &[u8], errno: Errno) -> EntryError {
        let parent = printable(path);
        EntryError::Refused(match errno {
            Errno::ENOENT => format!("its parent `{parent}` leads through a symbolic link to nowhere"),
            Errno::ENOTDIR => format!("its parent `{parent}` is not a directory"),
            Errno::ELOOP => format!("its parent `{parent}` leads through a symbolic link that is not followed"),
            errno => return self.system("open directory", path, errno),
        })
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
            // EAGAIN: another process renamed something, so the kernel cannot promise that `..`
            // stayed inside.
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

    /// Removes the file, the link or the empty directory with an entry's name.
    fn remove(&mut self, path: &TreePath) -> Result<(), EntryError> {
        let name = path.name().to_owned();
        let parent = self.parent(path)?;
        let removed = match unlinkat(parent, name.as_slice(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => unlinkat(parent, name.as_slice(), UnlinkatFlags::RemoveDir),
            other => other,
        };
        // The path of the cached directory may lead through the removed link.
        self.cached = None;
        match removed {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                Err(EntryError::Refused("a directory with files in it has this name already".to_owned()))
            }
            Err(errno) => Err(self.system("remove", path.as_bytes(), errno)),
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
