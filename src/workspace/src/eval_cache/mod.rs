//! Remembers what installables came to, so that the next command that names them need not evaluate.
//!
//! An evaluation is a function of what it asks the world ([`lang::Host`]) and of nothing else. While one runs, an
//! [`Observer`] writes down every question with a digest of its answer; the record of them, kept with the result under
//! `<root>/cache/evaluations`, is good for as long as every question still has its answer. Most are told by one `stat`.
//!
//! Invariants: a result is taken only when all its questions were asked again, or their files have the status they had;
//! what cannot be asked again (the clock, an unlocked fetch) makes an evaluation that is not remembered; only success is
//! remembered, so an error is found, and shown, each time. Losing the folder costs time only, which is why trouble with
//! it is nobody's error.

mod observe;
mod question;

use std::path::{Path, PathBuf};

use lang::host::{Host, Severity};
use serde::{Deserialize, Serialize};
use store::place;
use store::tree::Digest;

use crate::host::StoreHost;
pub use observe::Observer;
use question::Observation;

/// Records kept at the most; then the older half goes.
const RECORDS_MAX: usize = 1000;

/// What an evaluation saw of the world.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    observations: Vec<Observation>,
    /// Traces and warnings, which are shown again.
    messages: Vec<(Shown, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Shown {
    Trace,
    Warn,
    Warning,
}

impl From<Severity> for Shown {
    fn from(severity: Severity) -> Shown {
        match severity {
            Severity::Trace => Shown::Trace,
            Severity::Warn => Shown::Warn,
            Severity::Warning => Shown::Warning,
        }
    }
}

impl From<Shown> for Severity {
    fn from(shown: Shown) -> Severity {
        match shown {
            Shown::Trace => Severity::Trace,
            Shown::Warn => Severity::Warn,
            Shown::Warning => Severity::Warning,
        }
    }
}

/// One remembered evaluation, as its file holds it.
#[derive(Debug, Serialize, Deserialize)]
struct Record<T> {
    seen: Seen,
    result: T,
}

/// The records of one store.
pub struct EvalCache {
    folder: PathBuf,
}

impl EvalCache {
    /// `root` is the store's physical root.
    pub fn new(root: &Path) -> EvalCache {
        EvalCache { folder: root.join("cache").join("evaluations") }
    }

    /// Returns the remembered result under `key`, when an evaluation would come to it again. Messages of that evaluation
    /// are shown.
    pub fn look_up<T>(&self, key: &Digest, host: &StoreHost) -> Option<T>
    where
        T: Serialize + for<'de> Deserialize<'de>,
    {
        let bytes = std::fs::read(self.file(key)).ok()?;
        let mut record: Record<T> = serde_json::from_slice(&bytes).ok()?;
        let mut renewed = false;
        for observation in &mut record.seen.observations {
            renewed |= observation.holds(host)?.renewed;
        }
        for (shown, text) in &record.seen.messages {
            host.message((*shown).into(), text);
        }
        if renewed {
            self.write(key, &record);
        }
        Some(record.result)
    }

    /// Remembers what an evaluation that saw `seen` came to.
    pub fn remember<T: Serialize>(&self, key: &Digest, seen: Seen, result: T) {
        self.write(key, &Record { seen, result });
    }

    fn file(&self, key: &Digest) -> PathBuf {
        self.folder.join(format!("{}.json", key.hex()))
    }

    fn write<T: Serialize>(&self, key: &Digest, record: &Record<T>) {
        // A path that is no text cannot be written down; then there is no record.
        let Ok(json) = serde_json::to_vec(record) else { return };
        let file = self.file(key);
        let unfinished = file.with_extension(format!("{}.part", std::process::id()));
        let written = place::make_directories(&self.folder).is_ok()
            && place::write_file(&unfinished, &json).is_ok()
            && std::fs::rename(&unfinished, &file).is_ok();
        if written {
            self.prune();
        } else {
            let _ = std::fs::remove_file(&unfinished);
        }
    }

    /// Removes the older half when there are too many.
    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        if files.len() > RECORDS_MAX {
            files.sort();
            for (_, path) in &files[..files.len() / 2] {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// What besides the observations decides an evaluation: this very program, and what it was called with.
pub fn key(arguments: &str) -> Digest {
    let program = std::env::current_exe().and_then(std::fs::metadata).ok();
    let program = program.map(|meta| question::Stat::of(&meta));
    Digest::of(format!("{} {program:?} {arguments}", env!("CARGO_PKG_VERSION")).as_bytes())
}
