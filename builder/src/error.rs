//! Reasons why a derivation is not realised, as the user meets them.
//!
//! A [`BuildError`] says what happened to one derivation or to the whole run; a
//! [`DerivationFailure`] adds facts about the moment (log, kept directory). The message says what
//! is wrong, [`BuildError::help`] the next step, and [`BuildError::code`] is for programs.
//! Rendering beyond plain text is the root crate's work.

use crate::BuildReport;
use model::blobs::BlobError;
use model::derivation::DerivationError;
use model::tree::TreeError;
use model::{Hash, StorePath};
use os::space::STORE_FULL;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use store::StoreError;
use store::archive::ArchiveError;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Derivation(#[from] DerivationError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Sys(#[from] os::SysError),
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    #[error(transparent)]
    Fetch(#[from] fetch::FetchError),
    #[error(transparent)]
    Unpack(#[from] archive::UnpackError),
    #[error(transparent)]
    Audit(#[from] deliver::audit::AuditError),
    #[error("`{path}` is not a derivation: its name does not end in `.drv`")]
    NotADerivation { path: StorePath },
    #[error("`{drv}` has no output `{output}`; it has {}", list(known))]
    UnknownOutput { drv: StorePath, output: String, known: Vec<String> },
    #[error("the derivations form a cycle: {}", chain.join(" → "))]
    Cycle { chain: Vec<String> },
    #[error("{what} is not supported")]
    Unsupported { what: String },
    #[error("this derivation is for `{system}`, and this machine builds for `{host}`")]
    WrongSystem { system: String, host: String },
    #[error("this derivation wants the system features {}, which no builder here has", list(features))]
    MissingFeatures { features: Vec<String> },
    #[error("attribute `{attribute}`: {problem}")]
    Attribute { attribute: String, problem: String },
    #[error("`{name}` is made by `{builder}`, which runs in this process: there is no sandbox to enter")]
    NoSandbox { name: String, builder: String },
    #[error("there is no built-in builder `{builder}`; there are {}", list(known))]
    UnknownBuiltin { builder: String, known: Vec<String> },
    #[error("the input `{path}` is not in the store, and no derivation of the plan makes it")]
    MissingInput { path: StorePath },
    #[error("the builder succeeded but did not make the output `{output}`: there is nothing at `{place}`")]
    OutputMissing { output: String, place: String },
    #[error("the builder made `{place}`, which is not an output of this derivation; its outputs are {}", list(known))]
    OutputUnknown { place: String, known: Vec<String> },
    #[error("{0}")]
    HashMismatch(Box<HashMismatch>),
    #[error("a flat fixed output is one regular file that is not executable, and `{place}` is {kind}")]
    NotFlat { place: String, kind: &'static str },
    #[error("the output `{output}` refers to {}, which `{rule}` forbids", list(paths))]
    Reference { output: String, rule: &'static str, paths: Vec<String> },
    #[error("a fixed output must not refer to store paths, and this one refers to {}", list(paths))]
    FixedReference { paths: Vec<String> },
    #[error("the output `{output}` has {actual} bytes{}, more than the {max} that `{rule}` allows", if *.closure { " with its closure" } else { "" })]
    Size { output: String, rule: &'static str, actual: u64, max: u64, closure: bool },
    #[error("{0}")]
    Builder(BuilderFailure),
    /// A builder failed, and the disk was full.
    #[error("{failure}, out of disk space: {free_bytes} bytes are free where the store is, `{}`", root.display())]
    DiskFull { failure: BuilderFailure, root: PathBuf, free_bytes: u64 },
    /// A build was stopped before it took the last space from everything else.
    #[error("the build was stopped as fewer than {} MiB are left where the store is, `{}`", reserve_bytes >> 20, root.display())]
    DiskReserve { reserve_bytes: u64, root: PathBuf },
    #[error("built again, the outputs differ:\n{}", lines(differences))]
    NotReproducible { differences: Vec<Difference> },
    #[error("there is no first build to compare with: `{path}` has not been built yet")]
    NothingToCompare { path: StorePath },
    #[error("the tree leads out of its prefix in {} {}:\n{}", findings.len(), if findings.len() == 1 { "place" } else { "places" }, lines(findings))]
    AuditFindings { findings: Vec<String> },
    #[error("cannot {call} `{}`: {}", path.display(), os::io_reason(cause))]
    Io { call: &'static str, path: PathBuf, cause: io::Error },
    #[error("stopped on request")]
    Cancelled,
    #[error("{}", .0.failure_text())]
    Failed(Box<BuildReport>),
}

impl BuildError {
    /// Returns the stable code by which programs know the kind of an error. `ev explain` describes
    /// each.
    pub fn code(&self) -> &'static str {
        match self {
            // Several builds may fail in several ways under `--keep-going`; the first one decides.
            // When the run was stopped, that is the reason, also when a build failed before.
            Self::Failed(report) if report.cancelled => "interrupted",
            Self::Failed(report) => report.failures.first().map_or("interrupted", |failure| failure.error.code()),
            Self::Cancelled => "interrupted",
            Self::Store(error) => error.code(),
            Self::HashMismatch(_) => "build::hash_mismatch",
            Self::NotReproducible { .. } => "build::not_deterministic",
            Self::Builder(BuilderFailure::TimedOut { .. } | BuilderFailure::Silent { .. }) => "build::timed_out",
            Self::Builder(_) => "build::failed",
            Self::Sandbox(_) => "build::sandbox",
            Self::Fetch(fetch::FetchError::Offline { .. }) => "build::offline",
            Self::Fetch(error) if error.is_disk_full() => "build::disk_full",
            Self::Fetch(error) if error.is_network() => "build::network",
            Self::Fetch(_) => "build::fetch",
            Self::Unpack(error) if error.is_disk_full() => "build::disk_full",
            Self::Unpack(_) => "build::unpack",
            Self::Audit(_) | Self::AuditFindings { .. } => "build::audit",
            Self::Tree(_) => "build::tree",
            Self::DiskFull { .. } | Self::DiskReserve { .. } => "build::disk_full",
            Self::Io { cause, .. } if os::is_disk_full(cause) => "build::disk_full",
            Self::Sys(error) | Self::Archive(ArchiveError::Sys(error)) if error.is_disk_full() => "build::disk_full",
            Self::Io { .. } | Self::Sys(_) | Self::Archive(_) | Self::Blob(_) => "build::io",
            Self::WrongSystem { .. } | Self::MissingFeatures { .. } => "build::platform",
            Self::UnknownOutput { .. } => "build::no_such_output",
            Self::NotADerivation { .. }
            | Self::Cycle { .. }
            | Self::Unsupported { .. }
            | Self::Attribute { .. }
            | Self::UnknownBuiltin { .. }
            | Self::Derivation(_)
            | Self::MissingInput { .. }
            | Self::NoSandbox { .. }
            | Self::NothingToCompare { .. } => "build::derivation",
            Self::OutputMissing { .. }
            | Self::OutputUnknown { .. }
            | Self::NotFlat { .. }
            | Self::Reference { .. }
            | Self::FixedReference { .. }
            | Self::Size { .. } => "build::output",
        }
    }

    /// All codes that [`BuildError::code`] returns, apart from those of the store.
    pub const CODES: [&'static str; 17] = [
        "build::audit",
        "build::derivation",
        "build::disk_full",
        "build::failed",
        "build::fetch",
        "build::hash_mismatch",
        "build::io",
        "build::network",
        "build::no_such_output",
        "build::not_deterministic",
        "build::offline",
        "build::output",
        "build::platform",
        "build::sandbox",
        "build::timed_out",
        "build::tree",
        "build::unpack",
    ];

    /// Returns the next step for the user, where one is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::WrongSystem { host, .. } => {
                Some(format!("set `system = \"{host}\"`, or build it on a machine of that kind"))
            }
            Self::HashMismatch(_) => {
                Some("when the new contents are what you want, write their hash into the derivation".to_owned())
            }
            Self::NotFlat { .. } => Some("use `outputHashMode = \"recursive\"` for anything else".to_owned()),
            Self::Builder(failure) => failure.help().map(str::to_owned),
            Self::DiskFull { .. } | Self::DiskReserve { .. } => Some(format!("{STORE_FULL}, and run it again")),
            Self::NotReproducible { .. } => {
                Some("`--keep-failed` keeps the outputs of the second build, to compare them".to_owned())
            }
            Self::NothingToCompare { .. } => Some("build it without `--rebuild` first".to_owned()),
            Self::Io { cause, .. } => os::io_help(cause).map(str::to_owned),
            Self::Store(error) => error.help().map(str::to_owned),
            Self::Sys(error) => error.help().map(str::to_owned),
            Self::Sandbox(error) => error.help().map(str::to_owned),
            Self::Fetch(error) => error.help(),
            Self::Archive(ArchiveError::Sys(error)) => error.help().map(str::to_owned),
            Self::Unpack(error) => error.help().map(str::to_owned),
            Self::Failed(report) => report.help(),
            _ => None,
        }
    }

    /// Returns the error of a fixed output with other contents than were specified. Both hashes are
    /// printed in the form of `written`.
    pub(crate) fn hash_mismatch(
        written: Option<&str>,
        expected: &Hash,
        actual: &Hash,
        urls: Vec<String>,
    ) -> BuildError {
        let sri = expected.sri();
        let written = written.unwrap_or(&sri);
        BuildError::HashMismatch(Box::new(HashMismatch {
            specified: written.to_owned(),
            actual: in_form_of(written, actual),
            urls,
        }))
    }
}

/// A fixed output with other contents than its derivation says.
#[derive(Debug)]
pub struct HashMismatch {
    /// The expected hash, in the form the user wrote it.
    pub specified: String,
    /// The hash of the contents, in the same form.
    pub actual: String,
    pub urls: Vec<String>,
}

impl fmt::Display for HashMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the contents have another hash than the derivation says")?;
        let specified = if self.specified.is_empty() { "(nothing)" } else { &self.specified };
        writeln!(f, "  specified: {specified}")?;
        write!(f, "  got:       {}", self.actual)?;
        for url in &self.urls {
            write!(f, "\n  url:       {url}")?;
        }
        Ok(())
    }
}

/// Prints `hash` in the form in which the user wrote another one.
fn in_form_of(written: &str, hash: &Hash) -> String {
    let algorithm = hash.algorithm().name();
    if written.is_empty() || written.strip_prefix(algorithm).is_some_and(|rest| rest.starts_with('-')) {
        return hash.sri();
    }
    let labelled = written.strip_prefix(algorithm).and_then(|rest| rest.strip_prefix(':'));
    let digits = labelled.unwrap_or(written);
    let text = if digits.len() == hash.hex().len() {
        hash.hex()
    } else if digits.len() == hash.base32().len() {
        hash.base32()
    } else {
        hash.base64()
    };
    if labelled.is_some() { format!("{algorithm}:{text}") } else { text }
}

/// The end of a builder that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuilderFailure {
    Exited(i32),
    Signalled(i32),
    TimedOut { secs: u64 },
    Silent { secs: u64 },
    LogTooLong { bytes: u64 },
    OutOfMemory { bytes: u64 },
    MachineOutOfMemory,
    TooManyProcesses { max: u64 },
    MachineTooManyProcesses,
}

impl BuilderFailure {
    /// Returns the next step for the user, where one is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::OutOfMemory { .. } => Some("`--max-memory` sets another limit"),
            Self::TooManyProcesses { .. } => Some("`--max-processes` sets another limit"),
            Self::MachineOutOfMemory => {
                Some("run fewer builds at a time (`-j 1`), or end other programs, and run it again")
            }
            Self::MachineTooManyProcesses => {
                Some("run fewer builds at a time (`-j 1`), or raise that limit, and run it again")
            }
            _ => None,
        }
    }
}

impl fmt::Display for BuilderFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "the builder exited with status {status}"),
            Self::Signalled(signal) => write!(f, "the builder was killed by signal {signal}"),
            Self::TimedOut { secs } => write!(f, "the build took longer than its time limit of {}", seconds(*secs)),
            Self::Silent { secs } => write!(f, "the builder printed nothing for {}, its limit of silence", seconds(*secs)),
            Self::LogTooLong { bytes } => write!(f, "the builder printed more than {bytes} bytes, the limit of a log"),
            Self::OutOfMemory { bytes } => {
                write!(f, "the build used more than {} MiB of memory, its limit", bytes >> 20)
            }
            Self::MachineOutOfMemory => f.write_str(
                "the machine was out of memory, or the control group that `ev` runs in, and the kernel killed a process of the build, which had not met its own limit",
            ),
            Self::MachineTooManyProcesses => f.write_str(
                "the build was refused a process by the limit of the control group that `ev` runs in, and not by its own",
            ),
            Self::TooManyProcesses { max } => {
                write!(f, "the build started more than {max} processes and threads at a time, its limit")
            }
        }
    }
}

fn seconds(count: u64) -> String {
    if count == 1 { "1 second".to_owned() } else { format!("{count} seconds") }
}

/// A path at which two builds of an output differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub output: String,
    /// Relative to the output; empty for the output itself.
    pub path: String,
    pub change: Change,
}

/// A change from the first build to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    Kind {
        before: &'static str,
        after: &'static str,
    },
    Contents {
        before_bytes: u64,
        after_bytes: u64,
    },
    Target {
        before: String,
        after: String,
    },
    /// There are more differences than are listed.
    More,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.path.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}: ", self.output, self.path)?;
        match &self.change {
            Change::Added => write!(f, "only in the second build"),
            Change::Removed => write!(f, "only in the first build"),
            Change::Kind { before, after } => write!(f, "first {}, then {}", with_article(before), with_article(after)),
            Change::Contents { before_bytes, after_bytes } if before_bytes == after_bytes => {
                write!(f, "other contents ({before_bytes} bytes both times)")
            }
            Change::Contents { before_bytes, after_bytes } => {
                write!(f, "other contents ({before_bytes} bytes, then {after_bytes})")
            }
            Change::Target { before, after } => write!(f, "first a link to `{before}`, then to `{after}`"),
            Change::More => write!(f, "and more"),
        }
    }
}

/// Returns the kind of a node with its article.
pub(crate) fn with_article(kind: &'static str) -> &'static str {
    match kind {
        "executable file" => "an executable file",
        "directory" => "a directory",
        "symbolic link" => "a symbolic link",
        _ => "a file",
    }
}

/// One derivation that could not be realised, with facts that help to see why.
#[derive(Debug)]
pub struct DerivationFailure {
    pub drv: StorePath,
    pub error: BuildError,
    /// The log, when a builder ran.
    pub log: Option<LogSummary>,
    /// The directories that were kept of it.
    pub kept: Option<KeptDirectories>,
}

/// The directories of a failed build, as it left them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDirectories {
    /// The directory to which build directory and outputs were moved.
    pub path: PathBuf,
    /// Set when the user asked for it; others are removed when later builds fail.
    pub on_request: bool,
}

impl DerivationFailure {
    /// Returns the derivation's name, without hash and `.drv`.
    pub fn name(&self) -> &str {
        let name = self.drv.name().as_str();
        name.strip_suffix(".drv").unwrap_or(name)
    }
}

impl fmt::Display for DerivationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            // The message of a fetch names the file, which is the derivation.
            BuildError::Fetch(error) => write!(f, "`{}` cannot be fetched: {}", self.name(), error.reason())?,
            error => write!(f, "`{}` failed: {error}", self.name())?,
        }
        if let Some(log) = &self.log {
            if let Some(phase) = &log.phase {
                write!(f, "\n  phase:       {phase}")?;
            }
            if let Some(command) = &log.command {
                write!(f, "\n  command:     {command}")?;
            }
            if let Some(line) = &log.first_error {
                write!(f, "\n  first error: {line}")?;
            }
            if !log.tail.is_empty() {
                write!(f, "\n  last lines of the log:")?;
                for line in &log.tail {
                    write!(f, "\n  > {line}")?;
                }
            } else if matches!(self.error, BuildError::Builder(_)) {
                write!(f, "\n  the log is empty")?;
            }
        }
        if let Some(KeptDirectories { path, on_request: true }) = &self.kept {
            write!(f, "\n  kept:        {}", path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for DerivationFailure {}

/// Facts about a log whose build has ended.
#[derive(Clone, Debug, Default)]
pub struct LogSummary {
    pub path: PathBuf,
    pub bytes: u64,
    /// The last lines, at most [`TAIL_LINES`](crate::log::TAIL_LINES).
    pub tail: Vec<String>,
    /// The phase that was announced last.
    pub phase: Option<String>,
    /// The last command a shell traced with `set -x`.
    pub command: Option<String>,
    /// The first line that reads like an error message.
    pub first_error: Option<String>,
}

/// Makes the error of a file operation.
pub(crate) fn io_error(call: &'static str, path: &Path, cause: io::Error) -> BuildError {
    BuildError::Io { call, path: path.to_owned(), cause }
}

pub(crate) fn attribute(name: &str, problem: impl Into<String>) -> BuildError {
    BuildError::Attribute { attribute: name.to_owned(), problem: problem.into() }
}

fn lines<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("  {item}")).collect::<Vec<_>>().join("\n")
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let unique: BTreeSet<_> = names.iter().collect();
    unique.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::HashAlgorithm;

    /// The codes that `code` returns are those of [`BuildError::CODES`], which the command explains.
    #[test]
    fn codes_are_listed() {
        let source = include_str!("error.rs");
        let written: Vec<&str> =
            source.split('"').filter(|text| text.len() > 7 && text.starts_with("build::")).collect();
        for code in &written {
            assert!(BuildError::CODES.contains(code), "`{code}` is not listed");
        }
        for code in BuildError::CODES {
            assert!(written.iter().filter(|other| **other == code).count() > 1, "no error has the code `{code}`");
        }
    }

    #[test]
    fn hashes_are_printed_as_they_were_written() {
        let hash = HashAlgorithm::Sha256.hash(b"x");
        for written in [hash.sri(), hash.hex(), hash.base32(), hash.base64(), format!("sha256:{}", hash.base32())] {
            assert_eq!(in_form_of(&written, &hash), written);
        }
    }
}
