//! A build sees its declared inputs and cannot change them.

use crate::scene::{Scene, run};
use sandbox::request::{Bind, OutputPlace};
use std::fs;

#[test]
fn can_be_read_and_not_changed() {
    let scene = Scene::new();
    let input = scene.path("input");
    fs::create_dir(&input).unwrap();
    fs::write(input.join("file"), "content\n").unwrap();
    fs::write(scene.path("single"), "one\n").unwrap();
    std::os::unix::fs::symlink("/eval/store/aaa-input/file", scene.path("link")).unwrap();
    let script = "cat /eval/store/aaa-input/file /eval/store/bbb-single /eval/store/ccc-link
        for f in /eval/store/aaa-input/file /eval/store/aaa-input/new /eval/store/bbb-single; do
            (echo x > $f) 2>/dev/null && echo written $f; done
        rm -f /eval/store/aaa-input/file 2>/dev/null && echo removed
        chmod 777 /eval/store/aaa-input/file 2>/dev/null && echo changed
        mv /eval/store/aaa-input /eval/store/moved 2>/dev/null && echo moved
        touch -d 2001-01-01 /eval/store/aaa-input 2>/dev/null && echo touched
        echo mine > $out";
    for in_store in [false, true] {
        let mut request = scene.request(script);
        request.binds.extend([
            Bind::read_only(&input, "/eval/store/aaa-input"),
            Bind::read_only(scene.path("single"), "/eval/store/bbb-single"),
            Bind::read_only(scene.path("link"), "/eval/store/ccc-link"),
        ]);
        let out = if in_store { "/eval/store/ddd-mine" } else { "/output/out" };
        if in_store {
            let store_dir = "/eval/store".into();
            request.outputs = OutputPlace::InStore { host_dir: scene.path("output"), store_dir };
        }
        request.env.push(("out".into(), out.into()));
        assert_eq!(run(&request), "content\none\ncontent\n", "in store: {in_store}");
        assert_eq!(fs::read_to_string(input.join("file")).unwrap(), "content\n");
        let name = if in_store { "ddd-mine" } else { "out" };
        assert_eq!(fs::read_to_string(scene.output(name)).unwrap(), "mine\n");
    }
}
