//! An estimate of the time that is left, from the last builds of the same names.

use super::{Done, View};
use builder::{NodeKind, PlanNode};
use std::time::{Duration, Instant};

/// Shorter times are not worth a word in a line that stays.
pub const WORTH_SAYING: Duration = Duration::from_secs(60);

/// Returns the time until the end; `None` when a build that is not done was never run before.
///
/// It is at least the longest path to the end of a target, and at least all that is to do, shared
/// among the slots.
pub fn left(state: &View, now: Instant, slots: usize) -> Option<Duration> {
    let (mut path, mut work) = (Duration::ZERO, Duration::ZERO);
    for (id, node) in state.plan.nodes.iter().enumerate() {
        if matches!(state.done.get(&id), Some(Done::Finished | Done::Failed | Done::Stopped | Done::Blocked)) {
            continue;
        }
        let ran = state.running.get(&id).map_or(Duration::ZERO, |running| now.duration_since(running.since));
        let expected = expected(node)?;
        let spent = ran.min(expected);
        path = path.max(node.critical.saturating_sub(spent));
        if node.kind == NodeKind::Build {
            work += expected - spent;
        }
    }
    Some(path.max(work / u32::try_from(slots.max(1)).unwrap_or(u32::MAX)))
}

/// Returns the time that a node takes; `None` for a build of which nothing is known. Other work is
/// short beside builds.
fn expected(node: &PlanNode) -> Option<Duration> {
    match node.kind {
        NodeKind::Build => node.expected,
        _ => Some(node.expected.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Running;
    use crate::progress::heartbeat::tests::view;

    #[test]
    fn the_time_left_is_that_of_the_longest_path_or_of_all_the_work() {
        let secs = Duration::from_secs;
        let now = Instant::now();
        let mut state = view(&[("a", Some(100), 160), ("b", Some(60), 60), ("c", Some(200), 200)]);
        assert_eq!(left(&state, now, 4), Some(secs(200)));
        assert_eq!(left(&state, now, 1), Some(secs(360)));
        state.running.insert(2, Running::new(now - secs(50)));
        assert_eq!(left(&state, now, 4), Some(secs(160)));
        // Longer than expected: it may end at any moment.
        state.running.insert(2, Running::new(now - secs(900)));
        assert_eq!(left(&state, now, 1), Some(secs(160)));
        state.done.insert(0, Done::Finished);
        assert_eq!(left(&state, now, 1), Some(secs(60)));
    }

    #[test]
    fn a_build_that_was_never_run_has_no_estimate() {
        let mut state = view(&[("a", Some(100), 100), ("new", None, 10)]);
        assert_eq!(left(&state, Instant::now(), 1), None);
        state.done.insert(1, Done::Finished);
        assert_eq!(left(&state, Instant::now(), 1), Some(Duration::from_secs(100)));
    }
}
