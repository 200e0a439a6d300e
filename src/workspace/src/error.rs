//! Errors of a session.

use crate::installable::InstallableError;
use crate::registry::RegistryError;
use builder::BuildError;
use lang::text::attr_path::AttrPath;
use model::path::PathError;
use std::io;
use std::path::PathBuf;
use store::StoreError;

/// Error of a session. Errors of store and builder pass through as they are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the language, with positions and source lines.
    #[error("{}", .0.message)]
    Evaluation(Box<lang::Report>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Installable(#[from] InstallableError),
    #[error("cannot start threads to evaluate with: {0}")]
    Threads(io::Error),
    #[error(
        "cannot find a directory for the store: none of `EVAL_ROOT`, `XDG_DATA_HOME` and `HOME` is an absolute path"
    )]
    NoStoreRoot,
    #[error("`{0}` in `EVAL_MIRRORS` is not of the form `name=url`")]
    Mirror(String),
    #[error("`-A` takes attributes of a file or an expression")]
    AttributesWithoutSource,
    #[error("there is no expression to evaluate")]
    NothingToEvaluate,
    #[error("`{}` is a store path, and an expression is needed here", .0.display())]
    NotAnExpression(PathBuf),
    #[error("the flake at `{flake}` has no {}", candidates.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "))]
    NoOutput { flake: String, candidates: Vec<AttrPath>, similar: Option<AttrPath> },
    #[error("there is no directory `{name}` with a `flake.nix`, and {cause}")]
    UnknownFlake { name: String, cause: RegistryError, help: String },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the lock file of `{flake}` must change, which `--locked` forbids:{}", changes.iter().map(|change| format!("\n  {change}")).collect::<String>())]
    LockOutdated { flake: String, changes: Vec<String> },
    #[error("the output `{path}` is not {wanted}")]
    WrongOutput { path: AttrPath, wanted: String },
    #[error("`{0}` is not a derivation")]
    NotADerivation(String),
    #[error("`{0}` is neither a package nor an app: an app is a set with `type = \"app\"` and `program`")]
    NotRunnable(String),
    #[error("`{0}` contains no derivation")]
    NoDerivation(String),
    #[error("`{}` is not in the store at `{}`", path.display(), root.display())]
    OutsideStore { path: PathBuf, root: PathBuf },
    #[error("`{0}` is not in the store, and its path does not say how to build it")]
    NotInStore(String),
}

impl Error {
    /// Returns whether the request itself is wrong, as opposed to its execution having failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Error::Mirror(_) | Error::AttributesWithoutSource | Error::NothingToEvaluate | Error::NotAnExpression(_)
        )
    }

    /// Returns the next step, where there is one to name.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Error::Evaluation(report) => return report.help.clone(),
            Error::NoStoreRoot => "set `EVAL_ROOT` to a directory that you can write to".to_owned(),
            Error::Mirror(_) => "for example: EVAL_MIRRORS='debian=http://mirror.example/debian'".to_owned(),
            Error::AttributesWithoutSource | Error::NothingToEvaluate => {
                "give one with `-f FILE` or `--expr EXPRESSION`".to_owned()
            }
            Error::NoOutput { similar: Some(similar), .. } => format!("did you mean `{similar}`?"),
            Error::NoOutput { flake, .. } => format!("`ev flake show {flake}` lists what it has"),
            Error::UnknownFlake { help, .. } => help.clone(),
            Error::Registry(error) => return error.help(),
            Error::LockOutdated { .. } => "`ev flake lock` makes the changes".to_owned(),
            Error::NoDerivation(name) if name.ends_with("flake.nix") => {
                "the outputs of a flake are built as `.#NAME`, in its directory".to_owned()
            }
            Error::NotInStore(_) => "build the derivation or the flake output that it comes from".to_owned(),
            _ => return None,
        })
    }
}
