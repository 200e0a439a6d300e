//! A root serves again while its layers are the same, and no longer.

use std::fs;

use builder::sandbox::Sandbox;

use super::build_in;
use crate::place::{Place, child_exe};

#[test]
fn serve_again_while_their_layers_are_the_same() {
    let sandbox = Sandbox::new(child_exe());
    let place = Place::new();
    let list = || build_in(&place, &sandbox, "ls /");
    fs::write(place.path("layer").join("old"), "x").unwrap();
    let first = list();
    assert!(first.contains("old\n"), "{first}");
    for _ in 0..4 {
        assert_eq!(list(), first);
    }
    // Another tree under the same name.
    fs::rename(place.path("layer"), place.path("before")).unwrap();
    fs::create_dir(place.path("layer")).unwrap();
    fs::write(place.path("layer").join("new"), "x").unwrap();
    for _ in 0..3 {
        assert_eq!(list(), first.replace("old\n", "").replace("lib64\n", "lib64\nnew\n"));
    }
}
