//! No file of an input is linked into an output.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::place::{Place, run};

/// The classic of 2013: a hard link to a file of the host, whose permissions are then changed with the output's.
#[test]
fn to_inputs_cannot_be_made() {
    let place = Place::new();
    fs::create_dir(place.path("input")).unwrap();
    fs::write(place.path("input/file"), "x").unwrap();
    let mut request = place.request("ln /eval/store/in/file /output/out 2>/dev/null && echo linked; ln /bin/sh /output/sh 2>/dev/null && echo linked; touch a && ln a b && echo own");
    request.binds.push(builder::request::Bind::read_only(place.path("input"), "/eval/store/in"));
    assert_eq!(run(&request), "own\n");
    assert_eq!(fs::metadata(place.path("input/file")).unwrap().nlink(), 1);
}
