//! The plan as text, printed once before anything starts.

use super::seconds;
use builder::{NodeKind, Plan};
use std::time::Duration;

/// Most names listed; the rest is only counted.
const NAMES_MAX: usize = 24;

/// Returns the lines that describe the plan.
pub fn describe(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let builds: Vec<&str> = plan.nodes.iter().filter(|n| n.kind == NodeKind::Build).map(|n| n.name.as_str()).collect();
    let mut parts = Vec::new();
    for (kind, one, many) in [
        (NodeKind::Fetch, "file to fetch", "files to fetch"),
        (NodeKind::Unpack, "archive to unpack", "archives to unpack"),
        (NodeKind::Tree, "tree to put together", "trees to put together"),
        (NodeKind::Build, "build to run", "builds to run"),
    ] {
        match plan.count(kind) {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            count => parts.push(format!("{count} {many}")),
        }
    }
    lines.push(format!("plan: {}{}", parts.join(", "), estimate(plan)));
    if !builds.is_empty() {
        let shown = builds.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
        let rest = builds.len().saturating_sub(NAMES_MAX);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        lines.push(format!("      {shown}{more}"));
    }
    lines
}

/// Returns the time along the critical path, when every build of the plan has a known duration.
fn estimate(plan: &Plan) -> String {
    let known = plan.nodes.iter().filter(|node| node.kind == NodeKind::Build).all(|node| node.expected.is_some());
    let longest = plan.nodes.iter().map(|node| node.critical).max().unwrap_or(Duration::ZERO);
    if known && longest > Duration::from_secs(1) { format!("; at least {}", seconds(longest)) } else { String::new() }
}
