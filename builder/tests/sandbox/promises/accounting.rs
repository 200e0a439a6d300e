//! The outcome has the time and the memory that a build used.

use crate::scene::{Scene, try_run};
use std::time::Duration;

#[test]
fn time_and_memory_are_accounted() {
    let script = "perl -e 'my $x = \"a\" x 50_000_000; my $t = times; 1 while times - $t < 0.3'";
    let usage = try_run(&Scene::new().request(script)).unwrap().outcome.usage;
    assert!(usage.max_rss_bytes > 50_000_000 && usage.max_rss_bytes < 500_000_000, "{usage:?}");
    assert!(usage.user + usage.system > Duration::from_millis(200), "{usage:?}");
    assert!(usage.wall >= Duration::from_millis(200), "{usage:?}");
}

#[test]
fn a_build_that_takes_little_is_charged_little() {
    let usage = try_run(&Scene::new().request("sleep 0.3")).unwrap().outcome.usage;
    assert!(usage.max_rss_bytes < 50_000_000 && usage.wall >= Duration::from_millis(300), "{usage:?}");
    assert!(usage.user + usage.system < Duration::from_millis(300), "waiting costs nothing: {usage:?}");
}
