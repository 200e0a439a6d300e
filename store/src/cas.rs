//! Blobs: `cas/<2 hex>/<64 hex>`, and `.x` beside it for the executable twin, since permission is a
//! property of the inode.
//!
//! A small blob is written under its final name, which takes one directory entry where a temporary
//! name takes three; a large one is written to the scratch directory and renamed into place. Either
//! way its time is set last, so a blob is complete only when it has the right size and time: a
//! killed process leaves one that is too short or too young, and the next writer replaces it by
//! renaming another over it. That does not disturb a writer that is still at work on the first.
//!
//! A power cut can leave more: size and time of a file may have reached the disk before its bytes,
//! which are zero then. Bytes are made durable when a path is registered, and unregistered blobs
//! may remain in this state. So a blob from before the last boot is read once before it is reused;
//! its time of change is after the boot then.

use crate::blob::{BlobName, blob_name};
use crate::error::StoreError;
use crate::local::LocalStore;
use crate::read::hash_file;
use crate::scratch::TempRoot;
use model::tree::{Digest, Directories, Directory, Node, TreeError};
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use os::dir::{Dir, file_mode, finish_file, finish_made_file, is_finished, make_dir, touch_finished};
use os::{Context, SysError, mode};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

impl LocalStore {
    /// Returns the path of a blob on this machine, which need not exist.
    pub fn blob_path(&self, digest: &Digest, executable: bool) -> PathBuf {
        self.cas.join(&blob_name(digest, executable))
    }

    /// Returns true when the blob exists and is complete.
    pub(crate) fn has_blob(&self, digest: &Digest, executable: bool, size: u64) -> Result<bool, SysError> {
        match self.cas.find(&blob_name(digest, executable))? {
            Some(stat) => self.is_whole(&stat, digest, executable, size),
            None => Ok(false),
        }
    }

    /// Returns true when the file at a blob's name is complete.
    pub(crate) fn is_whole(
        &self,
        stat: &FileStat,
        digest: &Digest,
        executable: bool,
        size: u64,
    ) -> Result<bool, SysError> {
        if stat.st_size as u64 != size || !is_finished(stat) {
            return Ok(false);
        }
        if self.saw_no_power_cut(stat) {
            return Ok(true);
        }
        let name = blob_name(digest, executable);
        let path = self.cas.join(&name);
        let mut file = self.cas.open_file(&name)?;
        if hash_file(&mut file, &path)?.0 != *digest {
            return Ok(false);
        }
        // Spares the next reader the check. A user without the permission reads the blob each time.
        let _ = touch_finished(&file, &path);
        Ok(true)
    }

    /// Returns true when a file last changed after the machine was started, so that its bytes were
    /// not lost with the power.
    pub(crate) fn saw_no_power_cut(&self, stat: &FileStat) -> bool {
        // A time in the future comes from a clock that was wrong, or is.
        (self.booted_at..=self.now() as i64 + 1).contains(&stat.st_ctime)
    }

    /// Creates the shard directory of a blob.
    pub(crate) fn make_shard(&self, name: &BlobName) -> Result<(), SysError> {
        make_dir(&self.cas.join(&name[..2]), mode::DIRECTORY)
    }

    /// Opens a blob for reading, in either of its twins.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] when it is not in the store.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        for executable in [false, true] {
            match self.cas.open_file(&blob_name(digest, executable)) {
                Ok(file) => return Ok(file),
                Err(error) if error.errno == Errno::ENOENT => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::MissingBlob { digest: *digest })
    }

    /// Returns the bytes of a blob.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] when it is not in the store.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let mut file = self.open_blob(digest)?;
        file.read_to_end(&mut bytes).context("read", self.blob_path(digest, false))?;
        Ok(bytes)
    }

    /// Stores `bytes` and returns the node of a file that holds them; the collector keeps it while
    /// this process lives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_blob(&self, bytes: &[u8], executable: bool) -> Result<Node, StoreError> {
        let _shared = self.lock_shared()?;
        let node = Node::File { digest: Digest::of(bytes), executable, size: bytes.len() as u64 };
        self.scratch.root(&TempRoot::Node(node.clone()))?;
        self.write_blob(&Digest::of(bytes), bytes, executable)?;
        Ok(node)
    }

    /// Writes a blob unless it exists. The caller shares the collector's lock.
    pub(crate) fn write_blob(&self, digest: &Digest, bytes: &[u8], executable: bool) -> Result<(), StoreError> {
        let name = blob_name(digest, executable);
        let made = match self.cas.create_file(&name, file_mode(executable)) {
            Err(error) if error.errno == Errno::ENOENT => {
                self.make_shard(&name)?;
                self.cas.create_file(&name, file_mode(executable))
            }
            made => made,
        };
        let mut file = match made {
            Ok(file) => file,
            Err(error) if error.errno == Errno::EEXIST => {
                if self.has_blob(digest, executable, bytes.len() as u64)? {
                    return Ok(());
                }
                return self.write_blob_aside(digest, bytes, executable);
            }
            Err(error) => return Err(error.into()),
        };
        self.step("blob made");
        let written = self.free_space.claim(bytes.len() as u64).map_err(StoreError::from).and_then(|()| {
            Ok(file.write_all(bytes).map_err(|error| SysError::io("write", self.cas.join(&name), &error))?)
        });
        self.step("blob written");
        let finished = written.and_then(|()| Ok(finish_made_file(&file, executable, &self.cas.join(&name))?));
        if finished.is_err() {
            // Another file may have this name already, so the bytes go and the name stays, as that
            // of an unfinished blob. The first error is the one to report.
            let _ = file.set_len(0);
        }
        self.step("blob in place");
        finished
    }

    /// Writes a blob and renames it into place, over an unfinished one.
    fn write_blob_aside(&self, digest: &Digest, bytes: &[u8], executable: bool) -> Result<(), StoreError> {
        let scratch = self.scratch.fresh("blob");
        let dir = self.scratch.dir()?;
        let mut file = dir.create_file(&scratch, mode::PRIVATE_FILE)?;
        let path = dir.join(&scratch);
        let written = self.free_space.claim(bytes.len() as u64).map_err(StoreError::from).and_then(|()| {
            file.write_all(bytes).context("write", &path)?;
            Ok(finish_file(&file, executable, &path)?)
        });
        self.finish_blob(written, &scratch, digest, executable, bytes.len() as u64)
    }

    /// Hashes `input` while copying it to a blob. The caller shares the collector's lock.
    pub(crate) fn stream_blob(
        &self,
        input: &mut dyn Read,
        executable: bool,
        source: &std::path::Path,
    ) -> Result<(Digest, u64), StoreError> {
        let scratch = self.scratch.fresh("blob");
        let mut file = self.scratch.dir()?.create_file(&scratch, mode::PRIVATE_FILE)?;
        let path = self.scratch.dir()?.join(&scratch);
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        let mut copy = || -> Result<(), StoreError> {
            let mut buffer = vec![0; 1 << 18];
            loop {
                let read = match input.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(SysError::io("read", source, &error).into()),
                };
                hasher.update(&buffer[..read]);
                self.free_space.claim(read as u64)?;
                file.write_all(&buffer[..read]).context("write", &path)?;
                size += read as u64;
            }
            Ok(finish_file(&file, executable, &path)?)
        };
        let copied = copy();
        let digest = Digest::from(hasher.finalize());
        self.finish_blob(copied, &scratch, &digest, executable, size)?;
        Ok((digest, size))
    }

    /// Moves a complete file to its name in `cas/`, or removes it.
    fn finish_blob(
        &self,
        written: Result<(), StoreError>,
        scratch: &[u8],
        digest: &Digest,
        executable: bool,
        size: u64,
    ) -> Result<(), StoreError> {
        self.step("blob written");
        let name = blob_name(digest, executable);
        let dir = self.scratch.dir()?;
        let place = || match dir.rename_new(scratch, &self.cas, &name) {
            Err(error) if error.errno == Errno::EEXIST => {
                if self.has_blob(digest, executable, size)? {
                    dir.remove_file(scratch)
                } else {
                    dir.rename(scratch, &self.cas, &name)
                }
            }
            Err(error) if error.errno == Errno::ENOENT => {
                self.make_shard(&name)?;
                dir.rename(scratch, &self.cas, &name)
            }
            done => done,
        };
        let finished = written.and_then(|()| Ok(place()?));
        self.step("blob in place");
        if finished.is_err() {
            // The first error is the one to report.
            let _ = dir.remove_file(scratch);
        }
        finished
    }

    /// Returns a directory of a tree.
    ///
    /// # Errors
    /// [`TreeError::Missing`] when it is not in the store.
    pub fn load_directory(&self, digest: &Digest) -> Result<Arc<Directory>, StoreError> {
        if let Some(directory) = os::lock(&self.directories).get(digest) {
            return Ok(directory.clone());
        }
        let bytes = self.read_blob(digest).map_err(|error| match error {
            StoreError::MissingBlob { digest } => StoreError::Tree(TreeError::Missing { digest }),
            other => other,
        })?;
        if Digest::of(&bytes) != *digest {
            return Err(TreeError::Encoding { digest: *digest, reason: "its bytes have another digest" }.into());
        }
        let directory = Arc::new(Directory::decode(&bytes)?);
        self.remember(digest, &directory);
        Ok(directory)
    }

    /// Stores a directory, whose entries are in the store; the collector keeps all of it while this
    /// process lives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store_directory(&self, directory: &Directory) -> Result<Node, StoreError> {
        let _shared = self.lock_shared()?;
        let node = self.write_directory(directory)?;
        self.scratch.root(&TempRoot::Node(node.clone()))?;
        Ok(node)
    }

    /// Writes a directory. The caller shares the collector's lock, and roots a tree that contains
    /// it.
    pub(crate) fn write_directory(&self, directory: &Directory) -> Result<Node, StoreError> {
        let bytes = directory.encode();
        let digest = Digest::of(&bytes);
        self.write_blob(&digest, &bytes, false)?;
        Ok(Node::Directory { digest, size: bytes.len() as u64 })
    }

    /// Does the same as [`LocalStore::write_directory`], and caches the directory, which will be
    /// read soon.
    pub(crate) fn write_cached_directory(&self, directory: Directory) -> Result<Node, StoreError> {
        let node = self.write_directory(&directory)?;
        self.remember(&node.fingerprint(), &Arc::new(directory));
        Ok(node)
    }

    fn remember(&self, digest: &Digest, directory: &Arc<Directory>) {
        let mut known = os::lock(&self.directories);
        known.insert(*digest, directory.clone());
    }

    /// Links the blob to another name; returns `false` when the file system allows no more links.
    pub(crate) fn link_blob(
        &self,
        digest: &Digest,
        executable: bool,
        to: &Dir,
        name: &[u8],
    ) -> Result<bool, StoreError> {
        match self.cas.hard_link(&blob_name(digest, executable), to, name) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == Errno::EMLINK => Ok(false),
            Err(error) if error.errno == Errno::ENOENT => Err(StoreError::MissingBlob { digest: *digest }),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the file `name`, with the blob's bytes but an inode of its own.
    pub(crate) fn copy_blob(&self, digest: &Digest, executable: bool, to: &Dir, name: &[u8]) -> Result<(), StoreError> {
        let mut blob = self.cas.open_file(&blob_name(digest, executable)).map_err(|error| match error.errno {
            Errno::ENOENT => StoreError::MissingBlob { digest: *digest },
            _ => error.into(),
        })?;
        let path = to.join(name);
        let size = blob.metadata().context("stat", &path)?.len();
        self.free_space.claim(size)?;
        let mut file = to.create_file(name, mode::PRIVATE_FILE)?;
        std::io::copy(&mut blob, &mut file).context("copy", &path)?;
        Ok(finish_file(&file, executable, &path)?)
    }
}

impl Directories for LocalStore {
    fn load(&self, digest: &Digest) -> Result<Arc<Directory>, TreeError> {
        self.load_directory(digest).map_err(|error| match error {
            StoreError::Tree(error) => error,
            other => TreeError::Access { digest: *digest, source: Box::new(other) },
        })
    }

    fn save(&self, directory: &Directory) -> Result<Node, TreeError> {
        self.store_directory(directory).map_err(|error| match error {
            StoreError::Tree(error) => error,
            other => TreeError::Access { digest: directory.node().fingerprint(), source: Box::new(other) },
        })
    }
}
