//! The audit: does anything in a finished prefix lead out of it?
//!
//! A prefix must run on any machine from its path and use nothing of that machine. So every ELF
//! interpreter, library search path and needed library, every script's interpreter, every path in
//! `.pc` and `.la` files and every symbolic link has to end inside the prefix, and no byte may name
//! a directory that only existed during the build.
//!
//! The audit reads the tree, never runs it, and uses nothing of this machine: it follows links in
//! memory, as if the tree were installed. Damaged files give findings, not panics. The audit does
//! not see strings that a compiler has split into immediates, nor the content of compressed files.

mod bytes;
mod content;
mod elf;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use content::Content;
use globset::{GlobBuilder, GlobMatcher};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use thiserror::Error;
use tree::{Node, Resolved, Tree};

/// The rules of an audit.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Accepted findings: a glob on the path, relative to the prefix or to the tree (`**` for
    /// everything), and a text the finding's text must contain (empty for any).
    pub allow: Vec<(String, String)>,
    /// Directories that exist only during builds; absolute, without a slash at the end.
    pub build_directories: Vec<String>,
    /// The directories that the prefix's dynamic loader searches without an rpath, relative to the
    /// prefix.
    pub library_directories: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Self {
            allow: Vec::new(),
            build_directories: owned(&["/build", "/output", "/source", "/eval/store"]),
            library_directories: owned(&["lib", "lib64"]),
        }
    }
}

/// One leak out of the prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the tree that was audited.
    pub path: PathBuf,
    /// The offset in the file, in bytes; none when the finding is about the file as a whole.
    pub offset: Option<u64>,
    /// The kind of leak.
    pub kind: LeakKind,
    /// The message.
    pub text: String,
    /// The next step for the user.
    pub help: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// The kinds of leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeakKind {
    /// An ELF program's interpreter is not in the prefix.
    Interpreter,
    /// `DT_RUNPATH`, which `LD_LIBRARY_PATH` overrides.
    Runpath,
    /// A library search path leads out.
    Rpath,
    /// A dynamic program has no search path of its own.
    NoRpath,
    /// A needed library is not in the prefix.
    Needed,
    /// An ELF file that cannot be read.
    BrokenElf,
    /// A script's interpreter is not in the prefix.
    Script,
    /// A path in a `.pc` file leads out.
    PkgConfig,
    /// A path in a `.la` file leads out.
    Libtool,
    /// A symbolic link leads out or nowhere.
    Symlink,
    /// The bytes name a directory of the build.
    BuildDirectory,
    /// A set-user-id or set-group-id bit.
    SetId,
    /// A device, fifo or socket.
    SpecialFile,
    /// A file beside the prefix.
    Outside,
}

impl LeakKind {
    /// Returns the name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::Runpath => "runpath",
            Self::Rpath => "rpath",
            Self::NoRpath => "no-rpath",
            Self::Needed => "needed",
            Self::BrokenElf => "broken-elf",
            Self::Script => "script",
            Self::PkgConfig => "pkg-config",
            Self::Libtool => "libtool",
            Self::Symlink => "symlink",
            Self::BuildDirectory => "build-directory",
            Self::SetId => "set-id",
            Self::SpecialFile => "special-file",
            Self::Outside => "outside",
        }
    }
}

/// Reasons why an audit cannot be made.
#[derive(Debug, Error)]
pub enum AuditError {
    /// A file or directory of the tree cannot be read.
    #[error("cannot {call} `{}`: {source}", path.display())]
    Read {
        /// The call, as a verb.
        call: &'static str,
        /// The argument of the call.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The prefix is not an absolute path below `/`.
    #[error("`{}` is not a prefix: it must be an absolute path without `..`", path.display())]
    Prefix {
        /// The given path.
        path: PathBuf,
    },
    /// A glob of the allow list is malformed.
    #[error("the allow list's glob `{glob}` is malformed: {reason}")]
    Glob {
        /// The glob.
        glob: String,
        /// The reason.
        reason: String,
    },
}

/// Searches `tree` for everything that leads out of `prefix`; the findings are sorted by path and
/// offset.
///
/// `tree` is the directory that is copied to `/`, and so holds `usr/local/my-stuff/…` for the
/// prefix `/usr/local/my-stuff`, or it is the prefix's directory itself, recognised by the absence
/// of the prefix's path.
///
/// # Errors
/// [`AuditError`] when the audit cannot be made; leaks are findings.
pub fn audit(tree: &Path, prefix: &Path, policy: &Policy) -> Result<Vec<Finding>, AuditError> {
    let allow = compile_allow_list(&policy.allow)?;
    let tree = Tree::read(tree, prefix)?;
    let needles = bytes::Needles::new(&policy.build_directories, tree.prefix());
    let library_directories: Vec<Vec<u8>> =
        policy.library_directories.iter().map(|dir| tree::join(tree.prefix(), dir.as_bytes())).collect();

    let found: Result<Vec<Vec<Finding>>, AuditError> = tree
        .nodes()
        .par_bridge()
        .map(|(path, node)| {
            let mut report = FileFindings { path, relative: tree.relative(path), findings: Vec::new() };
            if !tree::is_inside(path, tree.prefix()) && !matches!(node, Node::Directory) {
                report.add(
                    None,
                    LeakKind::Outside,
                    "the file is beside the prefix".to_owned(),
                    "install below the prefix only",
                );
            }
            match node {
                Node::Directory => {}
                Node::Symlink { target } => check_symlink(&tree, target, &mut report),
                Node::Special { what } => {
                    report.add(
                        None,
                        LeakKind::SpecialFile,
                        format!("it is a {what}"),
                        "a prefix holds files, directories and links only",
                    );
                }
                Node::File { executable, set_id, .. } => {
                    if *set_id {
                        report.add(
                            None,
                            LeakKind::SetId,
                            "the set-id bit is set".to_owned(),
                            "install it with mode 755",
                        );
                    }
                    let host = tree.host_path(path);
                    let content = Content::of(&host).map_err(|source| AuditError::Read {
                        call: "read",
                        path: host.clone(),
                        source,
                    })?;
                    needles.check(&content, &mut report);
                    if content.starts_with(b"\x7fELF") {
                        elf::check(&content, &tree, &library_directories, &mut report);
                    } else if *executable && content.starts_with(b"#!") {
                        text::check_script(&content, &tree, &mut report);
                    }
                    if path.ends_with(b".pc") {
                        text::check_paths(&content, LeakKind::PkgConfig, &tree, &mut report);
                    } else if path.ends_with(b".la") {
                        text::check_paths(&content, LeakKind::Libtool, &tree, &mut report);
                    }
                }
            }
            let in_prefix = tree.in_prefix(path);
            report.findings.retain(|finding| {
                !allow.iter().any(|(glob, text)| {
                    (glob.is_match(&finding.path) || in_prefix.as_ref().is_some_and(|path| glob.is_match(path)))
                        && finding.text.contains(text)
                })
            });
            Ok(report.findings)
        })
        .collect();
    let mut findings: Vec<Finding> = found?.into_iter().flatten().collect();
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// The findings of one file.
struct FileFindings<'a> {
    /// The file's absolute path once the tree is installed.
    path: &'a [u8],
    relative: PathBuf,
    findings: Vec<Finding>,
}

impl FileFindings<'_> {
    fn add(&mut self, offset: Option<u64>, kind: LeakKind, text: String, help: &'static str) {
        self.findings.push(Finding { path: self.relative.clone(), offset, kind, text, help });
    }
}

fn compile_allow_list(allow: &[(String, String)]) -> Result<Vec<(GlobMatcher, &str)>, AuditError> {
    allow
        .iter()
        .map(|(glob, text)| match GlobBuilder::new(glob).literal_separator(true).build() {
            Ok(compiled) => Ok((compiled.compile_matcher(), text.as_str())),
            Err(error) => Err(AuditError::Glob { glob: glob.clone(), reason: error.kind().to_string() }),
        })
        .collect()
}

fn check_symlink(tree: &Tree, target: &[u8], report: &mut FileFindings) {
    let shown = String::from_utf8_lossy(target).into_owned();
    match tree.resolve(report.path) {
        Resolved::Found(path, _) if tree::is_inside(&path, tree.prefix()) => {}
        Resolved::Found(..) | Resolved::Outside(_) => report.add(
            None,
            LeakKind::Symlink,
            format!("the link leads out of the prefix, to `{shown}`"),
            "make it a relative link inside the prefix, or copy the target in",
        ),
        Resolved::Missing(_) => report.add(
            None,
            LeakKind::Symlink,
            format!("the link leads nowhere: `{shown}` is not in the prefix"),
            "remove it, or keep its target in the same domain",
        ),
        Resolved::Loop => {
            report.add(None, LeakKind::Symlink, format!("the link to `{shown}` is part of a cycle"), "remove it")
        }
    }
}
