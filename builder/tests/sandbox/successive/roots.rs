//! A root serves again while its layers are the same, and no longer.

use super::build_in;
use crate::scene::{Scene, child_exe};
use sandbox::Sandbox;
use std::fs;

#[test]
fn serve_again_while_their_layers_are_the_same() {
    let sandbox = Sandbox::new(child_exe());
    let scene = Scene::new();
    let list = || build_in(&scene, &sandbox, "ls /");
    fs::write(scene.path("layer").join("old"), "x").unwrap();
    let first = list();
    assert!(first.contains("old\n"), "{first}");
    for _ in 0..4 {
        assert_eq!(list(), first);
    }
    // Another tree under the same name.
    fs::rename(scene.path("layer"), scene.path("before")).unwrap();
    fs::create_dir(scene.path("layer")).unwrap();
    fs::write(scene.path("layer").join("new"), "x").unwrap();
    for _ in 0..3 {
        assert_eq!(list(), first.replace("old\n", "").replace("lib64\n", "lib64\nnew\n"));
    }
}
