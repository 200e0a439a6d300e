//! Sources and store paths are seen where the request says, and can be changed only if it says so.

use crate::scene::{Scene, run};
use sandbox::request::Bind;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn appear_where_asked() {
    let scene = Scene::new();
    fs::write(scene.path("file"), "text\n").unwrap();
    let mut request = scene.request("cat /source/deep/er/file /build/input /eval/store/x-y");
    for inside in ["/source/deep/er/file", "/build/input", "/eval/store/x-y"] {
        request.binds.push(Bind::read_only(scene.path("file"), inside));
    }
    assert_eq!(run(&request), "text\ntext\ntext\n");
}

#[test]
fn that_are_writable_are_written_through_and_others_are_not() {
    let scene = Scene::new();
    fs::create_dir(scene.path("shared")).unwrap();
    let mut request = scene.request("echo x > /source/shared/file");
    request.binds.push(Bind { host: scene.path("shared"), inside: "/source/shared".into(), writable: true });
    run(&request);
    assert_eq!(fs::read_to_string(scene.path("shared/file")).unwrap(), "x\n");
    let mode = fs::metadata(scene.path("shared/file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);

    let mut request = scene.request("(echo y > /source/shared/file) 2>/dev/null || echo refused");
    request.binds.push(Bind::read_only(scene.path("shared"), "/source/shared"));
    assert_eq!(run(&request), "refused\n");
    assert_eq!(fs::read_to_string(scene.path("shared/file")).unwrap(), "x\n");
}
