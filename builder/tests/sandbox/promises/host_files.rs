//! Files of the host are not there: a build sees its root, and what its request names.

use crate::scene::{Scene, run, shell};
use sandbox::request::Bind;
use std::fs;

#[test]
fn are_not_there() {
    let scene = Scene::new();
    let secret = scene.path("secret");
    fs::write(&secret, "secret").unwrap();
    let script =
        format!("cat {} 2>/dev/null || echo no file; ls /home /root 2>/dev/null || echo no homes", secret.display());
    assert_eq!(run(&scene.request(&script)), "no file\nno homes\n");
    assert_eq!(shell("cat /proc/self/mountinfo | grep -c ' /old' || true"), "0\n");
}

#[test]
fn that_are_named_are() {
    let scene = Scene::new();
    fs::write(scene.path("named"), "named\n").unwrap();
    let mut request = scene.request("cat /source/named");
    request.binds.push(Bind::read_only(scene.path("named"), "/source/named"));
    assert_eq!(run(&request), "named\n");
}
