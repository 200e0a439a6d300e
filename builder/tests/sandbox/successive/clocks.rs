//! The clocks that count from boot start with each build, not with the first of its slot.

use super::build;
use crate::scene::child_exe;
use sandbox::Sandbox;

#[test]
fn start_with_each_build() {
    let sandbox = Sandbox::new(child_exe());
    let uptime = || build(&sandbox, "cut -d. -f1 /proc/uptime").trim().parse::<u64>().unwrap();
    uptime();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(uptime() < 4);
}
