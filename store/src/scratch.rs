//! Files that one process is making: its directory below `tmp/`, and the roots that it holds.
//!
//! ```text
//! tmp/<pid>-<random>/               locked (flock on the directory) while its process lives
//!     roots                         one line an object in use: `path <hash>-<name>` or `node <hex>`
//!     <n>-<what>                    files and trees being made
//! ```
//!
//! A directory that can be locked belongs to a dead process, and the collector removes it. A
//! process appends lines while it shares the collector's lock, so a collector, which has the lock
//! exclusively, reads complete lines only.

use crate::error::StoreError;
use crate::lock::is_at;
use data_encoding::HEXLOWER;
use model::path::StorePath;
use model::tree::Node;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use os::dir::{Dir, make_dir};
use os::{Context, SysError, mode};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

const ROOTS: &str = "roots";

/// This process's directory below `tmp/`, created on first use: a command that only reads needs
/// none.
#[derive(Debug)]
pub(crate) struct Scratch {
    tmp: PathBuf,
    process: OnceLock<ProcessDirectory>,
    making: Mutex<()>,
    counter: AtomicU64,
}

#[derive(Debug)]
struct ProcessDirectory {
    name: String,
    dir: Dir,
    roots: Mutex<(File, HashSet<String>)>,
    lock: Flock<File>,
}

/// An object in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TempRoot {
    Path(StorePath),
    Node(Node),
}

impl TempRoot {
    fn line(&self) -> String {
        match self {
            TempRoot::Path(path) => format!("path {path}\n"),
            TempRoot::Node(node) => format!("node {}\n", HEXLOWER.encode(&node.to_bytes())),
        }
    }
}

impl Scratch {
    pub fn new(tmp: PathBuf) -> Self {
        Self { tmp, process: OnceLock::new(), making: Mutex::default(), counter: AtomicU64::new(0) }
    }

    fn process(&self) -> Result<&ProcessDirectory, SysError> {
        if let Some(process) = self.process.get() {
            return Ok(process);
        }
        let _making = os::lock(&self.making);
        if let Some(process) = self.process.get() {
            return Ok(process);
        }
        let made = ProcessDirectory::make(&self.tmp)?;
        Ok(self.process.get_or_init(|| made))
    }

    /// Returns the open directory.
    pub fn dir(&self) -> Result<&Dir, SysError> {
        Ok(&self.process()?.dir)
    }

    /// Returns a name in the directory that is free.
    pub fn fresh(&self, what: &str) -> Vec<u8> {
        format!("{}-{what}", self.counter.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    /// Makes `root` a root while this process lives. The caller shares the collector's lock.
    pub fn root(&self, root: &TempRoot) -> Result<(), SysError> {
        self.roots(std::iter::once(root.clone()))
    }

    /// Does the same as [`Scratch::root`], for several at once.
    pub fn roots(&self, new: impl Iterator<Item = TempRoot>) -> Result<(), SysError> {
        let process = self.process()?;
        let mut roots = os::lock(&process.roots);
        let lines: Vec<String> = new.map(|root| root.line()).filter(|line| !roots.1.contains(line)).collect();
        if !lines.is_empty() {
            let text = lines.concat();
            roots.0.write_all(text.as_bytes()).context("write", process.dir.join(ROOTS.as_bytes()))?;
            roots.1.extend(lines);
        }
        Ok(())
    }
}

impl Scratch {
    /// Returns a descriptor that programs inherit. The roots stay while any process has it open, or
    /// this process lives. `None` when there are no roots.
    pub fn hold(&self) -> Result<Option<OwnedFd>, SysError> {
        let Some(process) = self.process.get() else { return Ok(None) };
        // Both are one open file, so the lock is one.
        let copy = nix::unistd::dup(&*process.lock);
        copy.map(Some).map_err(|errno| SysError::new("dup", self.tmp.join(&process.name), errno))
    }
}

impl ProcessDirectory {
    fn make(tmp: &Path) -> Result<Self, SysError> {
        loop {
            // The name is random and the directory private, since results of builds are here for a
            // while.
            let name = format!("{}-{}", std::process::id(), HEXLOWER.encode(&random()?));
            let path = tmp.join(&name);
            match std::fs::DirBuilder::new().mode(mode::PRIVATE_DIRECTORY).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(SysError::io("make directory", path, &error).of_store()),
            }
            // A collector may remove the directory before it is locked; then the loop makes
            // another.
            let lock = match File::open(&path) {
                Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(SysError::io("open", path, &error)),
            };
            let Ok(lock) = lock else { continue };
            if !is_at(&lock, &path)? {
                continue;
            }
            let dir = Dir::open(&path)?;
            let roots = dir.create_file(ROOTS.as_bytes(), mode::FILE)?;
            let roots = Mutex::new((roots, HashSet::new()));
            return Ok(Self { name, dir, roots, lock });
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next collection removes the rest.
        if let Some(process) = self.process.get()
            && let Ok(tmp) = Dir::open(&self.tmp)
        {
            let _ = tmp.remove_all(process.name.as_bytes());
        }
    }
}

fn random() -> Result<[u8; 16], SysError> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 16];
    File::open(SOURCE).and_then(|mut file| file.read_exact(&mut bytes)).context("read", SOURCE)?;
    Ok(bytes)
}

/// Reads the roots of all living processes, and lists the directories of dead ones. The caller has
/// the collector's lock exclusively.
pub(crate) fn survey(tmp: &Dir) -> Result<(Vec<TempRoot>, Vec<Vec<u8>>), StoreError> {
    let (mut roots, mut dead) = (Vec::new(), Vec::new());
    for name in tmp.names()? {
        let path = tmp.join(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(SysError::io("open", path, &error).into()),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_free) => dead.push(name),
            Err((_, Errno::EWOULDBLOCK)) => {
                let text = match std::fs::read_to_string(path.join(ROOTS)) {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(SysError::io("read", path.join(ROOTS), &error).into()),
                };
                for line in text.lines() {
                    roots.push(
                        parse(line).ok_or_else(|| StoreError::Record { what: format!("a temporary root `{line}`") })?,
                    );
                }
            }
            Err((_, errno)) => return Err(SysError::new("lock", path, errno).into()),
        }
    }
    Ok((roots, dead))
}

fn parse(line: &str) -> Option<TempRoot> {
    match line.split_once(' ')? {
        ("path", text) => StorePath::parse(text).ok().map(TempRoot::Path),
        ("node", hex) => Node::from_bytes(&HEXLOWER.decode(hex.as_bytes()).ok()?).map(TempRoot::Node),
        _ => None,
    }
}

/// A scratch directory on the store's file system; removed with its content when dropped.
#[derive(Debug)]
pub struct ScratchPath {
    path: PathBuf,
}

impl ScratchPath {
    pub(crate) fn new(scratch: &Scratch, what: &str) -> Result<Self, SysError> {
        let path = scratch.dir()?.join(&scratch.fresh(what));
        make_dir(&path, mode::DIRECTORY)?;
        Ok(Self { path })
    }

    /// Returns the directory, which only this process's user can reach.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchPath {
    fn drop(&mut self) {
        // Files that cannot be removed go with the process's directory, or with the next
        // collection.
        if let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name())
            && let Ok(parent) = Dir::open(parent)
        {
            let _ = parent.remove_all(name.as_bytes());
        }
    }
}
