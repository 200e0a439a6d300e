//! `derivation show`: store derivations as JSON.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use store::{StoreModel, StorePath};

use super::{Building, Global, Source};
use crate::evaluate::{Session, Wanted};
use crate::print::say;
use crate::report::Failure;

#[derive(Debug, Subcommand)]
pub enum Derivation {
    /// Print derivations as JSON, in the form of Nix's command of this name
    Show(Show),
}

#[derive(Debug, Args)]
pub struct Show {
    /// What to show: `.#attr`, a `.drv`; with `-f` or `--expr` an attribute [default: .]
    #[arg(value_name = "INSTALLABLE")]
    pub installables: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub building: Building,
    /// With all derivations they need
    #[arg(short, long)]
    pub recursive: bool,
}

impl Derivation {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let Derivation::Show(show) = self;
        show.run(global)
    }
}

impl Show {
    fn run(self, global: &Global) -> Result<(), Failure> {
        let session = Session::quiet(global, &self.source, &self.building)?;
        let names = if self.installables.is_empty() { vec![".".to_owned()] } else { self.installables };
        let mut todo: Vec<StorePath> = Vec::new();
        for wanted in session.resolve(&self.source, &names)? {
            match wanted {
                Wanted::Derivation { drv, .. } => todo.push(drv),
                Wanted::Path(path) => match session.store.path_info(&path)?.and_then(|info| info.deriver) {
                    Some(drv) => todo.push(drv),
                    None => return Err(Failure::new(format!("nothing is known of how `{path}` was made"))),
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
