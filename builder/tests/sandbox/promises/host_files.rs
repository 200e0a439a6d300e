//! Files of the host are not there: a build sees its root, and what its request names.

use std::fs;

use builder::request::Bind;

use crate::place::{Place, run, shell};

#[test]
fn are_not_there() {
    let place = Place::new();
    let secret = place.path("secret");
    fs::write(&secret, "secret").unwrap();
    let script =
        format!("cat {} 2>/dev/null || echo no file; ls /home /root 2>/dev/null || echo no homes", secret.display());
    assert_eq!(run(&place.request(&script)), "no file\nno homes\n");
    assert_eq!(shell("cat /proc/self/mountinfo | grep -c ' /old' || true"), "0\n");
}

#[test]
fn that_are_named_are() {
    let place = Place::new();
    fs::write(place.path("named"), "named\n").unwrap();
    let mut request = place.request("cat /source/named");
    request.binds.push(Bind::read_only(place.path("named"), "/source/named"));
    assert_eq!(run(&request), "named\n");
}
