//! The live view: running nodes below those that wait for them, and a line of totals.

use super::{Done, Running, View, bytes, estimate, minutes, screen, seconds};
use builder::{NodeId, NodeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Draws the view in place of the one before.
pub fn draw(state: &View, now: Instant, slots: usize) {
    if state.plan.is_empty() {
        return;
    }
    let (width, height) = terminal_size::terminal_size_of(std::io::stderr())
        .map_or((100, 30), |(width, height)| (usize::from(width.0), usize::from(height.0)));
    let mut lines = tree_lines(state, now, (height / 3).clamp(3, 20).min(height.saturating_sub(2)));
    lines.push(totals(state, now, slots));
    screen::draw(&lines, width);
}

fn totals(state: &View, now: Instant, slots: usize) -> String {
    let mut text = String::new();
    for (kind, what) in [
        (NodeKind::Fetch, "fetched"),
        (NodeKind::Unpack, "unpacked"),
        (NodeKind::Tree, "trees"),
        (NodeKind::Build, "built"),
    ] {
        let all = state.plan.count(kind);
        if all > 0 {
            let done = state
                .done
                .iter()
                .filter(|&(&node, &done)| done == Done::Finished && state.plan.nodes[node].kind == kind);
            let _ = write!(text, "{}/{all} {what}  ", done.count());
        }
    }
    let loading: u64 = state.running.values().filter_map(|running| running.bytes).map(|(done, _)| done).sum();
    if state.counts.bytes_fetched + loading > 0 {
        let _ = write!(text, "{}  ", bytes(state.counts.bytes_fetched + loading));
    }
    if state.counts.failed > 0 {
        let _ = write!(text, "{} failed  ", state.counts.failed);
    }
    if let Some(started) = state.started {
        text.push_str(&seconds(now.duration_since(started)));
    }
    if let Some(left) = estimate::left(state, now, slots).filter(|left| left.as_secs() > 0) {
        let _ = write!(text, ", about {} left", minutes(left));
    }
    text
}

/// The running nodes, each below the chain of one of its dependents up to a target.
fn tree_lines(state: &View, now: Instant, lines_max: usize) -> Vec<String> {
    let parents = parents(state);
    let mut children: BTreeMap<Option<NodeId>, BTreeSet<NodeId>> = BTreeMap::new();
    // Builds first, then the longest running, so that those cut off below matter least.
    let mut active: Vec<NodeId> = state.running.keys().copied().collect();
    active.sort_by_key(|&node| (state.plan.nodes[node].kind != NodeKind::Build, state.running[&node].since));
    let hidden = active.len().saturating_sub(lines_max);
    let mut shown = BTreeSet::new();
    for &node in active.iter().take(lines_max) {
        let mut at = node;
        while shown.insert(at) {
            let parent = parents.get(&at).copied();
            children.entry(parent).or_default().insert(at);
            match parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
    }
    let mut lines = Vec::new();
    let mut stack: Vec<(NodeId, usize)> =
        children.get(&None).into_iter().flatten().rev().map(|&node| (node, 0)).collect();
    while let Some((node, depth)) = stack.pop() {
        lines.push(node_line(state, now, node, depth.min(12)));
        stack.extend(children.get(&Some(node)).into_iter().flatten().rev().map(|&child| (child, depth + 1)));
    }
    // A chain of waiting dependents may be long: keep the end, where things run.
    let cut = lines.len().saturating_sub(lines_max);
    let mut kept = lines.split_off(cut);
    if hidden > 0 {
        kept.push(format!("  … and {hidden} more"));
    }
    kept
}

/// Returns for each node the nearest of those that need it.
fn parents(state: &View) -> BTreeMap<NodeId, NodeId> {
    let mut parents = BTreeMap::new();
    for (id, node) in state.plan.nodes.iter().enumerate() {
        for &need in &node.needs {
            parents.entry(need).or_insert(id);
        }
    }
    parents
}

fn node_line(state: &View, now: Instant, node: NodeId, depth: usize) -> String {
    let planned = &state.plan.nodes[node];
    let indent = "  ".repeat(depth);
    match state.running.get(&node) {
        Some(running) => format!("{indent}▶ {}{}", planned.name, details(running, now, planned.expected)),
        None => format!("{indent}· {}", planned.name),
    }
}

fn details(running: &Running, now: Instant, expected: Option<Duration>) -> String {
    let mut text = format!("  {}", seconds(now.duration_since(running.since)));
    if let Some(expected) = expected.filter(|expected| expected.as_secs() > 0) {
        let _ = write!(text, " of about {}", seconds(expected));
    }
    if let Some((done, total)) = running.bytes {
        let _ = match total {
            Some(total) => write!(text, "  {} of {}", bytes(done), bytes(total)),
            None => write!(text, "  {}", bytes(done)),
        };
    }
    if let Some(holder) = &running.waiting_for {
        let _ = write!(text, "  waits for {holder}");
    }
    if let Some(phase) = &running.phase {
        let _ = write!(text, "  [{phase}]");
    }
    if let Some(line) = &running.line {
        let _ = write!(text, "  {line}");
    }
    text
}
