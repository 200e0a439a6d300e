//! Builds see the store as it is, though successive builds share a view of it; and none finds the
//! traces of another.

use crate::scene::{Scene, child_exe};
use sandbox::Sandbox;
use sandbox::request::Bind;
use std::fs;
use std::path::Path;

fn run(scene: &Scene, sandbox: &Sandbox, script: &str, inputs: &[&str]) -> String {
    let mut request = scene.request(script);
    request.store = Some(scene.path("store"));
    let bind = |name: &&str| Bind::read_only(scene.path("store").join(name), Path::new("/eval/store").join(name));
    request.binds.extend(inputs.iter().map(bind));
    let mut log = Vec::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    sandbox.run(&request, &mut |bytes| log.extend_from_slice(bytes), &stop).unwrap();
    String::from_utf8(log).unwrap()
}

fn make(scene: &Scene, name: &str, text: &str) {
    fs::create_dir_all(scene.path("store").join(name)).unwrap();
    fs::write(scene.path("store").join(name).join("file"), text).unwrap();
}

#[test]
fn are_those_that_are_there() {
    let (scene, sandbox) = (Scene::new(), Sandbox::new(child_exe()));
    make(&scene, "a", "one\n");
    let list = "cat /eval/store/*/file; ls /eval/store | tr '\\n' ' '";
    assert_eq!(run(&scene, &sandbox, list, &["a"]), "one\na ");
    // An addition.
    make(&scene, "b", "two\n");
    assert_eq!(run(&scene, &sandbox, list, &["a", "b"]), "one\ntwo\na b ");
    // A replacement with the old name.
    fs::remove_dir_all(scene.path("store/a")).unwrap();
    make(&scene, "a", "new\n");
    assert_eq!(run(&scene, &sandbox, list, &["b", "a"]), "new\ntwo\na b ");
    // An input that is not in the request.
    assert_eq!(run(&scene, &sandbox, list, &["b"]), "two\nb ");
    // Another store.
    fs::rename(scene.path("store"), scene.path("before")).unwrap();
    make(&scene, "b", "other\n");
    assert_eq!(run(&scene, &sandbox, list, &["b"]), "other\nb ");
}

#[test]
fn keep_nothing_of_a_build() {
    let (scene, sandbox) = (Scene::new(), Sandbox::new(child_exe()));
    make(&scene, "a", "one\n");
    let look = "stat -c '%n %i %h %a %x %y %z' /eval/store/a /eval/store/a/file; flock -n /eval/store/a/file echo free";
    let first = run(&scene, &sandbox, look, &["a"]);
    assert!(first.ends_with("free\n"), "{first}");
    let hold =
        "flock -n /eval/store/a/file sleep 600 & sleep 0.1; cat /eval/store/a/file; ls -la /eval/store/a >/dev/null";
    assert_eq!(run(&scene, &sandbox, hold, &["a"]), "one\n");
    assert_eq!(run(&scene, &sandbox, look, &["a"]), first);
}
