//! Step 4, registration: moves outputs to their store paths and records the action that made them.

use super::differences::differences;
use super::job::{Cost, Job, Stopped};
use super::outputs::Checked;
use super::{MadeOutput, Realiser};
use crate::events::Origin;
use crate::{BuildError, plan};
use model::StorePath;
use model::tree::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use store::{ActionResult, BuildRecord, Run, ValidPath};

/// The outputs of a job, not registered yet.
pub(super) struct Product<'a> {
    pub action: Digest,
    pub outputs: BTreeMap<String, MadeOutput>,
    /// Paths by which messages name the outputs.
    pub places: &'a BTreeMap<String, String>,
    /// Store paths that the outputs can mention.
    pub candidates: &'a BTreeSet<StorePath>,
    pub cost: Cost,
    pub origin: Origin,
}

impl Realiser<'_> {
    /// Moves checked outputs to their paths and registers them with the action and the build
    /// record.
    pub(super) fn register(
        &self,
        job: &Job<'_>,
        product: Product<'_>,
        mut checked: Checked,
    ) -> Result<Origin, Box<Stopped>> {
        let infos: Vec<ValidPath> = product
            .outputs
            .iter()
            .map(|(name, output)| {
                let path = job.node.outputs[name].clone();
                let mut info = ValidPath::new(path, output.node.clone(), checked.bytes[name]);
                info.references = checked.references.remove(name).unwrap_or_default();
                info.deriver = Some(job.node.drv.clone());
                info
            })
            .collect();
        let (origin, blobs) = (product.origin, product.blobs_to_check());
        let adopted = product.outputs.values().next().and_then(|output| output.adopted.clone());
        let run = run_of(job, product);
        let placed = || job.slot.release();
        match (infos.as_slice(), adopted) {
            // A single output on the store's file system is renamed. Several outputs may refer to
            // each other and are registered together, which takes a checkout.
            ([info], Some(staged)) => self.store.install_with_run(&staged, info, run, &placed)?,
            _ => self.store.add_trees_with_run(&infos, blobs, run, &placed)?,
        }
        Ok(origin)
    }

    /// Compares the outputs of a second build with those of the first, which stay.
    pub(super) fn compare(
        &self,
        job: &Job<'_>,
        outputs: &BTreeMap<String, MadeOutput>,
    ) -> Result<Origin, Box<Stopped>> {
        let mut found = Vec::new();
        for (name, output) in outputs {
            let path = &job.node.outputs[name];
            let Some(first) = self.store.path_info(path)? else {
                return Err(BuildError::NothingToCompare { path: path.clone() }.into());
            };
            found.extend(differences(self.store, name, &first.node, &output.node)?);
        }
        if found.is_empty() {
            Ok(Origin::Reproduced)
        } else {
            Err(BuildError::NotReproducible { differences: found }.into())
        }
    }
}

/// Returns the record of a run. A cut-off has none: its action is known, and the time that it took
/// says nothing about building.
fn run_of(job: &Job<'_>, product: Product<'_>) -> Option<Run> {
    if product.origin == Origin::CutOff {
        return None;
    }
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let Cost { usage, log, short_log } = product.cost;
    let record = BuildRecord {
        derivation: job.node.drv.clone(),
        action: product.action,
        started_at: job.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
        duration_ms: millis(job.begin.elapsed()),
        cpu_ms: millis(usage.cpu.unwrap_or_default()),
        memory_peak_bytes: usage.memory_peak_bytes,
        log,
        status: plan::SUCCEEDED.to_owned(),
    };
    let outputs = product.outputs.into_iter().map(|(name, output)| (name, output.node)).collect();
    Some(Run { result: ActionResult { outputs }, record, log: short_log, patient: job.load.ready > 0 })
}
