//! Steps 2 to 4 for the builders that run in this process.

use super::job::{Cost, Job, Stopped};
use super::register::Product;
use super::{MadeOutput, Realiser};
use crate::BuildError;
use crate::builtin::{FetchTask, Task, TaskOutput};
use crate::error::io_error;
use crate::events::{Event, Origin};
use fetch::{Fetch, FetchError};
use model::Ingestion;
use os::lock;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The least time between two reports of a download's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(80);

impl Realiser<'_> {
    /// Runs a built-in builder, unless its result is known.
    pub(super) fn built_in(&self, job: &Job<'_>) -> Result<Origin, Box<Stopped>> {
        let task = Task::read(self.store, job.derivation, &job.attributes)?;
        let action = task.action(job.derivation)?.digest();
        let candidates = &task.reference_candidates(self.store, &job.direct)?;
        if !job.node.rebuild && self.cut_off(job, action, candidates)? {
            return Ok(Origin::CutOff);
        }
        let scratch = self.store.scratch_dir("made")?;
        let (made, origin) = match &task {
            Task::Fetch(fetch) => (self.fetch(job, fetch, scratch.path())?, Origin::Fetched),
            other => (other.run(self.store, scratch.path(), self.cancelled)?, Origin::Built),
        };
        let output = match made {
            TaskOutput::OnDisk(path) => MadeOutput::adopt(self.store, self.cancelled, &path)?,
            TaskOutput::Stored(node) => MadeOutput::stored(node),
        };
        let outputs = BTreeMap::from([("out".to_owned(), output)]);
        let places = &BTreeMap::from([("out".to_owned(), "out".to_owned())]);
        self.complete(job, Product { action, outputs, places, candidates, cost: Cost::default(), origin })
    }

    fn fetch(&self, job: &Job<'_>, task: &FetchTask, scratch: &Path) -> Result<TaskOutput, BuildError> {
        let dest = scratch.join("out");
        let flat = task.ingestion == Ingestion::Flat;
        let name = job.derivation.name.to_string();
        let fetch = Fetch { urls: task.urls.clone(), expected: flat.then_some(task.hash), name: name.clone() };
        let last_report = Mutex::new(Instant::now());
        let progress = |done_bytes, total_bytes| {
            let mut last_report = lock(&last_report);
            if last_report.elapsed() >= PROGRESS_INTERVAL {
                *last_report = Instant::now();
                self.sink.event(Event::Progress { node: job.id, done_bytes, total_bytes });
            }
        };
        self.services.fetcher.fetch(&fetch, &dest, &progress).map_err(|error| match error.mismatch() {
            _ if matches!(error, FetchError::Cancelled { .. }) => BuildError::Cancelled,
            // One URL has a whole file with another hash: that is worth more than the errors of the
            // unreachable ones.
            Some((expected, got)) => {
                BuildError::hash_mismatch(task.written.as_deref(), expected, got, task.urls.clone())
            }
            None => error.into(),
        })?;
        if task.executable {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&dest, mode).map_err(|e| io_error("chmod", &dest, e))?;
        }
        Ok(TaskOutput::OnDisk(dest))
    }
}
