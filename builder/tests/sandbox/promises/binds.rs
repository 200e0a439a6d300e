//! Sources and store paths are seen where the request says, and can be changed only if it says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use builder::request::Bind;

use crate::place::{Place, run};

#[test]
fn appear_where_asked() {
    let place = Place::new();
    fs::write(place.path("file"), "text\n").unwrap();
    let mut request = place.request("cat /source/deep/er/file /build/input /eval/store/x-y");
    for inside in ["/source/deep/er/file", "/build/input", "/eval/store/x-y"] {
        request.binds.push(Bind::read_only(place.path("file"), inside));
    }
    assert_eq!(run(&request), "text\ntext\ntext\n");
}

#[test]
fn that_are_writable_are_written_through_and_others_are_not() {
    let place = Place::new();
    fs::create_dir(place.path("shared")).unwrap();
    let mut request = place.request("echo x > /source/shared/file");
    request.binds.push(Bind { host: place.path("shared"), inside: "/source/shared".into(), writable: true });
    run(&request);
    assert_eq!(fs::read_to_string(place.path("shared/file")).unwrap(), "x\n");
    let mode = fs::metadata(place.path("shared/file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);

    let mut request = place.request("(echo y > /source/shared/file) 2>/dev/null || echo refused");
    request.binds.push(Bind::read_only(place.path("shared"), "/source/shared"));
    assert_eq!(run(&request), "refused\n");
    assert_eq!(fs::read_to_string(place.path("shared/file")).unwrap(), "x\n");
}
