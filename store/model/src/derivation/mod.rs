//! Store derivations: one build action as data, as written to a `.drv`.
//!
//! Builders read byte strings, as in Nix: arguments and environment need not be UTF-8. The maps are
//! ordered, so each derivation has exactly one text.

pub mod aterm;
pub mod hash;
pub mod json;

#[cfg(test)]
mod tests;

pub use hash::{DerivationHash, DerivationHashes};

use crate::hash::{Hash, HashAlgorithm, HashError};
use crate::path::{Ingestion, PathError, References, StoreModel, StorePath, StorePathName, output_path_name};
use std::collections::{BTreeMap, BTreeSet};

/// A store derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// The name, without `.drv`. Not part of the `.drv`'s text but of its path.
    pub name: StorePathName,
    pub outputs: BTreeMap<String, Output>,
    /// The outputs that are needed of each input derivation.
    pub input_derivations: BTreeMap<StorePath, BTreeSet<String>>,
    /// Inputs that no derivation makes.
    pub input_sources: BTreeSet<StorePath>,
    pub system: Vec<u8>,
    pub builder: Vec<u8>,
    pub args: Vec<Vec<u8>>,
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The path of an output, as far as it is known before the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Named by the hash of the derivation.
    InputAddressed(StorePath),
    /// Named by its expected contents.
    Fixed { ingestion: Ingestion, hash: Hash },
    /// Named by its contents, once it is built.
    Floating { ingestion: Ingestion, algorithm: HashAlgorithm },
    /// As `Floating`, of a builder with access to the network: its result is never reused for
    /// another run.
    Impure { ingestion: Ingestion, algorithm: HashAlgorithm },
    /// Named by the hash of the derivation, which waits for a floating input, or is not computed
    /// yet.
    Deferred,
}

/// Defects of a derivation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerivationError {
    #[error("the text of derivation `{name}` is not valid at byte {offset}: expected {expected}")]
    Syntax { name: String, offset: usize, expected: &'static str },
    #[error("derivation `{name}`: {reason}")]
    Path { name: String, reason: PathError },
    #[error("derivation `{name}`: {reason}")]
    Hash { name: String, reason: HashError },
    #[error("derivation `{name}` has no outputs")]
    NoOutputs { name: String },
    #[error("derivation `{name}` mixes a fixed output with others; a fixed output is the only one and called `out`")]
    MixedOutputs { name: String },
    #[error("derivation `{name}` needs output `{output}` of `{input}`, which has no such output")]
    MissingOutput { name: String, input: String, output: String },
    #[error("`{path}` is not the path of a derivation: its name does not end in `.drv`")]
    NotADerivation { path: String },
    #[error("derivation `{path}` refers to itself through its inputs")]
    Cycle { path: String },
    #[error("cannot read derivation `{path}`: {reason}")]
    Load { path: String, reason: String },
}

impl Derivation {
    /// Returns the fixed output, when this is a fixed-output derivation.
    pub fn fixed_output(&self) -> Option<(Ingestion, &Hash)> {
        match self.outputs.iter().next() {
            Some((name, Output::Fixed { ingestion, hash })) if name == "out" && self.outputs.len() == 1 => {
                Some((*ingestion, hash))
            }
            _ => None,
        }
    }

    /// Returns the path of output `output`, when it is known.
    ///
    /// # Errors
    /// When the name of the output is not a valid name of a store path.
    pub fn output_path(&self, model: StoreModel, output: &str) -> Result<Option<StorePath>, DerivationError> {
        match self.outputs.get(output) {
            Some(Output::InputAddressed(path)) => Ok(Some(path.clone())),
            Some(Output::Fixed { ingestion, hash }) => {
                let name = output_path_name(self.name.as_str(), output).map_err(|reason| self.path_error(reason))?;
                model
                    .make_fixed_output_path(*ingestion, hash, name, &References::default())
                    .map(Some)
                    .map_err(|reason| self.path_error(reason))
            }
            Some(Output::Floating { .. } | Output::Impure { .. } | Output::Deferred) | None => Ok(None),
        }
    }

    /// Returns all outputs with their paths, in order of name.
    ///
    /// # Errors
    /// The errors of [`Derivation::output_path`].
    pub fn output_paths(&self, model: StoreModel) -> Result<BTreeMap<String, Option<StorePath>>, DerivationError> {
        self.outputs.keys().map(|name| Ok((name.clone(), self.output_path(model, name)?))).collect()
    }

    /// Computes the output paths and writes them to `outputs` and to the environment variables
    /// named as the outputs.
    ///
    /// Deferred outputs become input-addressed unless an input is floating; outputs of other kinds
    /// do not change. The hashes of the input derivations must be in `hashes` already, or come from
    /// `load`.
    ///
    /// # Errors
    /// When an input cannot be read or lacks a required output, or a path cannot be computed.
    pub fn fill_output_paths(
        &mut self,
        model: StoreModel,
        hashes: &DerivationHashes,
        load: impl FnMut(&StorePath) -> Result<Derivation, DerivationError>,
    ) -> Result<(), DerivationError> {
        if self.outputs.is_empty() {
            return Err(DerivationError::NoOutputs { name: self.name.to_string() });
        }
        let fixed = self.outputs.values().any(|output| matches!(output, Output::Fixed { .. }));
        if fixed && self.fixed_output().is_none() {
            return Err(DerivationError::MixedOutputs { name: self.name.to_string() });
        }
        let addressed =
            self.outputs.values().any(|output| matches!(output, Output::Deferred | Output::InputAddressed(_)));
        if addressed {
            let names: Vec<String> = self.outputs.keys().cloned().collect();
            for name in &names {
                self.env.insert(name.clone().into_bytes(), Vec::new());
            }
            let hash = hashes.of_masked(model, self, load)?;
            if hash.deferred {
                self.outputs.extend(names.into_iter().map(|name| (name, Output::Deferred)));
            } else {
                self.name_outputs(model, &hash.hash)?;
            }
        }
        for (name, path) in self.output_paths(model)? {
            if let Some(path) = path {
                self.env.insert(name.into_bytes(), model.print(&path).into_bytes());
            }
        }
        Ok(())
    }

    /// Names all outputs by a hash, and writes their paths to the environment.
    fn name_outputs(&mut self, model: StoreModel, hash: &Hash) -> Result<(), DerivationError> {
        let names: Vec<String> = self.outputs.keys().cloned().collect();
        for name in names {
            let path =
                model.make_output_path(&name, hash, self.name.as_str()).map_err(|reason| self.path_error(reason))?;
            self.env.insert(name.clone().into_bytes(), model.print(&path).into_bytes());
            self.outputs.insert(name, Output::InputAddressed(path));
        }
        Ok(())
    }

    /// Computes the output paths as [`Derivation::fill_output_paths`], caches the hash of the
    /// result in `hashes`, and returns the path of the `.drv` and its text.
    ///
    /// # Errors
    /// The errors of [`Derivation::fill_output_paths`] and [`Derivation::path_and_text`].
    pub fn complete(
        &mut self,
        model: StoreModel,
        hashes: &DerivationHashes,
        mut load: impl FnMut(&StorePath) -> Result<Derivation, DerivationError>,
    ) -> Result<(StorePath, Vec<u8>), DerivationError> {
        let addressed = |output: &Output| matches!(output, Output::Deferred | Output::InputAddressed(_));
        if !self.outputs.is_empty() && self.outputs.values().all(addressed) {
            return hashes.complete_addressed(model, self, load);
        }
        self.fill_output_paths(model, hashes, &mut load)?;
        let (path, text) = self.path_and_text(model)?;
        hashes.insert(model, &path, self, load)?;
        Ok((path, text))
    }

    /// Returns all references of the `.drv`: input derivations and input sources.
    pub fn references(&self) -> BTreeSet<StorePath> {
        self.input_derivations.keys().chain(&self.input_sources).cloned().collect()
    }

    /// Returns the path of the `.drv` and its text.
    ///
    /// # Errors
    /// When the name with `.drv` is too long.
    pub fn path_and_text(&self, model: StoreModel) -> Result<(StorePath, Vec<u8>), DerivationError> {
        let text = self.to_aterm(model)?;
        Ok((self.path_of_text(model, &text)?, text))
    }

    fn path_of_text(&self, model: StoreModel, text: &[u8]) -> Result<StorePath, DerivationError> {
        let name = StorePathName::new(&format!("{}.drv", self.name)).map_err(|reason| self.path_error(reason))?;
        let mut references: Vec<&StorePath> = self.input_derivations.keys().chain(&self.input_sources).collect();
        references.sort_unstable();
        references.dedup();
        Ok(model.make_text_path(name, text, references))
    }

    /// Returns an environment variable.
    pub fn env(&self, name: &str) -> Option<&[u8]> {
        self.env.get(name.as_bytes()).map(Vec::as_slice)
    }

    fn path_error(&self, reason: PathError) -> DerivationError {
        DerivationError::Path { name: self.name.to_string(), reason }
    }
}

/// Returns the name of a derivation from its path: without `.drv`.
///
/// # Errors
/// When the path is not that of a derivation.
pub fn name_of_path(path: &StorePath) -> Result<StorePathName, DerivationError> {
    let error = || DerivationError::NotADerivation { path: path.to_string() };
    let name = path.name().as_str().strip_suffix(".drv").ok_or_else(error)?;
    StorePathName::new(name).map_err(|_| error())
}
