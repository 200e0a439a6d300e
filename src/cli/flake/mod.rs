//! `flake`: locks the inputs of flakes, and shows, checks and starts flakes.

use super::Global;
use super::locking::Locking;
use crate::report::Failure;
use clap::Subcommand;
use std::path::{Path, PathBuf};
use workspace::lock_file::Update;

mod archive;
mod check;
mod init;
mod kinds;
mod lock;
mod metadata;
mod picture;
mod session;
mod show;

#[derive(Debug, Subcommand)]
pub enum Flake {
    /// List the outputs
    Show(show::Show),
    /// Evaluate all outputs, and build the checks
    Check(check::Check),
    /// Print the place, the age and the inputs
    #[command(visible_alias = "info")]
    Metadata(metadata::Metadata),
    /// Make a flake in the working directory
    Init(init::Init),
    /// Make a flake in a new directory
    New {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        #[command(flatten)]
        init: init::Init,
    },
    /// Copy the flake and all its inputs to the store, and print their paths
    Archive(archive::Archive),
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
            Flake::Show(command) => command.run(global),
            Flake::Check(command) => command.run(global),
            Flake::Metadata(command) => command.run(global),
            Flake::Init(command) => command.run(global, Path::new(".")),
            Flake::New { directory, init } => init.run(global, &directory),
            Flake::Archive(command) => command.run(global),
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

    /// Returns whether a failure is printed as JSON as well.
    pub fn wants_json(&self) -> bool {
        match self {
            // Their reports have the failures.
            Flake::Show(_) | Flake::Check(_) => false,
            Flake::Metadata(command) => command.json,
            Flake::Archive(command) => command.json,
            Flake::Init(_) | Flake::New { .. } | Flake::Lock { .. } | Flake::Update { .. } => false,
        }
    }
}
