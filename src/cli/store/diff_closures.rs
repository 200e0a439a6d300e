//! `store diff-closures`: compares two closures, package by package.

use crate::cli::session::CommandSession;
use crate::cli::{Evaluation, Global};
use crate::print::say;
use crate::progress::bytes;
use crate::report::Failure;
use clap::Args;
use model::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use store::LocalStore;

#[derive(Debug, Args)]
pub struct DiffClosures {
    /// Installable to start from, such as `./result-1`
    pub before: String,
    /// Installable to compare with it
    pub after: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

/// Versions and bytes of the paths of one name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Package {
    versions: BTreeMap<String, usize>,
    bytes: u64,
}

/// Least difference in bytes that is shown when the versions are equal, as in Nix.
const BYTES_MIN: u64 = 8 << 10;

impl DiffClosures {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let closure = |name: &String| packages(&session.store, &session.built_paths(std::slice::from_ref(name))?);
        let (before, after) = (closure(&self.before)?, closure(&self.after)?);
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut shown = serde_json::Map::new();
        for name in names {
            let empty = Package::default();
            let (old, new) = (before.get(name).unwrap_or(&empty), after.get(name).unwrap_or(&empty));
            let delta = i128::from(new.bytes) - i128::from(old.bytes);
            if old.versions == new.versions && delta.unsigned_abs() < u128::from(BYTES_MIN) {
                continue;
            }
            if self.json {
                let versions = |package: &Package| package.versions.keys().cloned().collect::<Vec<_>>();
                shown.insert(
                    name.clone(),
                    serde_json::json!({
                        "versionsBefore": versions(old), "versionsAfter": versions(new), "sizeDelta": delta as i64,
                    }),
                );
            } else {
                say!("{}", line(name, old, new, delta))?;
            }
        }
        if self.json {
            say!("{}", serde_json::json!({ "version": 1, "packages": shown }))?;
        }
        Ok(())
    }
}

/// Returns a line in Nix's form: `name: 1.0 → 1.1, +12 kB`.
fn line(name: &str, old: &Package, new: &Package, delta: i128) -> String {
    let mut parts = Vec::new();
    if old.versions != new.versions {
        // Versions that are on both sides explain nothing.
        let texts = |one: &Package, other: &Package| {
            let changed = one.versions.iter().filter(|(version, count)| other.versions.get(*version) != Some(*count));
            let texts: Vec<String> = changed
                .map(|(version, count)| {
                    let name = if version.is_empty() { "ε" } else { version };
                    if *count > 1 { format!("{name} ×{count}") } else { name.to_owned() }
                })
                .collect();
            if texts.is_empty() { "∅".to_owned() } else { texts.join(", ") }
        };
        parts.push(format!("{} → {}", texts(old, new), texts(new, old)));
    }
    if delta.unsigned_abs() >= u128::from(BYTES_MIN) {
        let sign = if delta < 0 { "-" } else { "+" };
        parts.push(format!("{sign}{}", bytes(u64::try_from(delta.unsigned_abs()).unwrap_or(u64::MAX))));
    }
    format!("{name}: {}", parts.join(", "))
}

/// Returns the paths of a closure by the name of their package.
fn packages(store: &LocalStore, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<String, Package>, Failure> {
    let mut found: BTreeMap<String, Package> = BTreeMap::new();
    for path in store.closure_of(paths)? {
        let Some(info) = store.path_info(&path)? else { continue };
        let (name, version) = split_version(path.name().as_str());
        let package = found.entry(name.to_owned()).or_default();
        *package.versions.entry(version.to_owned()).or_default() += 1;
        package.bytes += info.bytes;
    }
    Ok(found)
}

/// Splits a name where a dash precedes something other than a letter, as the language does.
pub fn split_version(name: &str) -> (&str, &str) {
    let dashes = name.match_indices('-').map(|(at, _)| at);
    let found = dashes.into_iter().find(|at| name[at + 1..].chars().next().is_some_and(|next| !next.is_alphabetic()));
    found.map_or((name, ""), |at| (&name[..at], &name[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::{Package, line, split_version};

    fn package(versions: &[&str], bytes: u64) -> Package {
        let versions = versions.iter().map(|version| ((*version).to_owned(), 1)).collect();
        Package { versions, bytes }
    }

    #[test]
    fn names_are_split_as_in_the_language() {
        assert_eq!(split_version("gcc-wrapper-13.2-lib"), ("gcc-wrapper", "13.2-lib"));
        assert_eq!(split_version("hello"), ("hello", ""));
        assert_eq!(split_version("a-b"), ("a-b", ""));
    }

    #[test]
    fn lines_have_the_form_of_nix() {
        let (old, new) = (package(&["1.0"], 4096), package(&["1.1"], 4096 + (20 << 10)));
        assert_eq!(line("x", &old, &new, 20 << 10), "x: 1.0 → 1.1, +20 kB");
        assert_eq!(line("x", &Package::default(), &package(&[""], 0), 0), "x: ∅ → ε");
        assert_eq!(line("x", &package(&["1", "2"], 0), &package(&["1"], 0), -(1 << 20)), "x: 2 → ∅, -1.0 MB");
    }
}
