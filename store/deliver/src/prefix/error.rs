//! Errors of installing, switching and removing prefixes.

use super::names;
use model::line::in_line;
use nix::errno::Errno;
use os::SysError;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use store::StoreError;
use thiserror::Error;

/// The number of foreign files in a message.
pub(super) const SHOWN_MAX: usize = 20;

/// Reasons why a prefix was not installed, switched or removed.
#[derive(Debug, Error)]
pub enum PrefixError {
    /// A system call failed.
    #[error(transparent)]
    System(SysError),
    /// The store failed, in symlink mode.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the store could not be linked into the prefix.
    #[error("{source}")]
    HardLink {
        /// The error of the system.
        source: SysError,
    },
    /// The tree does not hold the prefix, or holds more.
    #[error("`{}` is not a prefix root: {reason}", shown(tree))]
    NoPrefix {
        /// The tree.
        tree: PathBuf,
        /// The part that is missing, or not allowed.
        reason: String,
    },
    /// The prefix or its tree has a name that the installation reserves.
    #[error("`{}` has a name that is reserved: {reason}", shown(path))]
    Reserved {
        /// The entry of the tree, or the prefix.
        path: PathBuf,
        /// The reserved use of the name.
        reason: &'static str,
    },
    /// A path that is not valid for a prefix.
    #[error("PREFIX `{}` must be an absolute path below `/`, without `..`", shown(prefix))]
    NoPath {
        /// The given path.
        prefix: PathBuf,
    },
    /// The generation at the path has a damaged marker.
    #[error("cannot read the number of the generation at the path: `{}` is damaged", shown(marker))]
    Damaged {
        /// The prefix on this machine.
        path: PathBuf,
        /// The file with the number of the generation.
        marker: PathBuf,
    },
    /// Files that were not installed by this program are in the way.
    #[error("files that were not installed from the store are in the way at `{}`:{}", shown(path), listed(files, *more))]
    Foreign {
        /// The prefix on this machine.
        path: PathBuf,
        /// Some of the files.
        files: Vec<PathBuf>,
        /// The number of further files.
        more: usize,
    },
    /// There is no such generation.
    #[error("`{}` has no generation {}; it has {}", shown(path), wanted.map_or("before the current one".to_owned(), |number| number.to_string()), numbers(known))]
    NoGeneration {
        /// The prefix on this machine.
        path: PathBuf,
        /// The number asked for.
        wanted: Option<u32>,
        /// The existing numbers.
        known: Vec<u32>,
    },
    /// The prefix is not installed here.
    #[error("no prefix is installed at `{}`", shown(path))]
    NotInstalled {
        /// The prefix on this machine.
        path: PathBuf,
    },
    /// The link of a generation is dangling.
    #[error("the tree of generation {number} of `{}` is gone: `{}`", shown(path), shown(tree))]
    TreeGone {
        /// The prefix on this machine.
        path: PathBuf,
        /// The generation.
        number: u32,
        /// The former path of its tree.
        tree: PathBuf,
    },
    /// All numbers of generations are taken.
    #[error("`{}` has a generation {}, and there is no number above it", shown(path), names::NUMBER_MAX)]
    NoNumber {
        /// The prefix on this machine.
        path: PathBuf,
    },
    /// The path below the root leads through a link, which may end anywhere.
    #[error("`{}` is a symbolic link; a prefix is only put below real directories of the root", shown(path))]
    LinkInPath {
        /// The link.
        path: PathBuf,
    },
    /// Another user could change files that are trusted here.
    #[error("`{}` belongs to user {user}, who could change what is installed", shown(path))]
    OtherOwner {
        /// The directory with the generations.
        path: PathBuf,
        /// The owner of the directory.
        user: u32,
    },
    /// Other processes install and remove the prefix faster than this one can lock it.
    #[error("other processes made and removed `{}` each time it was opened", shown(path))]
    Busy {
        /// The directory with the generations.
        path: PathBuf,
    },
}

impl PrefixError {
    /// Returns the stable name of the situation, which `ev explain` describes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::System(_) | Self::HardLink { .. } => "prefix::system_call",
            Self::Store(error) => error.code(),
            Self::NoPrefix { .. } | Self::Reserved { .. } => "prefix::not_a_prefix",
            Self::NoPath { .. } => "prefix::path",
            Self::Damaged { .. } | Self::TreeGone { .. } => "prefix::damaged",
            Self::Foreign { .. } => "prefix::foreign_files",
            Self::NoGeneration { .. } | Self::NoNumber { .. } => "prefix::generation",
            Self::NotInstalled { .. } => "prefix::not_installed",
            Self::LinkInPath { .. } => "prefix::link_in_path",
            Self::OtherOwner { .. } => "prefix::other_owner",
            Self::Busy { .. } => "prefix::busy",
        }
    }

    /// All codes of [`PrefixError::code`] but those of the store.
    pub const CODES: [&'static str; 10] = [
        "prefix::busy",
        "prefix::damaged",
        "prefix::foreign_files",
        "prefix::generation",
        "prefix::link_in_path",
        "prefix::not_a_prefix",
        "prefix::not_installed",
        "prefix::other_owner",
        "prefix::path",
        "prefix::system_call",
    ];

    /// Returns the next step for the user, where there is one.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Reserved { .. } => "rename it in the package".to_owned(),
            Self::NoNumber { path } => format!("remove it: `ev prefix prune {} --keep 0`", shown(path)),
            Self::TreeGone { .. } => "install it again with `ev prefix install`".to_owned(),
            Self::OtherOwner { path, .. } => {
                format!("check its content, then take it over with `chown -R $(id -u) {}`", shown(path))
            }
            Self::NoGeneration { wanted: Some(_), .. } => "`ev prefix generations` lists them".to_owned(),
            Self::System(error) => return at_root(error),
            Self::Store(error) => return error.help().map(str::to_owned),
            Self::HardLink { source } => {
                let copy = "use `--mode copy`, which links no files of the store";
                let other = at_root(source).filter(|_| source.errno != Errno::EXDEV);
                other.map_or_else(|| copy.to_owned(), |other| format!("{copy}, or {other}"))
            }
            Self::Foreign { .. } => "`--force` moves them aside".to_owned(),
            Self::NoPath { .. } => {
                "give the path below the root, such as `/usr/local/my-stuff`, and the root with `--to`".to_owned()
            }
            Self::Damaged { path, .. } => {
                format!("`ev prefix install` with `--force` moves `{}` aside and installs it again", shown(path))
            }
            Self::LinkInPath { path } if path.file_name().is_some_and(|name| names::is_hidden(name.as_bytes())) => {
                format!(
                    "a directory of that name holds generations: look where the link leads, then `rm {}`",
                    shown(path)
                )
            }
            Self::LinkInPath { .. } => "replace it by a directory, or install below its target".to_owned(),
            Self::Busy { .. } => "try again when the other processes have ended".to_owned(),
            _ => return None,
        })
    }
}

/// Returns the next step after a failed system call below a root.
fn at_root(error: &SysError) -> Option<String> {
    let is_lock = error.path.file_name().is_some_and(|name| name.as_bytes() == names::LOCK);
    let text = match error.errno {
        Errno::ENOSPC => {
            "the file system of the root is full: free some space there, also with `ev prefix prune`, or give another with `--to`"
        }
        Errno::EDQUOT => {
            "the quota on the file system of the root is used up: free some space there, also with `ev prefix prune`"
        }
        Errno::EROFS => "the root cannot be written: mount it for writing, or give another with `--to`",
        Errno::EACCES | Errno::EPERM if is_lock => {
            "the prefix belongs to another user: run the command as that user, or as root"
        }
        Errno::EACCES | Errno::EPERM => {
            "run the command as the user that owns the directory, or give a root of your own with `--to`"
        }
        Errno::EBUSY | Errno::EXDEV => {
            "a prefix and its `.NAME.generations` are moved from one to the other: neither can be a mount point; unmount it, or \
             mount the directory that holds both"
        }
        Errno::EMFILE | Errno::ENFILE => "raise the limit on open files (`ulimit -n`)",
        _ => return None,
    };
    Some(text.to_owned())
}

impl From<SysError> for PrefixError {
    fn from(error: SysError) -> Self {
        Self::System(error.outside())
    }
}

/// Returns a path in the form of messages.
fn shown(path: &Path) -> String {
    in_line(&path.display().to_string()).into_owned()
}

fn listed(files: &[PathBuf], more: usize) -> String {
    let mut text: String = files.iter().map(|file| format!("\n  {}", shown(file))).collect();
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

fn numbers(known: &[u32]) -> String {
    match known {
        [] => "none".to_owned(),
        known => known.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}

pub(super) type Result<T, E = PrefixError> = std::result::Result<T, E>;
