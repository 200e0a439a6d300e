//! A build that takes longer than it may is ended.

use crate::support::limited;
use sandbox::Status;
use sandbox::request::Limits;
use std::time::Duration;

#[test]
fn ends_even_a_build_that_ignores_signals() {
    let limits = Limits { timeout: Some(Duration::from_millis(500)), ..Limits::default() };
    let ran = limited("trap '' TERM INT HUP; echo begun; sleep 600; sleep 600", limits.clone(), 30);
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::TimedOut, "begun\n"));
    let limits = Limits { timeout: Some(Duration::from_secs(60)), ..limits };
    assert_eq!(limited("exit 0", limits, 30).outcome.status, Status::Exited(0));
}
