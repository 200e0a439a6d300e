//! The caller receives outputs, status and log of a build.

use crate::scene::{Scene, run, try_run};
use sandbox::Status;
use std::fs;

#[test]
fn outputs_and_log_come_out() {
    let scene = Scene::new();
    let request = scene.request(
        "echo to the log; echo and errors >&2; mkdir /output/out; echo hi > /output/out/file; ln -s file /output/dev",
    );
    assert_eq!(run(&request), "to the log\nand errors\n");
    assert_eq!(fs::read_to_string(scene.output("out/file")).unwrap(), "hi\n");
    assert_eq!(fs::read_link(scene.output("dev")).unwrap().to_str(), Some("file"));
}

#[test]
fn status_is_the_builders() {
    let ended = |script: &str| try_run(&Scene::new().request(script)).unwrap().outcome.status;
    assert_eq!(ended("exit 0"), Status::Exited(0));
    assert_eq!(ended("exit 3"), Status::Exited(3));
    assert_eq!(ended("kill -9 $$"), Status::Signalled(9));
}
