//! The clock that counts from boot starts at zero with each build, and the one of the day is the
//! machine's.

use crate::scene::shell;
use std::time::SystemTime;

#[test]
fn start_at_about_zero() {
    let uptime: f64 = shell("cut -d' ' -f1 /proc/uptime").trim().parse().unwrap();
    assert!(uptime < 60.0, "{uptime}");
}

#[test]
fn tell_the_time_of_day() {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let inside: u64 = shell("date +%s").trim().parse().unwrap();
    assert!((before..=now()).contains(&inside), "{before} {inside}");
}
