//! Blobs: `cas/<2 hex>/<64 hex>`, and `.x` beside it for the executable twin, since permission lives in the inode.
//!
//! A blob is written to the scratch directory and renamed into place, never over another. One that is found where it should
//! be is trusted by its size: what a power cut leaves of a blob that was never registered is too short, and is replaced.

use crate::error::{Context, StoreError, SysError};
use crate::local::LocalStore;
use crate::scratch::TempRoot;
use crate::sys::{Dir, finish_file};
use crate::tree::{Digest, Directories, Directory, Node, TreeError};
use nix::errno::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// How many directories are kept in memory.
const CACHED_MAX: usize = 1 << 15;

/// Returns the name of a blob below `cas/`.
pub(crate) fn blob_name(digest: &Digest, executable: bool) -> Vec<u8> {
    let hex = digest.hex();
    format!("{}/{hex}{}", &hex[..2], if executable { ".x" } else { "" }).into_bytes()
}

impl LocalStore {
    /// Returns where a blob is on this machine, whether it is there or not.
    pub fn blob_path(&self, digest: &Digest, executable: bool) -> PathBuf {
        self.cas.join(&blob_name(digest, executable))
    }

    /// Returns whether the blob is there in the size it should have.
    pub(crate) fn has_blob(&self, digest: &Digest, executable: bool, size: u64) -> Result<bool, SysError> {
        Ok(self.cas.find(&blob_name(digest, executable))?.is_some_and(|stat| stat.st_size as u64 == size))
    }

    /// Opens a blob for reading; which of its twins is left open.
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

    /// Keeps `bytes` and returns the node of a file that holds them; the collector leaves it while this process lives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_blob(&self, bytes: &[u8], executable: bool) -> Result<Node, StoreError> {
        let _hold = self.hold()?;
        let node = Node::File { digest: Digest::of(bytes), executable, size: bytes.len() as u64 };
        self.scratch.root(&TempRoot::Node(node.clone()))?;
        self.write_blob(&Digest::of(bytes), bytes, executable)?;
        Ok(node)
    }

    /// Keeps the bytes that `input` gives and returns the node of a file that holds them.
    ///
    /// # Errors
    /// When `input` cannot be read or the blob not be written.
    pub fn put_blob_from(&self, input: &mut dyn Read, executable: bool) -> Result<Node, StoreError> {
        let _hold = self.hold()?;
        let (digest, size) = self.stream_blob(input, executable, &self.cas.join(b"new blob"))?;
        let node = Node::File { digest, executable, size };
        self.scratch.root(&TempRoot::Node(node.clone()))?;
        Ok(node)
    }

    /// Writes a blob unless it is there. The caller holds the collector off.
    pub(crate) fn write_blob(&self, digest: &Digest, bytes: &[u8], executable: bool) -> Result<(), StoreError> {
        if self.has_blob(digest, executable, bytes.len() as u64)? {
            return Ok(());
        }
        let scratch = self.scratch.fresh("blob");
        let mut file = self.scratch.dir.create_file(&scratch, 0o600)?;
        let path = self.scratch.dir.join(&scratch);
        let written = file.write_all(bytes).context("write", &path);
        let finished = written.and_then(|()| finish_file(&file, executable, &path));
        self.settle_blob(finished, &scratch, digest, executable, bytes.len() as u64)
    }

    /// Hashes `input` while copying it to a blob. The caller holds the collector off.
    pub(crate) fn stream_blob(
        &self,
        input: &mut dyn Read,
        executable: bool,
        source: &std::path::Path,
    ) -> Result<(Digest, u64), StoreError> {
        let scratch = self.scratch.fresh("blob");
        let mut file = self.scratch.dir.create_file(&scratch, 0o600)?;
        let path = self.scratch.dir.join(&scratch);
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        let mut copy = || -> Result<(), SysError> {
            let mut buffer = vec![0; 1 << 18];
            loop {
                let read = match input.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(SysError::io("read", source, &error)),
                };
                hasher.update(&buffer[..read]);
                file.write_all(&buffer[..read]).context("write", &path)?;
                size += read as u64;
            }
            finish_file(&file, executable, &path)
        };
        let copied = copy();
        let digest = Digest::from(hasher.finalize());
        self.settle_blob(copied, &scratch, &digest, executable, size)?;
        Ok((digest, size))
    }

    /// Moves a written file to its place in `cas/`, or removes it.
    fn settle_blob(
        &self,
        written: Result<(), SysError>,
        scratch: &[u8],
        digest: &Digest,
        executable: bool,
        size: u64,
    ) -> Result<(), StoreError> {
        self.step("blob written");
        let name = blob_name(digest, executable);
        let settled = written.and_then(|()| match self.scratch.dir.rename_new(scratch, &self.cas, &name) {
            Err(error) if error.errno == Errno::EEXIST => {
                if self.has_blob(digest, executable, size)? {
                    self.scratch.dir.remove_file(scratch)
                } else {
                    self.scratch.dir.rename(scratch, &self.cas, &name)
                }
            }
            done => done,
        });
        self.step("blob in place");
        if settled.is_err() {
            // The first error is the one to tell.
            let _ = self.scratch.dir.remove_file(scratch);
        }
        Ok(settled?)
    }

    /// Returns a directory of a tree.
    ///
    /// # Errors
    /// [`TreeError::Missing`] when it is not in the store.
    pub fn load_directory(&self, digest: &Digest) -> Result<Arc<Directory>, StoreError> {
        if let Some(directory) = self.directories.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
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

    /// Keeps a directory, whose entries are in the store; the collector leaves all of it while this process lives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store_directory(&self, directory: &Directory) -> Result<Node, StoreError> {
        let _hold = self.hold()?;
        let node = self.write_directory(directory)?;
        self.scratch.root(&TempRoot::Node(node.clone()))?;
        Ok(node)
    }

    /// Writes a directory. The caller holds the collector off, and roots a tree that it is part of.
    pub(crate) fn write_directory(&self, directory: &Directory) -> Result<Node, StoreError> {
        let bytes = directory.encode();
        let digest = Digest::of(&bytes);
        self.write_blob(&digest, &bytes, false)?;
        Ok(Node::Directory { digest, size: bytes.len() as u64 })
    }

    fn remember(&self, digest: &Digest, directory: &Arc<Directory>) {
        let mut known = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED_MAX {
            known.clear();
        }
        known.insert(*digest, directory.clone());
    }

    /// Gives the blob another name; `false` when the file system allows it no more names.
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

    /// Makes the file `name`, with the blob's bytes but an inode of its own.
    pub(crate) fn copy_blob(&self, digest: &Digest, executable: bool, to: &Dir, name: &[u8]) -> Result<(), StoreError> {
        let mut blob = self.cas.open_file(&blob_name(digest, executable)).map_err(|error| match error.errno {
            Errno::ENOENT => StoreError::MissingBlob { digest: *digest },
            _ => error.into(),
        })?;
        let path = to.join(name);
        let mut file = to.create_file(name, 0o600)?;
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
