//! `run`: runs a program out of the store.

use super::enter::{Tree, become_program, environment_with, realise};
use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::progress::Progress;
use crate::report::Failure;
use clap::Args;
use std::collections::VecDeque;
use std::ffi::OsString;
use workspace::RunnableProgram;

#[derive(Debug, Args)]
pub struct Run {
    /// Flake output `.#attr` (of `apps`, then of `packages`), store path or result link; an
    /// attribute with `-f` or `--expr`
    #[arg(value_name = "INSTALLABLE", default_value = ".")]
    pub installable: String,
    /// Arguments of the program; those that start with a dash come after `--`
    #[arg(value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
    /// Run this program of the package, instead of its main one
    #[arg(long, value_name = "PROGRAM")]
    pub command: Option<String>,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

impl Run {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let progress = Progress::start(global.display());
        let session = CommandSession::open(global, global.settings(&self.evaluation)?, progress.sink())?;
        let found = session.runnable(&self.installable).map_err(Failure::from);
        let realised = found.and_then(|found| Ok((realise(&session, found.wanted)?, found.program)));
        progress.finish();
        let (paths, program) = realised?;
        let trees = paths.iter().map(|path| Tree::of(&session.store, path)).collect::<Result<Vec<_>, _>>()?;
        let mut arguments = VecDeque::from(self.arguments.clone());
        let program = match (&self.command, program) {
            (None, RunnableProgram::Path(path)) => path.into(),
            (None, RunnableProgram::OfPackage { names }) => self.main_program(&trees, &names, &mut arguments)?,
            (Some(name), _) => trees
                .iter()
                .find_map(|tree| tree.program(name))
                .ok_or_else(|| self.lacks(&trees, &format!("no program `{name}`")))?
                .into(),
        };
        arguments.push_front(program);
        Err(become_program(session, &trees, arguments.into(), environment_with(&[])))
    }

    /// Returns the main program of a package. Without one, the first argument names the program.
    fn main_program(
        &self,
        trees: &[Tree],
        names: &[String],
        arguments: &mut VecDeque<OsString>,
    ) -> Result<OsString, Failure> {
        let program = |name: &str| trees.iter().find_map(|tree| tree.program(name));
        if let Some(found) = names.iter().find_map(|name| program(name)) {
            return Ok(found.into());
        }
        if let Some(file) = trees.iter().find_map(Tree::as_program) {
            return Ok(file.into());
        }
        if let Some(found) = arguments.front().and_then(|name| name.to_str()).and_then(program) {
            arguments.pop_front();
            return Ok(found.into());
        }
        match trees.iter().flat_map(Tree::programs).collect::<Vec<_>>().as_slice() {
            [only] => program(only).map(OsString::from).ok_or_else(|| self.lacks(trees, "no program")),
            _ => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                let missing = match names.as_slice() {
                    [] => String::new(),
                    names => format!(": neither is there {}", names.join(" nor ")),
                };
                Err(self.lacks(trees, &format!("no main program{missing}")))
            }
        }
    }

    fn lacks(&self, trees: &[Tree], what: &str) -> Failure {
        const SHOWN: usize = 8;
        let programs: Vec<String> = trees.iter().flat_map(Tree::programs).collect();
        let mut list: Vec<String> = programs.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        if programs.len() > SHOWN {
            list.push(format!("and {} more", programs.len() - SHOWN));
        }
        let failure = Failure::new(format!("`{}` has {what}", self.installable));
        match list.as_slice() {
            [] => failure.help("it has no programs at all: neither `bin` nor `sbin`"),
            list => failure.help(format!("name one with `--command`: {}", list.join(", "))),
        }
    }
}
