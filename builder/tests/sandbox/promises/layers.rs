//! A root is the union of its layers.

use crate::scene::{Scene, run, try_run};
use sandbox::{LAYERS_MAX, SandboxError};
use std::fs;

#[test]
fn that_come_later_are_on_top_and_directories_merge() {
    let scene = Scene::new();
    let mut request =
        scene.request("cat /data/both; ls /data | tr '\\n' ' '; head -n 1 /etc/passwd; cat /etc/hosts | wc -l");
    for (name, file) in [("one", "first"), ("two", "second")] {
        let layer = scene.path(name);
        fs::create_dir_all(layer.join("data")).unwrap();
        fs::write(layer.join("data/both"), format!("{name}\n")).unwrap();
        fs::write(layer.join("data").join(file), "").unwrap();
        request.root_layers.push(layer);
    }
    fs::create_dir(scene.path("two/etc")).unwrap();
    fs::write(scene.path("two/etc/passwd"), "own:x:1000:1000::/:\n").unwrap();
    assert_eq!(run(&request), "two\nboth first second own:x:1000:1000::/:\n2\n");
}

#[test]
fn may_be_none_at_all() {
    let scene = Scene::new();
    let mut request = scene.request("ls / | tr '\\n' ' '; touch /x 2>/dev/null || echo read-only");
    request.root_layers.clear();
    let seen = run(&request);
    assert!(seen.contains("build dev etc") && seen.ends_with("read-only\n"), "{seen}");
}

#[test]
fn may_be_hundreds_and_the_limit_has_a_name() {
    let scene = Scene::new();
    let mut request = scene.request("ls /many | wc -l");
    request.root_layers = (0..LAYERS_MAX)
        .map(|index| {
            let layer = scene.path(&format!("many/{index}"));
            fs::create_dir_all(layer.join("many")).unwrap();
            fs::write(layer.join("many").join(index.to_string()), "").unwrap();
            layer
        })
        .collect();
    assert_eq!(run(&request), format!("{LAYERS_MAX}\n"));
    request.root_layers.push(scene.path("layer"));
    let error = try_run(&request).err().unwrap();
    assert_eq!(error, SandboxError::TooManyLayers { count: LAYERS_MAX + 1, max: LAYERS_MAX });
}
