//! The plan: the derivations to realise for the targets, and their dependencies. Pure data once it
//! is made.
//!
//! Planning goes level by level from the targets down and asks the store which wanted outputs are
//! valid. It reads a derivation only when one of them is not, and visits nothing below a valid
//! output. So a plan with nothing to do costs one query for each target, and the depth of a graph
//! costs no stack.

use crate::error::BuildError;
use crate::events::NodeId;
use model::{Derivation, StorePath};
use rayon::prelude::*;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use store::{BuildRecord, LocalStore};

/// The status in records of builds that succeeded.
pub(crate) const SUCCEEDED: &str = "succeeded";

/// A target: outputs of a derivation. No names mean all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub drv: StorePath,
    pub outputs: BTreeSet<String>,
}

impl Target {
    /// All outputs of `drv`.
    pub fn all(drv: StorePath) -> Target {
        Target { drv, outputs: BTreeSet::new() }
    }
}

/// The kind of work that realises a node. Each kind has its own budget of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// Runs in the sandbox; takes a build slot.
    Build,
    /// `builtin:fetchurl`: waits for the network.
    Fetch,
    /// `builtin:unpack`: one core for a while.
    Unpack,
    /// `builtin:union`, `builtin:write`, `builtin:audit`: short work on trees.
    Tree,
}

impl NodeKind {
    pub(crate) fn of(builder: &[u8]) -> NodeKind {
        match builder {
            b"builtin:fetchurl" => NodeKind::Fetch,
            b"builtin:unpack" => NodeKind::Unpack,
            other if other.starts_with(b"builtin:") => NodeKind::Tree,
            _ => NodeKind::Build,
        }
    }

    /// Returns the expected time of a node that was never run: only the order of magnitude matters.
    pub(crate) fn guess(self) -> Duration {
        Duration::from_millis(match self {
            NodeKind::Build => 10_000,
            NodeKind::Fetch => 1_000,
            NodeKind::Unpack => 500,
            NodeKind::Tree => 20,
        })
    }
}

/// A derivation to realise.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanNode {
    #[serde(serialize_with = "text")]
    pub drv: StorePath,
    pub name: String,
    pub kind: NodeKind,
    /// The outputs that a target or another node needs.
    pub wanted: BTreeSet<String>,
    /// The paths of all its outputs.
    #[serde(serialize_with = "texts")]
    pub outputs: Arc<BTreeMap<String, StorePath>>,
    /// Nodes that come first, ascending.
    pub needs: Vec<NodeId>,
    /// Set when it is valid already, and is built a second time for comparison.
    pub rebuild: bool,
    /// Duration of the last build of this name.
    #[serde(rename = "expectedSecs", serialize_with = "secs")]
    pub expected: Option<Duration>,
    /// Expected memory in bytes, from the record of that build.
    #[serde(rename = "memoryBytes")]
    pub memory_bytes: Option<u64>,
    /// Its priority: a lower rank starts first, regardless of expected time. It is the position of
    /// the first target that needs the node, when targets are made in order; otherwise it is the
    /// same for all.
    pub rank: usize,
    /// The longest path from the start of this node to the end of a target, in expected time.
    #[serde(rename = "criticalSecs", serialize_with = "secs_of")]
    pub critical: Duration,
}

/// One target as planned.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedTarget {
    #[serde(serialize_with = "text")]
    pub drv: StorePath,
    #[serde(serialize_with = "texts")]
    pub outputs: Arc<BTreeMap<String, StorePath>>,
    /// The node that makes it; `None` when its outputs are valid.
    pub node: Option<NodeId>,
}

/// The derivations to realise, in an order that works: a node comes after all that it needs.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub nodes: Vec<PlanNode>,
    pub targets: Vec<PlannedTarget>,
    /// Number of visited derivations whose wanted outputs are valid.
    pub valid: usize,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns the number of nodes of a kind.
    pub fn count(&self, kind: NodeKind) -> usize {
        self.nodes.iter().filter(|node| node.kind == kind).count()
    }

    /// Gives each node the position of the first target that needs it.
    fn rank(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.rank = usize::MAX);
        for (position, target) in self.targets.iter().enumerate() {
            if let Some(id) = target.node {
                self.nodes[id].rank = self.nodes[id].rank.min(position);
            }
        }
        for id in (0..self.nodes.len()).rev() {
            // Each node that needs this one has a higher number and has already lowered its rank.
            for need in self.nodes[id].needs.clone() {
                self.nodes[need].rank = self.nodes[need].rank.min(self.nodes[id].rank);
            }
        }
    }

    /// Returns the plan as `--dry-run --json` prints it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("a plan holds only strings, numbers and lists");
        value["version"] = 1.into();
        value
    }
}

fn text<S: Serializer>(path: &StorePath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

fn texts<S: Serializer>(paths: &BTreeMap<String, StorePath>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(paths.iter().map(|(name, path)| (name, path.to_string())))
}

fn secs<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|d| d.as_secs_f64()).serialize(serializer)
}

fn secs_of<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    duration.as_secs_f64().serialize(serializer)
}

/// The part of a derivation that planning keeps. The rest is read again when the node is realised,
/// so that a plan of 100,000 nodes stays small.
struct PlanEntry {
    drv: StorePath,
    kind: NodeKind,
    wanted: BTreeSet<String>,
    outputs: Arc<BTreeMap<String, StorePath>>,
    inputs: Vec<(StorePath, BTreeSet<String>)>,
    needed: bool,
    rebuild: bool,
}

impl PlanEntry {
    fn new(drv: StorePath, derivation: &Derivation) -> Result<PlanEntry, BuildError> {
        let outputs = Arc::new(crate::derivation::output_paths(&drv, derivation)?);
        let inputs = derivation.input_derivations.iter().map(|(path, names)| (path.clone(), names.clone())).collect();
        let kind = NodeKind::of(&derivation.builder);
        Ok(PlanEntry { drv, kind, wanted: BTreeSet::new(), outputs, inputs, needed: false, rebuild: false })
    }

    fn want(&mut self, names: &BTreeSet<String>) -> Result<bool, BuildError> {
        let before = self.wanted.len();
        if names.is_empty() {
            self.wanted.extend(self.outputs.keys().cloned());
        }
        for name in names {
            if !self.outputs.contains_key(name) {
                return Err(BuildError::UnknownOutput {
                    drv: self.drv.clone(),
                    output: name.clone(),
                    known: self.outputs.keys().cloned().collect(),
                });
            }
            self.wanted.insert(name.clone());
        }
        Ok(self.wanted.len() > before)
    }
}

/// Plans the realisation of `targets`. With `rebuild`, the targets themselves are built again when
/// they are valid; `in_order` puts the nodes that an earlier target needs before those that only
/// later ones need.
pub(crate) fn plan(store: &LocalStore, targets: &[Target], rebuild: bool, in_order: bool) -> Result<Plan, BuildError> {
    let mut entries: Vec<PlanEntry> = Vec::new();
    let mut index: HashMap<StorePath, usize> = HashMap::new();
    let mut asked: Vec<(Cow<'_, StorePath>, Cow<'_, BTreeSet<String>>)> =
        targets.iter().map(|target| (Cow::Borrowed(&target.drv), Cow::Borrowed(&target.outputs))).collect();
    let mut first_level = true;
    // Outputs of the targets that are valid, found without reading derivations; and such inputs
    // further down.
    let mut ready: Vec<Option<Arc<BTreeMap<String, StorePath>>>> = vec![None; targets.len()];
    let mut ready_inputs: HashMap<StorePath, BTreeSet<String>> = HashMap::new();
    while !asked.is_empty() {
        if first_level && !rebuild {
            ready = valid_outputs(store, &asked)?.into_iter().map(|found| found.map(Arc::new)).collect();
            let mut found = ready.iter();
            asked.retain(|_| found.next().is_some_and(Option::is_none));
        } else if !first_level {
            asked.sort_unstable();
            asked.dedup();
            // A derivation that was read is in the index already.
            asked.retain(|(drv, names)| {
                index.contains_key(&**drv) || ready_inputs.get(&**drv).is_none_or(|known| !known.is_superset(names))
            });
            let mut found = valid_outputs(store, &asked)?.into_iter();
            asked.retain(|(drv, names)| {
                let is_ready = found.next().is_some_and(|found| found.is_some()) && !index.contains_key(&**drv);
                if is_ready {
                    ready_inputs.entry(drv.clone().into_owned()).or_default().extend(names.iter().cloned());
                }
                !is_ready
            });
        }
        load(store, &asked, &mut entries, &mut index)?;
        let mut level = BTreeSet::new();
        for (drv, names) in &asked {
            let at = index[&**drv];
            if entries[at].want(names)? && !entries[at].needed {
                level.insert(at);
            }
        }
        let paths: Vec<StorePath> = level
            .iter()
            .flat_map(|&at| entries[at].wanted.iter().map(move |name| (at, name)))
            .map(|(at, name)| entries[at].outputs[name].clone())
            .collect();
        let valid = store.valid_among(paths)?;
        asked.clear();
        for at in level {
            let entry = &mut entries[at];
            let all_valid = entry.wanted.iter().all(|name| valid.contains(&entry.outputs[name]));
            entry.rebuild = rebuild && first_level && all_valid;
            entry.needed = !all_valid || entry.rebuild;
            if entry.needed {
                asked.extend(entry.inputs.iter().cloned().map(|(drv, names)| (Cow::Owned(drv), Cow::Owned(names))));
            }
        }
        first_level = false;
    }
    let unread = targets.iter().zip(&ready).filter(|(_, ready)| ready.is_some()).map(|(target, _)| &target.drv);
    let unread: HashSet<&StorePath> =
        unread.chain(ready_inputs.keys()).filter(|drv| !index.contains_key(*drv)).collect();
    let mut plan = order(store, entries, &index, targets, &ready)?;
    plan.valid += unread.len();
    if in_order {
        plan.rank();
    }
    Ok(plan)
}

/// Returns the paths of the wanted outputs of each derivation, when they are valid and the store
/// knows that without reading the derivation.
fn valid_outputs(
    store: &LocalStore,
    asked: &[(Cow<'_, StorePath>, Cow<'_, BTreeSet<String>>)],
) -> Result<Vec<Option<BTreeMap<String, StorePath>>>, BuildError> {
    let asked: Vec<(&StorePath, &BTreeSet<String>)> = asked.iter().map(|(drv, names)| (&**drv, &**names)).collect();
    Ok(store.valid_outputs(&asked)?)
}

/// Returns the record of the last successful build of a derivation of this name.
fn past_build(store: &LocalStore, name: &str) -> Result<Option<BuildRecord>, BuildError> {
    let builds = store.builds_of_name(name)?;
    Ok(builds.into_iter().find(|build| build.status == SUCCEEDED))
}

/// Estimates the memory of a build from its record: the peak of its largest process, times the
/// number of processes that were busy at a time. The count of a control group would be no better,
/// since it includes files that the kernel caches as long as the memory is free.
fn memory_need(build: &BuildRecord) -> Option<u64> {
    let busy = build.cpu_ms.div_ceil(build.duration_ms.max(1)).max(1);
    build.memory_peak_bytes.map(|bytes| bytes.saturating_mul(busy))
}

fn load(
    store: &LocalStore,
    asked: &[(Cow<'_, StorePath>, Cow<'_, BTreeSet<String>>)],
    entries: &mut Vec<PlanEntry>,
    index: &mut HashMap<StorePath, usize>,
) -> Result<(), BuildError> {
    let new: BTreeSet<&StorePath> =
        asked.iter().map(|(drv, _)| &**drv).filter(|drv| !index.contains_key(*drv)).collect();
    let read = |drv: &StorePath| -> Result<PlanEntry, BuildError> {
        if !drv.is_derivation() {
            return Err(BuildError::NotADerivation { path: drv.clone() });
        }
        PlanEntry::new(drv.clone(), &store.derivation(drv)?)
    };
    // A pool is not worth waking for a handful of small files.
    let loaded: Vec<PlanEntry> = if new.len() < 64 {
        new.into_iter().map(read).collect::<Result<_, _>>()?
    } else {
        new.into_par_iter().map(read).collect::<Result<_, _>>()?
    };
    for entry in loaded {
        index.insert(entry.drv.clone(), entries.len());
        entries.push(entry);
    }
    Ok(())
}

/// Numbers the needed entries so that each comes after what it needs, and finds the critical path.
fn order(
    store: &LocalStore,
    entries: Vec<PlanEntry>,
    index: &HashMap<StorePath, usize>,
    targets: &[Target],
    ready: &[Option<Arc<BTreeMap<String, StorePath>>>],
) -> Result<Plan, BuildError> {
    let needs: Vec<Vec<usize>> = entries
        .iter()
        .map(|entry| {
            let inputs = entry.inputs.iter().map(|(drv, _)| index.get(drv).copied());
            if entry.needed { inputs.flatten().filter(|&at| entries[at].needed).collect() } else { Vec::new() }
        })
        .collect();
    let sorted = topological(&needs, |at| entries[at].needed).map_err(|stuck| BuildError::Cycle {
        chain: stuck.into_iter().map(|at| entries[at].drv.name().to_string()).collect(),
    })?;
    let mut number = vec![usize::MAX; entries.len()];
    for (id, &at) in sorted.iter().enumerate() {
        number[at] = id;
    }
    let targets = targets
        .iter()
        .zip(ready)
        .map(|(target, ready)| {
            if let Some(outputs) = ready {
                return PlannedTarget { drv: target.drv.clone(), outputs: outputs.clone(), node: None };
            }
            let entry = &entries[index[&target.drv]];
            let wanted = |name: &String| target.outputs.is_empty() || target.outputs.contains(name);
            let outputs = if entry.outputs.keys().all(wanted) {
                entry.outputs.clone()
            } else {
                let some = entry.outputs.iter().filter(|(name, _)| wanted(name));
                Arc::new(some.map(|(name, path)| (name.clone(), path.clone())).collect())
            };
            PlannedTarget { drv: target.drv.clone(), outputs, node: entry.needed.then(|| number[index[&target.drv]]) }
        })
        .collect();
    let valid = entries.len() - sorted.len();
    let mut slots: Vec<Option<PlanEntry>> = entries.into_iter().map(Some).collect();
    let mut nodes: Vec<PlanNode> = sorted
        .iter()
        .map(|&at| {
            let entry = slots[at].take().expect("a topological order names each entry once");
            let mut needs: Vec<NodeId> = needs[at].iter().map(|&need| number[need]).collect();
            needs.sort_unstable();
            needs.dedup();
            let name = entry.drv.name().as_str();
            PlanNode {
                name: name.strip_suffix(".drv").unwrap_or(name).to_owned(),
                drv: entry.drv,
                kind: entry.kind,
                wanted: entry.wanted,
                outputs: entry.outputs,
                needs,
                rebuild: entry.rebuild,
                expected: None,
                memory_bytes: None,
                rank: 0,
                critical: Duration::ZERO,
            }
        })
        .collect();
    if !nodes.is_empty() {
        for node in &mut nodes {
            // Short work on trees needs no history.
            if node.kind != NodeKind::Tree {
                let past = past_build(store, node.drv.name().as_str())?;
                node.expected = past.as_ref().map(|build| Duration::from_millis(build.duration_ms));
                node.memory_bytes = past.as_ref().and_then(memory_need);
            }
        }
        critical_path(&mut nodes);
    }
    Ok(Plan { nodes, targets, valid })
}

/// Kahn's algorithm over the members; those left over when it stops are in or above a cycle.
fn topological(needs: &[Vec<usize>], member: impl Fn(usize) -> bool) -> Result<Vec<usize>, Vec<usize>> {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (at, needs) in needs.iter().enumerate() {
        for &need in needs {
            needed_by[need].push(at);
        }
    }
    let mut sorted: Vec<usize> = (0..needs.len()).filter(|&at| member(at) && missing[at] == 0).collect();
    let mut next = 0;
    while let Some(&at) = sorted.get(next) {
        next += 1;
        for &above in &needed_by[at] {
            missing[above] -= 1;
            if missing[above] == 0 {
                sorted.push(above);
            }
        }
    }
    let stuck: Vec<usize> = (0..needs.len()).filter(|&at| member(at) && missing[at] > 0).collect();
    if stuck.is_empty() { Ok(sorted) } else { Err(stuck) }
}

fn critical_path(nodes: &mut [PlanNode]) {
    for id in (0..nodes.len()).rev() {
        // Each node that needs this one has a higher number and has already raised `critical` to
        // its own.
        let total = nodes[id].critical + nodes[id].expected.unwrap_or_else(|| nodes[id].kind.guess());
        nodes[id].critical = total;
        for need in nodes[id].needs.clone() {
            nodes[need].critical = nodes[need].critical.max(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_circle_is_found() {
        assert_eq!(topological(&[vec![1], vec![2], vec![0], vec![]], |_| true), Err(vec![0, 1, 2]));
    }

    #[test]
    fn the_need_for_memory_is_that_of_all_busy_processes() {
        let need = |duration_ms, cpu_ms, memory_peak_bytes| {
            memory_need(&BuildRecord {
                derivation: StorePath::parse("00000000000000000000000000000000-x.drv").unwrap(),
                action: model::tree::Digest::of(b""),
                started_at: 0,
                duration_ms,
                cpu_ms,
                memory_peak_bytes,
                log: None,
                status: SUCCEEDED.into(),
            })
        };
        assert_eq!(need(10_000, 2_000, Some(100)), Some(100));
        assert_eq!(need(10_000, 35_000, Some(100)), Some(400));
        assert_eq!(need(0, 0, Some(100)), Some(100));
        assert_eq!(need(10_000, 35_000, None), None);
    }

    proptest! {
        #[test]
        fn order_follows_needs(edges in proptest::collection::vec((0usize..40, 0usize..40), 0..200)) {
            let mut needs = vec![Vec::new(); 40];
            for (a, b) in edges {
                if a != b {
                    needs[a.max(b)].push(a.min(b));
                }
            }
            let sorted = topological(&needs, |_| true).unwrap();
            let mut place = vec![0; 40];
            for (i, &at) in sorted.iter().enumerate() {
                place[at] = i;
            }
            for (at, needs) in needs.iter().enumerate() {
                for &need in needs {
                    prop_assert!(place[need] < place[at]);
                }
            }
        }
    }
}
