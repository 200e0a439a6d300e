//! Connections of a session to its caller: warnings and traces out, interrupts in.

use builder::{EventSink, Executor};
use lang::Interrupter;
use lang::host::Severity;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Receives what a session reports besides its results and errors.
pub trait Reporter: Send + Sync {
    /// Takes a trace or a warning of an expression, or a warning about what it fetches.
    fn message(&self, severity: Severity, text: &str);

    /// Takes a warning of the language, which has a position in a source file.
    fn notice(&self, report: &lang::Report) {
        self.message(Severity::Warning, &report.message);
    }

    /// Takes a warning about the machine or the store.
    fn warning(&self, text: &str);

    /// Is called after the lock file of a flake was written, with the changes in lines for people.
    fn locked(&self, _file: &Path, _changes: &[String]) {}

    /// Is called every few seconds while a download runs, with the bytes received so far.
    fn fetching(&self, url: &str, bytes: u64);
}

/// Discards every report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn message(&self, _severity: Severity, _text: &str) {}

    fn warning(&self, _text: &str) {}

    fn fetching(&self, _url: &str, _bytes: u64) {}
}

/// An interrupt as a session sees it: a flag to stop at, and a count of the operations that look at
/// the flag.
#[derive(Debug, Clone, Default)]
pub struct Interrupts {
    /// Set by the caller to stop builds, fetches and unpacking.
    pub requested: Arc<AtomicBool>,
    /// Number of operations running that stop by themselves soon after `requested` is set.
    pub cooperating: Arc<AtomicUsize>,
    /// Evaluators of the sessions that were opened with this.
    evaluators: Arc<Mutex<Vec<Interrupter>>>,
}

impl Interrupts {
    /// Stops builds, fetches, unpacking and evaluations of all sessions that were opened with this.
    /// May be called from any thread; a signal handler sets `requested` alone.
    pub fn interrupt(&self) {
        self.requested.store(true, Ordering::SeqCst);
        os::lock(&self.evaluators).iter().for_each(Interrupter::interrupt);
    }

    /// Has [`Interrupts::interrupt`] end the evaluations of an evaluator as well.
    pub(crate) fn watch(&self, evaluator: Interrupter) {
        let mut evaluators = os::lock(&self.evaluators);
        evaluators.retain(Interrupter::is_connected);
        if self.requested.load(Ordering::SeqCst) {
            evaluator.interrupt();
        }
        evaluators.push(evaluator);
    }

    /// Counts one more cooperating operation until the guard is dropped.
    pub fn cooperate(&self) -> Cooperating {
        self.cooperating.fetch_add(1, Ordering::SeqCst);
        Cooperating(self.cooperating.clone())
    }
}

/// Marks an operation that stops by itself when an interrupt is requested.
#[must_use]
pub struct Cooperating(Arc<AtomicUsize>);

impl Drop for Cooperating {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Everything a session calls back or watches.
#[derive(Clone)]
pub struct Hooks {
    pub reporter: Arc<dyn Reporter>,
    /// Receives the events of builds.
    pub events: Arc<dyn EventSink>,
    pub interrupts: Interrupts,
    /// Runs the actions of builds; the sandbox of this machine does without one.
    pub executor: Option<Arc<dyn Executor>>,
}

impl Hooks {
    /// Returns hooks that report nothing and are never interrupted.
    pub fn silent() -> Hooks {
        let (reporter, events) = (Arc::new(Silent), Arc::new(builder::Silent));
        Hooks { reporter, events, interrupts: Interrupts::default(), executor: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cooperating_operations_are_counted_until_they_end() {
        let interrupts = Interrupts::default();
        let count = || interrupts.cooperating.load(Ordering::SeqCst);
        let outer = interrupts.cooperate();
        let inner = interrupts.clone().cooperate();
        assert_eq!(count(), 2);
        drop(inner);
        assert_eq!(count(), 1);
        drop(outer);
        assert_eq!(count(), 0);
    }
}
