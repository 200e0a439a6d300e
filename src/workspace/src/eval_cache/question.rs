//! Questions of an evaluation to the world, in a form that can be stored and asked again.

use super::KeyWriter;
use crate::host::StoreHost;
use crate::sources::TreeUse;
use lang::host::{FileType, Host, HostError, HostErrorKind, HostResult, LocalFact, LocalFacts, LocalTree};
use model::path::Ingestion;
use model::tree::Digest;
use model::{Hash, HashAlgorithm, Hasher, StoreModel, StorePath, StorePathName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Question {
    Bytes(PathBuf),
    Entries(PathBuf),
    Type(PathBuf),
    LinkTarget(PathBuf),
    /// The store path of a source.
    Source(CopiedSource),
    /// Validity of a store path.
    Valid(String),
    References(String),
    Variable(String),
    Home,
    /// The Git tree that a directory belongs to.
    GitTree(PathBuf),
    /// A fact about a tree that is read in place. Asking for it makes its files known as well.
    Local(Tree, Fact),
    /// Which of the paths below the root of a tree are changed, and which are not tracked.
    Status(Tree, Vec<PathBuf>),
}

/// [`LocalTree`] in a form that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tree {
    root: PathBuf,
    is_git: bool,
    submodules: bool,
}

impl From<&LocalTree> for Tree {
    fn from(tree: &LocalTree) -> Tree {
        let LocalTree { root, is_git, submodules } = tree.clone();
        Tree { root, is_git, submodules }
    }
}

impl From<&Tree> for LocalTree {
    fn from(tree: &Tree) -> LocalTree {
        let Tree { root, is_git, submodules } = tree.clone();
        LocalTree { root, is_git, submodules }
    }
}

/// [`LocalFact`] in a form that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fact {
    Opened,
    Attributes,
    StorePath,
    NarHash,
    RevCount,
}

impl From<LocalFact> for Fact {
    fn from(fact: LocalFact) -> Fact {
        match fact {
            LocalFact::Opened => Fact::Opened,
            LocalFact::Attributes => Fact::Attributes,
            LocalFact::StorePath => Fact::StorePath,
            LocalFact::NarHash => Fact::NarHash,
            LocalFact::RevCount => Fact::RevCount,
        }
    }
}

impl From<Fact> for LocalFact {
    fn from(fact: Fact) -> LocalFact {
        match fact {
            Fact::Opened => LocalFact::Opened,
            Fact::Attributes => LocalFact::Attributes,
            Fact::StorePath => LocalFact::StorePath,
            Fact::NarHash => LocalFact::NarHash,
            Fact::RevCount => LocalFact::RevCount,
        }
    }
}

/// A source that was copied to the store, or named as if it had been.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CopiedSource {
    pub path: PathBuf,
    pub name: String,
    pub recursive: bool,
    pub expected: Option<String>,
    /// Questions to the filter with its answers. The filter is a pure function, apart from
    /// questions that are observed themselves.
    pub verdicts: Option<BTreeMap<PathBuf, (String, bool)>>,
}

/// Status of a file or directory; while it is the same, so is the content.
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

    pub fn write_key(&self, key: &mut KeyWriter) {
        for number in [self.device, self.inode, self.len] {
            key.bytes(&number.to_le_bytes());
        }
        for time in [self.modified, self.changed] {
            key.bytes(&time.to_le_bytes());
        }
    }

    /// Returns the status if every later change is sure to show in it. A file changed within the
    /// last two seconds is racily clean: clocks of file systems are coarse, so it can change again
    /// and keep its status.
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

/// Proof that a question still has its answer.
pub struct Holds {
    /// Set when the observation got a new status, which makes the next check cheaper.
    pub renewed: bool,
}

impl Observation {
    /// Makes an observation; `stat` is the result of [`Question::stat`] before the question was
    /// asked.
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
    /// Returns the file or directory whose status vouches for the answer.
    fn file(&self) -> Option<&Path> {
        match self {
            Question::Bytes(path) | Question::Entries(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the status to store. Must be called before the question is asked, so that a change
    /// in between is noticed later.
    pub fn stat(&self, host: &StoreHost) -> Option<Stat> {
        Stat::settled(host, self.file()?)
    }

    /// Asks again; `None` when the question makes no sense any more.
    fn ask(&self, host: &StoreHost) -> Option<Digest> {
        Some(match self {
            Question::Bytes(path) => digest_pieces(host, path, &mut |_| Ok(())).1,
            Question::Entries(path) => of_entries(&host.read_dir(path)),
            Question::Type(path) => of_type(&host.file_type(path)),
            Question::LinkTarget(path) => of_link(&host.read_link(path)),
            Question::Source(source) => of_path(&source.add(host)?),
            Question::Valid(path) => of_valid(&host.ensure_path(&StorePath::parse(path).ok()?)),
            Question::References(path) => of_paths(&host.references(&StorePath::parse(path).ok()?)),
            Question::GitTree(directory) => of_git_tree(&host.git_tree_of(directory)),
            Question::Local(tree, fact) => of_local(&host.local(&tree.into(), (*fact).into())),
            Question::Status(tree, paths) => of_status(&host.trees.status(&tree.into(), paths.clone()).ok()?),
            Question::Variable(name) => of_variable(host.env_var(name.as_bytes()).as_deref()),
            Question::Home => of_variable(host.home_dir().as_ref().map(|home| home.as_os_str().as_bytes())),
        })
    }
}

impl CopiedSource {
    pub fn new(path: &Path, name: &StorePathName, ingestion: Ingestion, expected: Option<&Hash>) -> CopiedSource {
        CopiedSource {
            path: path.to_owned(),
            name: name.to_string(),
            recursive: ingestion == Ingestion::Recursive,
            expected: expected.map(Hash::sri),
            verdicts: None,
        }
    }

    /// Copies it again; `None` when the filter meets a path that it did not meet before.
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
            _ => Err(HostError::new(HostErrorKind::Stopped, "the filter meets a new path")),
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
        Err(error) => format!("-{} {}", kind_name(error.kind), error.message).into_bytes(),
    })
}

/// Returns the name of an error's kind in digests, which outlive this program.
fn kind_name(kind: HostErrorKind) -> &'static str {
    match kind {
        HostErrorKind::NotFound => "NotFound",
        HostErrorKind::Denied => "Denied",
        HostErrorKind::Stopped => "Stopped",
        HostErrorKind::Unsupported => "Unsupported",
        HostErrorKind::TooLarge => "TooLarge",
        HostErrorKind::Other => "Other",
    }
}

pub fn of_bytes(answer: &HostResult<Vec<u8>>) -> Digest {
    match answer {
        // Not copied, because it may be large.
        Ok(bytes) => Digest::of(bytes),
        Err(_) => of(answer, Vec::clone),
    }
}

/// Passes the bytes of a file to `take` piece by piece, and returns the digest that [`of_bytes`]
/// gives for all of them.
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

pub fn of_git_tree(answer: &Option<LocalTree>) -> Digest {
    of_variable(answer.as_ref().map(|tree| tree.root.as_os_str().as_bytes()))
}

pub fn of_local(answer: &HostResult<LocalFacts>) -> Digest {
    of(answer, |facts| {
        let LocalFacts { attributes, path, has_rev_count, is_incomplete } = facts;
        let path = path.as_ref().map(StorePath::to_string);
        format!("{attributes:?} {path:?} {has_rev_count} {is_incomplete}").into_bytes()
    })
}

/// Paths that were left out of copies are not among the paths of the question.
pub fn of_status(answer: &TreeUse) -> Digest {
    let TreeUse { tree: _, used: _, changed, untracked, left_out: _ } = answer;
    Digest::of(format!("{changed:?} {untracked:?}").as_bytes())
}

pub fn of_variable(value: Option<&[u8]>) -> Digest {
    Digest::of(&value.map_or_else(|| b"-".to_vec(), |value| [b"+", value].concat()))
}
