//! Links in layers are followed within the root, and lead nowhere else.

use std::fs;
use std::os::unix::fs::symlink;

use crate::place::{Place, run, try_run};

#[test]
fn do_not_lead_out() {
    let place = Place::new();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    // A layer's link where something is mounted: it is followed inside the root, where its target does not exist.
    symlink(&outside, place.path("layer/output")).unwrap();
    let error = try_run(&place.request("echo x > /output/out")).err().expect("there is no place for the outputs");
    assert!(error.to_string().contains("`/output`"), "{error}");
    assert!(!outside.join("out").exists());
}

#[test]
fn are_followed_within_the_root() {
    let place = Place::new();
    fs::create_dir_all(place.path("layer/var/tmp")).unwrap();
    symlink("var/tmp", place.path("layer/tmp")).unwrap();
    assert_eq!(run(&place.request("echo x > /tmp/f && cat /var/tmp/f")), "x\n");
}
