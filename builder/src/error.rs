//! Everything that can keep a derivation from being realised, as the user meets it.
//!
//! A [`BuildError`] says what happened to one derivation or to the whole run; a [`DerivationFailure`] adds what is known about
//! the moment (log, kept directory). Rendering beyond plain text is the root crate's work.

use crate::{BuildReport, log, outputs::Difference};
use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};
use store::StorePath;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("`{path}` is not a derivation: its name does not end in `.drv`")]
    NotADerivation { path: StorePath },
    #[error("`{drv}` has no output `{output}`; it has {}", list(known))]
    UnknownOutput { drv: StorePath, output: String, known: Vec<String> },
    #[error("the derivations need each other in a circle: {}", chain.join(" → "))]
    Cycle { chain: Vec<String> },
    #[error("{what} is not supported")]
    Unsupported { what: String },
    #[error(
        "this derivation is for `{system}`, and this machine builds for `{host}`; set `system = \"{host}\"`, or build it on a machine of that kind"
    )]
    WrongSystem { system: String, host: String },
    #[error("this derivation wants the system features {}, which no builder here has", list(features))]
    MissingFeatures { features: Vec<String> },
    #[error("attribute `{attribute}`: {problem}")]
    Attribute { attribute: String, problem: String },
    #[error("there is no built-in builder `{builder}`; there are {}", list(known))]
    UnknownBuiltin { builder: String, known: Vec<String> },
    #[error("the input `{path}` is not in the store, and no derivation of the plan makes it")]
    MissingInput { path: StorePath },
    #[error("the builder ended well but did not make the output `{output}`: there is nothing at `{place}`")]
    OutputMissing { output: String, place: String },
    #[error("the builder made `{place}`, which is not an output of this derivation; its outputs are {}", list(known))]
    OutputUnknown { place: String, known: Vec<String> },
    #[error("{0}")]
    HashMismatch(Box<HashMismatch>),
    #[error(
        "a flat fixed output is one regular file that is not executable, and `{place}` is {kind}; use `outputHashMode = \"recursive\"` for anything else"
    )]
    NotFlat { place: String, kind: &'static str },
    #[error("the output `{output}` refers to {}, which `{rule}` forbids", list(paths))]
    Reference { output: String, rule: &'static str, paths: Vec<String> },
    #[error("a fixed output must not refer to store paths, and this one refers to {}", list(paths))]
    FixedReference { paths: Vec<String> },
    #[error("the output `{output}` has {actual} bytes{}, more than the {max} that `{rule}` allows", if *.closure { " with its closure" } else { "" })]
    Size { output: String, rule: &'static str, actual: u64, max: u64, closure: bool },
    #[error("{0}")]
    Builder(BuilderFailure),
    /// A builder failed, and ran out of space before.
    #[error(
        "{failure}, out of disk space: {free_bytes} bytes are free where the store is, `{}`; free some space there (`ev store gc` drops what nothing keeps) or set EVAL_ROOT to a larger file system, and run it again", root.display()
    )]
    DiskFull { failure: BuilderFailure, root: PathBuf, free_bytes: u64 },
    /// A build was ended before it took the last space from everything else.
    #[error(
        "the build was ended as fewer than {} MiB are left where the store is, `{}`; free some space there (`ev store gc` drops what nothing keeps) or set EVAL_ROOT to a larger file system, and run it again", reserve_bytes >> 20, root.display()
    )]
    DiskReserve { reserve_bytes: u64, root: PathBuf },
    #[error("built again, the outputs differ:\n{}", differences.iter().map(|d| format!("  {d}")).collect::<Vec<_>>().join("\n"))]
    NotReproducible { differences: Vec<Difference> },
    #[error(
        "the recipe was to be built again for comparison, but `{path}` has not been built yet; build it without `--rebuild` first"
    )]
    NothingToCompare { path: StorePath },
    #[error("the tree leads out of its prefix in {} {}:\n{}", findings.len(), if findings.len() == 1 { "place" } else { "places" }, findings.iter().map(|f| format!("  {f}")).collect::<Vec<_>>().join("\n"))]
    Audit { findings: Vec<String> },
    /// The sandbox, a fetch or an archive: the cause tells it all.
    #[error("{cause}")]
    Cause { cause: Box<dyn std::error::Error + Send + Sync> },
    #[error("{call} `{}`: {cause}{}", path.display(), os::io_remedy(cause))]
    Io { call: &'static str, path: PathBuf, cause: io::Error },
    #[error("stopped on request")]
    Cancelled,
    #[error("{}", .0.failure_text())]
    Failed(Box<BuildReport>),
}

/// A fixed output that came out as something else.
#[derive(Debug)]
pub struct HashMismatch {
    pub name: String,
    /// In the form the user wrote it.
    pub specified: String,
    /// In that same form.
    pub actual: String,
    pub urls: Vec<String>,
}

impl fmt::Display for HashMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the fixed output `{}` has another hash than its derivation says", self.name)?;
        writeln!(f, "  specified: {}", self.specified)?;
        write!(f, "  got:       {}", self.actual)?;
        for url in &self.urls {
            write!(f, "\n  url:       {url}")?;
        }
        write!(f, "\nwhen the new contents are what you want, change `{}` to `{}`", self.specified, self.actual)
    }
}

/// How a builder ended that did not end well.
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

impl fmt::Display for BuilderFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "the builder exited with status {status}"),
            Self::Signalled(signal) => write!(f, "the builder was killed by signal {signal}"),
            Self::TimedOut { secs } => write!(f, "the build took longer than its time limit of {secs} seconds"),
            Self::Silent { secs } => write!(f, "the builder printed nothing for {secs} seconds, its limit of silence"),
            Self::LogTooLong { bytes } => write!(f, "the builder printed more than {bytes} bytes, the limit of a log"),
            Self::OutOfMemory { bytes } => {
                write!(
                    f,
                    "the build used more than {} MiB of memory, its limit; `--max-memory` sets another",
                    bytes >> 20
                )
            }
            Self::MachineOutOfMemory => f.write_str(
                "the machine was out of memory, or the control group that `ev` runs in, and the kernel ended a process of the build, which had not met its own limit; run fewer builds at a time (`-j 1`), or end other programs, and run it again",
            ),
            Self::MachineTooManyProcesses => f.write_str(
                "the build was refused a process by the limit of the control group that `ev` runs in, and not by its own; run fewer builds at a time (`-j 1`), or raise that limit, and run it again",
            ),
            Self::TooManyProcesses { max } => write!(
                f,
                "the build started more than {max} processes and threads at a time, its limit; `--max-processes` sets another"
            ),
        }
    }
}

/// One derivation that could not be realised, with what helps to see why.
#[derive(Debug)]
pub struct DerivationFailure {
    pub drv: StorePath,
    pub error: BuildError,
    /// The log, when a builder ran.
    pub log: Option<log::LogSummary>,
    /// Where the build directory and outputs were left, when asked to.
    pub kept: Option<PathBuf>,
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
        write!(f, "`{}` failed: {}", self.name(), self.error)?;
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
        if let Some(kept) = &self.kept {
            write!(f, "\n  kept:        {}", kept.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for DerivationFailure {}

/// Makes the error of a file operation.
pub(crate) fn io_error(call: &'static str, path: &Path, cause: io::Error) -> BuildError {
    BuildError::Io { call, path: path.to_owned(), cause }
}

/// Wraps an error of a neighbouring module that says everything itself.
pub(crate) fn cause(cause: impl std::error::Error + Send + Sync + 'static) -> BuildError {
    BuildError::Cause { cause: Box::new(cause) }
}

pub(crate) fn attribute(name: &str, problem: impl Into<String>) -> BuildError {
    BuildError::Attribute { attribute: name.to_owned(), problem: problem.into() }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let unique: BTreeSet<_> = names.iter().collect();
    unique.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
