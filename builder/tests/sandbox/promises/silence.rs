//! A build that prints nothing for too long ends, and one that talks goes on.

use crate::support::limited;
use sandbox::Status;
use sandbox::request::Limits;
use std::time::Duration;

#[test]
fn ends_a_build_and_talking_keeps_it() {
    let limits = Limits { max_silent: Some(Duration::from_millis(1500)), ..Limits::default() };
    assert_eq!(limited("echo x; sleep 600", limits.clone(), 30).outcome.status, Status::Silent);
    let talking = limited("for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done", limits, 30);
    assert_eq!(talking.outcome.status, Status::Exited(0));
}
