//! A cache of the trees of sources, so that unchanged files are not read again.
//!
//! The cache has a record for each directory. Each record has a *signature*: a digest over a
//! listing and a `stat` of every entry (names, devices, inodes, sizes, times; of subdirectories,
//! the digests of their trees). While the signature is the same, so is the tree, which the record
//! holds. When it differs, unchanged files are recognised one by one.
//!
//! **Racy files.** A file that changed shortly before it was read may change again without new
//! times, since file systems have coarse clocks. (Git calls such files *racily clean*.) Such a file
//! is not cached, nor is the signature of its directory.
//!
//! A record does not prove that a tree is in the store: [`crate::LocalStore::add_source`] checks
//! that.

use crate::db::{INSERT_SOURCE, SOURCE, Session, Snapshot};
use crate::error::StoreError;
use crate::local::LocalStore;
use model::tree::{Digest, Node};
use nix::sys::stat::FileStat;
use os::mode;
use rusqlite::params;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

/// A file that changed this shortly before it was read may change again without new times.
const RACY: Duration = Duration::from_secs(2);

/// The first lookups are queries of their own, which is faster than opening the database once more.
const LOOKUPS_ONE_BY_ONE: usize = 64;

/// New records are collected up to this number of bytes before they are written.
const PENDING_MAX: usize = 4 << 20;

/// Proof that a file is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity([u8; Identity::LEN]);

impl Identity {
    /// Device, inode, size, modification and change time: eight bytes each.
    const LEN: usize = 40;

    pub fn of(stat: &FileStat) -> Self {
        let mut bytes = [0; Self::LEN];
        let fields = [stat.st_dev as i64, stat.st_ino as i64, stat.st_size, modified_nanos(stat), changed_nanos(stat)];
        for (bytes, field) in bytes.chunks_exact_mut(8).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        Self(bytes)
    }
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn modified_nanos(stat: &FileStat) -> i64 {
    nanos(stat.st_mtime, stat.st_mtime_nsec)
}

fn changed_nanos(stat: &FileStat) -> i64 {
    nanos(stat.st_ctime, stat.st_ctime_nsec)
}

/// An entry of a source directory.
pub(crate) enum Found {
    File(FileStat),
    Symlink(FileStat),
    /// A directory, whose tree is known.
    Node(Node),
}

/// A digest of all that `stat` and listings show of a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature([u8; 32]);

impl Signature {
    pub fn of_file(stat: &FileStat) -> Self {
        let mut bytes = vec![file_tag(stat)];
        bytes.extend_from_slice(&Identity::of(stat).0);
        Self(*Digest::of(&bytes).bytes())
    }

    /// Returns the signature of a directory with the entries `found`, sorted by name.
    pub fn of_directory(found: &[(Vec<u8>, Found)]) -> Self {
        let mut bytes = Vec::with_capacity(found.len() * 80);
        for (name, found) in found {
            bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            bytes.extend_from_slice(name);
            match found {
                Found::File(stat) => {
                    bytes.push(file_tag(stat));
                    bytes.extend_from_slice(&Identity::of(stat).0);
                }
                Found::Symlink(stat) => {
                    bytes.push(b'l');
                    bytes.extend_from_slice(&Identity::of(stat).0);
                }
                Found::Node(node) => {
                    bytes.push(b'd');
                    bytes.extend_from_slice(node.fingerprint().bytes());
                }
            }
        }
        Self(*Digest::of(&bytes).bytes())
    }
}

fn file_tag(stat: &FileStat) -> u8 {
    if mode::is_executable(stat.st_mode) { b'x' } else { b'f' }
}

/// The record of one directory, or of a file that is a source by itself.
pub(crate) struct Record {
    /// Zero when the whole is not reliable.
    pub signature: Signature,
    pub node: Node,
    files: Vec<u8>,
}

impl Record {
    /// Returns the digest of each file.
    pub fn files(&self) -> HashMap<Identity, Digest> {
        let entries = self.files.chunks_exact(Identity::LEN + 32);
        let split = |entry: &[u8]| {
            let (identity, digest) = entry.split_at(Identity::LEN);
            Some((Identity(identity.try_into().ok()?), Digest::from_slice(digest)?))
        };
        entries.filter_map(split).collect()
    }
}

/// Digests of the files of one directory, for a record.
#[derive(Default)]
pub(crate) struct FileDigests(HashMap<Identity, Digest>);

impl FileDigests {
    pub fn of_directory(files: impl Iterator<Item = (Identity, Digest)>) -> Self {
        Self(files.collect())
    }

    /// Adds digests of an older record.
    pub fn with(mut self, before: HashMap<Identity, Digest>) -> Self {
        before.into_iter().for_each(|(identity, digest)| {
            self.0.entry(identity).or_insert(digest);
        });
        self
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut files: Vec<_> = self.0.iter().map(|(identity, digest)| (identity.0, *digest.bytes())).collect();
        files.sort_unstable();
        files.iter().flat_map(|(identity, digest)| identity.iter().chain(digest)).copied().collect()
    }
}

/// A record to write.
struct New {
    device: i64,
    inode: i64,
    signature: [u8; 32],
    node: Vec<u8>,
    files: Vec<u8>,
}

/// The cache while one source is added.
pub(crate) struct SourceCache<'a> {
    store: &'a LocalStore,
    pending: Mutex<(Vec<New>, usize)>,
    used: AtomicBool,
    lookups: AtomicUsize,
    /// A snapshot of the cache, for many lookups.
    snapshot: OnceLock<Option<Snapshot>>,
    /// Files that changed at or after this time, in nanoseconds since 1970, are not cached.
    horizon: i64,
}

impl<'a> SourceCache<'a> {
    pub fn new(store: &'a LocalStore) -> Self {
        let before = SystemTime::now().checked_sub(RACY).unwrap_or(SystemTime::UNIX_EPOCH);
        let horizon = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
        Self {
            store,
            pending: Mutex::default(),
            used: AtomicBool::new(false),
            lookups: AtomicUsize::new(0),
            snapshot: OnceLock::new(),
            horizon,
        }
    }

    /// Returns the record of a directory or a file.
    pub fn look_up(&self, stat: &FileStat) -> Result<Option<Record>, StoreError> {
        type Columns = (Vec<u8>, Vec<u8>, Vec<u8>);
        let ask = |session: &Session<'_>| -> Result<Option<Columns>, StoreError> {
            session.row(SOURCE, params![stat.st_dev as i64, stat.st_ino as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
        };
        let many = self.lookups.fetch_add(1, Ordering::Relaxed) >= LOOKUPS_ONE_BY_ONE;
        // Without a second connection, as at the limit of open files, lookups only take longer.
        let snapshot = if many { self.snapshot.get_or_init(|| self.store.database.snapshot().ok()) } else { &None };
        let row = match snapshot {
            Some(snapshot) => snapshot.read(ask)?,
            None => self.store.database.read(ask)?,
        };
        Ok(row.and_then(|(signature, node, files)| {
            Some(Record { signature: Signature(signature.try_into().ok()?), node: Node::from_bytes(&node)?, files })
        }))
    }

    /// Notes that a record was used.
    pub fn used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Returns true when an entry is old enough that a change would show in its times.
    pub fn is_stable(&self, found: &Found) -> bool {
        match found {
            Found::File(stat) | Found::Symlink(stat) => modified_nanos(stat).max(changed_nanos(stat)) < self.horizon,
            Found::Node(_) => true,
        }
    }

    /// Records a directory, or a file by itself, with its `signature` when the whole is reliable.
    pub fn record(
        &self,
        stat: &FileStat,
        files: FileDigests,
        signature: Option<Signature>,
        node: &Node,
    ) -> Result<(), StoreError> {
        if files.0.is_empty() && signature.is_none() {
            return Ok(());
        }
        let new = New {
            device: stat.st_dev as i64,
            inode: stat.st_ino as i64,
            signature: signature.map_or([0; 32], |signature| signature.0),
            node: node.to_bytes(),
            files: files.to_bytes(),
        };
        let full = {
            let mut pending = os::lock(&self.pending);
            pending.1 += new.files.len() + new.node.len() + 100;
            pending.0.push(new);
            (pending.1 > PENDING_MAX).then(|| std::mem::take(&mut *pending).0)
        };
        full.map_or(Ok(()), |new| self.write(new))
    }

    fn write(&self, new: Vec<New>) -> Result<(), StoreError> {
        self.store.database.write(|session| {
            for New { device, inode, signature, node, files } in &new {
                session.execute(INSERT_SOURCE, params![device, inode, signature.as_slice(), node, files])?;
            }
            Ok(())
        })
    }

    /// Writes new records; returns true when any record was used.
    pub fn save(&self) -> Result<bool, StoreError> {
        let new = std::mem::take(&mut *os::lock(&self.pending)).0;
        if !new.is_empty() {
            self.write(new)?;
        }
        Ok(self.used.load(Ordering::Relaxed))
    }
}
