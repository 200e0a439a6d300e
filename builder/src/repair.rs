//! Rebuilds paths that a verification of the store has invalidated.

use crate::{BuildError, Builder, DerivationFailure, Target};
use model::{StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The result of a repair.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Paths that are valid again.
    pub made: BTreeSet<StorePath>,
    /// Paths that a root needs and that stay lost: no derivation in the store makes them, or it
    /// failed.
    pub missing: BTreeSet<StorePath>,
    pub failures: Vec<Arc<DerivationFailure>>,
}

impl Builder {
    /// Builds or fetches again those of the `lost` paths that roots of the collector need. The
    /// others are garbage, and stay lost.
    ///
    /// # Errors
    /// When the store cannot be read. Builds that fail are no error.
    pub fn repair(&self, lost: &BTreeSet<StorePath>) -> Result<Repaired, BuildError> {
        let mut repaired = Repaired::default();
        let mut targets: BTreeMap<StorePath, BTreeSet<String>> = BTreeMap::new();
        let rooted: BTreeSet<StorePath> = self.store.roots()?.into_iter().map(|root| root.path).collect();
        for path in rooted.intersection(lost) {
            let Some(drv) = self.store.derivers(path)?.pop_first() else { continue };
            let outputs =
                self.store.derivation(&drv)?.output_paths(StoreModel::Native).map_err(store::StoreError::from)?;
            let names = outputs.into_iter().filter(|(_, output)| output.as_ref() == Some(path)).map(|(name, _)| name);
            targets.entry(drv).or_default().extend(names);
        }
        let targets: Vec<Target> = targets.into_iter().map(|(drv, outputs)| Target { drv, outputs }).collect();
        match self.plan(&targets).and_then(|plan| self.realise(plan)) {
            Ok(_) => {}
            Err(BuildError::Failed(report)) => repaired.failures = report.failures,
            // A derivation below is lost too.
            Err(BuildError::Store(store::StoreError::NotValid { .. })) => {}
            Err(error) => return Err(error),
        }
        for path in lost {
            if self.store.is_valid(path)? {
                repaired.made.insert(path.clone());
            } else if rooted.contains(path) {
                repaired.missing.insert(path.clone());
            }
        }
        Ok(repaired)
    }
}
