//! Texts, derivations and sources into the store.

use crate::db::{INSERT_SOURCE_FILE, SOURCE_FILES, ValidPath};
use crate::derivation::Derivation;
use crate::error::{Context, StoreError};
use crate::import::{Imported, SMALL_MAX, Tally, check_depth, hash_file, open_parent};
use crate::local::LocalStore;
use crate::path::{References, StorePath, StorePathName};
use crate::scratch::TempRoot;
use crate::sys::{Dir, Kind, kind};
use crate::tree::{Digest, Directory, Node};
use nix::sys::stat::FileStat;
use rayon::prelude::*;
use rusqlite::params;
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file to be named by its text and what it mentions.
#[derive(Clone, Debug)]
pub struct Text {
    pub name: StorePathName,
    pub text: Vec<u8>,
    pub references: BTreeSet<StorePath>,
}

/// What kind of thing a source filter is asked about.
pub use crate::sys::Kind as SourceKind;

/// Decides which entries of a source are taken; paths are relative to it.
pub type SourceFilter<'a> = dyn FnMut(&Path, SourceKind) -> Result<bool, StoreError> + 'a;

/// A file that changed this shortly before it was read may change again without its time telling.
const RACY: Duration = Duration::from_secs(2);

impl LocalStore {
    /// Adds a text that mentions `references`, which are valid.
    ///
    /// # Errors
    /// [`StoreError::DanglingReference`]; or when it cannot be written.
    pub fn add_text(
        &self,
        name: StorePathName,
        text: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, StoreError> {
        let text = Text { name, text: text.to_vec(), references: references.clone() };
        Ok(self.add_texts(std::slice::from_ref(&text))?.remove(0))
    }

    /// Adds texts, which may mention each other, with one registration: many times cheaper than one by one.
    ///
    /// # Errors
    /// As [`LocalStore::add_text`]; none of them is valid then.
    pub fn add_texts(&self, texts: &[Text]) -> Result<Vec<StorePath>, StoreError> {
        let _hold = self.hold()?;
        let mut paths = Vec::with_capacity(texts.len());
        let mut infos = Vec::new();
        for text in texts {
            let path = self.model().make_text_path(text.name.clone(), &text.text, &text.references);
            self.scratch.root(&TempRoot::Path(path.clone()))?;
            if !self.is_valid(&path)? {
                let digest = Digest::of(&text.text);
                self.write_blob(&digest, &text.text, false)?;
                let size = text.text.len() as u64;
                let node = Node::File { digest, executable: false, size };
                let references = text.references.clone();
                infos.push(ValidPath { references, ..ValidPath::new(path.clone(), node, size) });
            }
            paths.push(path);
        }
        self.add_trees(&infos)?;
        Ok(paths)
    }

    /// Writes a derivation; its input derivations and sources are valid.
    ///
    /// # Errors
    /// As [`LocalStore::add_text`].
    pub fn add_derivation(&self, derivation: &Derivation) -> Result<StorePath, StoreError> {
        Ok(self.add_derivations(std::slice::from_ref(derivation))?.remove(0))
    }

    /// Writes derivations, which may need each other, with one registration.
    ///
    /// # Errors
    /// As [`LocalStore::add_derivation`]; none of them is valid then.
    pub fn add_derivations(&self, derivations: &[Derivation]) -> Result<Vec<StorePath>, StoreError> {
        let mut texts = Vec::with_capacity(derivations.len());
        for derivation in derivations {
            let name = StorePathName::new(&format!("{}.drv", derivation.name))?;
            texts.push(Text { name, text: derivation.to_aterm(self.model())?, references: derivation.references() });
        }
        self.add_texts(&texts)
    }

    /// Adds one file of these bytes as a source.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_file(&self, name: StorePathName, bytes: &[u8], executable: bool) -> Result<StorePath, StoreError> {
        let node = self.put_blob(bytes, executable)?;
        self.add_source_node(name, &Imported { node, bytes: bytes.len() as u64, files: 1 })
    }

    /// Adds the file, directory or link at `source`, which stays as it is, without the entries that `filter` declines.
    ///
    /// Files that have not changed since they were last added are not read again.
    ///
    /// # Errors
    /// [`StoreError::SpecialFile`]; or when something cannot be read or written, or `filter` fails.
    pub fn add_source(
        &self,
        source: &Path,
        name: StorePathName,
        filter: Option<&mut SourceFilter<'_>>,
    ) -> Result<StorePath, StoreError> {
        let _hold = self.hold()?;
        let mut imported = self.copy_in(source, filter)?;
        let path = self.source_path(name, &imported);
        self.scratch.root(&TempRoot::Path(path.clone()))?;
        if self.is_valid(&path)? {
            return Ok(path);
        }
        // What was not read again may have been collected since.
        if let Some(whole) = self.complete(source, &imported)? {
            imported = whole;
        }
        self.add_tree(&ValidPath::new(path.clone(), imported.node, imported.bytes))?;
        Ok(path)
    }

    /// Makes the source path of a tree that is in the store valid.
    ///
    /// # Errors
    /// When it cannot be checked out or registered.
    pub fn add_source_node(&self, name: StorePathName, imported: &Imported) -> Result<StorePath, StoreError> {
        let path = self.source_path(name, imported);
        self.add_tree(&ValidPath::new(path.clone(), imported.node.clone(), imported.bytes))?;
        Ok(path)
    }

    fn source_path(&self, name: StorePathName, imported: &Imported) -> StorePath {
        self.model().make_source_path(&imported.node.fingerprint().into(), name, &References::default())
    }

    /// Copies the blobs of a tree that is not ours into the store, and returns the tree.
    ///
    /// # Errors
    /// As [`LocalStore::add_source`].
    pub fn copy_in(&self, source: &Path, filter: Option<&mut SourceFilter<'_>>) -> Result<Imported, StoreError> {
        let _hold = self.hold()?;
        let (parent, name) = open_parent(source)?;
        let listing = list(&parent, &name, Path::new(""), &mut { filter }, 0)?;
        let cache = SourceCache::load(self)?;
        let tally = Tally::default();
        let node = self.copy(&parent, &name, &listing, &tally, &cache)?;
        cache.save(self)?;
        self.scratch.root(&TempRoot::Node(node.clone()))?;
        Ok(tally.imported(node))
    }

    fn copy(
        &self,
        parent: &Dir,
        name: &[u8],
        listing: &Listing,
        tally: &Tally,
        cache: &SourceCache,
    ) -> Result<Node, StoreError> {
        match listing {
            Listing::Symlink => Ok(Node::Symlink { target: parent.read_link(name)? }),
            Listing::File(stat) => self.copy_file(parent, name, stat, tally, cache),
            Listing::Directory(entries) => {
                let dir = parent.open_dir_as_is(name)?;
                let nodes: Vec<Node> = entries
                    .par_iter()
                    .map(|(name, listing)| self.copy(&dir, name, listing, tally, cache))
                    .collect::<Result<_, StoreError>>()?;
                let mut directory = Directory::new();
                for ((name, _), node) in entries.iter().zip(nodes) {
                    directory.insert(name.clone(), node)?;
                }
                self.write_directory(&directory)
            }
        }
    }

    fn copy_file(
        &self,
        parent: &Dir,
        name: &[u8],
        stat: &FileStat,
        tally: &Tally,
        cache: &SourceCache,
    ) -> Result<Node, StoreError> {
        let executable = stat.st_mode & 0o100 != 0;
        if let Some(digest) = cache.get(stat) {
            let size = stat.st_size as u64;
            tally.count(size);
            return Ok(Node::File { digest, executable, size });
        }
        let path = parent.join(name);
        let mut file = parent.open_file(name)?;
        let opened = nix::sys::stat::fstat(&file).context("stat", &path)?;
        if kind(&opened) != Kind::File {
            return Err(StoreError::Changed { path });
        }
        let (digest, size) = if opened.st_size as u64 <= SMALL_MAX {
            let mut bytes = Vec::with_capacity(opened.st_size as usize + 1);
            file.read_to_end(&mut bytes).context("read", &path)?;
            let digest = Digest::of(&bytes);
            self.write_blob(&digest, &bytes, executable)?;
            (digest, bytes.len() as u64)
        } else {
            // Large files are worth reading twice to not write them twice.
            let (digest, size) = hash_file(&mut file, &path)?;
            if self.has_blob(&digest, executable, size)? {
                (digest, size)
            } else {
                self.stream_blob(&mut parent.open_file(name)?, executable, &path)?
            }
        };
        tally.count(size);
        cache.learn(&opened, size, digest);
        Ok(Node::File { digest, executable, size })
    }

    /// Copies the source again, whatever is remembered of it, when a blob of its tree is missing.
    fn complete(&self, source: &Path, imported: &Imported) -> Result<Option<Imported>, StoreError> {
        let mut paths = Vec::new();
        let mut missing = false;
        crate::tree::walk::walk::<StoreError>(self, &imported.node, |path, node| {
            if let Node::File { digest, executable, size } = node {
                missing |= !self.has_blob(digest, *executable, *size)?;
            }
            paths.push(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
            Ok(true)
        })?;
        if !missing {
            return Ok(None);
        }
        self.database.write(|session| session.execute(crate::db::DELETE_SOURCE_FILES, []))?;
        let taken: BTreeSet<PathBuf> = paths.into_iter().collect();
        let mut filter = |path: &Path, _| Ok(taken.contains(path));
        self.copy_in(source, Some(&mut filter)).map(Some)
    }
}

/// What there is to copy, after the filter. Entries are sorted by name.
enum Listing {
    File(FileStat),
    Symlink,
    Directory(Vec<(Vec<u8>, Listing)>),
}

fn list(
    parent: &Dir,
    name: &[u8],
    relative: &Path,
    filter: &mut Option<&mut SourceFilter<'_>>,
    depth: usize,
) -> Result<Listing, StoreError> {
    let stat = parent.stat(name)?;
    match kind(&stat) {
        Kind::File => Ok(Listing::File(stat)),
        Kind::Symlink => Ok(Listing::Symlink),
        Kind::Other(kind) => Err(StoreError::SpecialFile { path: parent.join(name), kind }),
        Kind::Directory => {
            check_depth(depth, &parent.join(name))?;
            let dir = parent.open_dir_as_is(name)?;
            let mut entries = Vec::new();
            for name in dir.names()? {
                let relative = relative.join(std::ffi::OsStr::from_bytes(&name));
                if let Some(filter) = filter
                    && !filter(&relative, kind(&dir.stat(&name)?))?
                {
                    continue;
                }
                let listing = list(&dir, &name, &relative, filter, depth + 1)?;
                entries.push((name, listing));
            }
            Ok(Listing::Directory(entries))
        }
    }
}

/// Device, inode, size, modification and change time in nanoseconds.
type Identity = (i64, i64, i64, i64, i64);

/// What source files held when they were last read.
struct SourceCache {
    known: HashMap<Identity, Digest>,
    learnt: Mutex<Vec<(Identity, Digest)>>,
    /// Files changed at or after this time (nanoseconds since 1970) are not remembered.
    horizon: i64,
}

fn identity(stat: &FileStat) -> Identity {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    (
        stat.st_dev as i64,
        stat.st_ino as i64,
        stat.st_size,
        nanos(stat.st_mtime, stat.st_mtime_nsec),
        nanos(stat.st_ctime, stat.st_ctime_nsec),
    )
}

impl SourceCache {
    fn load(store: &LocalStore) -> Result<Self, StoreError> {
        let rows = store.database.read(|session| {
            session.rows(SOURCE_FILES, [], |row| {
                let identity = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
                Ok((identity, row.get::<_, [u8; 32]>(5)?))
            })
        })?;
        let known = rows.into_iter().map(|(identity, digest)| (identity, Digest::new(digest))).collect();
        let before = SystemTime::now().checked_sub(RACY).unwrap_or(SystemTime::UNIX_EPOCH);
        let horizon = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
        Ok(Self { known, learnt: Mutex::default(), horizon })
    }

    fn get(&self, stat: &FileStat) -> Option<Digest> {
        self.known.get(&identity(stat)).copied()
    }

    fn learn(&self, stat: &FileStat, size: u64, digest: Digest) {
        let identity = identity(stat);
        if identity.3.max(identity.4) < self.horizon && size == stat.st_size as u64 {
            self.learnt.lock().unwrap_or_else(PoisonError::into_inner).push((identity, digest));
        }
    }

    fn save(self, store: &LocalStore) -> Result<(), StoreError> {
        let learnt = self.learnt.into_inner().unwrap_or_else(PoisonError::into_inner);
        if learnt.is_empty() {
            return Ok(());
        }
        store.database.write(|session| {
            for ((device, inode, size, mtime, ctime), digest) in learnt {
                let digest = digest.bytes().as_slice();
                session.execute(INSERT_SOURCE_FILE, params![device, inode, size, mtime, ctime, digest])?;
            }
            Ok(())
        })
    }
}
