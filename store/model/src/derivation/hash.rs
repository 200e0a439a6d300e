//! The hash of a derivation modulo its inputs, from which output paths are made.
//!
//! Nix's rule: in the text of the derivation, the path of each input derivation is replaced by that
//! input's own hash, and the hash of a fixed-output derivation depends on its output alone. So two
//! ways of fetching one file give everything above them the same paths.
//!
//! Hashes of earlier derivations are cached by path. Nothing here recurses, so graphs may have any
//! depth.

use super::aterm::{HashedInput, Masking, write_hashed_inputs};
use super::{Derivation, DerivationError, Output};
use crate::hash::{Hash, HashAlgorithm, Hasher};
use crate::path::{HASH_TEXT_LEN, StoreModel, StorePath};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// The hash of one derivation modulo its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerivationHash {
    pub hash: Hash,
    /// Set when the paths of its outputs depend on contents that are not yet known.
    pub deferred: bool,
}

/// Cached hashes of derivations, by the path of the `.drv`. Each cache serves one [`StoreModel`].
#[derive(Default)]
pub struct DerivationHashes {
    known: Mutex<Known>,
}

/// The hash part of the path is the key, in 66 bytes an entry, since there may be a hundred
/// thousand.
type Known = FxHashMap<[u8; HASH_TEXT_LEN], KnownHash>;

/// A [`DerivationHash`] without space for digests that no store model makes.
#[derive(Clone, Copy)]
struct KnownHash {
    algorithm: HashAlgorithm,
    digest: [u8; 32],
    deferred: bool,
}

impl KnownHash {
    fn new(hash: &DerivationHash) -> Self {
        let digest = hash.hash.digest().try_into().expect("the digests of both store models have 32 bytes");
        Self { algorithm: hash.hash.algorithm(), digest, deferred: hash.deferred }
    }

    fn hash(&self) -> Hash {
        Hash::new(self.algorithm, &self.digest).expect("the digest is one of this algorithm")
    }
}

impl DerivationHashes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Caches the hash of `derivation`, whose `.drv` is `path`; `load` returns inputs that are not
    /// cached.
    ///
    /// # Errors
    /// When an input cannot be read or lacks a required output.
    pub fn insert(
        &self,
        model: StoreModel,
        path: &StorePath,
        derivation: &Derivation,
        load: impl FnMut(&StorePath) -> Result<Derivation, DerivationError>,
    ) -> Result<DerivationHash, DerivationError> {
        if let Some(hash) = self.get(path) {
            return Ok(hash);
        }
        if derivation.fixed_output().is_none() {
            self.learn_inputs(model, derivation, load)?;
        }
        let hash = self.compute(model, derivation, false)?;
        self.learn(path, &hash);
        Ok(hash)
    }

    /// Returns the cached hash of a derivation.
    pub fn get(&self, path: &StorePath) -> Option<DerivationHash> {
        let known = *self.lock().get(path.digits())?;
        Some(DerivationHash { hash: known.hash(), deferred: known.deferred })
    }

    fn learn(&self, path: &StorePath, hash: &DerivationHash) {
        self.lock().insert(*path.digits(), KnownHash::new(hash));
    }

    /// Returns the hash from which the output paths of `derivation` are made: its own output paths
    /// are omitted.
    pub(super) fn of_masked(
        &self,
        model: StoreModel,
        derivation: &Derivation,
        load: impl FnMut(&StorePath) -> Result<Derivation, DerivationError>,
    ) -> Result<DerivationHash, DerivationError> {
        self.learn_inputs(model, derivation, load)?;
        self.compute(model, derivation, true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn unknown_inputs(&self, derivation: &Derivation) -> Vec<StorePath> {
        let known = self.lock();
        derivation.input_derivations.keys().filter(|input| !known.contains_key(input.digits())).cloned().collect()
    }

    /// Computes missing hashes of all inputs, depth first on an explicit stack.
    fn learn_inputs(
        &self,
        model: StoreModel,
        derivation: &Derivation,
        mut load: impl FnMut(&StorePath) -> Result<Derivation, DerivationError>,
    ) -> Result<(), DerivationError> {
        let mut todo: Vec<(StorePath, Option<Derivation>)> =
            self.unknown_inputs(derivation).into_iter().map(|path| (path, None)).collect();
        let mut open = BTreeSet::new();
        while let Some((path, loaded)) = todo.pop() {
            if self.lock().contains_key(path.digits()) {
                continue;
            }
            match loaded {
                Some(input) => {
                    let hash = self.compute(model, &input, false)?;
                    self.learn(&path, &hash);
                    open.remove(&path);
                }
                None => {
                    if !open.insert(path.clone()) {
                        return Err(DerivationError::Cycle { path: path.to_string() });
                    }
                    let input = load(&path)?;
                    let unknown = if input.fixed_output().is_some() { Vec::new() } else { self.unknown_inputs(&input) };
                    todo.push((path, Some(input)));
                    todo.extend(unknown.into_iter().map(|path| (path, None)));
                }
            }
        }
        Ok(())
    }

    /// Returns the replacements of the input derivations in the hashed text, in order, and true
    /// when one of them is deferred.
    fn inputs<'a>(&self, derivation: &'a Derivation) -> (Vec<HashedInput<'a>>, bool) {
        let mut deferred = false;
        let mut inputs: Vec<HashedInput<'a>> = Vec::with_capacity(derivation.input_derivations.len());
        let known = self.lock();
        for (input, outputs) in &derivation.input_derivations {
            let hash = known.get(input.digits()).expect("the inputs were learnt");
            deferred |= hash.deferred;
            inputs.push((hash.hash().hex(), Cow::Borrowed(outputs)));
        }
        inputs.sort_by(|(one, _), (other, _)| one.cmp(other));
        // Derivations with the same hash are treated as one.
        inputs.dedup_by(|(hash, outputs), (kept_hash, kept)| {
            let same = hash == kept_hash;
            if same {
                kept.to_mut().extend(outputs.iter().cloned());
            }
            same
        });
        (inputs, deferred)
    }

    /// Fills in the output paths of a derivation whose outputs are all named by its own hash,
    /// caches its hash for its dependents, and returns the path and the text of its `.drv`.
    ///
    /// This hashes three texts. From the input sources on they differ in their own output paths
    /// only, so that part is written once.
    pub(super) fn complete_addressed(
        &self,
        model: StoreModel,
        derivation: &mut Derivation,
        load: impl FnMut(&StorePath) -> Result<Derivation, DerivationError>,
    ) -> Result<(StorePath, Vec<u8>), DerivationError> {
        let hash = |parts: [&[u8]; 3]| {
            let mut hasher = Hasher::new(model.algorithm());
            parts.into_iter().for_each(|part| hasher.update(part));
            hasher.finish()
        };
        self.learn_inputs(model, derivation, load)?;
        let names: Vec<String> = derivation.outputs.keys().cloned().collect();
        for name in names {
            derivation.env.insert(name.clone().into_bytes(), Vec::new());
            derivation.outputs.insert(name, Output::Deferred);
        }
        let (inputs, deferred) = self.inputs(derivation);
        let inputs = write_hashed_inputs(&inputs);
        let tail = derivation.write_tail(model, true);
        let masked = hash([&derivation.write_outputs(model, true)?, &inputs, &tail.bytes]);
        let tail = match deferred {
            true => tail.bytes,
            false => {
                derivation.name_outputs(model, &masked)?;
                tail.filled(&derivation.env)
            }
        };
        let mut text = derivation.write_outputs(model, false)?;
        let inputs_start = text.len();
        derivation.write_inputs(model, &mut text);
        text.extend_from_slice(&tail);
        let path = derivation.path_of_text(model, &text)?;
        if !self.lock().contains_key(path.digits()) {
            let hash = DerivationHash { hash: hash([&text[..inputs_start], &inputs, &tail]), deferred };
            self.learn(&path, &hash);
        }
        Ok((path, text))
    }

    /// Computes the hash of a derivation from the hashes of its inputs.
    fn compute(
        &self,
        model: StoreModel,
        derivation: &Derivation,
        masked: bool,
    ) -> Result<DerivationHash, DerivationError> {
        let algorithm = model.algorithm();
        if let Some((ingestion, hash)) = derivation.fixed_output() {
            let path = derivation.output_path(model, "out")?.expect("a fixed output has a path");
            let text =
                format!("fixed:out:{}{}:{}:{}", ingestion.marker(), hash.algorithm(), hash.hex(), model.print(&path));
            return Ok(DerivationHash { hash: algorithm.hash(text.as_bytes()), deferred: false });
        }
        let (inputs, deferred) = self.inputs(derivation);
        let text = derivation.write_aterm(model, &Masking { outputs: masked, inputs: Some(&inputs) })?;
        // Dependents of outputs without a path of their own wait for contents.
        let floating =
            derivation.outputs.values().any(|output| matches!(output, Output::Floating { .. } | Output::Impure { .. }));
        Ok(DerivationHash { hash: algorithm.hash(&text), deferred: deferred || (floating && !masked) })
    }
}
