//! Roots that are unions of layers.

use std::fs;
use std::os::unix::fs::symlink;

use builder::request::Bind;
use builder::sandbox::{LAYERS_MAX, SandboxError};

use crate::place::{Place, run, try_run};

#[test]
fn later_layers_lie_on_top_and_directories_merge() {
    let place = Place::new();
    let mut request =
        place.request("cat /data/both; ls /data | tr '\\n' ' '; head -n 1 /etc/passwd; cat /etc/hosts | wc -l");
    for (name, file) in [("one", "first"), ("two", "second")] {
        let layer = place.path(name);
        fs::create_dir_all(layer.join("data")).unwrap();
        fs::write(layer.join("data/both"), format!("{name}\n")).unwrap();
        fs::write(layer.join("data").join(file), "").unwrap();
        request.root_layers.push(layer);
    }
    fs::create_dir(place.path("two/etc")).unwrap();
    fs::write(place.path("two/etc/passwd"), "own:x:1000:1000::/:\n").unwrap();
    assert_eq!(run(&request), "two\nboth first second own:x:1000:1000::/:\n2\n");
}

#[test]
fn a_root_may_have_no_layer_at_all() {
    let place = Place::new();
    let mut request = place.request("ls / | tr '\\n' ' '; touch /x 2>/dev/null || echo read-only");
    request.root_layers.clear();
    let seen = run(&request);
    assert!(seen.contains("build dev etc") && seen.ends_with("read-only\n"), "{seen}");
}

#[test]
fn hundreds_of_layers_fit_and_the_limit_has_a_name() {
    let place = Place::new();
    let mut request = place.request("ls /many | wc -l");
    request.root_layers = (0..LAYERS_MAX)
        .map(|index| {
            let layer = place.path(&format!("many/{index}"));
            fs::create_dir_all(layer.join("many")).unwrap();
            fs::write(layer.join("many").join(index.to_string()), "").unwrap();
            layer
        })
        .collect();
    assert_eq!(run(&request), format!("{LAYERS_MAX}\n"));
    request.root_layers.push(place.path("layer"));
    let error = try_run(&request).err().unwrap();
    assert_eq!(error, SandboxError::TooManyLayers { count: LAYERS_MAX + 1, max: LAYERS_MAX });
}

#[test]
fn links_in_layers_do_not_lead_out() {
    let place = Place::new();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    // A layer's link where something is mounted: it is followed inside the root, where its target does not exist.
    symlink(&outside, place.path("layer/output")).unwrap();
    let error = try_run(&place.request("echo x > /output/out")).err().expect("there is no place for the outputs");
    assert!(error.to_string().contains("`/output`"), "{error}");
    assert!(!outside.join("out").exists());
    fs::remove_file(place.path("layer/output")).unwrap();
    // A link of a layer within the root is followed.
    fs::create_dir_all(place.path("layer/var/tmp")).unwrap();
    symlink("var/tmp", place.path("layer/tmp")).unwrap();
    assert_eq!(run(&place.request("echo x > /tmp/f && cat /var/tmp/f")), "x\n");
}

#[test]
fn sources_and_store_paths_appear_where_asked() {
    let place = Place::new();
    fs::write(place.path("file"), "text\n").unwrap();
    let mut request = place.request("cat /source/deep/er/file /build/input /eval/store/x-y");
    for inside in ["/source/deep/er/file", "/build/input", "/eval/store/x-y"] {
        request.binds.push(Bind::read_only(place.path("file"), inside));
    }
    assert_eq!(run(&request), "text\ntext\ntext\n");
}
