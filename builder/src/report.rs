//! The report of a realised plan, and its text for people.
//!
//! Failures are events too, so that they can be shown when they happen. The text exists in two
//! forms: with each failure in full, and without, for readers who have seen them all.

use crate::error::{BuildError, DerivationFailure};
use crate::events::Origin;
use crate::phases::quoted;
use model::{StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most names in one list; the rest is counted.
const NAMES_MAX: usize = 10;
/// Most failures for each of which the derivations that need it are listed.
const BLOCKED_LISTS_MAX: usize = 3;

/// The report of a realised plan.
#[derive(Debug, Default)]
pub struct BuildReport {
    /// Origin and duration of each derivation that was realised.
    pub realised: BTreeMap<StorePath, (Origin, Duration)>,
    /// The targets with the outputs asked for, valid unless something failed.
    pub targets: Vec<(StorePath, Arc<BTreeMap<String, StorePath>>)>,
    pub failures: Vec<Arc<DerivationFailure>>,
    /// Derivations that were not started, with the failed one below them.
    pub blocked: Vec<(StorePath, StorePath)>,
    /// Derivations that were stopped, or not started since the run was.
    pub not_started: Vec<StorePath>,
    pub cancelled: bool,
}

impl BuildReport {
    /// Returns the number of derivations of this origin.
    pub fn count(&self, origin: Origin) -> usize {
        self.realised.values().filter(|(o, _)| *o == origin).count()
    }

    /// Returns the next step for the user: that of the failure, when there is a single one, and the
    /// command that prints the first log. Of several failures, each is printed with its own next
    /// step.
    pub(crate) fn help(&self) -> Option<String> {
        match self.failures.as_slice() {
            [failure] => failure.help(),
            failures => {
                let first =
                    |of: fn(&DerivationFailure) -> Option<String>| failures.iter().find_map(|failure| of(failure));
                let steps: Vec<String> = first(DerivationFailure::log_help)
                    .into_iter()
                    .chain(first(DerivationFailure::enter_help))
                    .collect();
                (!steps.is_empty()).then(|| steps.join("\n"))
            }
        }
    }

    /// Returns the failures in full, then the derivations that they block.
    pub(crate) fn failure_text(&self) -> String {
        let together = self.unreachable();
        let apart = self.apart(&together);
        let mut parts: Vec<String> = Vec::new();
        for failure in &apart {
            let help = failure.error.help().filter(|_| self.failures.len() > 1);
            let help = help.map(|help| format!("\n  help:        {help}")).unwrap_or_default();
            parts.push(format!("{failure}{help}"));
        }
        self.finish(parts, together, apart.len() > 1)
    }

    /// Returns the names of the failed derivations and of those that they block, for readers who
    /// have seen each failure.
    pub fn summary_text(&self) -> String {
        self.short_text(", as reported above")
    }

    /// Returns the same names, for readers who have each failure in another form.
    pub fn names_text(&self) -> String {
        self.short_text("")
    }

    fn short_text(&self, remark: &str) -> String {
        let together = self.unreachable();
        let parts = match self.apart(&together).as_slice() {
            [] => Vec::new(),
            [failure] => vec![format!("`{}` failed{remark}", failure.name())],
            failures => {
                let names = failures.iter().map(|failure| failure.name());
                vec![format!("{} failed{remark}: {}", failures.len(), listed(names))]
            }
        };
        self.finish(parts, together, false)
    }

    fn finish(&self, mut parts: Vec<String>, together: BTreeMap<&str, Unreachable<'_>>, names_last: bool) -> String {
        for (host, Unreachable { reason, names }) in together {
            let count = names.len();
            parts.push(format!("`{host}` cannot be reached: {reason}; {count} files wait for it: {}", listed(names)));
        }
        parts.extend(self.blocked_text());
        let mut last = if self.cancelled { vec!["stopped on request".to_owned()] } else { Vec::new() };
        // A single one is named in the first line already.
        if names_last {
            last.push(format!("failed: {}", listed(self.failures.iter().map(|failure| failure.name()))));
        }
        parts.extend((!last.is_empty()).then(|| last.join("; ")));
        parts.join("\n")
    }

    /// Returns the hosts that could not be reached, by which several fetches failed.
    fn unreachable(&self) -> BTreeMap<&str, Unreachable<'_>> {
        let mut hosts: BTreeMap<&str, Unreachable<'_>> = BTreeMap::new();
        for failure in &self.failures {
            if let Some((host, reason)) = failure.error.unreachable() {
                let names = Vec::new();
                hosts.entry(host).or_insert(Unreachable { reason, names }).names.push(failure.name());
            }
        }
        hosts.retain(|_, host| host.names.len() > 1);
        hosts
    }

    /// Returns the failures that are reported one by one.
    fn apart(&self, together: &BTreeMap<&str, Unreachable<'_>>) -> Vec<&DerivationFailure> {
        let is_apart = |failure: &&DerivationFailure| {
            failure.error.unreachable().is_none_or(|(host, _)| !together.contains_key(host))
        };
        self.failures.iter().map(|failure| &**failure).filter(is_apart).collect()
    }

    fn blocked_text(&self) -> Vec<String> {
        let name = |drv: &'_ StorePath| drv.name().as_str().trim_end_matches(".drv").to_owned();
        // A derivation that needs a stopped build is not reported.
        let failed: BTreeSet<&StorePath> = self.failures.iter().map(|failure| &failure.drv).collect();
        let blocked = || self.blocked.iter().filter(|(_, by)| failed.contains(by));
        let needed: BTreeSet<&StorePath> = blocked().map(|(_, by)| by).collect();
        if needed.len() > BLOCKED_LISTS_MAX {
            let names: Vec<String> = blocked().map(|(drv, _)| name(drv)).collect();
            return vec![format!("not built, since they need one of these: {}", listed(names.iter().map(|n| &**n)))];
        }
        let lists = needed.into_iter().map(|failed| {
            let names: Vec<String> =
                self.blocked.iter().filter(|(_, by)| by == failed).map(|(drv, _)| name(drv)).collect();
            let pronoun = if names.len() == 1 { "it needs" } else { "they need" };
            format!("not built, since {pronoun} `{}`: {}", name(failed), listed(names.iter().map(|n| &**n)))
        });
        lists.collect()
    }
}

/// A host that could not be reached, and the files that were wanted from it.
struct Unreachable<'a> {
    reason: &'a str,
    names: Vec<&'a str>,
}

impl DerivationFailure {
    /// Returns the next step for the user, and the command that prints the log.
    pub fn help(&self) -> Option<String> {
        let own = match (&self.error, &self.kept) {
            (BuildError::NotReproducible { .. }, Some(kept)) => {
                Some(format!("the outputs of the second build are in `{}`", kept.path.join("output").display()))
            }
            (error, _) => error.help(),
        };
        let steps: Vec<String> = own.into_iter().chain(self.log_help()).chain(self.enter_help()).collect();
        (!steps.is_empty()).then(|| steps.join("\n"))
    }

    /// Returns the command that enters the sandbox as the build left it.
    fn enter_help(&self) -> Option<String> {
        let entered = self.kept.is_some() && !matches!(self.error, BuildError::NotReproducible { .. });
        entered.then(|| format!("enter it as it failed: `ev shell --failed {}`", quoted(self.name().as_bytes())))
    }

    fn log_help(&self) -> Option<String> {
        let has_log = self.log.as_ref().is_some_and(|log| !log.tail.is_empty());
        has_log.then(|| format!("the whole log: `ev log {}`", StoreModel::Native.print(&self.drv)))
    }
}

impl BuildError {
    /// Returns the host that a fetch could not reach, and the reason.
    pub fn unreachable(&self) -> Option<(&str, &str)> {
        match self {
            BuildError::Fetch(error) => error.unreachable(),
            _ => None,
        }
    }
}

/// Returns names in backticks, at most [`NAMES_MAX`] of them.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuilderFailure;
    use fetch::{Attempt, AttemptKind, FetchError};
    use model::StorePathName;

    fn drv(name: &str) -> StorePath {
        StorePath::new([1; 20], StorePathName::new(&format!("{name}.drv")).unwrap())
    }

    fn failure(name: &str, error: BuildError) -> Arc<DerivationFailure> {
        Arc::new(DerivationFailure { drv: drv(name), error, log: None, kept: None })
    }

    fn unreachable(name: &str, host: &str) -> Arc<DerivationFailure> {
        let attempt = Attempt {
            url: format!("http://{host}/{name}"),
            tries: 2,
            reason: "Connection refused (ECONNREFUSED)".into(),
            kind: AttemptKind::Unreachable { host: host.into() },
            mismatch: None,
        };
        failure(name, FetchError::Failed { name: name.into(), attempts: vec![attempt] }.into())
    }

    #[test]
    fn files_of_one_host_are_reported_together() {
        let names: Vec<String> = (0..16).map(|n| format!("f{n}")).collect();
        let mut failures: Vec<_> = names.iter().map(|name| unreachable(name, "a.example")).collect();
        failures.push(unreachable("alone", "b.example"));
        let blocked = names.iter().map(|name| (drv(&format!("above-{name}")), drv(name))).collect();
        let report = BuildReport { failures, blocked, ..BuildReport::default() };
        insta::assert_snapshot!(report.failure_text(), @r#"
        `alone` cannot be fetched: its one URL failed
          http://b.example/alone: Connection refused (ECONNREFUSED) (tried 2 times)
          help:        check the network, and the proxy if there is one (`http_proxy`), then run it again
        `a.example` cannot be reached: Connection refused (ECONNREFUSED); 16 files wait for it: `f0`, `f1`, `f2`, `f3`, `f4`, `f5`, `f6`, `f7`, `f8`, `f9` and 6 more
        not built, since they need one of these: `above-f0`, `above-f1`, `above-f2`, `above-f3`, `above-f4`, `above-f5`, `above-f6`, `above-f7`, `above-f8`, `above-f9` and 6 more
        "#);
        insta::assert_snapshot!(report.summary_text(), @r#"
        `alone` failed, as reported above
        `a.example` cannot be reached: Connection refused (ECONNREFUSED); 16 files wait for it: `f0`, `f1`, `f2`, `f3`, `f4`, `f5`, `f6`, `f7`, `f8`, `f9` and 6 more
        not built, since they need one of these: `above-f0`, `above-f1`, `above-f2`, `above-f3`, `above-f4`, `above-f5`, `above-f6`, `above-f7`, `above-f8`, `above-f9` and 6 more
        "#);
    }

    #[test]
    fn a_summary_names_the_failed_and_the_blocked_once() {
        let failed = |name: &str| failure(name, BuildError::Builder(BuilderFailure::Exited(1)));
        let report = |names: &[&str], cancelled| BuildReport {
            failures: names.iter().map(|name| failed(name)).collect(),
            blocked: names.iter().map(|name| (drv(&format!("above-{name}")), drv(name))).collect(),
            cancelled,
            ..BuildReport::default()
        };
        insta::assert_snapshot!(report(&["a"], false).summary_text(), @r#"
        `a` failed, as reported above
        not built, since it needs `a`: `above-a`
        "#);
        insta::assert_snapshot!(report(&["a", "b"], true).summary_text(), @r#"
        2 failed, as reported above: `a`, `b`
        not built, since it needs `a`: `above-a`
        not built, since it needs `b`: `above-b`
        stopped on request
        "#);
        insta::assert_snapshot!(report(&["a", "b"], false).failure_text(), @r#"
        `a` failed: the builder exited with status 1
        `b` failed: the builder exited with status 1
        not built, since it needs `a`: `above-a`
        not built, since it needs `b`: `above-b`
        failed: `a`, `b`
        "#);
    }
}
