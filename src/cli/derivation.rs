//! `derivation show`: prints store derivations as JSON.

use super::session::CommandSession;
use super::{Global, Installables};
use crate::print::say;
use crate::report::Failure;
use clap::{Args, Subcommand};
use model::{StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use workspace::Wanted;

#[derive(Debug, Subcommand)]
pub enum Derivation {
    /// Print derivations as JSON, in Nix's format
    Show(Show),
}

#[derive(Debug, Args)]
pub struct Show {
    /// Include all derivations that they need
    #[arg(short, long)]
    pub recursive: bool,
    #[command(flatten)]
    pub installables: Installables,
}

impl Derivation {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let Derivation::Show(show) = self;
        show.run(global)
    }
}

impl Show {
    fn run(self, global: &Global) -> Result<(), Failure> {
        let session = CommandSession::quiet(global, &self.installables.evaluation)?;
        let mut todo: Vec<StorePath> = Vec::new();
        for wanted in session.resolve(&self.installables.names())? {
            match wanted {
                Wanted::Derivation { drv, .. } => todo.push(drv),
                Wanted::Path(path) => match session.store.path_info(&path)?.and_then(|info| info.deriver) {
                    Some(drv) => todo.push(drv),
                    None => return Err(Failure::new(format!("the store has no derivation of `{path}`"))),
                },
            }
        }
        let mut seen = BTreeSet::new();
        let mut shown = BTreeMap::new();
        while let Some(drv) = todo.pop() {
            if !seen.insert(drv.clone()) {
                continue;
            }
            let derivation = session.store.derivation(&drv)?;
            if self.recursive {
                todo.extend(derivation.input_derivations.keys().cloned());
            }
            shown.insert(
                StoreModel::Native.print(&drv),
                derivation.to_json(StoreModel::Native).map_err(|error| Failure::new(error.to_string()))?,
            );
        }
        say!("{}", serde_json::to_string_pretty(&shown).expect("derivations are strings, lists and maps"))?;
        Ok(())
    }
}
