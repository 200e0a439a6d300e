//! A line a minute when nothing else was printed: pipelines end jobs that are silent.

use super::{View, bytes, estimate, minutes};
use builder::NodeKind;
use std::time::{Duration, Instant};

/// Longest silence.
const INTERVAL: Duration = Duration::from_secs(60);
/// Most names in a line.
const NAMES_MAX: usize = 4;

/// Returns the time until a line may be due.
pub fn until_next(state: &View, now: Instant) -> Duration {
    let silent = state.said.map_or(Duration::ZERO, |said| now.duration_since(said));
    INTERVAL.saturating_sub(silent).max(Duration::from_millis(50))
}

/// Returns the line that is due: what runs, for how long, in which phase, and the time left.
pub fn line(state: &View, now: Instant, slots: usize) -> Option<String> {
    let due = state.said.is_some_and(|said| now.duration_since(said) >= INTERVAL);
    if !due || state.running.is_empty() {
        return None;
    }
    let builds = state.running.values().any(|running| running.building);
    let mut running: Vec<_> = state.running.iter().filter(|(_, running)| running.building == builds).collect();
    running.sort_by_key(|(_, running)| running.since);
    let shown = running.iter().take(NAMES_MAX).map(|(node, running)| {
        let planned = &state.plan.nodes[**node];
        let mut text = format!("{} ({}", planned.name, minutes(now.duration_since(running.since)));
        if let Some((done, total)) = running.bytes {
            let total = total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
            text.push_str(&format!(", {}{total}", bytes(done)));
        }
        if let Some(holder) = &running.waiting_for {
            text.push_str(&format!(", waits for {holder}"));
        }
        if let Some(phase) = &running.phase {
            text.push_str(&format!(", {phase}"));
        }
        text + ")"
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = match running.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let fetches = running.iter().all(|(node, _)| state.plan.nodes[**node].kind == NodeKind::Fetch);
    let verb = if builds {
        "building"
    } else if fetches {
        "fetching"
    } else {
        "at work on"
    };
    let left = estimate::left(state, now, slots).filter(|left| !left.is_zero());
    let left = left.map(|left| format!("; about {} left", minutes(left))).unwrap_or_default();
    Some(format!("still {verb} {shown}{more}{left}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::progress::{Done, Running};
    use builder::{Plan, PlanNode};
    use std::sync::Arc;

    /// Returns a view of builds with these names, expected times and longest paths, in seconds.
    pub fn view(builds: &[(&str, Option<u64>, u64)]) -> View {
        let nodes = builds.iter().map(|&(name, expected, critical)| PlanNode {
            drv: model::StorePath::parse("00000000000000000000000000000000-x.drv").unwrap(),
            name: name.into(),
            kind: NodeKind::Build,
            wanted: Default::default(),
            outputs: Default::default(),
            needs: Vec::new(),
            rebuild: false,
            expected: expected.map(Duration::from_secs),
            memory_bytes: None,
            rank: 0,
            critical: Duration::from_secs(critical),
        });
        View { plan: Arc::new(Plan { nodes: nodes.collect(), ..Plan::default() }), ..View::default() }
    }

    #[test]
    fn a_line_comes_after_a_minute_of_silence_only() {
        let now = Instant::now();
        let ago = |secs| now - Duration::from_secs(secs);
        let mut state = view(&[("glibc-2.36", Some(1080), 1080), ("gcc-12", None, 10)]);
        state.said = Some(ago(61));
        assert_eq!(line(&state, now, 2), None, "nothing runs");
        let running = Running { building: true, phase: Some("make".into()), ..Running::new(ago(725)) };
        state.running.insert(0, running);
        assert_eq!(line(&state, now, 2).unwrap(), "still building glibc-2.36 (12 min, make)");
        state.running.insert(1, Running { building: true, ..Running::new(ago(61)) });
        assert_eq!(line(&state, now, 2).unwrap(), "still building glibc-2.36 (12 min, make), gcc-12 (1 min)");
        state.running.remove(&1);
        state.done.insert(1, Done::Finished);
        assert_eq!(line(&state, now, 2).unwrap(), "still building glibc-2.36 (12 min, make); about 5 min left");
        state.said = Some(ago(59));
        assert_eq!(line(&state, now, 2), None, "a line was printed a moment ago");
        assert_eq!(until_next(&state, now), Duration::from_secs(1));
    }

    #[test]
    fn downloads_and_many_builds_are_shown_shortly() {
        let now = Instant::now();
        let since = now - Duration::from_secs(90);
        let mut state = view(&[("a", None, 1), ("b", None, 1), ("c", None, 1), ("d", None, 1), ("e", None, 1)]);
        state.said = Some(since);
        for node in 0..5 {
            state.running.insert(node, Running { building: true, ..Running::new(since) });
        }
        let text = line(&state, now, 2).unwrap();
        assert_eq!(text, "still building a (1 min), b (1 min), c (1 min), d (1 min) and 1 more");
        let mut state = view(&[("a.tar", None, 1)]);
        let nodes = vec![PlanNode { kind: NodeKind::Fetch, ..state.plan.nodes[0].clone() }];
        state.plan = Arc::new(Plan { nodes, ..Plan::default() });
        state.said = Some(since);
        state.running.insert(0, Running { bytes: Some((12_100_000, Some(40_000_000))), ..Running::new(since) });
        let text = line(&state, now, 2).unwrap();
        assert_eq!(text, "still fetching a.tar (1 min, 12.1 MB of 40.0 MB); about 1 s left");
    }
}
