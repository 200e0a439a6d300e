//! Huge pages are as the machine has them, regardless of the caller's own setting.

use crate::scene::shell;
use std::fs;

/// The command's allocator switches them off for its own process.
#[test]
fn are_as_the_machine_has_them() {
    nix::sys::prctl::set_thp_disable(true).unwrap();
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    assert!(ours.contains("THP_enabled:\t0\n"), "{ours}");
    assert_eq!(shell("grep THP_enabled /proc/self/status"), "THP_enabled:\t1\n");
}
