//! The session of a command about one flake, and the flake.

use crate::cli::locking::Locking;
use crate::cli::session::CommandSession;
use crate::cli::{Building, Evaluation, Global};
use crate::print::say;
use crate::report::Failure;
use builder::EventSink;
use clap::Args;
use lang::flake::FlakeRef;
use lang::{Evaluator, Symbol, Value};
use std::sync::Arc;
use workspace::Error;
use workspace::lock_file::Locked;

/// Arguments of the commands about one flake.
#[derive(Debug, Args)]
pub struct FlakeArguments {
    /// Flake
    #[arg(value_name = "REF", default_value = ".")]
    pub flake: String,
    /// Give the expressions access to the clock, the environment and every path
    #[arg(long)]
    pub impure: bool,
    #[command(flatten)]
    pub locking: Box<Locking>,
}

/// A flake that a command is about.
pub struct OpenFlake {
    pub session: CommandSession,
    pub reference: FlakeRef,
    pub locked: Locked,
}

impl FlakeArguments {
    /// Opens a session without progress, and locks the flake.
    ///
    /// # Errors
    /// When the flake cannot be found or locked.
    pub fn open(&self, global: &Global) -> Result<OpenFlake, Failure> {
        self.open_with(global, &Building::default(), Arc::new(builder::Silent))
    }

    /// Opens a session that sends the events of builds to `events`, and locks the flake.
    ///
    /// # Errors
    /// When the flake cannot be found or locked.
    pub fn open_with(
        &self,
        global: &Global,
        building: &Building,
        events: Arc<dyn EventSink>,
    ) -> Result<OpenFlake, Failure> {
        let mut evaluation = Evaluation { building: building.clone(), ..Evaluation::default() };
        evaluation.source.locking = (*self.locking).clone();
        evaluation.source.impure = self.impure;
        let session = CommandSession::open(global, global.settings(&evaluation)?, events)?;
        let reference = session.flake_reference(&self.flake)?;
        let locked = session.lock_flake(&reference)?;
        Ok(OpenFlake { session, reference, locked })
    }
}

impl OpenFlake {
    /// Returns the reference as people read it.
    pub fn name(&self) -> String {
        self.reference.to_url().unwrap_or_default()
    }

    /// Returns the set of the flake's outputs.
    ///
    /// # Errors
    /// When the flake does not evaluate.
    pub fn outputs(&self) -> Result<Value, Error> {
        let reference = &self.reference;
        self.session.evaluate(|evaluator| {
            let flake = evaluator.eval_flake(reference)?;
            Ok(evaluator.attr(flake, "outputs")?.unwrap_or(flake))
        })
    }

    /// Returns the members of a set by name, not evaluated; `None` for other values.
    ///
    /// # Errors
    /// When the value does not evaluate.
    pub fn members(&self, value: Value) -> Result<Option<Vec<(String, Value)>>, Error> {
        self.session.evaluate(|evaluator| Ok(evaluator.force(value)?.as_attrs().map(sorted)))
    }
}

fn sorted(set: lang::Attrs) -> Vec<(String, Value)> {
    set.sorted().map(|attr| (String::from_utf8_lossy(attr.name.name()).into_owned(), attr.value)).collect()
}

/// Prints a failure as JSON when a program waits for that. Commands whose report has failures of its
/// own do it themselves, so that there is one object only.
pub fn or_json<T>(result: Result<T, Failure>, json: bool) -> Result<T, Failure> {
    result.inspect_err(|failure| {
        if json {
            // A second failure would hide the first.
            let _ = say!("{}", failure.to_json());
        }
    })
}

/// Returns a string that a path of attributes leads to, if there is one.
pub fn text_at(evaluator: &mut Evaluator, mut value: Value, path: &[&str]) -> Option<String> {
    for name in path {
        let set = evaluator.force(value).ok()?.as_attrs()?;
        value = set.get(Symbol::new(name.as_bytes()))?;
    }
    let value = evaluator.force(value).ok()?;
    value.as_string()?;
    evaluator.string_of(value).ok()
}

/// Returns an error that must end the whole command, or the text of one that concerns an output
/// alone.
pub fn concerns_output(error: Error) -> Result<Error, Error> {
    match &error {
        Error::Evaluation(report) if matches!(report.code, "lang::interrupted" | "lang::out_of_memory") => Err(error),
        Error::Evaluation(_) | Error::WrongOutput { .. } => Ok(error),
        _ => Err(error),
    }
}
