//! What an evaluation can ask of the world, in a form that can be written down and asked again.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lang::host::{FileType, Host, HostError, HostErrorKind, HostResult};
use serde::{Deserialize, Serialize};
use store::path::Ingestion;
use store::tree::Digest;
use store::{Hash, HashAlgorithm, Hasher, StoreModel, StorePath, StorePathName};

use crate::host::StoreHost;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Question {
    Bytes(PathBuf),
    Entries(PathBuf),
    Type(PathBuf),
    LinkTarget(PathBuf),
    /// The store path of a source.
    Source(Source),
    /// Whether a store path can be had.
    Valid(String),
    References(String),
    Variable(String),
    Home,
}

/// A source that was copied to the store, or would have been.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    pub path: PathBuf,
    pub name: String,
    pub recursive: bool,
    pub expected: Option<String>,
    /// What the filter was asked, and what it said; it is a pure function, as far as it asked nothing that is observed too.
    pub verdicts: Option<BTreeMap<PathBuf, (String, bool)>>,
}

/// The status of a file or folder; while it stays, so does what is inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    device: u64,
    inode: u64,
    len: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    changed: i128,
}

impl Stat {
    pub fn of(meta: &Metadata) -> Stat {
        let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Stat {
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// The status, if a change after this moment is sure to show in it: clocks of file systems are coarse, so what has
    /// just been changed may be changed again and look the same.
    fn settled(host: &StoreHost, path: &Path) -> Option<Stat> {
        const SETTLES_AFTER: Duration = Duration::from_secs(2);
        let stat = Stat::now(host, path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.saturating_sub(SETTLES_AFTER);
        let now = i128::try_from(now.as_nanos()).ok()?;
        (stat.modified < now && stat.changed < now).then_some(stat)
    }

    fn now(host: &StoreHost, path: &Path) -> Option<Stat> {
        Some(Stat::of(&std::fs::metadata(host.physical(path).ok()?).ok()?))
    }
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    question: Question,
    /// Digest of the answer, in hex.
    answer: String,
    stat: Option<Stat>,
}

/// A question still has its answer.
pub struct Holds {
    /// The observation was brought up to date, and asking the next time will cost less.
    pub renewed: bool,
}

impl Observation {
    /// `stat` as [`Question::stat`] told it before the question was asked.
    pub fn new(question: Question, answer: Digest, stat: Option<Stat>) -> Observation {
        Observation { question, answer: answer.hex(), stat }
    }

    pub fn holds(&mut self, host: &StoreHost) -> Option<Holds> {
        let file = self.question.file();
        if let (Some(stat), Some(path)) = (&self.stat, file)
            && Stat::now(host, path).as_ref() == Some(stat)
        {
            return Some(Holds { renewed: false });
        }
        let stat = self.question.stat(host);
        if self.question.ask(host)?.hex() != self.answer {
            return None;
        }
        let renewed = stat.is_some();
        self.stat = stat;
        Some(Holds { renewed })
    }
}

impl Question {
    /// The file or folder whose status vouches for the answer.
    fn file(&self) -> Option<&Path> {
        match self {
            Question::Bytes(path) | Question::Entries(path) => Some(path),
            _ => None,
        }
    }

    /// To be taken before the question is asked, so that a change in between is noticed later.
    pub fn stat(&self, host: &StoreHost) -> Option<Stat> {
        Stat::settled(host, self.file()?)
    }

    /// Asks again; nothing when it makes no sense any more.
    fn ask(&self, host: &StoreHost) -> Option<Digest> {
        Some(match self {
            Question::Bytes(path) => digest_pieces(host, path, &mut |_| Ok(())).1,
            Question::Entries(path) => of_entries(&host.read_dir(path)),
            Question::Type(path) => of_type(&host.file_type(path)),
            Question::LinkTarget(path) => of_link(&host.read_link(path)),
            Question::Source(source) => of_path(&source.add(host)?),
            Question::Valid(path) => of_valid(&host.ensure_path(&StorePath::parse(path).ok()?)),
            Question::References(path) => of_paths(&host.references(&StorePath::parse(path).ok()?)),
            Question::Variable(name) => of_variable(host.env_var(name.as_bytes()).as_deref()),
            Question::Home => of_variable(host.home_dir().as_ref().map(|home| home.as_os_str().as_bytes())),
        })
    }
}

impl Source {
    pub fn new(path: &Path, name: &StorePathName, ingestion: Ingestion, expected: Option<&Hash>) -> Source {
        Source {
            path: path.to_owned(),
            name: name.to_string(),
            recursive: ingestion == Ingestion::Recursive,
            expected: expected.map(Hash::sri),
            verdicts: None,
        }
    }

    /// Copies it again; nothing when the filter is asked what it was not asked before.
    fn add(&self, host: &StoreHost) -> Option<HostResult<StorePath>> {
        let name = StorePathName::new(&self.name).ok()?;
        let ingestion = if self.recursive { Ingestion::Recursive } else { Ingestion::Flat };
        let expected = match &self.expected {
            Some(text) => Some(Hash::parse(text, None).ok()?),
            None => None,
        };
        let Some(verdicts) = &self.verdicts else {
            return Some(host.add_source(&self.path, &name, ingestion, None, expected.as_ref()));
        };
        let mut filter = |path: &Path, kind: FileType| match verdicts.get(path) {
            Some((known, kept)) if known == kind.name() => Ok(*kept),
            _ => Err(HostError::new(HostErrorKind::Stopped, "the filter was not asked this before")),
        };
        let added = host.add_source(&self.path, &name, ingestion, Some(&mut filter), expected.as_ref());
        match added {
            Err(error) if error.kind == HostErrorKind::Stopped => None,
            added => Some(added),
        }
    }
}

// Digests of answers. Each begins with a letter for the case, so that no two cases share a text.

fn of<T>(answer: &HostResult<T>, text: impl FnOnce(&T) -> Vec<u8>) -> Digest {
    Digest::of(&match answer {
        Ok(value) => [b"+", text(value).as_slice()].concat(),
        Err(error) => format!("-{:?} {}", error.kind, error.message).into_bytes(),
    })
}

pub fn of_bytes(answer: &HostResult<Vec<u8>>) -> Digest {
    match answer {
        // Large, and so not copied.
        Ok(bytes) => Digest::of(bytes),
        Err(_) => of(answer, Vec::clone),
    }
}

/// Gives the bytes of a file piece by piece, with what [`of_bytes`] says of all of them.
pub fn digest_pieces(
    host: &StoreHost,
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> HostResult<()>,
) -> (HostResult<()>, Digest) {
    let mut hasher = Hasher::new(HashAlgorithm::Blake3);
    let read = host.read_pieces(path, &mut |piece| {
        hasher.update(piece);
        take(piece)
    });
    let digest = match &read {
        Ok(()) => Digest::from_slice(hasher.finish().digest()).expect("a digest is a blake3 hash"),
        Err(_) => of(&read, |()| Vec::new()),
    };
    (read, digest)
}

pub fn of_entries(answer: &HostResult<Vec<(Vec<u8>, FileType)>>) -> Digest {
    of(answer, |entries| {
        let mut lines: Vec<Vec<u8>> =
            entries.iter().map(|(name, kind)| [name, b"/".as_slice(), kind.name().as_bytes(), b"/"].concat()).collect();
        lines.sort();
        lines.concat()
    })
}

pub fn of_type(answer: &HostResult<Option<FileType>>) -> Digest {
    of(answer, |kind| kind.map_or("nothing", FileType::name).into())
}

pub fn of_link(answer: &HostResult<PathBuf>) -> Digest {
    of(answer, |target| target.as_os_str().as_bytes().to_vec())
}

pub fn of_path(answer: &HostResult<StorePath>) -> Digest {
    of(answer, |path| StoreModel::Native.print(path).into_bytes())
}

pub fn of_valid(answer: &HostResult<()>) -> Digest {
    of(answer, |()| Vec::new())
}

pub fn of_paths(answer: &HostResult<Vec<StorePath>>) -> Digest {
    of(answer, |paths| paths.iter().map(|path| path.to_string() + "\n").collect::<String>().into_bytes())
}

pub fn of_variable(value: Option<&[u8]>) -> Digest {
    Digest::of(&value.map_or_else(|| b"-".to_vec(), |value| [b"+", value].concat()))
}
