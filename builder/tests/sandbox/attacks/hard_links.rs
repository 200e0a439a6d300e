//! No file of an input is linked into an output.

use crate::scene::{Scene, run};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The classic of 2013: a hard link to a file of the host, whose permissions are then changed with
/// the output's.
#[test]
fn to_inputs_cannot_be_made() {
    let scene = Scene::new();
    fs::create_dir(scene.path("input")).unwrap();
    fs::write(scene.path("input/file"), "x").unwrap();
    let mut request = scene.request("ln /eval/store/in/file /output/out 2>/dev/null && echo linked; ln /bin/sh /output/sh 2>/dev/null && echo linked; touch a && ln a b && echo own");
    request.binds.push(sandbox::request::Bind::read_only(scene.path("input"), "/eval/store/in"));
    assert_eq!(run(&request), "own\n");
    assert_eq!(fs::metadata(scene.path("input/file")).unwrap().nlink(), 1);
}
