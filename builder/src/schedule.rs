//! Schedules the nodes of a plan on threads.
//!
//! Each [`NodeKind`] has its own budget of slots and its own threads, so that downloads neither
//! take nor wait for a build slot. Among the nodes of a kind that are ready, those of the lowest
//! rank start first, and of these the one with the longest path to the end of a target. The caller
//! passes the function that realises a node: this module knows graphs and threads, and nothing of
//! stores.
//!
//! A build starts only when its expected memory and that of the running builds fit. A build that
//! does not fit may be overtaken by at most [`OVERTAKEN_MAX`] smaller ones; after that, nothing
//! starts until it has. A build that would run alone is always admitted.
//!
//! A node may release its slot before it is done, when it only waits for the disk. The next node
//! starts then, and the waiting ones are registered together.
//!
//! Invariant: a node is started at most once, and only when all its needs have succeeded.

use crate::events::NodeId;
use crate::plan::{NodeKind, Plan, PlanNode};
use os::lock;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Number of threads of a kind beyond its slots, for nodes that released their slot.
const WAITING_MAX: usize = 16;

/// Number of builds that may overtake one that is next but waits for memory.
const OVERTAKEN_MAX: usize = 8;

/// Expected memory of a build that was never run, unless its slot's share is less.
const NEED_UNKNOWN_BYTES: u64 = 512 << 20;

/// Interval at which a waiting thread reads the cancel flag: a signal handler sets it and can wake
/// no thread.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Returns how many processors this process may use.
pub(crate) fn cpus() -> usize {
    // Asked once: the answer takes a read of the control groups' files.
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The slots of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    pub builds: usize,
    pub fetches: usize,
    pub unpacks: usize,
    pub trees: usize,
    /// Memory for all builds together, in bytes.
    pub memory_bytes: u64,
}

impl Budgets {
    /// Returns the memory to reserve for a build.
    fn need(&self, node: &PlanNode) -> u64 {
        let share = self.memory_bytes / self.builds.max(1) as u64;
        node.memory_bytes.unwrap_or_else(|| NEED_UNKNOWN_BYTES.min(share))
    }

    fn of(&self, kind: NodeKind) -> usize {
        match kind {
            NodeKind::Build => self.builds,
            NodeKind::Fetch => self.fetches,
            NodeKind::Unpack => self.unpacks,
            NodeKind::Tree => self.trees,
        }
        .max(1)
    }
}

/// Rules of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchedulePolicy {
    pub budgets: Budgets,
    /// Go on with all nodes that do not need a failed one.
    pub keep_going: bool,
    /// Go on with all fetches after a failure, so that each that fails is found at once. For fetches
    /// that use no network.
    pub all_fetches: bool,
}

/// Load when a node starts, from which its share of the machine is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Builds running, the one that starts included.
    pub running: usize,
    /// Builds that could run if there were slots.
    pub ready: usize,
}

/// The end of a node.
#[derive(Debug)]
pub(crate) enum Ended<T, E> {
    Done(T),
    Failed(E),
    /// A node that it needs failed: this one.
    Blocked(NodeId),
    /// Never started, since the schedule was stopped.
    NotStarted,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    rank: Reverse<usize>,
    critical: Duration,
    /// Lower numbers first, so that equal nodes keep the plan's order.
    number: Reverse<NodeId>,
}

struct ScheduleState<T, E> {
    ready: [BinaryHeap<Ready>; 4],
    missing: Vec<usize>,
    ended: Vec<Ended<T, E>>,
    /// Nodes that may still be started or are running.
    left: usize,
    /// Slots taken of each kind.
    running: [usize; 4],
    /// Expected memory of the running builds, in bytes.
    memory: u64,
    /// Number of builds that have overtaken the first one that is ready.
    overtaken: usize,
    stop: bool,
}

/// A slot of a kind's budget, which a running node has.
pub(crate) struct Slot<'a> {
    release: &'a dyn Fn(),
    taken: std::cell::Cell<bool>,
}

impl<'a> Slot<'a> {
    fn new(release: &'a dyn Fn()) -> Self {
        Slot { release, taken: std::cell::Cell::new(true) }
    }

    /// Lets another node of the kind start. Call it when the node only waits from here on.
    pub fn release(&self) {
        if self.taken.replace(false) {
            (self.release)();
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Runs `work` for each node of `plan`. Returns the end of each node.
///
/// After the first failure no further node starts, unless [`SchedulePolicy::keep_going`] is set;
/// running ones finish. Setting `cancelled` stops likewise, and `work` has to read it too.
pub(crate) fn run<T: Send, E: Send>(
    plan: &Plan,
    policy: SchedulePolicy,
    cancelled: &AtomicBool,
    work: &(dyn Fn(NodeId, Load, &Slot<'_>) -> Result<T, E> + Sync),
    on_blocked: &(dyn Fn(NodeId, NodeId) + Sync),
) -> Vec<Ended<T, E>> {
    let count = plan.nodes.len();
    let mut needed_by = vec![Vec::new(); count];
    for (id, node) in plan.nodes.iter().enumerate() {
        for &need in &node.needs {
            needed_by[need].push(id);
        }
    }
    let mut state = ScheduleState {
        ready: Default::default(),
        missing: plan.nodes.iter().map(|node| node.needs.len()).collect(),
        ended: (0..count).map(|_| Ended::NotStarted).collect(),
        left: count,
        running: [0; 4],
        memory: 0,
        overtaken: 0,
        stop: false,
    };
    for id in 0..count {
        if state.missing[id] == 0 {
            push(&mut state, plan, id);
        }
    }
    let shared = Scheduler {
        plan,
        needed_by,
        policy,
        cancelled,
        work,
        on_blocked,
        state: Mutex::new(state),
        changed: Default::default(),
    };
    std::thread::scope(|scope| {
        for kind in NODE_KINDS {
            for _ in 0..(policy.budgets.of(kind) + WAITING_MAX).min(plan.count(kind)) {
                let shared = &shared;
                scope.spawn(move || shared.worker(kind));
            }
        }
    });
    shared.state.into_inner().unwrap_or_else(PoisonError::into_inner).ended
}

const NODE_KINDS: [NodeKind; 4] = [NodeKind::Build, NodeKind::Fetch, NodeKind::Unpack, NodeKind::Tree];

fn push<T, E>(state: &mut ScheduleState<T, E>, plan: &Plan, id: NodeId) {
    let node = &plan.nodes[id];
    let ready = Ready { rank: Reverse(node.rank), critical: node.critical, number: Reverse(id) };
    state.ready[node.kind as usize].push(ready);
}

struct Scheduler<'a, T, E> {
    plan: &'a Plan,
    needed_by: Vec<Vec<NodeId>>,
    policy: SchedulePolicy,
    cancelled: &'a AtomicBool,
    work: &'a (dyn Fn(NodeId, Load, &Slot<'_>) -> Result<T, E> + Sync),
    on_blocked: &'a (dyn Fn(NodeId, NodeId) + Sync),
    state: Mutex<ScheduleState<T, E>>,
    /// Wakes the threads of each kind when a node may be ready for them.
    changed: [Condvar; 4],
}

impl<T: Send, E: Send> Scheduler<'_, T, E> {
    fn worker(&self, kind: NodeKind) {
        let mut state = self.lock();
        loop {
            let cancelled = self.cancelled.load(Ordering::Relaxed);
            state.stop |= cancelled;
            let may_fetch = !cancelled && self.policy.all_fetches && kind == NodeKind::Fetch;
            if state.left == 0 || state.stop && (!may_fetch || state.ready[kind as usize].is_empty()) {
                return;
            }
            let free = state.running[kind as usize] < self.policy.budgets.of(kind);
            let next = if free { self.take(&mut state, kind) } else { None };
            let Some(id) = next else {
                let waited = self.changed[kind as usize].wait_timeout(state, CANCEL_POLL);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            let need = if kind == NodeKind::Build { self.policy.budgets.need(&self.plan.nodes[id]) } else { 0 };
            state.running[kind as usize] += 1;
            state.memory += need;
            let builds = NodeKind::Build as usize;
            let load = Load { running: state.running[builds], ready: state.ready[builds].len() };
            // The slots and the memory that were released may be enough for more than one.
            if !state.ready[kind as usize].is_empty() && state.running[kind as usize] < self.policy.budgets.of(kind) {
                self.changed[kind as usize].notify_one();
            }
            drop(state);
            let release = || {
                let mut state = self.lock();
                state.running[kind as usize] -= 1;
                state.memory -= need;
                drop(state);
                self.changed[kind as usize].notify_one();
            };
            let slot = Slot::new(&release);
            let result = (self.work)(id, load, &slot);
            let kept = slot.taken.replace(false);
            state = self.lock();
            // Under the same lock as the end: no other node must start before a failure is known.
            if kept {
                state.running[kind as usize] -= 1;
                state.memory -= need;
                self.changed[kind as usize].notify_one();
            }
            state.left -= 1;
            match result {
                Ok(value) => {
                    state.ended[id] = Ended::Done(value);
                    for &above in &self.needed_by[id] {
                        state.missing[above] -= 1;
                        // A node that is blocked by another need never gets here: that need stays
                        // missing.
                        if state.missing[above] == 0 {
                            push(&mut state, self.plan, above);
                            self.changed[self.plan.nodes[above].kind as usize].notify_one();
                        }
                    }
                }
                Err(error) => {
                    state.ended[id] = Ended::Failed(error);
                    state.stop |= !self.policy.keep_going;
                    self.block(&mut state, id);
                }
            }
            if state.stop || state.left == 0 {
                self.changed.iter().for_each(Condvar::notify_all);
            }
        }
    }

    /// Takes the next node of `kind` that may start off the queue.
    fn take(&self, state: &mut ScheduleState<T, E>, kind: NodeKind) -> Option<NodeId> {
        let ready = &mut state.ready[kind as usize];
        if kind != NodeKind::Build || state.running[kind as usize] == 0 {
            state.overtaken = if kind == NodeKind::Build { 0 } else { state.overtaken };
            return ready.pop().map(|next| next.number.0);
        }
        let mut too_large = Vec::new();
        let mut found = None;
        while let Some(next) = ready.pop() {
            let need = self.policy.budgets.need(&self.plan.nodes[next.number.0]);
            if state.memory.saturating_add(need) <= self.policy.budgets.memory_bytes {
                found = Some(next.number.0);
                break;
            }
            too_large.push(next);
            if state.overtaken >= OVERTAKEN_MAX {
                break;
            }
        }
        if found.is_some() {
            state.overtaken = if too_large.is_empty() { 0 } else { state.overtaken + 1 };
        }
        ready.extend(too_large);
        found
    }

    /// Marks all nodes above `failed` as blocked.
    fn block(&self, state: &mut ScheduleState<T, E>, failed: NodeId) {
        let mut todo = self.needed_by[failed].clone();
        while let Some(id) = todo.pop() {
            if matches!(state.ended[id], Ended::NotStarted) {
                state.ended[id] = Ended::Blocked(failed);
                state.left -= 1;
                todo.extend(&self.needed_by[id]);
                (self.on_blocked)(id, failed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ScheduleState<T, E>> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn node(kind: NodeKind, critical: u64, needs: &[NodeId]) -> PlanNode {
        PlanNode {
            drv: model::StorePath::parse("00000000000000000000000000000000-x.drv").unwrap(),
            name: "x".into(),
            kind,
            wanted: Default::default(),
            outputs: Default::default(),
            needs: needs.to_vec(),
            rebuild: false,
            expected: None,
            memory_bytes: None,
            rank: 0,
            critical: Duration::from_secs(critical),
        }
    }

    const ONE: Budgets = Budgets { builds: 1, fetches: 1, unpacks: 1, trees: 1, memory_bytes: 1 << 40 };

    fn policy(budgets: Budgets) -> SchedulePolicy {
        SchedulePolicy { budgets, keep_going: false, all_fetches: false }
    }

    fn order(nodes: Vec<PlanNode>, budgets: Budgets, keep_going: bool, bad: &[NodeId]) -> (Vec<NodeId>, String) {
        let plan = Plan { nodes, ..Plan::default() };
        let started = Mutex::new(Vec::new());
        let work = |id: NodeId, _, _: &Slot| {
            started.lock().unwrap().push(id);
            if bad.contains(&id) { Err(()) } else { Ok(()) }
        };
        let rules = SchedulePolicy { keep_going, ..policy(budgets) };
        let ended = run(&plan, rules, &AtomicBool::new(false), &work, &|_, _| {});
        let text = ended
            .iter()
            .map(|e| match e {
                Ended::Done(()) => "done".to_owned(),
                Ended::Failed(()) => "failed".to_owned(),
                Ended::Blocked(by) => format!("blocked by {by}"),
                Ended::NotStarted => "not started".to_owned(),
            })
            .collect::<Vec<_>>()
            .join(", ");
        (started.into_inner().unwrap(), text)
    }

    #[test]
    fn the_critical_path_goes_first() {
        let nodes = vec![
            node(NodeKind::Build, 1, &[]),
            node(NodeKind::Build, 9, &[]),
            node(NodeKind::Build, 8, &[1]),
            node(NodeKind::Build, 2, &[]),
        ];
        assert_eq!(order(nodes, ONE, false, &[]).0, [1, 2, 3, 0]);
    }

    #[test]
    fn a_lower_rank_goes_before_a_longer_path() {
        let ranked = |rank, critical, needs: &[NodeId]| PlanNode { rank, ..node(NodeKind::Build, critical, needs) };
        let nodes = vec![ranked(1, 9, &[]), ranked(0, 1, &[]), ranked(0, 2, &[]), ranked(1, 8, &[2])];
        assert_eq!(order(nodes, ONE, false, &[]).0, [2, 1, 0, 3]);
    }

    #[test]
    fn the_first_failure_starts_no_further_node() {
        let nodes = vec![node(NodeKind::Build, 9, &[]), node(NodeKind::Build, 8, &[0]), node(NodeKind::Build, 1, &[])];
        assert_eq!(order(nodes, ONE, false, &[0]), (vec![0], "failed, blocked by 0, not started".into()));
    }

    #[test]
    fn offline_all_fetches_are_tried_and_nothing_else() {
        let mut nodes: Vec<_> = (0..6).map(|_| node(NodeKind::Fetch, 1, &[])).collect();
        nodes.push(node(NodeKind::Build, 1, &[5]));
        let plan = Plan { nodes, ..Plan::default() };
        let rules = SchedulePolicy { all_fetches: true, ..policy(ONE) };
        let work = |id: NodeId, _: Load, _: &Slot| if id == 5 { Ok(()) } else { Err(()) };
        let ended = run(&plan, rules, &AtomicBool::new(false), &work, &|_, _| {});
        let failed = ended.iter().filter(|ended| matches!(ended, Ended::Failed(()))).count();
        assert!(failed == 5 && matches!(ended[5..], [Ended::Done(()), Ended::NotStarted]), "{ended:?}");
    }

    #[test]
    fn keep_going_builds_all_that_does_not_need_the_failed() {
        let nodes = vec![
            node(NodeKind::Build, 9, &[]),
            node(NodeKind::Build, 1, &[]),
            node(NodeKind::Build, 8, &[0, 1]),
            node(NodeKind::Build, 7, &[2]),
            node(NodeKind::Build, 6, &[1]),
        ];
        let (started, text) = order(nodes, ONE, true, &[0]);
        assert_eq!(started, [0, 1, 4]);
        assert_eq!(text, "failed, done, blocked by 0, blocked by 0, done");
    }

    #[test]
    fn fetches_do_not_take_build_slots() {
        let plan =
            Plan { nodes: vec![node(NodeKind::Build, 9, &[]), node(NodeKind::Fetch, 1, &[])], ..Plan::default() };
        let fetched = AtomicBool::new(false);
        let work = |id: NodeId, _, _: &Slot| {
            if id == 1 {
                fetched.store(true, Ordering::SeqCst);
                return Ok(());
            }
            let begin = std::time::Instant::now();
            while !fetched.load(Ordering::SeqCst) {
                if begin.elapsed() > Duration::from_secs(20) {
                    return Err("the fetch waits for the build");
                }
                std::thread::yield_now();
            }
            Ok(())
        };
        let ended = run(&plan, policy(ONE), &AtomicBool::new(false), &work, &|_, _| {});
        assert!(ended.iter().all(|e| matches!(e, Ended::Done(()))));
    }

    #[test]
    fn a_budget_is_never_exceeded_and_every_node_runs_once() {
        let nodes = (0..200).map(|i| node(NodeKind::Build, i % 7, if i < 3 { &[] } else { &[0, 1, 2] })).collect();
        let plan = Plan { nodes, ..Plan::default() };
        let (running, peak, total) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: NodeId, load: Load, _: &Slot| {
            assert!((1..=3).contains(&load.running));
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(100));
            running.fetch_sub(1, Ordering::SeqCst);
            total.fetch_add(1, Ordering::SeqCst);
            Ok::<(), ()>(())
        };
        run(&plan, policy(Budgets { builds: 3, ..ONE }), &AtomicBool::new(false), &work, &|_, _| {});
        assert!(peak.into_inner() <= 3);
        assert_eq!(total.into_inner(), 200);
    }

    /// Runs builds with these needs; returns their order, the most memory that was needed at a
    /// time, and the most builds.
    fn with_memory(needs: &[Option<u64>], memory_bytes: u64, builds: usize) -> (Vec<NodeId>, u64, usize) {
        let count = needs.len() as u64;
        let nodes = needs
            .iter()
            .zip(0..)
            .map(|(&need, at)| PlanNode { memory_bytes: need, ..node(NodeKind::Build, count - at, &[]) });
        let plan = Plan { nodes: nodes.collect(), ..Plan::default() };
        let started = Mutex::new(Vec::new());
        let (memory, peak) = (Mutex::new((0, 0)), Mutex::new((0, 0)));
        let budgets = Budgets { builds, memory_bytes, ..ONE };
        let work = |id: NodeId, _: Load, _: &Slot| {
            started.lock().unwrap().push(id);
            let need = budgets.need(&plan.nodes[id]);
            let step = |add: bool| {
                let mut now = memory.lock().unwrap();
                *now = if add { (now.0 + need, now.1 + 1) } else { (now.0 - need, now.1 - 1) };
                let mut peak = peak.lock().unwrap();
                *peak = (peak.0.max(now.0), peak.1.max(now.1));
            };
            step(true);
            std::thread::sleep(Duration::from_millis(10));
            step(false);
            Ok::<(), ()>(())
        };
        let ended = run(&plan, policy(budgets), &AtomicBool::new(false), &work, &|_, _| {});
        assert!(ended.iter().all(|e| matches!(e, Ended::Done(()))));
        let peak = *peak.lock().unwrap();
        (started.into_inner().unwrap(), peak.0, peak.1)
    }

    #[test]
    fn builds_that_run_fit_into_memory_together() {
        let (order, peak, together) = with_memory(&[Some(3); 20], 7, 4);
        assert_eq!((order.len(), peak, together), (20, 6, 2));
        let (_, _, together) = with_memory(&[Some(3); 20], 100, 4);
        assert_eq!(together, 4);
    }

    #[test]
    fn a_build_larger_than_memory_runs_alone() {
        let (order, peak, together) = with_memory(&[Some(u64::MAX), Some(50), Some(50)], 10, 4);
        assert_eq!((order, peak, together), (vec![0, 1, 2], u64::MAX, 1));
    }

    /// A build that was never run reserves at most its slot's share, so that a first run uses all
    /// slots.
    #[test]
    fn unknown_builds_do_not_block_each_other() {
        let (_, peak, together) = with_memory(&[None; 12], 8, 4);
        assert_eq!((peak, together), (8, 4));
        let (_, peak, _) = with_memory(&[None; 12], 1 << 40, 4);
        assert_eq!(peak, 4 * NEED_UNKNOWN_BYTES);
    }

    #[test]
    fn a_large_build_is_overtaken_by_a_few_and_not_by_all() {
        let mut needs = vec![Some(6), Some(6)];
        needs.extend([Some(1); 40]);
        let (order, peak, _) = with_memory(&needs, 10, 2);
        assert_eq!(order[0], 0);
        assert!(peak <= 10);
        let at = order.iter().position(|&id| id == 1).unwrap();
        assert!((2..=OVERTAKEN_MAX + 1).contains(&at), "{order:?}");
    }

    #[test]
    fn a_node_that_released_its_slot_blocks_no_other() {
        let plan = Plan { nodes: (0..4).map(|_| node(NodeKind::Build, 1, &[])).collect(), ..Plan::default() };
        let waiting = std::sync::Barrier::new(4);
        let work = |_: NodeId, load: Load, slot: &Slot| {
            assert_eq!(load.running, 1);
            slot.release();
            // The barrier opens only when all four get here, although there is one slot.
            waiting.wait();
            Ok::<(), ()>(())
        };
        let ended = run(&plan, policy(ONE), &AtomicBool::new(false), &work, &|_, _| {});
        assert!(ended.iter().all(|e| matches!(e, Ended::Done(()))));
    }

    #[test]
    fn cancelling_starts_no_further_node() {
        let plan = Plan { nodes: (0..50).map(|_| node(NodeKind::Build, 1, &[])).collect(), ..Plan::default() };
        let cancelled = AtomicBool::new(false);
        let work = |_: NodeId, _, _: &Slot| {
            cancelled.store(true, Ordering::SeqCst);
            Ok::<(), ()>(())
        };
        let ended = run(&plan, policy(ONE), &cancelled, &work, &|_, _| {});
        assert_eq!(ended.iter().filter(|e| matches!(e, Ended::Done(()))).count(), 1);
    }
}
