//! `flake`: writes the lock file of a flake.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::print::remark;
use crate::report::Failure;
use clap::Subcommand;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use workspace::Access;
use workspace::lock_file::{self, Node, Update};

#[derive(Debug, Subcommand)]
pub enum Flake {
    /// Lock the inputs that are new or whose declaration changed
    Lock {
        /// Directory of the flake
        #[arg(value_name = "DIR", default_value = ".")]
        flake: PathBuf,
    },
    /// Lock inputs to their current versions
    Update {
        /// Inputs to lock, such as `nixpkgs` or `dep/nixpkgs` [default: all]
        #[arg(value_name = "INPUT")]
        inputs: Vec<String>,
        /// Directory of the flake
        #[arg(long, value_name = "DIR", default_value = ".")]
        flake: PathBuf,
    },
}

impl Flake {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Flake::Lock { flake } => lock(global, &flake, &Update::Missing),
            Flake::Update { inputs, flake } if inputs.is_empty() => lock(global, &flake, &Update::All),
            Flake::Update { inputs, flake } => {
                let path =
                    |input: &String| input.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                let paths: BTreeSet<_> = inputs.iter().map(path).collect();
                lock(global, &flake, &Update::Some(paths))
            }
        }
    }
}

fn lock(global: &Global, directory: &Path, update: &Update) -> Result<(), Failure> {
    let directory = std::fs::canonicalize(directory).map_err(|cause| Failure::io("cannot find", directory, cause))?;
    let mut settings = global.settings(&Evaluation::default())?;
    // Names resolve to their current meaning.
    settings.evaluation.access = Access::Impure;
    settings.evaluation.refresh = true;
    let session = CommandSession::open(global, settings, Arc::new(builder::Silent))?;
    let mut warnings = Vec::new();
    let (before, after) = session.evaluate(|evaluator| {
        let tree = evaluator.flake_directory(&directory);
        let before = match evaluator.flake_lock_text(&tree)? {
            Some(text) => Node::parse(&text)?,
            None => Node::default(),
        };
        let after = lock_file::lock(evaluator, &tree, &before, update, &mut |warning| warnings.push(warning))?;
        Ok((before, after))
    })?;
    if !global.quiet {
        warnings.iter().for_each(|warning| remark!("warning: {warning}"));
    }
    if after == before {
        return Ok(());
    }
    let file = directory.join("flake.lock");
    write(&file, &after.to_text()).map_err(|cause| Failure::io("cannot write", &file, cause))?;
    if !global.quiet {
        remark!("wrote {}", file.display());
        after.changes_since(&before).iter().for_each(|change| remark!("  {change}"));
    }
    Ok(())
}

/// Replaces a file as a whole.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let fresh = file.with_extension(format!("lock.{}", std::process::id()));
    let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, file));
    written.inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}
