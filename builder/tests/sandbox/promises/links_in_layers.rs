//! Links in layers are followed within the root, and lead nowhere else.

use crate::scene::{Scene, run, try_run};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn do_not_lead_out() {
    let scene = Scene::new();
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    // A layer's link where something is mounted: it is followed inside the root, where its target
    // does not exist.
    symlink(&outside, scene.path("layer/output")).unwrap();
    let error = try_run(&scene.request("echo x > /output/out")).err().expect("there is no place for the outputs");
    assert!(error.to_string().contains("`/output`"), "{error}");
    assert!(!outside.join("out").exists());
}

#[test]
fn are_followed_within_the_root() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("layer/var/tmp")).unwrap();
    symlink("var/tmp", scene.path("layer/tmp")).unwrap();
    assert_eq!(run(&scene.request("echo x > /tmp/f && cat /var/tmp/f")), "x\n");
}
