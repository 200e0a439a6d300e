//! A build is user 1000 for every caller, and no other user exists.

use crate::scene::{Scene, run, shell};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn is_user_1000() {
    assert_eq!(shell("id -u; id -g; id -G; whoami"), "1000\n1000\n1000\nbuild\n");
    assert_eq!(shell("cat /proc/self/uid_map | tr -s ' '").trim().split(' ').next_back(), Some("1"), "one user");
}

/// Outside, what it makes is the caller's.
#[test]
fn files_belong_to_it_inside_and_to_the_caller_outside() {
    let scene = Scene::new();
    assert_eq!(run(&scene.request("touch /output/out; stat -c %u:%g /output/out")), "1000:1000\n");
    let (made, own) = (fs::metadata(scene.output("out")).unwrap(), fs::metadata("/proc/self").unwrap());
    assert_eq!((made.uid(), made.gid()), (own.uid(), own.gid()));
}
