//! Directories by handle: nothing here follows a symbolic link below the given directory.
//!
//! Paths are not handles: a process that can write a directory can exchange it while we work in it
//! (a TOCTOU race). So all work on trees that others made goes through a [`Dir`], one name at a
//! time; its path serves messages only.

use crate::error::{Context, ErrorPath, SysError};
use crate::mode;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::UnlinkatFlags;
use std::ffi::OsStr;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Modification time of everything in a store, in seconds: one, as in Nix, since 0 confuses some
/// tools.
pub const MTIME: TimeSpec = TimeSpec::new(1, 0);

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// An entry of a directory, whose path is computed when a message needs it.
struct At<'a> {
    dir: &'a Dir,
    name: &'a [u8],
}

impl ErrorPath for At<'_> {
    fn error_path(self) -> PathBuf {
        self.dir.join(self.name)
    }
}

/// An entry of a directory, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: Vec<u8>,
    /// The inode; of a mount point, that of the directory below the mount.
    pub inode: u64,
    /// `None` where the file system does not report it.
    pub kind: Option<FileKind>,
}

/// The buffer for one call that lists a directory: some hundreds of entries.
const LIST_BYTES: usize = 32 << 10;

fn list(fd: &OwnedFd, path: &Path) -> Result<Vec<DirEntry>, SysError> {
    let mut entries = Vec::new();
    each_entry(fd, path, |name, inode, kind| entries.push(DirEntry { name: name.to_vec(), inode, kind }))?;
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn each_entry(fd: &OwnedFd, path: &Path, mut each: impl FnMut(&[u8], u64, Option<FileKind>)) -> Result<(), SysError> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.reserve_exact(LIST_BYTES);
        let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
        let mut reader = rustix::fs::RawDir::new(fd, room);
        while let Some(entry) = reader.next() {
            let entry =
                entry.map_err(|error| SysError::new("read directory", path, Errno::from_raw(error.raw_os_error())))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::RegularFile => Some(FileKind::File),
                rustix::fs::FileType::Directory => Some(FileKind::Directory),
                rustix::fs::FileType::Symlink => Some(FileKind::Symlink),
                _ => None,
            };
            each(name, entry.ino(), kind);
        }
        Ok(())
    })
}

/// The type of an entry, as far as a store distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other(&'static str),
}

pub fn kind(stat: &FileStat) -> FileKind {
    let format = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    match format {
        SFlag::S_IFREG => FileKind::File,
        SFlag::S_IFDIR => FileKind::Directory,
        SFlag::S_IFLNK => FileKind::Symlink,
        SFlag::S_IFIFO => FileKind::Other("named pipe"),
        SFlag::S_IFSOCK => FileKind::Other("socket"),
        SFlag::S_IFCHR => FileKind::Other("character device"),
        SFlag::S_IFBLK => FileKind::Other("block device"),
        _ => FileKind::Other("special file"),
    }
}

impl Dir {
    /// Opens a directory by path; links in the parent path are followed, a link at the end is not.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SysError> {
        let path = path.into();
        let fd = nix::fcntl::open(&path, DIRECTORY, Mode::empty()).context("open directory", &path)?;
        Ok(Self { fd, path })
    }

    /// Does the same as [`Dir::open`], and follows a link at the end too: for a path that the user
    /// has typed.
    pub fn open_typed(path: impl Into<PathBuf>) -> Result<Self, SysError> {
        let path = path.into();
        let flags = DIRECTORY.difference(OFlag::O_NOFOLLOW);
        let fd = nix::fcntl::open(&path, flags, Mode::empty()).context("open directory", &path)?;
        Ok(Self { fd, path })
    }

    /// Splits a path into its directory, opened, and its last component.
    pub fn open_parent(path: &Path) -> Result<(Self, Vec<u8>), SysError> {
        let Some(name) = path.file_name() else {
            return Err(SysError::new("open the directory of", path, Errno::EINVAL));
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((Self::open(parent)?, name.as_bytes().to_vec()))
    }

    /// Does the same as [`Dir::open_typed`], of a directory that may not be readable; the handle
    /// serves for names in it, not to list it.
    pub(crate) fn open_to_search(path: &Path) -> Result<Self, SysError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).context("open directory", path)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens the directory `name` in this one, and follows a link of this name.
    pub fn open_dir_or_link(&self, name: &[u8]) -> Result<Self, SysError> {
        let flags = DIRECTORY.difference(OFlag::O_NOFOLLOW);
        let fd = nix::fcntl::openat(&self.fd, name, flags, Mode::empty());
        Ok(Self { fd: fd.context("open directory", self.at(name))?, path: self.join(name) })
    }

    /// Opens the directory `name` in this one, and grants its owner access first where that is
    /// missing.
    pub fn open_dir(&self, name: &[u8]) -> Result<Self, SysError> {
        let fd = match nix::fcntl::openat(&self.fd, name, DIRECTORY, Mode::empty()) {
            Err(Errno::EACCES) => {
                self.chmod_dir(name, mode::DIRECTORY)?;
                nix::fcntl::openat(&self.fd, name, DIRECTORY, Mode::empty())
            }
            opened => opened,
        };
        Ok(Self { fd: fd.context("open directory", self.at(name))?, path: self.join(name) })
    }

    /// Opens the directory `name` in this one, and leaves its permissions.
    pub fn open_dir_as_is(&self, name: &[u8]) -> Result<Self, SysError> {
        let fd = nix::fcntl::openat(&self.fd, name, DIRECTORY, Mode::empty());
        Ok(Self { fd: fd.context("open directory", self.at(name))?, path: self.join(name) })
    }

    /// Makes `name` movable to another directory: its owner needs to be able to write it for that.
    pub fn make_movable(&self, name: &[u8]) -> Result<(), SysError> {
        if kind(&self.stat(name)?) == FileKind::Directory { self.chmod_dir(name, mode::DIRECTORY) } else { Ok(()) }
    }

    /// Makes the directory `name`, writable by its owner for now, and opens it.
    pub fn make_dir(&self, name: &[u8]) -> Result<Self, SysError> {
        nix::sys::stat::mkdirat(&self.fd, name, Mode::from_bits_truncate(mode::DIRECTORY))
            .context("make directory", self.at(name))?;
        self.open_dir(name)
    }

    /// Makes the directory `name` with exactly these permissions, independent of the umask, and
    /// opens it.
    pub fn make_dir_with(&self, name: &[u8], mode: u32) -> Result<Self, SysError> {
        nix::sys::stat::mkdirat(&self.fd, name, Mode::from_bits_truncate(0o700))
            .context("make directory", self.at(name))?;
        let dir = self.open_dir_as_is(name)?;
        nix::sys::stat::fchmod(&dir.fd, Mode::from_bits_truncate(mode)).context("chmod", &dir.path)?;
        Ok(dir)
    }

    /// Removes the directory `name`, which must be empty.
    pub fn remove_empty_dir(&self, name: &[u8]) -> Result<(), SysError> {
        nix::unistd::unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir).context("remove directory", self.at(name))
    }

    /// Returns true when listings here report the inodes of the files, and no two files share one:
    /// not so in a union of file systems.
    pub fn has_plain_inodes(&self) -> bool {
        const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
        rustix::fs::fstatfs(&self.fd).is_ok_and(|system| system.f_type != OVERLAYFS_SUPER_MAGIC)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, for a message that is hardly ever needed.
    fn at<'a>(&'a self, name: &'a [u8]) -> At<'a> {
        At { dir: self, name }
    }

    /// Returns the path of an entry, for messages.
    pub fn join(&self, name: &[u8]) -> PathBuf {
        // A second handle of the same directory has the same path.
        if name == b"." {
            return self.path.clone();
        }
        self.path.join(OsStr::from_bytes(name))
    }

    /// Returns the names in the directory, sorted by their bytes.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, SysError> {
        // Reading moves the position of a handle, which another thread may be reading: so this uses
        // a second one.
        let fd = nix::fcntl::openat(&self.fd, ".", DIRECTORY, Mode::empty()).context("open directory", &self.path)?;
        Ok(list(&fd, &self.path)?.into_iter().map(|entry| entry.name).collect())
    }

    /// Does the same as [`Dir::names`], without those for which `leave_out` returns true, which
    /// take no memory.
    pub fn names_but(&self, leave_out: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, SysError> {
        let fd = nix::fcntl::openat(&self.fd, ".", DIRECTORY, Mode::empty()).context("open directory", &self.path)?;
        let mut names = Vec::new();
        each_entry(&fd, &self.path, |name, _, _| {
            if !leave_out(name) {
                names.push(name.to_vec());
            }
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the entries of the directory, sorted by the bytes of their names. Call it once: it
    /// reads from the position of the handle.
    pub fn list(&mut self) -> Result<Vec<DirEntry>, SysError> {
        list(&self.fd, &self.path)
    }

    /// Returns the attributes of this directory itself.
    pub fn stat_self(&self) -> Result<FileStat, SysError> {
        nix::sys::stat::fstat(&self.fd).context("stat", &self.path)
    }

    pub fn stat(&self, name: &[u8]) -> Result<FileStat, SysError> {
        nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).context("stat", self.at(name))
    }

    /// Returns the attributes of `name`, or `None` when there is no such entry.
    pub fn find(&self, name: &[u8]) -> Result<Option<FileStat>, SysError> {
        match nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(SysError::new("stat", self.join(name), errno)),
        }
    }

    /// Opens the regular file `name` for reading, without blocking on other kinds of files.
    pub fn open_file(&self, name: &[u8]) -> Result<File, SysError> {
        // Without O_NONBLOCK, opening a named pipe would block.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = nix::fcntl::openat(&self.fd, name, flags, Mode::empty());
        fd.map(File::from).context("open", self.at(name))
    }

    /// Makes the file `name`, which must not exist.
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<File, SysError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::openat(&self.fd, name, flags, Mode::from_bits_truncate(mode));
        fd.map(File::from).context("create", self.at(name))
    }

    /// Sets the permissions of a directory, and never those of a replacement of another kind.
    pub fn chmod_dir(&self, name: &[u8], mode: u32) -> Result<(), SysError> {
        self.chmod(name, mode, |found| kind(found) == FileKind::Directory)
    }

    /// Sets the permissions of the file that was `seen`, and never those of a replacement.
    pub fn chmod_file(&self, name: &[u8], seen: &FileStat, mode: u32) -> Result<(), SysError> {
        self.chmod(name, mode, |found| (found.st_dev, found.st_ino) == (seen.st_dev, seen.st_ino))
    }

    /// Returns a handle for changing an entry, after checking that the entry is the right one.
    fn open_seen(
        &self,
        name: &[u8],
        call: &'static str,
        is_meant: impl FnOnce(&FileStat) -> bool,
    ) -> Result<OwnedFd, SysError> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::openat(&self.fd, name, flags, Mode::empty()).context("open", self.at(name))?;
        let stat = nix::sys::stat::fstat(&fd).context("stat", self.at(name))?;
        if is_meant(&stat) { Ok(fd) } else { Err(SysError::new(call, self.join(name), Errno::ESTALE)) }
    }

    pub(crate) fn chmod(
        &self,
        name: &[u8],
        mode: u32,
        is_meant: impl FnOnce(&FileStat) -> bool,
    ) -> Result<(), SysError> {
        let fd = self.open_seen(name, "chmod", is_meant)?;
        // A handle opened with O_PATH can change permissions only through its name in /proc.
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            link.as_str(),
            Mode::from_bits_truncate(mode),
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .context("chmod", self.at(name))
    }

    /// Sets this directory's permissions.
    pub(crate) fn chmod_self(&self, mode: u32) -> Result<(), SysError> {
        nix::sys::stat::fchmod(&self.fd, Mode::from_bits_truncate(mode)).context("chmod", &self.path)
    }

    /// Sets this directory's permissions and its modification time to that of the store.
    pub fn finish(&self, mode: u32) -> Result<(), SysError> {
        nix::sys::stat::fchmod(&self.fd, Mode::from_bits_truncate(mode)).context("chmod", &self.path)?;
        nix::sys::stat::futimens(&self.fd, &MTIME, &MTIME).context("set the time of", &self.path)
    }

    /// Sets the modification time of an entry, a link included, to that of the store.
    pub fn touch(&self, name: &[u8]) -> Result<(), SysError> {
        nix::sys::stat::utimensat(&self.fd, name, &MTIME, &MTIME, UtimensatFlags::NoFollowSymlink)
            .context("set the time of", self.at(name))
    }

    /// Does the same as [`Dir::touch`], of the symbolic link that was `seen`, and never of a
    /// replacement.
    pub fn touch_link(&self, name: &[u8], seen: &FileStat) -> Result<(), SysError> {
        let link = self
            .open_seen(name, "set the time of", |found| (found.st_dev, found.st_ino) == (seen.st_dev, seen.st_ino))?;
        let flags = rustix::fs::AtFlags::EMPTY_PATH;
        let time = rustix::fs::Timespec { tv_sec: MTIME.tv_sec(), tv_nsec: MTIME.tv_nsec() };
        rustix::fs::utimensat(&link, "", &rustix::fs::Timestamps { last_access: time, last_modification: time }, flags)
            .map_err(|error| SysError::new("set the time of", self.join(name), Errno::from_raw(error.raw_os_error())))
    }

    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, SysError> {
        nix::fcntl::readlinkat(&self.fd, name).map(OsStringExt::into_vec).context("read link", self.at(name))
    }

    pub fn make_link(&self, name: &[u8], target: &[u8]) -> Result<(), SysError> {
        nix::unistd::symlinkat(target, &self.fd, name).context("make link", self.at(name))
    }

    /// Gives the file `name` of this directory a second name.
    pub fn hard_link(&self, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<(), SysError> {
        nix::unistd::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty()).context("link", to.at(to_name))
    }

    /// Renames, and replaces an entry of the new name.
    pub fn rename(&self, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<(), SysError> {
        nix::fcntl::renameat(&self.fd, name, &to.fd, to_name).context("rename to", to.at(to_name))
    }

    /// Renames; fails with `EEXIST` when the new name exists.
    pub fn rename_new(&self, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<(), SysError> {
        let flags = nix::fcntl::RenameFlags::RENAME_NOREPLACE;
        nix::fcntl::renameat2(&self.fd, name, &to.fd, to_name, flags).context("rename to", to.at(to_name))
    }

    /// Exchanges two entries in one step; `EINVAL`, `ENOSYS` or `EOPNOTSUPP` where the file system
    /// cannot.
    pub fn exchange(&self, name: &[u8], with: &Dir, with_name: &[u8]) -> Result<(), SysError> {
        let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
        nix::fcntl::renameat2(&self.fd, name, &with.fd, with_name, flags).context("exchange", with.at(with_name))
    }

    pub fn remove_file(&self, name: &[u8]) -> Result<(), SysError> {
        nix::unistd::unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir).context("remove", self.at(name))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Returns the permissions of a file in a store.
pub fn file_mode(executable: bool) -> u32 {
    if executable { mode::OBJECT_EXECUTABLE } else { mode::OBJECT_FILE }
}

/// Gives an open file the store's permissions and time.
pub fn finish_file(file: &File, executable: bool, path: &Path) -> Result<(), SysError> {
    nix::sys::stat::fchmod(file, Mode::from_bits_truncate(file_mode(executable))).context("chmod", path)?;
    touch_finished(file, path)
}

/// Does the same as [`finish_file`], for a file that was created with its final permissions: they
/// are set again only where this process's umask removes some of them.
pub fn finish_made_file(file: &File, executable: bool, path: &Path) -> Result<(), SysError> {
    static UMASK_IS_HARMLESS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let harmless = *UMASK_IS_HARMLESS.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).is_some_and(|umask| umask & 0o555 == 0)
    });
    if !harmless {
        return finish_file(file, executable, path);
    }
    touch_finished(file, path)
}

/// Sets a finished file's time again, so that its time of change is now.
pub fn touch_finished(file: &File, path: &Path) -> Result<(), SysError> {
    nix::sys::stat::futimens(file, &MTIME, &MTIME).context("set the time of", path)
}

/// Returns the time at which the machine was started, in seconds since 1970 by the clock as it is
/// now.
pub fn booted_at() -> i64 {
    let now = |clock| rustix::time::clock_gettime(clock).tv_sec;
    now(rustix::time::ClockId::Realtime) - now(rustix::time::ClockId::Boottime)
}

/// Returns true when the store has finished a file: its time is set last.
pub fn is_finished(stat: &FileStat) -> bool {
    (stat.st_mtime, stat.st_mtime_nsec) == (MTIME.tv_sec(), MTIME.tv_nsec())
}

/// Makes a directory with exactly these permissions, independent of the umask; leaves one that
/// exists.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), SysError> {
    match std::fs::create_dir(path) {
        Ok(()) => {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, permissions).context("chmod", path)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(SysError::io("make directory", path, &error)),
    }
}
