//! The order in which a build looks at directories does not show in their inodes' numbers.

use super::build_in;
use crate::scene::{Scene, child_exe};
use sandbox::Sandbox;
use std::fs;

#[test]
fn do_not_tell_what_was_looked_at_first() {
    let sandbox = Sandbox::new(child_exe());
    let scene = Scene::new();
    for name in ["a", "b", "etc/x", "etc/y"] {
        fs::create_dir_all(scene.path("layer").join(name)).unwrap();
    }
    let numbers = |first: &str| {
        let script = format!("ls -d {first} >/dev/null; stat -c %i /etc/y /b /etc /a /etc/x");
        build_in(&scene, &sandbox, &script)
    };
    let one = numbers("/a /etc/x");
    for first in ["/b /etc/y", "/a", "/etc /b"] {
        assert_eq!(numbers(first), one, "after looking at {first}");
    }
}
