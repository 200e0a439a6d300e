//! Host name, umask, limits, directory and environment are the same for every caller.

use crate::place::{Place, run, shell};

#[test]
fn are_the_same_everywhere() {
    assert_eq!(
        shell("hostname; umask; ulimit -c; ulimit -s; pwd; env | grep -E '^(EVAL|NIX)' | sort"),
        "localhost\n0022\n0\n8192\n/build\nEVAL_CORES=2\nNIX_BUILD_CORES=2\n"
    );
}

#[test]
fn can_be_asked_for() {
    let place = Place::new();
    let mut request = place.request("pwd; echo $EVAL_CORES $NIX_BUILD_CORES");
    request.working_dir = "/tmp".into();
    request.cores = 3;
    request.env.push(("NIX_BUILD_CORES".into(), "1".into()));
    assert_eq!(run(&request), "/tmp\n3 1\n");
}
