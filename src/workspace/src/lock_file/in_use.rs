//! Locks the flakes that a command uses, before they are evaluated.
//!
//! As in Nix: inputs that are not locked, or are declared otherwise than when they were, are locked
//! now, and the file is written where the flake is a directory of this machine. Locked inputs are
//! neither fetched nor looked up for this.

use super::update::{Request, Update};
use super::{Node, lock};
use crate::error::Error;
use crate::registry::Scope;
use crate::session::Session;
use crate::settings::{LockMode, LockSettings};
use lang::flake::{FlakeRef, FlakeTree, InputPath};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The lock of a flake, before and after a command.
pub struct Locked {
    pub tree: FlakeTree,
    pub before: Node,
    pub after: Node,
    /// Inputs that are working trees with changes, so that the lock holds for this command only.
    pub unlocked: Vec<InputPath>,
}

impl Locked {
    /// Returns the changes in lines for people.
    pub fn changes(&self) -> Vec<String> {
        self.after.changes_since(&self.before)
    }
}

impl Session {
    /// Locks a flake as the settings say, and writes its lock file if they allow it. The evaluator
    /// uses the new lock from here on.
    ///
    /// # Errors
    /// When an input cannot be locked, the lock must not change, or it cannot be written.
    pub fn lock_flake(&self, reference: &FlakeRef) -> Result<Locked, Error> {
        let settings = &self.settings.locks;
        let update = match settings {
            LockSettings { recreate: true, .. } => Update::All,
            LockSettings { update, .. } if update.is_empty() => Update::Missing,
            LockSettings { update, .. } => Update::Some(update.clone()),
        };
        let locked = self.lock(reference, &update, true)?;
        if locked.after == locked.before {
            return Ok(locked);
        }
        let flake = reference.to_url().unwrap_or_default();
        if settings.mode == LockMode::Locked {
            return Err(Error::LockOutdated { flake, changes: locked.changes() });
        }
        if let Some(input) = locked.unlocked.first() {
            let message = format!(
                "the lock file of `{flake}` is not written: the working tree of the input '{}' has uncommitted changes",
                input.join("/")
            );
            self.reporter.warning(&message);
        }
        let is_kept = settings.mode == LockMode::Write && settings.overrides.is_empty() && locked.unlocked.is_empty();
        let place = place_of_lock(reference).filter(|_| is_kept);
        match place.map(|file| (self.write_lock(&file, &locked), file)) {
            Some((Ok(()), _)) => return Ok(locked),
            Some((Err(cause), file)) => {
                self.reporter.warning(&format!(
                    "cannot write `{}`, so its inputs are locked for this command only: {cause}",
                    file.display()
                ));
            }
            None => {}
        }
        self.evaluate(|evaluator| {
            evaluator.use_flake_lock(&locked.tree, locked.after.to_text());
            Ok(())
        })?;
        Ok(locked)
    }

    /// Locks a flake without writing the lock file.
    ///
    /// # Errors
    /// When an input cannot be locked.
    pub fn compute_lock(&self, reference: &FlakeRef, update: &Update) -> Result<Locked, Error> {
        self.lock(reference, update, false)
    }

    fn lock(&self, reference: &FlakeRef, update: &Update, keeps_unpinned: bool) -> Result<Locked, Error> {
        let mut warnings = Vec::new();
        let resolve = |reference: &FlakeRef| self.registries.resolve(reference, Scope::Inputs);
        let locked = self.evaluate(|evaluator| {
            let tree = evaluator.flake_tree(reference)?;
            let before = match evaluator.flake_lock_text(&tree)? {
                Some(text) => Node::parse(&text)?,
                None => Node::default(),
            };
            let overrides = &self.settings.locks.overrides;
            let mut unlocked = Vec::new();
            let request = Request {
                update,
                overrides,
                resolve: &resolve,
                keeps_unpinned,
                warn: &mut |warning| warnings.push(warning),
                unlocked: &mut unlocked,
            };
            let after = lock(evaluator, &tree, &before, request)?;
            Ok(Locked { tree, before, after, unlocked })
        });
        warnings.iter().for_each(|warning| self.reporter.warning(warning));
        locked
    }

    /// Writes a lock file, and reports its changes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_lock(&self, file: &Path, locked: &Locked) -> io::Result<()> {
        let fresh = file.with_extension(format!("lock.{}", std::process::id()));
        let written = std::fs::write(&fresh, locked.after.to_text()).and_then(|()| std::fs::rename(&fresh, file));
        written.inspect_err(|_| drop(std::fs::remove_file(&fresh)))?;
        self.reporter.locked(file, &locked.changes());
        Ok(())
    }
}

/// Returns the lock file of a flake that is a directory, or the working tree of a repository, of
/// this machine.
pub fn place_of_lock(reference: &FlakeRef) -> Option<PathBuf> {
    let root = match reference.kind() {
        "path" if reference.text("narHash").is_none() => PathBuf::from(reference.text("path")?),
        "git" if reference.text("ref").is_none() && reference.text("rev").is_none() => {
            lang::builtins::local_file(reference.text("url")?)?
        }
        _ => return None,
    };
    let directory = reference.directory_in(root.as_os_str().as_bytes()).ok()?;
    Some(PathBuf::from(OsString::from_vec(directory)).join("flake.lock"))
}
