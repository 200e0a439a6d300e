//! Verifies that every blob and object in the store has the content of its name.
//!
//! Every blob is hashed. Every object is compared with its tree: a file that has its blob's inode,
//! by the listing of its directory, needs no further check; other files are hashed too.
//!
//! An unfinished blob (see [`crate::cas`]), or one from before the last boot, is not reported while
//! nothing refers to it: its writer may still be running, or crashed, or lost power, and readers do
//! not trust it. Other processes may add to the store during verification: a blob that was
//! unfinished when it was read is read again if an object refers to it.

use crate::blob::{blob_name, parse_blob_name};
use crate::checkout::BlobCheck;
use crate::db::ValidPath;
use crate::error::StoreError;
use crate::import::PARALLEL_DEPTH_MAX;
use crate::local::LocalStore;
use crate::read::hash_file;
use model::path::StorePath;
use model::tree::{Digest, Directory, Node};
use os::dir::{Dir, DirEntry, FileKind, file_mode, is_finished, kind};
use os::{Context, mode};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// A blob or an object that is damaged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// A blob whose bytes have another digest than its name.
    Blob { digest: Digest, executable: bool },
    /// An object that is not the tree it was registered with: at `file` below it, for `reason`.
    Object { path: StorePath, file: String, reason: String },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob { digest, executable } => {
                write!(
                    f,
                    "blob {digest}{} is damaged: its bytes have another digest",
                    if *executable { ".x" } else { "" }
                )
            }
            Self::Object { path, file, reason } => write!(f, "store path `{path}` is damaged at `/{file}`: {reason}"),
        }
    }
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub blobs: u64,
    pub objects: u64,
    /// Bytes of blobs, and of files with an inode of their own.
    pub hashed_bytes: u64,
    /// Sorted.
    pub damage: Vec<Damage>,
    /// Damaged objects that were repaired.
    pub repaired: BTreeSet<StorePath>,
    /// Objects that could not be repaired, with all that refer to them: invalidated, so that they
    /// are built again.
    pub invalidated: BTreeSet<StorePath>,
}

impl VerifyReport {
    /// Returns true when nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

impl LocalStore {
    /// Hashes everything in the store; with `repair`, restores objects from intact copies and
    /// invalidates the rest.
    ///
    /// # Errors
    /// When a file cannot be read. Damage is not an error.
    pub fn verify(&self, repair: bool) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        {
            let _shared = self.lock_shared()?;
            let blobs = self.verify_blobs(&mut report)?;
            self.verify_objects(&blobs, &mut report)?;
        }
        report.damage.sort();
        if repair && !report.is_clean() {
            let _exclusive = self.collector.lock_exclusive()?;
            self.repair(&mut report)?;
        }
        Ok(report)
    }

    pub(crate) fn verify_blobs(&self, report: &mut VerifyReport) -> Result<Blobs, StoreError> {
        let shards: Vec<Shard> = self
            .cas
            .names()?
            .into_par_iter()
            .map(|shard| self.verify_shard(&shard))
            .collect::<Result<_, StoreError>>()?;
        let good = Vec::with_capacity(shards.iter().map(|shard| shard.good.len()).sum());
        let mut blobs = Blobs { good, damaged: BTreeSet::new(), unfinished: BTreeSet::new() };
        for shard in shards {
            report.blobs += shard.count;
            report.hashed_bytes += shard.bytes;
            blobs.good.extend(shard.good);
            blobs.unfinished.extend(shard.unfinished);
            blobs.damaged.extend(shard.damaged);
        }
        for &(digest, executable) in &blobs.damaged {
            report.damage.push(Damage::Blob { digest, executable });
        }
        blobs.damaged.extend(blobs.unfinished.iter().copied());
        blobs.good.par_sort_unstable();
        if !self.cas.has_plain_inodes() {
            blobs.good.clear();
        }
        Ok(blobs)
    }

    fn verify_shard(&self, name: &[u8]) -> Result<Shard, StoreError> {
        let mut dir = self.cas.open_dir_as_is(name)?;
        let mut shard = Shard::default();
        for DirEntry { name, .. } in dir.list()? {
            let Some((digest, executable)) = parse_blob_name(&name) else { continue };
            let mut file = match dir.open_file(&name) {
                Ok(file) => file,
                Err(error) if error.errno == nix::errno::Errno::ENOENT => continue,
                Err(error) => return Err(error.into()),
            };
            let path = dir.join(&name);
            // The state before the read: a writer may finish the file during it.
            let stat = nix::sys::stat::fstat(&file).context("stat", &path)?;
            let (found, size) = hash_file(&mut file, &path)?;
            shard.count += 1;
            shard.bytes += size;
            if found != digest {
                let counts = is_finished(&stat) && self.saw_no_power_cut(&stat);
                let damaged = if counts { &mut shard.damaged } else { &mut shard.unfinished };
                damaged.push((digest, executable));
            } else if stat.st_mode & mode::PERMISSIONS == file_mode(executable) {
                shard.good.push((stat.st_ino, digest, executable));
            }
        }
        shard.good.shrink_to_fit();
        Ok(shard)
    }

    pub(crate) fn verify_objects(&self, blobs: &Blobs, report: &mut VerifyReport) -> Result<(), StoreError> {
        let paths = self.all_paths()?;
        report.objects = paths.len() as u64;
        let checked: Vec<Findings> = paths
            .into_par_iter()
            .map(|path| {
                // Collected since the list was made.
                let Some(node) = self.database.read(|session| session.node(&path))? else {
                    return Ok(Findings::default());
                };
                let check = Check { store: self, blobs, path: &path };
                let name = path.to_string();
                let at = Listed { parent: &self.objects, name: name.as_bytes(), inode: None };
                check.node(&at, "", &node, 0)
            })
            .filter(|checked| !matches!(checked, Ok(findings) if findings.is_empty()))
            .collect::<Result<_, StoreError>>()?;
        let mut missed = BTreeSet::new();
        for check in checked {
            report.hashed_bytes += check.bytes;
            report.damage.extend(check.damage);
            missed.extend(check.missed);
        }
        // An unfinished blob that an object refers to is damaged.
        for &(digest, executable) in blobs.unfinished.intersection(&missed) {
            report.damage.push(Damage::Blob { digest, executable });
        }
        Ok(())
    }

    fn repair(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        for damage in &report.damage {
            if let Damage::Blob { digest, executable } = damage {
                // Moved aside permanently: all files that share the inode are damaged as well.
                self.cas.remove_file(&blob_name(digest, *executable))?;
                let twin = self.cas.open_file(&blob_name(digest, !executable)).ok();
                let whole = match twin {
                    Some(mut file) => hash_file(&mut file, &self.blob_path(digest, !executable))?.0 == *digest,
                    None => false,
                };
                if whole {
                    let mut file = self.cas.open_file(&blob_name(digest, !executable))?;
                    self.stream_blob(&mut file, *executable, &self.blob_path(digest, !executable))?;
                }
            }
        }
        os::lock(&self.directories).clear();
        let damaged: BTreeSet<StorePath> = report
            .damage
            .iter()
            .filter_map(|damage| match damage {
                Damage::Object { path, .. } => Some(path.clone()),
                Damage::Blob { .. } => None,
            })
            .collect();
        let mut lost = BTreeSet::new();
        for path in damaged {
            let Some(info) = self.path_info(&path)? else { continue };
            if self.restore(&info)? {
                report.repaired.insert(path);
            } else {
                lost.insert(path);
            }
        }
        report.invalidated = self.invalidate(&lost)?;
        Ok(())
    }

    /// Writes a damaged object again, if its blobs are intact or recoverable from its files.
    fn restore(&self, info: &ValidPath) -> Result<bool, StoreError> {
        let name = info.path.to_string();
        // Directories and private copies that are missing among the blobs may be intact on disk.
        if self.objects.find(name.as_bytes())?.is_some() {
            self.salvage(&self.objects, name.as_bytes())?;
        }
        let scratch = self.scratch.fresh("restored");
        match self.check_out(&info.node, self.scratch.dir()?, &scratch, mode::DIRECTORY, BlobCheck::Skip) {
            Ok(()) => {}
            Err(StoreError::MissingBlob { .. } | StoreError::Tree(_)) => {
                self.scratch.dir()?.remove_all(&scratch)?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let old = self.scratch.fresh("damaged");
        if self.objects.find(name.as_bytes())?.is_some() {
            self.objects.make_movable(name.as_bytes())?;
            self.objects.rename(name.as_bytes(), self.scratch.dir()?, &old)?;
        }
        self.scratch.dir()?.rename_new(&scratch, &self.objects, name.as_bytes())?;
        if info.node.is_directory() {
            self.objects.open_dir(name.as_bytes())?.finish(mode::OBJECT_DIRECTORY)?;
        }
        self.make_durable()?;
        self.scratch.dir()?.remove_all(&old)?;
        Ok(true)
    }

    /// Stores the files at `name` as blobs, under the digests of their present bytes.
    fn salvage(&self, parent: &Dir, name: &[u8]) -> Result<Node, StoreError> {
        let stat = parent.stat(name)?;
        match kind(&stat) {
            FileKind::Symlink => Ok(Node::Symlink { target: parent.read_link(name)? }),
            FileKind::File => {
                let path = parent.join(name);
                let executable = mode::is_executable(stat.st_mode);
                let (digest, size) = self.stream_blob(&mut parent.open_file(name)?, executable, &path)?;
                Ok(Node::File { digest, executable, size })
            }
            FileKind::Directory => {
                let dir = parent.open_dir_as_is(name)?;
                let mut directory = Directory::new();
                for name in dir.names()? {
                    let node = self.salvage(&dir, &name)?;
                    directory.insert(name, node)?;
                }
                self.write_directory(&directory)
            }
            FileKind::Other(kind) => Err(StoreError::SpecialFile { path: parent.join(name), kind }),
        }
    }
}

/// Blobs of one shard directory.
#[derive(Default)]
struct Shard {
    count: u64,
    bytes: u64,
    good: Vec<(u64, Digest, bool)>,
    damaged: Vec<(Digest, bool)>,
    unfinished: Vec<(Digest, bool)>,
}

/// The result of hashing all blobs.
pub(crate) struct Blobs {
    /// Inodes of intact blobs, sorted.
    good: Vec<(u64, Digest, bool)>,
    /// Blobs whose bytes have another digest, the unfinished included.
    damaged: BTreeSet<(Digest, bool)>,
    unfinished: BTreeSet<(Digest, bool)>,
}

impl Blobs {
    fn is_at(&self, inode: u64, digest: &Digest, executable: bool) -> bool {
        self.good.binary_search(&(inode, *digest, executable)).is_ok()
    }
}

/// The result of comparing one object, or a part of it.
#[derive(Default)]
struct Findings {
    bytes: u64,
    damage: Vec<Damage>,
    /// Damaged blobs that the object refers to.
    missed: Vec<(Digest, bool)>,
}

impl Findings {
    fn is_empty(&self) -> bool {
        self.bytes == 0 && self.damage.is_empty()
    }

    fn join(mut self, other: Findings) -> Findings {
        self.bytes += other.bytes;
        self.damage.extend(other.damage);
        self.missed.extend(other.missed);
        self
    }
}

/// An entry of a directory, with its inode where the listing of the directory gave it.
struct Listed<'a> {
    parent: &'a Dir,
    name: &'a [u8],
    inode: Option<u64>,
}

struct Check<'a> {
    store: &'a LocalStore,
    blobs: &'a Blobs,
    path: &'a StorePath,
}

impl Check<'_> {
    fn wrong(&self, file: &str, reason: impl Into<String>) -> Damage {
        Damage::Object { path: self.path.clone(), file: file.to_owned(), reason: reason.into() }
    }

    /// Returns true when the bytes of a blob have another digest than its name.
    fn is_damaged(&self, digest: &Digest, executable: bool) -> Result<bool, StoreError> {
        let blob = &(*digest, executable);
        if !self.blobs.damaged.contains(blob) {
            return Ok(false);
        }
        if !self.blobs.unfinished.contains(blob) {
            return Ok(true);
        }
        let name = blob_name(digest, executable);
        let mut file = self.store.cas.open_file(&name)?;
        Ok(hash_file(&mut file, &self.store.cas.join(&name))?.0 != *digest)
    }

    /// Compares an entry with `node`.
    fn node(&self, at: &Listed<'_>, file: &str, node: &Node, depth: usize) -> Result<Findings, StoreError> {
        let &Listed { parent, name, inode } = at;
        let mut findings = Findings::default();
        if let (Node::File { digest, executable, .. }, Some(inode)) = (node, inode)
            && self.blobs.is_at(inode, digest, *executable)
        {
            return Ok(findings);
        }
        let Some(stat) = parent.find(name)? else {
            findings.damage.push(self.wrong(file, "it is missing"));
            return Ok(findings);
        };
        match (node, kind(&stat)) {
            (Node::File { digest, executable, size }, FileKind::File) => {
                if mode::is_executable(stat.st_mode) != *executable {
                    findings.damage.push(self.wrong(file, "its executable bit is wrong"));
                }
                let blob = self.store.cas.find(&blob_name(digest, *executable))?;
                let shared = blob.is_some_and(|blob| (blob.st_dev, blob.st_ino) == (stat.st_dev, stat.st_ino));
                if blob.is_none() {
                    findings.damage.push(self.wrong(file, "its blob is missing"));
                } else if self.is_damaged(digest, *executable)? {
                    findings.missed.push((*digest, *executable));
                    findings.damage.push(self.wrong(file, "its blob is damaged"));
                } else if stat.st_size as u64 != *size {
                    let reason = format!("it has {} bytes instead of {size}", stat.st_size);
                    findings.damage.push(self.wrong(file, reason));
                } else if !shared {
                    let path = parent.join(name);
                    let (found, size) = hash_file(&mut parent.open_file(name)?, &path)?;
                    findings.bytes += size;
                    if found != *digest {
                        findings.damage.push(self.wrong(file, "its bytes differ"));
                    }
                }
            }
            (Node::Symlink { target }, FileKind::Symlink) => {
                if parent.read_link(name)? != *target {
                    findings.damage.push(self.wrong(file, "its target differs"));
                }
            }
            (Node::Directory { digest, .. }, FileKind::Directory) => {
                if stat.st_mode & mode::WRITE != 0 {
                    findings.damage.push(self.wrong(file, "it is writable"));
                }
                if self.is_damaged(digest, false)? {
                    findings.missed.push((*digest, false));
                    findings.damage.push(self.wrong(file, "its blob is damaged"));
                    return Ok(findings);
                }
                let directory = match self.store.load_directory(digest) {
                    Ok(directory) => directory,
                    Err(StoreError::Tree(error)) => {
                        findings.damage.push(self.wrong(file, error.to_string()));
                        return Ok(findings);
                    }
                    Err(error) => return Err(error),
                };
                let below = self.directory(parent.open_dir_as_is(name)?, file, &directory, depth)?;
                findings = findings.join(below);
            }
            (node, _) => findings.damage.push(self.wrong(file, format!("it is not a {}", node.kind()))),
        }
        Ok(findings)
    }

    fn directory(&self, mut dir: Dir, file: &str, directory: &Directory, depth: usize) -> Result<Findings, StoreError> {
        let listed = dir.list()?;
        let inner = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            if file.is_empty() { name.into_owned() } else { format!("{file}/{name}") }
        };
        let mut findings = Findings::default();
        for entry in &listed {
            if directory.get(&entry.name).is_none() {
                findings.damage.push(self.wrong(&inner(&entry.name), "it is not part of the tree"));
            }
        }
        let inode = |name: &[u8]| {
            let at = listed.binary_search_by(|entry| entry.name.as_slice().cmp(name)).ok()?;
            Some(listed[at].inode)
        };
        let mut directories = Vec::new();
        for (name, node) in directory.iter() {
            if node.is_directory() {
                directories.push((name, node));
                continue;
            }
            let inode = inode(name);
            let is_shared = matches!((node, inode), (Node::File { digest, executable, .. }, Some(inode))
                if self.blobs.is_at(inode, digest, *executable));
            if !is_shared {
                findings =
                    findings.join(self.node(&Listed { parent: &dir, name, inode }, &inner(name), node, depth + 1)?);
            }
        }
        let below = |(name, node): (&[u8], &Node)| {
            self.node(&Listed { parent: &dir, name, inode: None }, &inner(name), node, depth + 1)
        };
        if depth < PARALLEL_DEPTH_MAX {
            let all = directories.into_par_iter().map(below);
            all.try_fold(Findings::default, |all, next| Ok::<_, StoreError>(all.join(next?)))
                .try_reduce(Findings::default, |a, b| Ok(a.join(b)))
                .map(|below| findings.join(below))
        } else {
            directories.into_iter().map(below).try_fold(findings, |all, next| Ok(all.join(next?)))
        }
    }
}
