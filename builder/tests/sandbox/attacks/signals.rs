//! A build signals its own processes only.

use crate::scene::shell;
use crate::support::Victim;

#[test]
fn reach_own_processes_and_no_others() {
    let mut victim = Victim::new();
    let script = format!(
        "kill -9 {} 2>/dev/null && echo killed outside; sleep 600 & kill -9 $! && echo killed own",
        victim.id()
    );
    assert_eq!(shell(&script), "killed own\n");
    // "All processes" are the build's own, less the one that asks.
    assert_eq!(shell("sleep 600 & kill -9 -1; wait; echo over"), "over\n");
    assert!(victim.is_alive());
}

/// The init survives what a build sends it, and so does the build's end arrive.
#[test]
fn do_not_end_the_init() {
    assert_eq!(shell("kill -9 1; kill -TERM 1; kill -STOP 1; echo alive"), "alive\n");
}
