//! The session of one command: profile, warnings and interrupts are those of this process.

use super::{Evaluation, Global, ProgressStyle};
use crate::console::Console;
use crate::interrupt;
use crate::report::Failure;
use builder::EventSink;
use model::{StoreModel, StorePath};
use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use workspace::{Hooks, Session, Settings, Wanted};

/// Unit of the numbers in a profile.
const PROFILE_TICK: Duration = Duration::from_millis(1);

/// A session that writes its profile when it ends.
pub struct CommandSession {
    session: Session,
    profile: Option<PathBuf>,
}

impl Deref for CommandSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for CommandSession {
    fn drop(&mut self) {
        let Some(file) = &self.profile else { return };
        if let Err(cause) = std::fs::write(file, self.session.take_profile()) {
            Failure::io("cannot write", file, cause).print(false);
        }
    }
}

impl CommandSession {
    /// Opens a session that sends the events of builds to `events`.
    ///
    /// # Errors
    /// The errors of [`Session::open`].
    pub fn open(global: &Global, settings: Settings, events: Arc<dyn EventSink>) -> Result<CommandSession, Failure> {
        let interrupts = interrupt::interrupts().clone();
        let hooks = Hooks { reporter: Arc::new(console(global)), events, interrupts, executor: None };
        let session = Session::open(settings, &hooks)?;
        if global.eval_profile.is_some() {
            std::thread::spawn(|| {
                loop {
                    std::thread::sleep(PROFILE_TICK);
                    lang::tick();
                }
            });
        }
        Ok(CommandSession { session, profile: global.eval_profile.clone() })
    }

    /// Opens a session that shows no progress.
    ///
    /// # Errors
    /// The errors of [`Session::open`].
    pub fn quiet(global: &Global, evaluation: &Evaluation) -> Result<CommandSession, Failure> {
        CommandSession::open(global, global.settings(evaluation)?, Arc::new(builder::Silent))
    }

    /// Returns the store paths that installables are, built or not: those of a derivation's outputs
    /// are known once its inputs are built.
    ///
    /// # Errors
    /// The errors of [`Session::resolve`] and of planning.
    pub fn paths(&self, names: &[String]) -> Result<BTreeSet<StorePath>, Failure> {
        let mut paths = BTreeSet::new();
        for wanted in self.resolve(names)? {
            match wanted {
                Wanted::Path(path) => drop(paths.insert(path)),
                Wanted::Derivation { drv, outputs } => {
                    let plan = self.builder.plan(&[builder::Target { drv, outputs }])?;
                    paths.extend(plan.targets.iter().flat_map(|target| target.outputs.values().cloned()));
                }
            }
        }
        Ok(paths)
    }

    /// Does the same as [`CommandSession::paths`], for paths that must be in the store.
    ///
    /// # Errors
    /// When one is not in the store; those of [`CommandSession::paths`].
    pub fn built_paths(&self, names: &[String]) -> Result<BTreeSet<StorePath>, Failure> {
        let paths = self.paths(names)?;
        let valid = self.store.valid_among(paths.iter().cloned())?;
        match paths.difference(&valid).next() {
            None => Ok(paths),
            Some(path) => Err(not_built(path)),
        }
    }
}

/// Makes the failure for a path that was not built yet.
pub fn not_built(path: &StorePath) -> Failure {
    Failure::new(format!("`{}` is not in the store", StoreModel::Native.print(path))).help("build it first")
}

/// Returns the reporter that the flags ask for.
pub fn console(global: &Global) -> Console {
    Console { shows_downloads: global.progress != ProgressStyle::None, shows_locks: !global.quiet }
}
