//! `shell`: a shell with packages, or in the sandbox of a failed build.

use super::enter::{
    Tree, VisitArgs, become_program, environment_with, host_words, realise, remark_functions, setup_of, visit,
};
use super::session::CommandSession;
use super::{Global, Installables};
use crate::exit::leave;
use crate::print::{path_in_line, remark};
use crate::progress::Progress;
use crate::report::Failure;
use builder::{EntryPlace, FailedBuild, VisitorCommand, failed_builds};
use clap::Args;
use model::{StoreModel, StorePath};
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use workspace::Wanted;

#[derive(Debug, Args)]
pub struct Shell {
    #[command(flatten)]
    pub installables: Installables,
    /// Enter the sandbox of a failed build, as the failure left it: the one named, by derivation,
    /// directory or name, or the last one
    #[arg(long)]
    pub failed: bool,
    #[command(flatten)]
    pub visit: VisitArgs,
}

impl Shell {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let progress = Progress::start(global.display());
        let settings = global.settings(&self.installables.evaluation)?;
        let session = CommandSession::open(global, settings, progress.sink())?;
        match self.failed {
            true => self.enter_failed(session, progress),
            false => self.with_packages(session, progress),
        }
    }

    fn with_packages(&self, session: CommandSession, progress: Progress) -> Result<(), Failure> {
        let paths = session.resolve(&self.installables.names()).map_err(Failure::from);
        let paths = paths.and_then(|wanted| realise(&session, wanted));
        progress.finish();
        let trees = paths?.iter().map(|path| Tree::of(&session.store, path)).collect::<Result<Vec<_>, _>>()?;
        let directories: Vec<PathBuf> = trees.iter().flat_map(Tree::program_directories).collect();
        Err(become_program(session, &trees, host_words(&self.visit), environment_with(&directories)))
    }

    fn enter_failed(&self, session: CommandSession, progress: Progress) -> Result<(), Failure> {
        let entered = self.find(&session).and_then(|(drv, failed)| {
            let entry = session.builder.enter(&drv, EntryPlace::Failed(&failed))?;
            Ok((failed, entry))
        });
        progress.finish();
        let (failed, mut entry) = entered?;
        let name = failed.short_name();
        let command = self.visit.visitor_command();
        if matches!(command, VisitorCommand::Shell) && stdin().is_terminal() {
            remark!(
                "the sandbox of `{name}` as its failure left it; changes in /build stay in {}",
                path_in_line(&failed.path)
            );
            remark_functions(&entry);
        }
        let setup = setup_of(&entry, &name);
        let status = visit(&mut entry, &command, &setup)?;
        drop((entry, session));
        leave(status)
    }

    /// Finds the failed build that the argument names.
    fn find(&self, session: &CommandSession) -> Result<(StorePath, FailedBuild), Failure> {
        let kept = failed_builds(&session.store)?;
        let names = self.installables.names();
        let with_drv = |failed: &FailedBuild| failed.drv().map(|drv| (drv, failed.clone()));
        let known = |failed: &&FailedBuild, name: &str| {
            let drv = failed.drv();
            failed.name == name
                || failed.short_name() == name
                || failed.path == Path::new(name)
                || drv.is_some_and(|drv| StoreModel::Native.print(&drv) == name || drv.to_string() == name)
        };
        let found = match names.as_slice() {
            _ if !self.installables.are_given() && !self.installables.have_source() => kept.first().and_then(with_drv),
            [name] => match kept.iter().find(|failed| known(failed, name)).and_then(with_drv) {
                Some(found) => Some(found),
                // A flake's attribute has one of these; a name alone is that of a failed build.
                None if !name.contains(['#', '/', ':', '.']) && !self.installables.have_source() => None,
                None => {
                    let wanted = session.resolve(&names)?;
                    let drvs = wanted.iter().filter_map(|wanted| match wanted {
                        Wanted::Derivation { drv, .. } => Some(drv),
                        Wanted::Path(_) => None,
                    });
                    drvs.flat_map(|drv| kept.iter().filter(move |failed| failed.drv().as_ref() == Some(drv)))
                        .next()
                        .and_then(with_drv)
                }
            },
            _ => return Err(Failure::usage("`--failed` takes one failed build")),
        };
        found.ok_or_else(|| {
            let list: Vec<String> = kept.iter().map(|failed| format!("`{}`", failed.short_name())).collect();
            let message = match names.as_slice() {
                [name] if self.installables.are_given() => {
                    format!("no directories of a failed build of `{name}` are kept")
                }
                _ => format!("no directories of failed builds are kept in {}", path_in_line(session.store.root())),
            };
            Failure::new(message).help(match list.as_slice() {
                [] => {
                    "those of the latest failed builds are kept, unless they are very large; `-K` keeps all".to_owned()
                }
                list => {
                    format!("kept are {}; build it again, with `-K` if its directories are very large", list.join(", "))
                }
            })
        })
    }
}
