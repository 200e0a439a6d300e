//! Step 4, the checks: hashes of fixed outputs, references, and the rules that a derivation sets.
//!
//! Outputs are checked after they were imported into the store, so no process that a builder left
//! running can change them between check and registration.

use super::Realiser;
use super::job::{Job, Stopped};
use super::register::Product;
use super::rules::{Rules, check_rules};
use crate::BuildError;
use crate::error::{io_error, with_article};
use crate::events::Origin;
use model::references::ReferenceScanner;
use model::tree::walk::walk;
use model::tree::{Node, TreeError};
use model::{Hash, HashAlgorithm, Hasher, Ingestion, StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use store::{BlobCheck, LocalStore, StoreError, archive};

/// Facts about outputs that passed their checks, by output.
pub(super) struct Checked {
    pub references: BTreeMap<String, BTreeSet<StorePath>>,
    pub bytes: BTreeMap<String, u64>,
}

impl Realiser<'_> {
    /// Checks the outputs of a product.
    pub(super) fn check(&self, job: &Job<'_>, product: &Product<'_>) -> Result<Checked, Box<Stopped>> {
        let references = self.check_contents(job, product)?;
        if let (Some(_), Some(paths)) =
            (job.derivation.fixed_output(), references.values().find(|paths| !paths.is_empty()))
        {
            let paths = paths.iter().map(|path| StoreModel::Native.print(path)).collect();
            return Err(BuildError::FixedReference { paths }.into());
        }
        let mut bytes = BTreeMap::new();
        for (name, output) in &product.outputs {
            let count = match output.adopted {
                Some(_) => output.bytes,
                None => tree_bytes(self.store, &output.node)?,
            };
            bytes.insert(name.clone(), count);
        }
        let checked = Checked { references, bytes };
        let rules = Rules { store: self.store, attributes: &job.attributes, paths: &job.node.outputs };
        check_rules(&rules, &checked)?;
        Ok(checked)
    }

    /// Checks the hash of a fixed output, and finds the references of all outputs.
    ///
    /// Only an output whose files must be read is checked out before it is known to be good.
    fn check_contents(
        &self,
        job: &Job<'_>,
        product: &Product<'_>,
    ) -> Result<BTreeMap<String, BTreeSet<StorePath>>, BuildError> {
        let fixed = job.derivation.fixed_output().is_some();
        let mut scratch = None;
        let mut references = BTreeMap::new();
        for (name, output) in &product.outputs {
            let host = match &output.adopted {
                Some(path) => Some(path.clone()),
                None if fixed || !product.candidates.is_empty() => {
                    let scratch = match &mut scratch {
                        Some(scratch) => scratch,
                        none => none.insert(self.store.scratch_dir("check")?),
                    };
                    let path = scratch.path().join(name);
                    self.store.checkout(&output.node, &path, product.blobs_to_check())?;
                    Some(path)
                }
                None => None,
            };
            if let Some(host) = &host {
                check_fixed(job, &output.node, host, &product.places[name])?;
            }
            let found = host.map_or_else(|| Ok(BTreeSet::new()), |host| scan(&host, product.candidates))?;
            references.insert(name.clone(), found);
        }
        Ok(references)
    }
}

impl Product<'_> {
    /// Returns how far blobs can be trusted. Trees that were not made just now may have been
    /// written to since: those of united inputs, and those of known results, which need not be of
    /// valid paths.
    pub(super) fn blobs_to_check(&self) -> BlobCheck {
        if self.origin == Origin::CutOff {
            BlobCheck::Whole
        } else if self.outputs.values().any(|output| output.adopted.is_none()) {
            BlobCheck::Written
        } else {
            BlobCheck::Skip
        }
    }
}

/// Checks a fixed output with the contents `node`, which is at `host` on this machine and at
/// `output_path` in the sandbox and in messages.
fn check_fixed(job: &Job<'_>, node: &Node, host: &Path, output_path: &str) -> Result<(), BuildError> {
    let Some((ingestion, expected)) = job.derivation.fixed_output() else { return Ok(()) };
    let actual = match ingestion {
        Ingestion::Flat | Ingestion::Text => match node {
            Node::File { digest, executable: false, .. } => {
                if expected.algorithm() == HashAlgorithm::Blake3 {
                    Hash::from(*digest)
                } else {
                    hash_file(expected.algorithm(), host)?
                }
            }
            other => {
                return Err(BuildError::NotFlat { place: output_path.to_owned(), kind: with_article(other.kind()) });
            }
        },
        Ingestion::Recursive => {
            let mut hasher = Hasher::new(expected.algorithm());
            archive::write(host, &mut hasher)?;
            hasher.finish()
        }
    };
    if actual == *expected {
        return Ok(());
    }
    let written = job.attributes.text("outputHash")?.filter(|text| !text.is_empty());
    let mut urls = job.attributes.words("urls")?.unwrap_or_default();
    urls.extend(job.attributes.text("url")?);
    Err(BuildError::hash_mismatch(written.as_deref(), expected, &actual, urls))
}

fn hash_file(algorithm: HashAlgorithm, path: &Path) -> Result<Hash, BuildError> {
    let file = File::open(path).map_err(|e| io_error("open", path, e))?;
    let mut hasher = Hasher::new(algorithm);
    // Copied by way of the reader's buffer, which is larger than that of `copy`.
    std::io::copy(&mut BufReader::with_capacity(128 << 10, file), &mut hasher)
        .map_err(|e| io_error("read", path, e))?;
    Ok(hasher.finish())
}

/// Returns those of `candidates` that the tree at `host` mentions in names, contents or targets of
/// links.
fn scan(host: &Path, candidates: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, BuildError> {
    if candidates.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut scanner = ReferenceScanner::new(candidates.iter().cloned());
    archive::write(host, &mut scanner)?;
    Ok(scanner.finish())
}

/// Returns the size of all files of a tree.
fn tree_bytes(store: &LocalStore, node: &Node) -> Result<u64, BuildError> {
    let mut total = 0;
    walk(store, node, |_, node| -> Result<bool, TreeError> {
        if let Node::File { size, .. } = node {
            total += size;
        }
        Ok(true)
    })
    .map_err(StoreError::from)?;
    Ok(total)
}
