//! `develop`: a shell in the sandbox in which a package is built, without building it.

use super::enter::{VisitArgs, remark_functions, setup_of, visit};
use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::exit::leave;
use crate::interrupt::interrupts;
use crate::print::{path_in_line, remark};
use crate::progress::Progress;
use crate::report::Failure;
use builder::{Entry, EntryPlace, VisitorCommand};
use clap::Args;
use model::StorePath;
use std::ffi::OsString;
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use workspace::Wanted;
use workspace::installable::Lookup;

#[derive(Debug, Args)]
pub struct Develop {
    /// Flake output `.#attr` (of `devShells`, then of `packages`) or `.drv`; an attribute with `-f`
    /// or `--expr`
    #[arg(value_name = "INSTALLABLE", default_value = ".")]
    pub installable: String,
    /// Show the working directory in the sandbox, writable, even the home directory [default: any
    /// other directory is shown]
    #[arg(long, conflicts_with = "fresh")]
    pub here: bool,
    /// Show no directory of this machine: work in a new `/build`
    #[arg(long)]
    pub fresh: bool,
    /// Run this phase, and end
    #[arg(long, value_name = "NAME", conflicts_with_all = ["command", "program"])]
    pub phase: Option<String>,
    /// Run the phase that unpacks the source, and end
    #[arg(long, conflicts_with_all = ["command", "program", "phase"])]
    pub unpack: bool,
    /// Run the phase that configures, and end
    #[arg(long, conflicts_with_all = ["command", "program", "phase", "unpack"])]
    pub configure: bool,
    /// Run the phase that builds, and end
    #[arg(long, conflicts_with_all = ["command", "program", "phase", "unpack", "configure"])]
    pub build: bool,
    /// Run the phase that tests, and end
    #[arg(long, conflicts_with_all = ["command", "program", "phase", "unpack", "configure", "build"])]
    pub check: bool,
    /// Run the phase that installs, and end
    #[arg(long, conflicts_with_all = ["command", "program", "phase", "unpack", "configure", "build", "check"])]
    pub install: bool,
    #[command(flatten)]
    pub visit: VisitArgs,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

impl Develop {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let progress = Progress::start(global.display());
        let session = CommandSession::open(global, global.settings(&self.evaluation)?, progress.sink())?;
        let entered = self.derivation(&session).and_then(|drv| {
            let _cooperating = interrupts().cooperate();
            let entry = session.builder.enter(&drv, EntryPlace::Fresh)?;
            Ok((drv, entry))
        });
        progress.finish();
        let (drv, mut entry) = entered?;
        let name = drv.name().as_str().trim_end_matches(".drv");
        entry.find_programs_of_inputs();
        let shown = self.shown_directory(&session)?;
        if let Some(directory) = &shown {
            entry.show_directory(directory)?;
        }
        let command = self.command();
        if matches!(command, VisitorCommand::Shell) && stdin().is_terminal() {
            match &shown {
                Some(directory) => {
                    remark!("the sandbox of `{name}`; of this machine it shows {}", path_in_line(directory))
                }
                None => remark!("the sandbox of `{name}`; nothing of it stays, and it shows nothing of this machine"),
            }
            remark_functions(&entry);
        }
        let setup = setup(&entry, name);
        let status = visit(&mut entry, &command, &setup)?;
        drop((entry, session));
        leave(status)
    }

    fn derivation(&self, session: &CommandSession) -> Result<StorePath, Failure> {
        let wanted = session.resolve_as(std::slice::from_ref(&self.installable), Lookup::Shells)?;
        for wanted in wanted {
            match wanted {
                Wanted::Derivation { drv, .. } => return Ok(drv),
                Wanted::Path(path) => {
                    if let Some(drv) = session.store.path_info(&path)?.and_then(|info| info.deriver) {
                        return Ok(drv);
                    }
                }
            }
        }
        Err(Failure::new(format!("`{}` was not built here, so it has no sandbox", self.installable)))
    }

    fn command(&self) -> VisitorCommand {
        let given = [
            (self.unpack, "unpack"),
            (self.configure, "configure"),
            (self.build, "build"),
            (self.check, "check"),
            (self.install, "install"),
        ];
        let phase = self.phase.as_deref().or_else(|| given.iter().find(|(set, _)| *set).map(|(_, name)| *name));
        match phase {
            // The function, which the word is the name of, is looked up by the shell.
            Some(phase) => {
                VisitorCommand::Words(vec![OsString::from(format!("{}Phase", phase.trim_end_matches("Phase")))])
            }
            None => self.visit.visitor_command(),
        }
    }

    /// Returns the directory of this machine that the sandbox shows.
    fn shown_directory(&self, session: &CommandSession) -> Result<Option<PathBuf>, Failure> {
        if self.fresh {
            return Ok(None);
        }
        let unknown = |cause| Failure::io("cannot determine", Path::new("the working directory"), cause);
        let here = std::env::current_dir().and_then(|directory| directory.canonicalize()).map_err(unknown)?;
        // Programs inside could write to the store of this very user.
        let root = session.store.root().canonicalize().unwrap_or_else(|_| session.store.root().to_owned());
        if root.starts_with(&here) || here.starts_with(&root) {
            let message = format!("the working directory holds the store at {}", path_in_line(&root));
            return match self.here {
                true => Err(Failure::usage(message).help("go to another directory, or use `--fresh`")),
                false => {
                    remark!("{message}: it is not shown in the sandbox");
                    Ok(None)
                }
            };
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).and_then(|home| home.canonicalize().ok());
        if !self.here && home.is_some_and(|home| home.starts_with(&here)) {
            remark!("the home directory is not shown in the sandbox: `--here` shows it");
            return Ok(None);
        }
        Ok(Some(here))
    }
}

/// Returns the text that the shell reads first.
fn setup(entry: &Entry, name: &str) -> String {
    format!("{}if [ -n \"${{shellHook-}}\" ]; then eval \"$shellHook\"; fi\n", setup_of(entry, name))
}
