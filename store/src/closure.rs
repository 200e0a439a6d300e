//! Closures of several paths.

use crate::{LocalStore, StoreError};
use model::StorePath;
use std::collections::BTreeSet;

impl LocalStore {
    /// Returns everything that can be reached from `paths` over references, themselves included.
    ///
    /// # Errors
    /// [`StoreError::NotValid`] when one of them is not valid.
    pub fn closure_of(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, StoreError> {
        let mut all = BTreeSet::new();
        for path in paths {
            if !all.contains(path) {
                all.extend(self.closure(path)?);
            }
        }
        Ok(all)
    }
}
