//! A host that records the questions it is asked.

use super::Seen;
use super::question::{self, CopiedSource, Observation, Question};
use crate::host::StoreHost;
use crate::sources;
use lang::error::Report;
use lang::host::{
    FetchRequest, Fetched, FileType, Host, HostErrorKind, HostResult, LocalFact, LocalFacts, LocalTree, Severity,
    SourceFilter,
};
use model::path::Ingestion;
use model::tree::Digest;
use model::{Derivation, Hash, StorePath, StorePathName};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Passes questions to the real host, and records them with digests of the answers.
pub struct Observer {
    host: Arc<StoreHost>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    asked: BTreeSet<Question>,
    seen: Seen,
    /// Set by a question without a lasting answer.
    fleeting: bool,
    /// Warnings about trees that were given.
    warned: BTreeSet<String>,
}

impl Observer {
    pub fn new(host: Arc<StoreHost>) -> Observer {
        Observer { host, notes: Mutex::default() }
    }

    /// Returns everything seen so far; `None` when a question cannot be asked again.
    pub fn seen(&self) -> Option<Seen> {
        let notes = self.notes();
        (!notes.fleeting).then(|| notes.seen.clone())
    }

    /// Warns about the files of Git trees that were used so far and are not in the last commit, or
    /// not tracked. The warnings of an evaluation are given again when its result is reused.
    pub fn warn_of_changes(&self) {
        for used in self.host.trees.uses().unwrap_or_default() {
            let warnings = used.warnings();
            if !warnings.is_empty() {
                let question = Question::Status((&used.tree).into(), used.used.clone());
                self.observe(question, |_| used, question::of_status);
            }
            for warning in warnings {
                if self.notes().warned.insert(warning.clone()) {
                    self.message(Severity::Warning, &warning);
                }
            }
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        os::lock(&self.notes)
    }

    fn observe<T>(
        &self,
        question: Question,
        ask: impl FnOnce(&StoreHost) -> T,
        digest: impl FnOnce(&T) -> Digest,
    ) -> T {
        if self.notes().asked.contains(&question) {
            return ask(&self.host);
        }
        let is_filtered = matches!(&question, Question::Entries(path) if self.host.trees.filters(path));
        let stat = if is_filtered { None } else { question.stat(&self.host) };
        let answer = ask(&self.host);
        let observation = Observation::new(question.clone(), digest(&answer), stat);
        let mut notes = self.notes();
        if notes.asked.insert(question) {
            notes.seen.observations.push(observation);
        }
        answer
    }

    fn fleeting(&self) {
        self.notes().fleeting = true;
    }
}

impl Host for Observer {
    fn read_file(&self, path: &Path, bytes_max: usize) -> HostResult<Vec<u8>> {
        self.observe(Question::Bytes(path.to_owned()), |host| host.read_file(path, bytes_max), question::of_bytes)
    }

    fn read_pieces(&self, path: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> HostResult<()> {
        let ask = |host: &StoreHost| question::digest_pieces(host, path, take);
        self.observe(Question::Bytes(path.to_owned()), ask, |(_, digest)| *digest).0
    }

    fn read_dir(&self, path: &Path) -> HostResult<Vec<(Vec<u8>, FileType)>> {
        self.observe(Question::Entries(path.to_owned()), |host| host.read_dir(path), question::of_entries)
    }

    fn file_type(&self, path: &Path) -> HostResult<Option<FileType>> {
        self.observe(Question::Type(path.to_owned()), |host| host.file_type(path), question::of_type)
    }

    fn read_link(&self, path: &Path) -> HostResult<PathBuf> {
        self.observe(Question::LinkTarget(path.to_owned()), |host| host.read_link(path), question::of_link)
    }

    fn add_source(
        &self,
        source: &Path,
        name: &StorePathName,
        ingestion: Ingestion,
        filter: Option<SourceFilter<'_>>,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        let mut asked = CopiedSource::new(source, name, ingestion, expected);
        let Some(filter) = filter else {
            let add = |host: &StoreHost| host.add_source(source, name, ingestion, None, expected);
            return self.observe(Question::Source(asked), add, question::of_path);
        };
        let mut verdicts = BTreeMap::new();
        let mut noting = |path: &Path, kind: FileType| {
            let kept = filter(path, kind)?;
            verdicts.insert(path.to_owned(), (kind.name().to_owned(), kept));
            Ok(kept)
        };
        let added = self.host.add_source(source, name, ingestion, Some(&mut noting), expected);
        if matches!(&added, Err(error) if error.kind == HostErrorKind::Stopped) {
            return added;
        }
        asked.verdicts = Some(verdicts);
        self.observe(Question::Source(asked), |_| added, question::of_path)
    }

    fn add_text(&self, path: &StorePath, text: &[u8], references: &[StorePath]) -> HostResult<()> {
        self.host.add_text(path, text, references)
    }

    fn write_derivation(&self, path: &StorePath, derivation: &Derivation, text: &[u8]) -> HostResult<()> {
        self.host.write_derivation(path, derivation, text)
    }

    /// Not observed: the path of a derivation is the hash of its text.
    fn read_derivation(&self, path: &StorePath) -> HostResult<Derivation> {
        self.host.read_derivation(path)
    }

    /// Not observed itself: reads of the outputs are.
    fn realise(&self, wanted: &[(StorePath, Vec<String>)]) -> HostResult<()> {
        self.host.realise(wanted)
    }

    fn ensure_path(&self, path: &StorePath) -> HostResult<()> {
        self.observe(Question::Valid(path.to_string()), |host| host.ensure_path(path), question::of_valid)
    }

    fn references(&self, path: &StorePath) -> HostResult<Vec<StorePath>> {
        self.observe(Question::References(path.to_string()), |host| host.references(path), question::of_paths)
    }

    fn fetch(&self, request: &FetchRequest) -> HostResult<Fetched> {
        if !sources::is_fixed(request) {
            self.fleeting();
        }
        self.host.fetch(request)
    }

    fn git_tree_of(&self, directory: &Path) -> Option<LocalTree> {
        let ask = |host: &StoreHost| host.git_tree_of(directory);
        self.observe(Question::GitTree(directory.to_owned()), ask, question::of_git_tree)
    }

    fn local(&self, tree: &LocalTree, fact: LocalFact) -> HostResult<LocalFacts> {
        let ask = |host: &StoreHost| host.local(tree, fact);
        self.observe(Question::Local(tree.into(), fact.into()), ask, question::of_local)
    }

    fn env_var(&self, name: &[u8]) -> Option<Vec<u8>> {
        let Ok(text) = std::str::from_utf8(name) else {
            self.fleeting();
            return self.host.env_var(name);
        };
        self.observe(
            Question::Variable(text.to_owned()),
            |host| host.env_var(name),
            |value| question::of_variable(value.as_deref()),
        )
    }

    fn current_time(&self) -> i64 {
        self.fleeting();
        self.host.current_time()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        self.observe(
            Question::Home,
            |host| host.home_dir(),
            |home| question::of_variable(home.as_ref().map(|home| home.as_os_str().as_bytes())),
        )
    }

    /// Not observed: settings and environment are part of the key.
    fn nix_path(&self) -> Vec<(String, String)> {
        self.host.nix_path()
    }

    fn message(&self, severity: Severity, text: &str) {
        self.notes().seen.messages.push((severity.into(), text.to_owned()));
        self.host.message(severity, text);
    }

    fn notice(&self, report: &Report) {
        self.fleeting();
        self.host.notice(report);
    }
}
