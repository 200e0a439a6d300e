//! Checking that everything in the store is what its name says.
//!
//! Every blob is hashed. Every object is compared with its tree: a file that shares its blob's inode needs no second look,
//! others are hashed too.

use crate::cas::blob_name;
use crate::db::ValidPath;
use crate::error::StoreError;
use crate::gc::parse_blob_name;
use crate::import::hash_file;
use crate::local::LocalStore;
use crate::path::StorePath;
use crate::sys::{Dir, Kind, kind};
use crate::tree::{Digest, Node};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// A blob's bytes are not what its name says.
    Blob { digest: Digest, executable: bool },
    /// An object is not the tree it was registered with: at `file` below it, for `reason`.
    Object { path: StorePath, file: String, reason: String },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob { digest, executable } => {
                write!(f, "blob {digest}{} has other bytes than its name says", if *executable { ".x" } else { "" })
            }
            Self::Object { path, file, reason } => write!(f, "store path `{path}` is damaged at `/{file}`: {reason}"),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub blobs: u64,
    pub objects: u64,
    /// Of blobs, and of files with an inode of their own.
    pub hashed_bytes: u64,
    /// Sorted.
    pub damage: Vec<Damage>,
    /// Objects that were damaged and are whole again.
    pub repaired: BTreeSet<StorePath>,
    /// Objects that could not be repaired, with all that refer to them: no longer valid, so that they are built again.
    pub invalidated: BTreeSet<StorePath>,
}

impl VerifyReport {
    /// Returns whether all is well.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

impl LocalStore {
    /// Hashes everything in the store; with `repair`, restores what can be restored and makes the rest invalid.
    ///
    /// # Errors
    /// When something cannot be read. Damage is no error.
    pub fn verify(&self, repair: bool) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        {
            let _hold = self.hold()?;
            self.verify_blobs(&mut report)?;
            self.verify_objects(&mut report)?;
        }
        report.damage.sort();
        if repair && !report.is_clean() {
            let _alone = self.collector.alone()?;
            self.repair(&mut report)?;
        }
        Ok(report)
    }

    fn verify_blobs(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let checked: Vec<(u64, u64, Vec<Damage>)> = self
            .cas
            .names()?
            .into_par_iter()
            .map(|fan| {
                let dir = self.cas.open_dir_as_is(&fan)?;
                let (mut count, mut bytes, mut damage) = (0, 0, Vec::new());
                for name in dir.names()? {
                    let Some((digest, executable)) = parse_blob_name(&name) else { continue };
                    let (found, size) = match dir.open_file(&name) {
                        Ok(mut file) => hash_file(&mut file, &dir.join(&name))?,
                        Err(error) if error.errno == nix::errno::Errno::ENOENT => continue,
                        Err(error) => return Err(error.into()),
                    };
                    count += 1;
                    bytes += size;
                    if found != digest {
                        damage.push(Damage::Blob { digest, executable });
                    }
                }
                Ok((count, bytes, damage))
            })
            .collect::<Result<_, StoreError>>()?;
        for (count, bytes, damage) in checked {
            report.blobs += count;
            report.hashed_bytes += bytes;
            report.damage.extend(damage);
        }
        Ok(())
    }

    fn verify_objects(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let broken: BTreeSet<(Digest, bool)> = report
            .damage
            .iter()
            .filter_map(|damage| match damage {
                Damage::Blob { digest, executable } => Some((*digest, *executable)),
                Damage::Object { .. } => None,
            })
            .collect();
        let paths = self.all_paths()?;
        report.objects = paths.len() as u64;
        let checked: Vec<Check> = paths
            .into_par_iter()
            .map(|path| {
                let mut check =
                    Check { store: self, broken: &broken, path: path.clone(), bytes: 0, damage: Vec::new() };
                // Collected since the list was made.
                let Some(node) = self.database.read(|session| session.node(&path))? else { return Ok(check) };
                check.node(&self.objects, path.to_string().as_bytes(), "", &node)?;
                Ok(check)
            })
            .collect::<Result<_, StoreError>>()?;
        for check in checked {
            report.hashed_bytes += check.bytes;
            report.damage.extend(check.damage);
        }
        Ok(())
    }

    fn repair(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        for damage in &report.damage {
            if let Damage::Blob { digest, executable } = damage {
                // Moved aside for good: what shares the inode is damaged as well.
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
        self.directories.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
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

    /// Lays a damaged object out again, if its blobs are whole or can be had from what is left of it.
    fn restore(&self, info: &ValidPath) -> Result<bool, StoreError> {
        let name = info.path.to_string();
        // Directories and private copies that are missing among the blobs may be intact on disk.
        if self.objects.find(name.as_bytes())?.is_some() {
            self.salvage(&self.objects, name.as_bytes())?;
        }
        let scratch = self.scratch.fresh("restored");
        match self.lay_out(&info.node, &self.scratch.dir, &scratch, 0o755) {
            Ok(()) => {}
            Err(StoreError::MissingBlob { .. } | StoreError::Tree(_)) => {
                self.scratch.dir.remove_all(&scratch)?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let old = self.scratch.fresh("damaged");
        if self.objects.find(name.as_bytes())?.is_some() {
            self.objects.make_movable(name.as_bytes())?;
            self.objects.rename(name.as_bytes(), &self.scratch.dir, &old)?;
        }
        self.scratch.dir.rename_new(&scratch, &self.objects, name.as_bytes())?;
        if info.node.is_directory() {
            self.objects.open_dir(name.as_bytes())?.finish(0o555)?;
        }
        self.make_durable()?;
        self.scratch.dir.remove_all(&old)?;
        Ok(true)
    }

    /// Puts whatever is at `name` among the blobs, under the names its bytes now have.
    fn salvage(&self, parent: &Dir, name: &[u8]) -> Result<Node, StoreError> {
        let stat = parent.stat(name)?;
        match kind(&stat) {
            Kind::Symlink => Ok(Node::Symlink { target: parent.read_link(name)? }),
            Kind::File => {
                let path = parent.join(name);
                let executable = stat.st_mode & 0o100 != 0;
                let (digest, size) = self.stream_blob(&mut parent.open_file(name)?, executable, &path)?;
                Ok(Node::File { digest, executable, size })
            }
            Kind::Directory => {
                let dir = parent.open_dir_as_is(name)?;
                let mut directory = crate::tree::Directory::new();
                for name in dir.names()? {
                    let node = self.salvage(&dir, &name)?;
                    directory.insert(name, node)?;
                }
                self.write_directory(&directory)
            }
            Kind::Other(kind) => Err(StoreError::SpecialFile { path: parent.join(name), kind }),
        }
    }
}

struct Check<'a> {
    store: &'a LocalStore,
    broken: &'a BTreeSet<(Digest, bool)>,
    path: StorePath,
    bytes: u64,
    damage: Vec<Damage>,
}

impl Check<'_> {
    fn wrong(&mut self, file: &str, reason: impl Into<String>) {
        self.damage.push(Damage::Object { path: self.path.clone(), file: file.to_owned(), reason: reason.into() });
    }

    fn node(&mut self, parent: &Dir, name: &[u8], file: &str, node: &Node) -> Result<(), StoreError> {
        let Some(stat) = parent.find(name)? else {
            self.wrong(file, "it is missing");
            return Ok(());
        };
        match (node, kind(&stat)) {
            (Node::File { digest, executable, size }, Kind::File) => {
                if (stat.st_mode & 0o100 != 0) != *executable {
                    self.wrong(file, "its executable bit is wrong");
                }
                let blob = self.store.cas.find(&blob_name(digest, *executable))?;
                let shared = blob.is_some_and(|blob| (blob.st_dev, blob.st_ino) == (stat.st_dev, stat.st_ino));
                if blob.is_none() {
                    self.wrong(file, "its blob is missing");
                } else if self.broken.contains(&(*digest, *executable)) {
                    self.wrong(file, "its blob is damaged");
                } else if stat.st_size as u64 != *size {
                    self.wrong(file, format!("it has {} bytes instead of {size}", stat.st_size));
                } else if !shared {
                    let path = parent.join(name);
                    let (found, size) = hash_file(&mut parent.open_file(name)?, &path)?;
                    self.bytes += size;
                    if found != *digest {
                        self.wrong(file, "its bytes are others");
                    }
                }
            }
            (Node::Symlink { target }, Kind::Symlink) => {
                if parent.read_link(name)? != *target {
                    self.wrong(file, "it leads elsewhere");
                }
            }
            (Node::Directory { digest, .. }, Kind::Directory) => {
                if stat.st_mode & 0o222 != 0 {
                    self.wrong(file, "it can be written");
                }
                if self.broken.contains(&(*digest, false)) {
                    self.wrong(file, "its blob is damaged");
                    return Ok(());
                }
                let directory = match self.store.load_directory(digest) {
                    Ok(directory) => directory,
                    Err(StoreError::Tree(error)) => {
                        self.wrong(file, error.to_string());
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                let dir = parent.open_dir_as_is(name)?;
                let inner = |name: &[u8]| {
                    let name = String::from_utf8_lossy(name);
                    if file.is_empty() { name.into_owned() } else { format!("{file}/{name}") }
                };
                for (name, node) in directory.iter() {
                    self.node(&dir, name, &inner(name), node)?;
                }
                for name in dir.names()? {
                    if directory.get(&name).is_none() {
                        self.wrong(&inner(&name), "it does not belong there");
                    }
                }
            }
            (node, _) => self.wrong(file, format!("it is not a {}", node.kind())),
        }
        Ok(())
    }
}
