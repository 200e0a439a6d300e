//! When the whole machine is out of memory, the OOM killer prefers builds.

use crate::scene::shell;

#[test]
fn ends_builds_before_others() {
    let score: i32 = shell("cat /proc/self/oom_score_adj").trim().parse().unwrap();
    assert!(score >= 500, "{score}");
    let ours: i32 = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert!(ours <= score, "{ours} is the caller's");
}

#[test]
fn cannot_be_turned_away() {
    assert_eq!(shell("(echo -1000 > /proc/self/oom_score_adj) 2>/dev/null || echo refused"), "refused\n");
}
