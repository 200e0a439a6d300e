//! `flake lock` and `flake update`: write the lock file of a flake.

use crate::cli::locking::{Locking, input_path};
use crate::cli::session::CommandSession;
use crate::cli::{Evaluation, Global};
use crate::report::Failure;
use lang::flake::InputPath;
use std::collections::BTreeSet;
use workspace::lock_file::{Update, place_of_lock};
use workspace::settings::LockMode;

/// Locks the inputs of a flake, and writes the lock file.
///
/// # Errors
/// When an input cannot be locked, or the file cannot be written.
pub fn run(global: &Global, flake: &str, locking: &Locking, update: Update) -> Result<(), Failure> {
    let mut evaluation = Evaluation::default();
    evaluation.source.locking = locking.clone();
    let mut settings = global.settings(&evaluation)?;
    // Names resolve to their current meaning.
    settings.evaluation.refresh = !settings.offline;
    let mode = settings.locks.mode;
    let session = CommandSession::open(global, settings, std::sync::Arc::new(builder::Silent))?;
    let reference = session.flake_reference(flake)?;
    let place = place_of_lock(&reference).ok_or_else(|| {
        let message = format!("`{flake}` is no directory of this machine, so its lock file cannot be written");
        Failure::new(message).code("installable")
    })?;
    let locked = session.compute_lock(&reference, &update)?;
    if let Some(input) = locked.unlocked.first() {
        let input = input.join("/");
        let message = format!("the input '{input}' cannot be locked: its working tree has uncommitted changes");
        return Err(Failure::new(message)
            .code("lang::unlocked_fetch")
            .help("commit the changes, or give a `rev` or `ref`"));
    }
    if locked.after == locked.before {
        return Ok(());
    }
    match mode {
        LockMode::Locked => {
            let flake = reference.to_url().unwrap_or_default();
            Err(workspace::Error::LockOutdated { flake, changes: locked.changes() }.into())
        }
        LockMode::Memory => Ok(()),
        LockMode::Write => {
            let written = session.write_lock(&place, &locked);
            written.map_err(|cause| Failure::io("cannot write", &place, cause))
        }
    }
}

/// Returns the inputs to look up again: all of them when none is named.
pub fn update_of(inputs: &[String]) -> Update {
    let paths: BTreeSet<InputPath> = inputs.iter().map(|input| input_path(input)).collect();
    if paths.is_empty() { Update::All } else { Update::Some(paths) }
}
