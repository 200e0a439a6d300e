//! Early cutoff: an action whose result is recorded is not run again.
//!
//! The key covers contents, not recipes. When an input was built again and has the same contents,
//! the actions above it have the keys they had before, and their recorded trees become the outputs.

use super::job::{Cost, Job, Stopped};
use super::register::Product;
use super::{MadeOutput, Realiser};
use crate::BuildError;
use crate::events::Origin;
use model::StorePath;
use model::tree::{Digest, TreeError};
use std::collections::BTreeSet;
use store::StoreError;

impl Realiser<'_> {
    /// Registers the recorded result of `action`, and returns true, when there is one and all of it
    /// is still there.
    pub(super) fn cut_off(
        &self,
        job: &Job<'_>,
        action: Digest,
        candidates: &BTreeSet<StorePath>,
    ) -> Result<bool, Box<Stopped>> {
        let Some(known) = self.store.action_result(&action)? else { return Ok(false) };
        if !known.outputs.keys().eq(job.node.outputs.keys()) {
            return Ok(false);
        }
        let outputs = known.outputs.into_iter().map(|(name, node)| (name, MadeOutput::stored(node))).collect();
        let places = &job.node.outputs.keys().map(|name| (name.clone(), name.clone())).collect();
        let product = Product { action, outputs, places, candidates, cost: Cost::default(), origin: Origin::CutOff };
        match self.complete(job, product) {
            Ok(_) => Ok(true),
            // The collector has taken some of it, or another program has written to it: build it
            // again.
            Err(stopped) if is_missing(&stopped.error) => Ok(false),
            Err(stopped) => Err(stopped),
        }
    }
}

/// Returns true when a recorded result cannot be used, since parts of it are gone or were changed.
fn is_missing(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::Store(
            StoreError::MissingBlob { .. }
                | StoreError::Tree(TreeError::Missing { .. } | TreeError::Encoding { .. })
                | StoreError::DanglingReference { .. }
        )
    )
}
