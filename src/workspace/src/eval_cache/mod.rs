//! Caches the derivations that installables evaluate to, so that the next command that names them
//! need not evaluate.
//!
//! An evaluation is a function of its questions to the world ([`lang::Host`]) and of nothing else.
//! While one runs, an [`Observer`] records every question with a digest of its answer. The record
//! is stored with the result under `<root>/cache/evaluations`, and is valid as long as every
//! question still has its answer; one `stat` decides that for most of them.
//!
//! Invariants: a result is reused only after all its questions were asked again, or their files
//! have the status they had; an evaluation with a question that cannot be asked again (the clock,
//! an unlocked fetch) is not cached; only success is cached, so an error is found, and shown, each
//! time. Losing the directory costs time only, so errors of the cache are ignored.

mod observe;
mod question;

use crate::host::StoreHost;
use lang::host::{Host, Severity};
use model::tree::Digest;
use model::{HashAlgorithm, Hasher};
pub use observe::Observer;
use os::public;
use question::{Observation, Stat};
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Most records kept; beyond that the older half is removed.
const RECORDS_MAX: usize = 1000;

/// Everything that an evaluation saw of the world.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    observations: Vec<Observation>,
    /// Traces and warnings, which are reported again.
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

/// One cached evaluation, as its file holds it.
#[derive(Debug, Serialize, Deserialize)]
struct Record<T> {
    seen: Seen,
    result: T,
}

/// The records of one store.
pub struct EvalCache {
    directory: PathBuf,
}

impl EvalCache {
    /// `root` is the store's physical root.
    pub fn new(root: &Path) -> EvalCache {
        EvalCache { directory: root.join("cache").join("evaluations") }
    }

    /// Returns the cached result under `key` if an evaluation would give it again, and reports the
    /// messages of that evaluation.
    pub fn get<T>(&self, key: &Digest, host: &StoreHost) -> Option<T>
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

    /// Caches the result of an evaluation that saw `seen`.
    pub fn insert<T: Serialize>(&self, key: &Digest, seen: Seen, result: T) {
        self.write(key, &Record { seen, result });
    }

    fn file(&self, key: &Digest) -> PathBuf {
        self.directory.join(format!("{}.json", key.hex()))
    }

    fn write<T: Serialize>(&self, key: &Digest, record: &Record<T>) {
        // A path that is not UTF-8 cannot be recorded, and then nothing is.
        let Ok(json) = serde_json::to_vec(record) else { return };
        let file = self.file(key);
        let unfinished = file.with_extension(format!("{}.part", std::process::id()));
        let written = public::make_directories(&self.directory).is_ok()
            && public::write_file(&unfinished, &json).is_ok()
            && std::fs::rename(&unfinished, &file).is_ok();
        if written {
            self.prune();
        } else {
            let _ = std::fs::remove_file(&unfinished);
        }
    }

    /// Removes the older half when there are too many.
    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
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

/// Writes the key of an evaluation: everything that decides it besides the observations. Each field
/// has its length in front, so that no two sequences of fields give the same bytes.
pub struct KeyWriter(Hasher);

impl KeyWriter {
    /// Begins a key with the version and the status of the program that evaluates.
    pub fn new(program: Option<&Path>) -> KeyWriter {
        let mut key = KeyWriter(Hasher::new(HashAlgorithm::Blake3));
        key.text(env!("CARGO_PKG_VERSION"));
        match program.and_then(|program| std::fs::metadata(program).ok()) {
            Some(meta) => Stat::of(&meta).write_key(&mut key),
            None => key.case("unknown program"),
        }
        key
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn path(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_bytes());
    }

    /// Names the variant whose fields follow.
    pub fn case(&mut self, name: &str) {
        self.text(name);
    }

    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut KeyWriter, &T)) {
        self.0.update(&(items.len() as u64).to_le_bytes());
        for item in items {
            write(self, item);
        }
    }

    pub fn finish(self) -> Digest {
        Digest::from_slice(self.0.finish().digest()).expect("a digest is a blake3 hash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(write: impl FnOnce(&mut KeyWriter)) -> String {
        let mut key = KeyWriter::new(None);
        write(&mut key);
        key.finish().hex()
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let texts = |parts: &[&str]| key(|key| parts.iter().for_each(|part| key.text(part)));
        assert_eq!(texts(&["a", "bc"]), texts(&["a", "bc"]));
        assert_ne!(texts(&["a", "bc"]), texts(&["ab", "c"]));
        let lists =
            |parts: &[&[&str]]| key(|key| parts.iter().for_each(|part| key.list(part, |key, text| key.text(text))));
        assert_ne!(lists(&[&["a"], &["b"]]), lists(&[&["a", "b"], &[]]));
    }

    #[test]
    fn another_program_has_other_keys() {
        let directory = tempfile::tempdir().unwrap();
        let programs = ["one", "other"].map(|name| directory.path().join(name));
        programs.iter().for_each(|program| std::fs::write(program, "").unwrap());
        let key = |program: &Path| KeyWriter::new(Some(program)).finish().hex();
        assert_eq!(key(&programs[0]), key(&programs[0]));
        assert_ne!(key(&programs[0]), key(&programs[1]));
    }
}
