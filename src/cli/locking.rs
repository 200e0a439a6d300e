//! Flags of the lock files of flakes, of the registries of flakes, and of the network.

use crate::report::Failure;
use clap::Args;
use lang::flake::{FlakeRef, InputPath};
use lang::host::FetchValue;
use std::path::{Path, PathBuf};
use workspace::installable::lexically_normal;
use workspace::registry::RegistrySettings;
use workspace::settings::{LockMode, LockSettings};

#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Flake options")]
pub struct Locking {
    /// Lock inputs that are not locked for this command only, and leave `flake.lock` as it is
    #[arg(long, hide_short_help = true)]
    pub no_write_lock_file: bool,
    /// Fail when the lock file would have to change
    #[arg(long, alias = "no-update-lock-file", hide_short_help = true)]
    pub locked: bool,
    /// The same as `--locked --offline`
    #[arg(long, hide_short_help = true)]
    pub frozen: bool,
    /// Look all inputs up again
    #[arg(long, hide_short_help = true)]
    pub recreate_lock_file: bool,
    /// Look this input up again, such as `nixpkgs` or `dep/nixpkgs`
    #[arg(long, value_name = "INPUT", hide_short_help = true)]
    pub update_input: Vec<String>,
    /// Use another flake for an input, for this command only
    #[arg(long, num_args = 2, value_names = ["INPUT", "REF"], action = clap::ArgAction::Append, hide_short_help = true)]
    pub override_input: Vec<String>,
    /// Use what is in the store and in the caches, and no network
    #[arg(long, env = "EVAL_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Resolve URLs and branches again, even those resolved within the last hour
    #[arg(long, conflicts_with = "offline", hide_short_help = true)]
    pub refresh: bool,
    /// Look names of flakes up in this file before the registries of the user and of the machine
    #[arg(long, value_name = "FILE", env = "EVAL_FLAKE_REGISTRY", hide_short_help = true)]
    pub flake_registry: Option<PathBuf>,
    /// Look names of flakes up nowhere
    #[arg(long, alias = "no-use-registries", hide_short_help = true)]
    pub no_registries: bool,
}

/// Parses a path of inputs such as `dep/nixpkgs`.
pub fn input_path(text: &str) -> InputPath {
    text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl Locking {
    /// Returns the settings of lock files. Relative references start at `directory`.
    ///
    /// # Errors
    /// When a reference of `--override-input` cannot be parsed.
    pub fn locks(&self, directory: &Path) -> Result<LockSettings, Failure> {
        let mode = match (self.locked || self.frozen, self.no_write_lock_file) {
            (true, _) => LockMode::Locked,
            (_, true) => LockMode::Memory,
            _ => LockMode::Write,
        };
        let given = self.override_input.chunks_exact(2);
        let overrides = given.map(|pair| Ok((input_path(&pair[0]), override_reference(&pair[1], directory)?)));
        Ok(LockSettings {
            mode,
            overrides: overrides.collect::<Result<_, Failure>>()?,
            update: self.update_input.iter().map(|input| input_path(input)).collect(),
            recreate: self.recreate_lock_file,
        })
    }

    pub fn registry(&self, directory: &Path) -> RegistrySettings {
        let file = self.flake_registry.as_ref().filter(|file| !file.as_os_str().is_empty());
        RegistrySettings { file: file.map(|file| directory.join(file)), none: self.no_registries }
    }

    pub fn is_offline(&self) -> bool {
        self.offline || self.frozen
    }
}

/// Parses the reference of an input, which need not be a flake. A directory is taken as it is, and
/// not searched for a flake above it.
fn override_reference(text: &str, directory: &Path) -> Result<FlakeRef, Failure> {
    let mut reference = match directory.join(text).is_dir() {
        true => FlakeRef::path(text),
        false => FlakeRef::parse(text).map_err(|error| Failure::usage(error.to_string()))?,
    };
    if let Some(path) = reference.local_path().filter(|_| reference.is_relative()) {
        let path = lexically_normal(&directory.join(path)).to_string_lossy().into_owned();
        reference.insert("path", FetchValue::String(path));
    }
    Ok(reference)
}
