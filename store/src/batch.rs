//! Batches concurrent registrations, which share one sync and one transaction.
//!
//! The first does the work for all that wait, which makes full durability cheap. A registration that
//! nothing is blocked on waits up to `GATHERING` for others to join its batch.

use crate::db::{ActionResult, BuildRecord, ValidPath};
use crate::error::StoreError;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest time that a patient registration waits for others.
const GATHERING: Duration = Duration::from_millis(50);
/// A batch of this size does not wait for more.
const GATHERED: usize = 16;

/// Batches concurrent registrations.
#[derive(Debug, Default)]
pub(crate) struct Registrar {
    queue: Mutex<Queue>,
    /// Signalled when the queue grows.
    came: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    tickets: u64,
    waiting: Vec<(u64, Registration)>,
    results: HashMap<u64, Result<(), StoreError>>,
    busy: bool,
}

impl Queue {
    fn may_wait(&self) -> bool {
        let patient = |registration: &Registration| registration.run.as_ref().is_some_and(|run| run.patient);
        self.waiting.len() < GATHERED && self.waiting.iter().all(|(_, registration)| patient(registration))
    }
}

/// Paths and a run that are registered together or not at all.
#[derive(Debug)]
pub(crate) struct Registration {
    pub paths: Vec<ValidPath>,
    pub run: Option<Run>,
}

/// One run of an action: its result, and its costs.
#[derive(Clone, Debug)]
pub struct Run {
    pub result: ActionResult,
    pub record: BuildRecord,
    /// The compressed output, when it is short; a long one is a file that the record names.
    pub log: Option<Vec<u8>>,
    /// Set when the registration may wait some milliseconds to share a batch, since there is other
    /// work to do.
    pub patient: bool,
}

/// A result for each registration of a batch, in their order.
pub(crate) type Results = Vec<Result<(), StoreError>>;

impl Registrar {
    /// Registers in a batch that this thread or another commits. `commit` returns a result for each
    /// registration of a batch.
    pub fn register(
        &self,
        registration: Registration,
        commit: &dyn Fn(&[&Registration]) -> Results,
    ) -> Result<(), StoreError> {
        let mut queue = os::lock(&self.queue);
        let ticket = queue.tickets;
        queue.tickets += 1;
        queue.waiting.push((ticket, registration));
        self.came.notify_one();
        loop {
            if let Some(result) = queue.results.remove(&ticket) {
                return result;
            }
            if queue.busy {
                queue = self.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let since = Instant::now();
            while queue.may_wait()
                && let Some(left) = GATHERING.checked_sub(since.elapsed())
            {
                queue = self.came.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            let batch = std::mem::take(&mut queue.waiting);
            drop(queue);
            let all: Vec<&Registration> = batch.iter().map(|(_, registration)| registration).collect();
            let results = commit(&all);
            queue = os::lock(&self.queue);
            queue.busy = false;
            queue.results.extend(batch.iter().map(|(ticket, _)| *ticket).zip(results));
            self.done.notify_all();
        }
    }
}
