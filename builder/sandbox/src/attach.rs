//! Programs of the user with trees of the store at their paths: everything of the host as it is,
//! and the store's directory at its logical path, or prefixes at theirs.
//!
//! No wall is built here: the program is the user's own and may do what the user may. It runs in a
//! mount namespace of its own, so nothing appears on the host. The calling process becomes it, so
//! its process id, streams, terminal and exit status are those of the caller's command, and signals
//! reach it directly. In between it is this executable again, under another `argv[0]`: an ordinary
//! user makes mounts in a user namespace, which a process with threads may not enter. The user
//! keeps their own number there.
//!
//! A path whose parent lacks it needs a mount point, which must not be made on the host. So that
//! parent, `/` included, is covered by a file system in memory in which each of its entries is
//! mounted again. The cover is read-only, as what a program made in it would be lost; only one of a
//! directory that everyone may write to, such as `/tmp`, is writable.

use super::error::Named;
use super::mounts::{attach, fresh, host_tree, open_layer};
use super::namespaces::user_namespace_help;
use super::sys::{self, attr};
use super::{ATTACHING_NAME, SandboxError, unite};
use crate::request::Words;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{chdir, fchdir, getegid, geteuid, pivot_root};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

const DOING: &str = "attach the store's trees";

/// A path at which trees are seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attachment {
    /// An absolute path.
    pub at: PathBuf,
    /// Directories of the host whose union is seen there, read-only, topmost first.
    pub layers: Vec<PathBuf>,
}

/// A program to run where trees are attached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    pub attachments: Vec<Attachment>,
    /// The program and its arguments. One without a slash is searched for in `PATH`.
    pub words: Words,
}

impl Program {
    /// Replaces the calling process by the program, in its working directory and with the
    /// environment `variables`. `kept` stay open in it as long as it and everything it starts
    /// lives.
    ///
    /// Returns only when that failed. A later failure is reported to standard error, with the status
    /// 126, or 127 when the program does not exist.
    pub fn become_it(&self, variables: &[(OsString, OsString)], kept: &[OwnedFd]) -> SandboxError {
        match self.replace(variables, kept) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn replace(
        &self,
        variables: &[(OsString, OsString)],
        kept: &[OwnedFd],
    ) -> Result<std::convert::Infallible, SandboxError> {
        const STARTING: &str = "start a program";
        let wrong = |reason: String| SandboxError::Request { reason };
        let body = serde_json::to_vec(self).map_err(|error| wrong(error.to_string()))?;
        let stay_open = |file: &OwnedFd| fcntl(file, FcntlArg::F_SETFD(FdFlag::empty())).map(drop);
        let file = memfd_create(c"program", MFdFlags::empty()).named(STARTING, || "memfd_create".into())?;
        let mut file = File::from(file);
        file.write_all(&body).and_then(|()| file.rewind()).named(STARTING, || "write(memfd)".into())?;
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| wrong("a text contains a NUL".into()));
        let number = file.as_raw_fd().to_string();
        let arguments = [text(ATTACHING_NAME.as_bytes())?, text(number.as_bytes())?];
        let mut environment = Vec::with_capacity(variables.len());
        for (name, value) in variables {
            environment.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        for file in kept {
            stay_open(file).named(STARTING, || "fcntl(F_SETFD)".into())?;
        }
        Err(sys::execute(c"/proc/self/exe", &arguments, &environment))
            .named(STARTING, || "execve(/proc/self/exe)".into())
    }
}

/// Becomes the program whose description is in the file that the first argument names.
pub fn enter() -> ! {
    sys::unblock_signals();
    let status = match read_program().and_then(|program| program.attach_and_execute()) {
        Ok(never) => match never {},
        Err(error) => {
            let help = error.help().map(|help| format!("\n  help: {help}")).unwrap_or_default();
            // Standard error is the last resort.
            let _ = writeln!(std::io::stderr(), "error: {error}{help}");
            match error {
                SandboxError::Program { errno, .. } if errno == Errno::ENOENT as i32 => 127,
                _ => 126,
            }
        }
    };
    sys::exit_now(status)
}

fn read_program() -> Result<Program, SandboxError> {
    let wrong = |reason: &str| SandboxError::Request { reason: reason.to_owned() };
    let number = std::env::args_os().nth(1).ok_or_else(|| wrong("no file is named"))?;
    let number = number.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong("no file is named"))?;
    // No other descriptor of this new process is in use yet, and this one is its program's.
    let mut file = sys::adopt(number).named("read the description of a program", || format!("fcntl({number})"))?;
    let mut body = Vec::new();
    file.read_to_end(&mut body).named("read the description of a program", || format!("read({number})"))?;
    serde_json::from_slice(&body).map_err(|error| SandboxError::Request { reason: error.to_string() })
}

impl Program {
    fn attach_and_execute(&self) -> Result<std::convert::Infallible, SandboxError> {
        if !self.attachments.is_empty() {
            let directory = std::env::current_dir().ok();
            enter_namespace()?;
            Attaching::default().all(&self.attachments)?;
            // A directory that is gone was gone before.
            if let Some(directory) = directory {
                let _ = chdir(&directory);
            }
        }
        let wrong = || SandboxError::Request { reason: "a text contains a NUL, or no program is named".into() };
        let text = |bytes: &OsStr| CString::new(bytes.as_bytes()).map_err(|_| wrong());
        let Words(words) = &self.words;
        let name = words.first().ok_or_else(wrong)?;
        let arguments = words.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
        let variable = |(name, value): (OsString, OsString)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(|_| wrong())
        };
        let environment = std::env::vars_os().map(variable).collect::<Result<Vec<_>, _>>()?;
        let mut errno = Errno::ENOENT;
        for path in places(name) {
            match sys::execute(&text(path.as_os_str())?, &arguments, &environment) {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Also the answer where a directory cannot be looked into.
                refused @ Errno::EACCES if path.exists() => errno = refused,
                Errno::EACCES => {}
                refused => {
                    errno = refused;
                    break;
                }
            }
        }
        let exists = places(name).iter().any(|path| path.is_file());
        let help = match errno {
            Errno::ENOENT if exists => Some(
                "the file is there: the interpreter named in its first line or in its ELF header is not; a package of a prefix runs in the whole prefix only"
                    .to_owned(),
            ),
            Errno::ENOEXEC => Some("it is neither a program for this machine nor a script that starts with `#!`".to_owned()),
            _ => None,
        };
        // A program that exists and cannot be started is another failure than one that does not exist.
        let errno = if errno == Errno::ENOENT && exists { Errno::ENOEXEC } else { errno };
        Err(SandboxError::Program { program: name.to_string_lossy().into_owned(), errno: errno as i32, help })
    }
}

/// Returns the paths that a program's name may mean.
fn places(name: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|directory| directory.join(name)).collect()
}

/// Enters a mount namespace whose changes the host does not see.
fn enter_namespace() -> Result<(), SandboxError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // Root needs no user namespace, and keeps all its rights.
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).named_with_help(
            DOING,
            || "unshare(NEWUSER|NEWNS)".into(),
            |errno| Some(user_namespace_help(errno)),
        )?;
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{uid} {uid} 1")),
            ("gid_map", format!("{gid} {gid} 1")),
        ] {
            let path = format!("/proc/self/{file}");
            fs::write(&path, &text).named(DOING, || format!("write({path}, `{text}`)"))?;
        }
    }
    let everywhere = None::<&str>;
    // Later mounts of the host appear here too.
    mount(everywhere, "/", everywhere, MsFlags::MS_REC | MsFlags::MS_SLAVE, everywhere)
        .named(DOING, || "mount(/, MS_REC|MS_SLAVE)".into())
}

/// The covers made so far.
#[derive(Default)]
struct Attaching {
    /// Directories of covers, in which mount points can be made.
    made: BTreeSet<PathBuf>,
    covers: Vec<OwnedFd>,
}

impl Attaching {
    fn all(&mut self, attachments: &[Attachment]) -> Result<(), SandboxError> {
        // Opened before anything is covered.
        let trees: Vec<OwnedFd> = attachments.iter().map(open_tree).collect::<Result<_, _>>()?;
        for (attachment, tree) in attachments.iter().zip(&trees) {
            self.make_mount_point(&attachment.at)?;
            attach(tree.as_fd(), &attachment.at)?;
        }
        for cover in &self.covers {
            sys::set_mount_attributes(cover.as_fd(), attr::RDONLY)
                .named(DOING, || "mount_setattr(cover, MOUNT_ATTR_RDONLY)".into())?;
        }
        Ok(())
    }

    fn make_mount_point(&mut self, at: &Path) -> Result<(), SandboxError> {
        let wrong = || SandboxError::Request { reason: format!("`{}` is not a plain absolute path", at.display()) };
        let mut path = PathBuf::from("/");
        for component in at.components() {
            let name = match component {
                Component::RootDir => continue,
                Component::Normal(name) => name,
                _ => return Err(wrong()),
            };
            let parent = path.clone();
            path.push(name);
            if path.is_dir() {
                continue;
            }
            if !self.made.contains(&parent) {
                self.cover(&parent)?;
            }
            fs::create_dir(&path).named(DOING, || format!("mkdir({})", path.display()))?;
            self.made.insert(path.clone());
        }
        Ok(())
    }

    /// Covers a directory of the host by one in memory with the same entries.
    fn cover(&mut self, directory: &Path) -> Result<(), SandboxError> {
        let found = fs::metadata(directory).named(DOING, || format!("stat({})", directory.display()))?;
        let mode = format!("{:o}", found.mode() & 0o7777);
        let listing = || format!("readdir({})", directory.display());
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory).named(DOING, listing)? {
            let entry = entry.named(DOING, listing)?;
            let kind = entry.file_type().named(DOING, listing)?;
            let path = entry.path();
            let shown = if kind.is_symlink() {
                Entry::Link(fs::read_link(&path).named(DOING, || format!("readlink({})", path.display()))?)
            } else {
                // An entry may vanish, or be one that this user cannot see through; it is left out.
                let Ok(tree) = sys::clone_tree(path.as_os_str(), true) else { continue };
                if kind.is_dir() { Entry::Directory(tree) } else { Entry::File(tree) }
            };
            entries.push((entry.file_name(), shown));
        }
        let cover = fresh("tmpfs", &[("mode", &mode)], 0)?;
        // The new root is entered only when it is complete; until then it is at any directory of
        // the old one.
        let is_root = directory == Path::new("/");
        let place = if is_root { staging(&entries)? } else { directory.to_owned() };
        attach(cover.as_fd(), &place)?;
        for (name, entry) in entries {
            let at = place.join(&name);
            match entry {
                Entry::Link(target) => symlink(&target, &at).named(DOING, || format!("symlink({})", at.display()))?,
                Entry::Directory(tree) => {
                    fs::create_dir(&at).named(DOING, || format!("mkdir({})", at.display()))?;
                    attach(tree.as_fd(), &at)?;
                }
                Entry::File(tree) => {
                    fs::write(&at, "").named(DOING, || format!("open({}, O_CREAT)", at.display()))?;
                    attach(tree.as_fd(), &at)?;
                }
            }
        }
        if is_root {
            fchdir(cover.as_fd()).named(DOING, || "fchdir(root)".into())?;
            pivot_root(".", ".").named_with_help(
                DOING,
                || "pivot_root(., .)".into(),
                |errno| {
                    (errno == Errno::EINVAL).then(|| {
                        "the kernel refuses this where the root is an initramfs: make the directory `/eval/store` as root, and it is not needed".into()
                    })
                },
            )?;
            umount2(".", MntFlags::MNT_DETACH).named(DOING, || "umount2(old root, MNT_DETACH)".into())?;
            chdir("/").named(DOING, || "chdir(/)".into())?;
        }
        let everyone = found.permissions().mode() & 0o002 != 0;
        self.made.insert(directory.to_owned());
        if !everyone {
            self.covers.push(cover);
        }
        Ok(())
    }
}

/// An entry of a covered directory.
enum Entry {
    Link(PathBuf),
    Directory(OwnedFd),
    File(OwnedFd),
}

/// Returns a directory of the root to which a file system can be attached for a moment.
fn staging(entries: &[(OsString, Entry)]) -> Result<PathBuf, SandboxError> {
    let directories = || entries.iter().filter(|(_, entry)| matches!(entry, Entry::Directory(_))).map(|(name, _)| name);
    let chosen = directories().find(|name| *name == "sys").or_else(|| directories().find(|name| *name != "proc"));
    chosen
        .map(|name| Path::new("/").join(name))
        .ok_or_else(|| SandboxError::Request { reason: "the root of this machine has no directory".into() })
}

/// Returns the union that an attachment shows, attached nowhere.
fn open_tree(attachment: &Attachment) -> Result<OwnedFd, SandboxError> {
    const READ_ONLY: u64 = attr::NOSUID | attr::NODEV | attr::RDONLY;
    if let [layer] = attachment.layers.as_slice() {
        return host_tree(layer, READ_ONLY);
    }
    let layers: Vec<OwnedFd> = attachment.layers.iter().map(|layer| open_layer(layer)).collect::<Result<_, _>>()?;
    let named: Vec<unite::Layer> = layers.iter().zip(attachment.layers.iter().map(PathBuf::as_path)).collect();
    unite::detached(&named)
}
