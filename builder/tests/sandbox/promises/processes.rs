//! A build sees its own processes only.

use crate::scene::shell;
use crate::support::Victim;

#[test]
fn are_the_builds_own() {
    let _victim = Victim::new();
    let seen = shell("sleep 600 & ls -d /proc/[0-9]* | wc -l; cat /proc/[0-9]*/comm | grep -c sleep; kill $!");
    let (all, sleeping) = seen.trim_end().split_once('\n').expect(&seen);
    assert!(all.parse::<u32>().unwrap() < 7, "only the build's own processes: {seen}");
    assert_eq!(sleeping, "1", "its own is there");
}
