//! `registry`: the names of flakes.

use super::locking::Locking;
use super::session::CommandSession;
use super::settings::environment;
use super::{Evaluation, Global};
use crate::print::{remark, say};
use crate::report::Failure;
use clap::Subcommand;
use lang::flake::FlakeRef;
use workspace::registry::{Registries, Registry, RegistryError, attributes};

#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// List the names, those that win first
    List {
        #[command(flatten)]
        locking: Locking,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a flake a name, in the registry of the user
    Add {
        /// Name, such as `nixpkgs`
        #[arg(value_name = "NAME")]
        from: String,
        /// Flake reference; a directory stays at its place
        #[arg(value_name = "REF")]
        to: String,
    },
    /// Remove a name from the registry of the user
    Remove {
        #[arg(value_name = "NAME")]
        from: String,
    },
    /// Give a name to the present version of a flake
    Pin {
        #[arg(value_name = "NAME")]
        from: String,
        /// Flake whose present version the name means [default: the one that it means now]
        #[arg(value_name = "REF")]
        to: Option<String>,
        #[command(flatten)]
        locking: Box<Locking>,
    },
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Failure {
        workspace::Error::from(error).into()
    }
}

impl RegistryCommand {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            RegistryCommand::List { locking, json } => list(&locking, json),
            RegistryCommand::Add { from, to } => {
                let directory = working_directory()?;
                let mut to = parse(&to)?;
                if let Some(path) = to.local_path().filter(|_| to.is_relative()) {
                    let path = std::path::absolute(directory.join(path))
                        .map_err(|cause| Failure::io("cannot make absolute", &directory, cause))?;
                    to.insert("path", lang::host::FetchValue::String(path.to_string_lossy().into_owned()));
                }
                change(global, &from, Some(to))
            }
            RegistryCommand::Remove { from } => change(global, &from, None),
            RegistryCommand::Pin { from, to, locking } => {
                let mut evaluation = Evaluation::default();
                evaluation.source.locking = *locking;
                let session = CommandSession::quiet(global, &evaluation)?;
                let reference = session.flake_reference(to.as_deref().unwrap_or(&from))?;
                let pinned = session.evaluate(|evaluator| {
                    let here = evaluator.flake_directory(std::path::Path::new("/"))?;
                    Ok(evaluator.lock_reference(&reference, &here)?.0)
                })?;
                change(global, &from, Some(pinned))
            }
        }
    }
}

fn working_directory() -> Result<std::path::PathBuf, Failure> {
    std::env::current_dir()
        .map_err(|cause| Failure::io("cannot determine", std::path::Path::new("the working directory"), cause))
}

fn parse(text: &str) -> Result<FlakeRef, Failure> {
    Ok(FlakeRef::parse(text).map_err(RegistryError::from)?)
}

/// Adds or removes a name.
fn change(global: &Global, from: &str, to: Option<FlakeRef>) -> Result<(), Failure> {
    let name = parse(from)?;
    let mut registry = Registry::of_user(&environment())?;
    let done = match to {
        Some(to) => {
            let shown = to.to_url().map_err(RegistryError::from)?;
            registry.add(name, to);
            format!("`{from}` is `{shown}`, in {}", registry.file.display())
        }
        None if registry.remove(&name) => format!("removed `{from}` from {}", registry.file.display()),
        None => {
            let message = format!("the registry of the user, `{}`, has no `{from}`", registry.file.display());
            return Err(Failure::new(message).code("registry").help("`ev registry list` lists all names"));
        }
    };
    registry.write()?;
    if !global.quiet {
        remark!("{done}");
    }
    Ok(())
}

fn list(locking: &Locking, json: bool) -> Result<(), Failure> {
    let registries = Registries::read(&locking.registry(&working_directory()?), &environment())?.registries;
    let entries = registries.iter().flat_map(|registry| registry.entries.iter().map(move |entry| (registry, entry)));
    if json {
        let flakes: Vec<_> = entries
            .map(|(registry, entry)| {
                serde_json::json!({
                    "registry": registry.origin.name(), "file": registry.file,
                    "from": attributes(&entry.from), "to": attributes(&entry.to), "exact": entry.exact,
                })
            })
            .collect();
        return say!("{}", serde_json::json!({ "version": 1, "flakes": flakes }));
    }
    for (registry, entry) in entries {
        let [from, to] = [&entry.from, &entry.to].map(|reference| reference.to_url().unwrap_or_default());
        say!("{:10} {from} {to}", registry.origin.name())?;
    }
    Ok(())
}
