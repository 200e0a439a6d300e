//! A build that multiplies without end ends.

use builder::sandbox::Status;

use crate::place::{Place, try_run};

#[test]
fn ends_with_its_timeout() {
    let place = Place::new();
    let mut request = place.request("f() { sleep 600 & sleep 600 & }; for i in $(seq 100); do f; done; wait");
    request.limits.timeout = Some(std::time::Duration::from_secs(2));
    assert_eq!(try_run(&request).unwrap().outcome.status, Status::TimedOut);
}
