//! The session of one command: profile, warnings and interrupts are those of this process.

use super::{Evaluation, Global, ProgressStyle};
use crate::console::Console;
use crate::interrupt;
use crate::report::Failure;
use builder::EventSink;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use workspace::{Hooks, Session, Settings};

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
}

/// Returns the reporter that the flags ask for.
pub fn console(global: &Global) -> Console {
    Console { shows_downloads: global.progress != ProgressStyle::None, shows_locks: !global.quiet }
}
