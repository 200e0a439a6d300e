//! `instantiate`: the store derivation of what is named.

use clap::{Args, ValueEnum};
use store::StoreModel;

use super::{Building, Global, Source};
use crate::evaluate::{Mode, Session, Wanted};
use crate::print::say;
use crate::report::Failure;

#[derive(Debug, Args)]
pub struct Instantiate {
    /// What to instantiate: `.#attr`; with `-f` or `--expr` an attribute [default: .]
    #[arg(value_name = "INSTALLABLE")]
    pub installables: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub building: Building,
    /// How store paths are computed: `nix` prints the very path that Nix prints, and writes nothing
    #[arg(long, value_enum, default_value_t)]
    pub store_model: StoreModelChoice,
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
        let mode = Mode { model, ..Mode::default() };
        let session = Session::open(global, &self.source, &self.building, &mode, std::sync::Arc::new(builder::Silent))?;
        let names = if self.installables.is_empty() { vec![".".to_owned()] } else { self.installables };
        for wanted in session.resolve(&self.source, &names)? {
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
