//! `flake`: writes the lock files of flakes.

use super::Global;
use super::locking::Locking;
use crate::report::Failure;
use clap::Subcommand;
use workspace::lock_file::Update;

mod lock;

#[derive(Debug, Subcommand)]
pub enum Flake {
    /// Lock the inputs that are new or whose declaration changed
    Lock {
        /// Flake, a directory of this machine
        #[arg(value_name = "REF", default_value = ".")]
        flake: String,
        #[command(flatten)]
        locking: Box<Locking>,
    },
    /// Lock inputs to their current versions
    Update {
        /// Inputs to lock, such as `nixpkgs` or `dep/nixpkgs` [default: all]
        #[arg(value_name = "INPUT")]
        inputs: Vec<String>,
        /// Flake, a directory of this machine
        #[arg(long, value_name = "REF", default_value = ".")]
        flake: String,
        #[command(flatten)]
        locking: Box<Locking>,
    },
}

impl Flake {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Flake::Lock { flake, locking } => {
                let update = match (locking.recreate_lock_file, &locking.update_input) {
                    (true, _) => Update::All,
                    (false, inputs) if inputs.is_empty() => Update::Missing,
                    (false, inputs) => lock::update_of(inputs),
                };
                lock::run(global, &flake, &locking, update)
            }
            Flake::Update { inputs, flake, locking } => lock::run(global, &flake, &locking, lock::update_of(&inputs)),
        }
    }
}
