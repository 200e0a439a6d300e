//! A build that prints without end is ended, and output within its limit arrives whole.

use crate::scene::{Scene, try_run};
use crate::support::limited;
use sandbox::Status;
use sandbox::request::Limits;

#[test]
fn ends_at_the_limit() {
    let limits = Limits { max_log_bytes: Some(1000), ..Limits::default() };
    let ran = limited("yes", limits.clone(), 30);
    assert_eq!((ran.outcome.status, ran.log.len()), (Status::LogTooLong, 1000));
    let ran = limited("head -c 1000 /dev/zero", limits, 30);
    assert_eq!((ran.outcome.status, ran.log.len()), (Status::Exited(0), 1000));
}

#[test]
fn a_long_log_arrives_whole() {
    let ran = try_run(&Scene::new().request("seq 1 200000; (seq 1 1000 >&2)")).unwrap();
    assert_eq!(ran.log.lines().count(), 201_000);
    assert!(ran.log.ends_with("\n1000\n"));
}
