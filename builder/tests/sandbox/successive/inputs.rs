//! What builds see of the store is what is there, though those that follow one another have the same view of it; and none finds what another did
//! with it.

use std::fs;
use std::path::Path;

use builder::request::Bind;
use builder::sandbox::Sandbox;

use crate::place::{Place, child_exe};

fn run(place: &Place, sandbox: &Sandbox, script: &str, inputs: &[&str]) -> String {
    let mut request = place.request(script);
    request.store = Some(place.path("store"));
    let bind = |name: &&str| Bind::read_only(place.path("store").join(name), Path::new("/eval/store").join(name));
    request.binds.extend(inputs.iter().map(bind));
    let mut log = Vec::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    sandbox.run(&request, &mut |bytes| log.extend_from_slice(bytes), &stop).unwrap();
    String::from_utf8(log).unwrap()
}

fn make(place: &Place, name: &str, text: &str) {
    fs::create_dir_all(place.path("store").join(name)).unwrap();
    fs::write(place.path("store").join(name).join("file"), text).unwrap();
}

#[test]
fn are_those_that_are_there() {
    let (place, sandbox) = (Place::new(), Sandbox::new(child_exe()));
    make(&place, "a", "one\n");
    let list = "cat /eval/store/*/file; ls /eval/store | tr '\\n' ' '";
    assert_eq!(run(&place, &sandbox, list, &["a"]), "one\na ");
    // What has come since.
    make(&place, "b", "two\n");
    assert_eq!(run(&place, &sandbox, list, &["a", "b"]), "one\ntwo\na b ");
    // What is another under its old name.
    fs::remove_dir_all(place.path("store/a")).unwrap();
    make(&place, "a", "new\n");
    assert_eq!(run(&place, &sandbox, list, &["b", "a"]), "new\ntwo\na b ");
    // What is not asked for.
    assert_eq!(run(&place, &sandbox, list, &["b"]), "two\nb ");
    // Another store.
    fs::rename(place.path("store"), place.path("before")).unwrap();
    make(&place, "b", "other\n");
    assert_eq!(run(&place, &sandbox, list, &["b"]), "other\nb ");
}

#[test]
fn keep_nothing_of_a_build() {
    let (place, sandbox) = (Place::new(), Sandbox::new(child_exe()));
    make(&place, "a", "one\n");
    let look = "stat -c '%n %i %h %a %x %y %z' /eval/store/a /eval/store/a/file; flock -n /eval/store/a/file echo free";
    let first = run(&place, &sandbox, look, &["a"]);
    assert!(first.ends_with("free\n"), "{first}");
    let hold =
        "flock -n /eval/store/a/file sleep 600 & sleep 0.1; cat /eval/store/a/file; ls -la /eval/store/a >/dev/null";
    assert_eq!(run(&place, &sandbox, hold, &["a"]), "one\n");
    assert_eq!(run(&place, &sandbox, look, &["a"]), first);
}
