//! `instantiate`: writes store derivations, and prints their paths.

use super::session::CommandSession;
use super::{Global, Installables};
use crate::print::say;
use crate::report::Failure;
use clap::{Args, ValueEnum};
use model::StoreModel;
use std::sync::Arc;
use workspace::Wanted;

#[derive(Debug, Args)]
pub struct Instantiate {
    /// Choose how store paths are computed: `nix` prints the paths that Nix prints, and writes
    /// nothing
    #[arg(long, value_enum, default_value_t)]
    pub store_model: StoreModelChoice,
    #[command(flatten)]
    pub installables: Installables,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum StoreModelChoice {
    #[default]
    Native,
    Nix,
}

impl Instantiate {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let model = match self.store_model {
            StoreModelChoice::Native => StoreModel::Native,
            StoreModelChoice::Nix => StoreModel::Nix,
        };
        let mut settings = global.settings(&self.installables.evaluation)?;
        settings.evaluation.store_model = model;
        let session = CommandSession::open(global, settings, Arc::new(builder::Silent))?;
        for wanted in session.resolve(&self.installables.names())? {
            match (wanted, model) {
                (Wanted::Derivation { drv, .. }, StoreModel::Native) => {
                    say!("{}", session.store.physical_path(&drv).display())?;
                }
                (Wanted::Derivation { drv, .. }, StoreModel::Nix) => say!("{}", model.print(&drv))?,
                (Wanted::Path(path), _) => {
                    return Err(Failure::new(format!("`{}` is a store path and not a derivation", model.print(&path))));
                }
            }
        }
        Ok(())
    }
}
