//! Adds texts, derivations and sources to the store.

use crate::db::{DELETE_SOURCES, ValidPath};
use crate::error::StoreError;
use crate::import::{Imported, PARALLEL_DEPTH_MAX, TreeCounter};
use crate::local::LocalStore;
use crate::read::{SMALL_MAX, hash_file, with_small_file};
use crate::scratch::TempRoot;
use crate::sources::{FileDigests, Found, Identity, Signature, SourceCache};
use model::derivation::Derivation;
use model::path::{References, StorePath, StorePathName};
use model::tree::{Digest, Directory, Node, TreeError, check_depth};
use nix::sys::stat::FileStat;
use os::dir::{Dir, DirEntry, FileKind, kind};
use os::{SysError, mode};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file that is named by its text and its references.
#[derive(Clone, Debug)]
pub struct Text {
    pub name: StorePathName,
    pub text: Vec<u8>,
    pub references: BTreeSet<StorePath>,
}

/// The kind of an entry that a source filter decides on.
pub use os::dir::FileKind as SourceKind;

/// A filter of the entries of a source; paths are relative to it.
pub type SourceFilter<'a> = dyn FnMut(&Path, SourceKind) -> Result<bool, StoreError> + 'a;

impl LocalStore {
    /// Adds a text with `references`, which must be valid.
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

    /// Adds texts, which may refer to each other, with one registration: many times cheaper than
    /// one by one.
    ///
    /// # Errors
    /// The errors of [`LocalStore::add_text`]; none of the texts is valid then.
    pub fn add_texts(&self, texts: &[Text]) -> Result<Vec<StorePath>, StoreError> {
        let _shared = self.lock_shared()?;
        let path = |text: &Text| self.model().make_text_path(text.name.clone(), &text.text, &text.references);
        let paths: Vec<StorePath> = texts.iter().map(path).collect();
        self.scratch.roots(paths.iter().cloned().map(TempRoot::Path))?;
        let valid = self.valid_among(paths.iter().cloned())?;
        let mut infos = Vec::new();
        for (text, path) in texts.iter().zip(&paths) {
            if !valid.contains(path) {
                let digest = Digest::of(&text.text);
                self.write_blob(&digest, &text.text, false)?;
                let size = text.text.len() as u64;
                let node = Node::File { digest, executable: false, size };
                let references = text.references.clone();
                infos.push(ValidPath { references, ..ValidPath::new(path.clone(), node, size) });
            }
        }
        self.add_trees(&infos)?;
        Ok(paths)
    }

    /// Writes a derivation, whose input derivations and sources must be valid.
    ///
    /// # Errors
    /// The errors of [`LocalStore::add_text`].
    pub fn add_derivation(&self, derivation: &Derivation) -> Result<StorePath, StoreError> {
        Ok(self.add_derivations(std::slice::from_ref(derivation))?.remove(0))
    }

    /// Writes derivations, which may depend on each other, with one registration.
    ///
    /// # Errors
    /// The errors of [`LocalStore::add_derivation`]; none of the derivations is valid then.
    pub fn add_derivations(&self, derivations: &[Derivation]) -> Result<Vec<StorePath>, StoreError> {
        let mut texts = Vec::with_capacity(derivations.len());
        for derivation in derivations {
            let name = StorePathName::new(&format!("{}.drv", derivation.name))?;
            texts.push(Text { name, text: derivation.to_aterm(self.model())?, references: derivation.references() });
        }
        self.add_texts(&texts)
    }

    /// Adds the file, directory or link at `source`, which is not changed, without the entries that
    /// `filter` declines.
    ///
    /// Files that have not changed since they were last added are not read again.
    ///
    /// # Errors
    /// [`StoreError::SpecialFile`]; when a file cannot be read or written, or `filter` fails.
    pub fn add_source(
        &self,
        source: &Path,
        name: StorePathName,
        filter: Option<&mut SourceFilter<'_>>,
    ) -> Result<StorePath, StoreError> {
        let _shared = self.lock_shared()?;
        let copied = self.copy(source, filter)?;
        let path = self.source_path(name, &copied.imported);
        self.scratch.root(&TempRoot::Path(path.clone()))?;
        if self.is_valid(&path)? {
            return Ok(path);
        }
        let imported = self.complete(source, copied)?;
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
    /// The errors of [`LocalStore::add_source`].
    pub fn copy_in(&self, source: &Path, filter: Option<&mut SourceFilter<'_>>) -> Result<Imported, StoreError> {
        let _shared = self.lock_shared()?;
        let copied = self.copy(source, filter)?;
        self.complete(source, copied)
    }

    fn copy(&self, source: &Path, filter: Option<&mut SourceFilter<'_>>) -> Result<Copied, StoreError> {
        let (parent, name) = Dir::open_parent(source)?;
        let cache = SourceCache::new(self);
        let copier = Copier { store: self, counter: TreeCounter::default(), cache: &cache };
        let filtered = filter.is_some();
        let node = match filter {
            None => copier.node(&parent, &name, None, 0)?,
            Some(filter) => copier.filtered(&parent, &name, Path::new(""), filter, 0)?,
        };
        let imported = copier.counter.imported(node);
        let remembered = cache.save()?;
        self.scratch.root(&TempRoot::Node(imported.node.clone()))?;
        Ok(Copied { imported, remembered, filtered })
    }

    /// Ensures that all of a copied tree is in the store. Blobs of cached files may have been
    /// collected; then the cache is cleared, and the source copied again.
    fn complete(&self, source: &Path, copied: Copied) -> Result<Imported, StoreError> {
        if !copied.remembered || self.has_tree(&copied.imported.node)? {
            return Ok(copied.imported);
        }
        self.database.write(|session| session.execute(DELETE_SOURCES, []))?;
        if !copied.filtered {
            return Ok(self.copy(source, None)?.imported);
        }
        // Directories of a filtered tree are always written.
        let mut taken = BTreeSet::new();
        model::tree::walk::walk::<StoreError>(self, &copied.imported.node, |path, _| {
            taken.insert(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
            Ok(true)
        })?;
        let mut filter = |path: &Path, _| Ok(taken.contains(path));
        Ok(self.copy(source, Some(&mut filter))?.imported)
    }

    /// Returns true when every blob of a tree exists with its size and the store's time, and so was
    /// not written to since. Reads directories only.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn has_tree(&self, node: &Node) -> Result<bool, StoreError> {
        match node {
            Node::Symlink { .. } => Ok(true),
            Node::File { digest, executable, size } => Ok(self.has_blob(digest, *executable, *size)?),
            Node::Directory { digest, size } => {
                if !self.has_blob(digest, false, *size)? {
                    return Ok(false);
                }
                let directory = match self.load_directory(digest) {
                    Err(StoreError::Tree(TreeError::Missing { .. } | TreeError::Encoding { .. })) => return Ok(false),
                    directory => directory?,
                };
                for (_, node) in directory.iter() {
                    if !self.has_tree(node)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// A source whose tree is known.
struct Copied {
    imported: Imported,
    /// Set when a part was unchanged, and so not read.
    remembered: bool,
    filtered: bool,
}

/// Copies one source.
struct Copier<'a> {
    store: &'a LocalStore,
    counter: TreeCounter<'static>,
    cache: &'a SourceCache<'a>,
}

impl Copier<'_> {
    /// Copies the entry `name`, which its directory lists as `known`.
    fn node(&self, parent: &Dir, name: &[u8], known: Option<FileKind>, depth: usize) -> Result<Node, StoreError> {
        // A directory is examined once it is open.
        let stat = if known == Some(FileKind::Directory) { None } else { Some(parent.stat(name)?) };
        match stat.as_ref().map_or(FileKind::Directory, kind) {
            FileKind::File => self.lone_file(parent, name, &stat.expect("a file has been looked at")),
            FileKind::Symlink => Ok(Node::Symlink { target: parent.read_link(name)? }),
            FileKind::Other(kind) => Err(StoreError::SpecialFile { path: parent.join(name), kind }),
            FileKind::Directory => {
                check_depth(depth, &parent.join(name))?;
                let mut dir = parent.open_dir_as_is(name)?;
                let entries = dir.list()?;
                let below = |entry: &DirEntry| self.node(&dir, &entry.name, entry.kind, depth + 1);
                let is_directory = |entry: &&DirEntry| entry.kind == Some(FileKind::Directory);
                let directories: Vec<Node> = if depth < PARALLEL_DEPTH_MAX {
                    let directories: Vec<&DirEntry> = entries.iter().filter(is_directory).collect();
                    directories.into_par_iter().map(below).collect::<Result<_, StoreError>>()?
                } else {
                    entries.iter().filter(is_directory).map(below).collect::<Result<_, StoreError>>()?
                };
                let mut directories = directories.into_iter();
                let mut found = Vec::with_capacity(entries.len());
                for entry in &entries {
                    found.push(match entry.kind {
                        Some(FileKind::Directory) => Found::Node(directories.next().expect("one for each directory")),
                        _ => self.find(&dir, &entry.name, depth)?,
                    });
                }
                let names = entries.into_iter().map(|entry| entry.name);
                self.directory(&dir, names.zip(found).collect(), true)
            }
        }
    }

    /// Examines an entry that is not listed as a directory.
    fn find(&self, dir: &Dir, name: &[u8], depth: usize) -> Result<Found, StoreError> {
        let stat = dir.stat(name)?;
        match kind(&stat) {
            FileKind::File => Ok(Found::File(stat)),
            FileKind::Symlink => Ok(Found::Symlink(stat)),
            FileKind::Directory => self.node(dir, name, Some(FileKind::Directory), depth + 1).map(Found::Node),
            FileKind::Other(kind) => Err(StoreError::SpecialFile { path: dir.join(name), kind }),
        }
    }

    /// Does the same as [`Copier::node`], without the entries that `filter` declines. Directories
    /// are read one after the other, since filters run on one thread.
    fn filtered(
        &self,
        parent: &Dir,
        name: &[u8],
        relative: &Path,
        filter: &mut SourceFilter<'_>,
        depth: usize,
    ) -> Result<Node, StoreError> {
        let stat = parent.stat(name)?;
        if kind(&stat) != FileKind::Directory {
            return self.node(parent, name, None, depth);
        }
        check_depth(depth, &parent.join(name))?;
        let mut dir = parent.open_dir_as_is(name)?;
        let mut found = Vec::new();
        for DirEntry { name, .. } in dir.list()? {
            let relative = relative.join(std::ffi::OsStr::from_bytes(&name));
            let stat = dir.stat(&name)?;
            if !filter(&relative, kind(&stat))? {
                continue;
            }
            let what = match kind(&stat) {
                FileKind::File => Found::File(stat),
                FileKind::Symlink => Found::Symlink(stat),
                FileKind::Directory => Found::Node(self.filtered(&dir, &name, &relative, filter, depth + 1)?),
                FileKind::Other(kind) => return Err(StoreError::SpecialFile { path: dir.join(&name), kind }),
            };
            found.push((name, what));
        }
        self.directory(&dir, found, false)
    }

    /// Writes the directory of the entries `found` in `dir`; `whole` when these are all.
    fn directory(&self, dir: &Dir, found: Vec<(Vec<u8>, Found)>, whole: bool) -> Result<Node, StoreError> {
        let own = dir.stat_self()?;
        let signature = Signature::of_directory(&found);
        let record = self.cache.look_up(&own)?;
        if let Some(record) = &record
            && whole
            && record.signature == signature
        {
            self.cache.used();
            for (_, found) in &found {
                if let Found::File(stat) = found {
                    self.counter.count(stat.st_size as u64);
                }
            }
            return Ok(record.node.clone());
        }
        let known = record.as_ref().map(|record| record.files()).unwrap_or_default();
        let nodes: Vec<(Vec<u8>, Node)> = found
            .par_iter()
            .with_min_len(FILES_AT_ONCE)
            .map(|(name, found)| {
                let node = match found {
                    Found::Node(node) => node.clone(),
                    Found::Symlink(_) => Node::Symlink { target: dir.read_link(name)? },
                    Found::File(stat) => match known.get(&Identity::of(stat)) {
                        Some(digest) => {
                            self.cache.used();
                            self.counter.count(stat.st_size as u64);
                            file_node(*digest, stat, stat.st_size as u64)
                        }
                        None => self.file(dir, name)?,
                    },
                };
                Ok((name.clone(), node))
            })
            .collect::<Result<_, StoreError>>()?;
        let mut directory = Directory::new();
        for (name, node) in nodes {
            directory.insert(name, node)?;
        }
        let digests = found.iter().filter_map(|(name, found)| match (found, directory.get(name)) {
            (Found::File(stat), Some(Node::File { digest, size, .. }))
                if *size == stat.st_size as u64 && self.cache.is_stable(found) =>
            {
                Some((Identity::of(stat), *digest))
            }
            _ => None,
        });
        let new = FileDigests::of_directory(digests);
        // Files that a filter declined stay cached: the next filter may take them.
        let kept = if whole { Default::default() } else { known };
        let stable = whole && found.iter().all(|(_, found)| self.cache.is_stable(found));
        let node = self.store.write_cached_directory(directory)?;
        self.cache.record(&own, new.with(kept), stable.then_some(signature), &node)?;
        Ok(node)
    }

    /// Copies a file that is a source by itself.
    fn lone_file(&self, parent: &Dir, name: &[u8], stat: &FileStat) -> Result<Node, StoreError> {
        let signature = Signature::of_file(stat);
        if let Some(record) = self.cache.look_up(stat)?
            && record.signature == signature
        {
            self.cache.used();
            self.counter.count(stat.st_size as u64);
            return Ok(record.node);
        }
        let node = self.file(parent, name)?;
        if self.cache.is_stable(&Found::File(*stat))
            && matches!(node, Node::File { size, .. } if size == stat.st_size as u64)
        {
            self.cache.record(stat, FileDigests::default(), Some(signature), &node)?;
        }
        Ok(node)
    }

    fn file(&self, parent: &Dir, name: &[u8]) -> Result<Node, StoreError> {
        let path = || parent.join(name);
        let mut file = parent.open_file(name)?;
        let opened = nix::sys::stat::fstat(&file).map_err(|errno| SysError::new("stat", path(), errno))?;
        if kind(&opened) != FileKind::File {
            return Err(StoreError::Changed { path: path() });
        }
        let executable = mode::is_executable(opened.st_mode);
        let (digest, size) = if opened.st_size as u64 <= SMALL_MAX {
            with_small_file(&mut file, opened.st_size as usize, |bytes| {
                let bytes = bytes.map_err(|error| SysError::io("read", path(), &error))?;
                let digest = Digest::of(bytes);
                self.store.write_blob(&digest, bytes, executable)?;
                Ok::<_, StoreError>((digest, bytes.len() as u64))
            })?
        } else {
            // Reading a large file twice is cheaper than writing it twice.
            let (digest, size) = hash_file(&mut file, &path())?;
            if self.store.has_blob(&digest, executable, size)? {
                (digest, size)
            } else {
                self.store.stream_blob(&mut parent.open_file(name)?, executable, &path())?
            }
        };
        self.counter.count(size);
        Ok(Node::File { digest, executable, size })
    }
}

fn file_node(digest: Digest, stat: &FileStat, size: u64) -> Node {
    Node::File { digest, executable: mode::is_executable(stat.st_mode), size }
}

/// Fewer files than these are not worth another thread.
const FILES_AT_ONCE: usize = 16;
