//! The program that supervises a build is out of its reach.

use crate::scene::{Scene, run, try_run};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The escape of containers whose process keeps the runtime's executable open (CVE-2019-5736).
#[test]
fn of_the_monitor_is_out_of_reach() {
    let scene = Scene::new();
    let mut request = scene.request("");
    request.argv = vec!["/proc/self/exe".into()];
    let error = try_run(&request).err().expect("it is outside of the root");
    assert!(error.to_string().contains("EACCES"), "{error}");
    let script = |interpreter: &str| {
        fs::write(scene.path("layer/script"), format!("#!{interpreter}\necho run\n")).unwrap();
        fs::set_permissions(scene.path("layer/script"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    request.argv = vec!["/script".into()];
    script("/proc/self/exe");
    assert!(try_run(&request).is_err());
    // With an interpreter of the root, the same is a builder like any other.
    script("/bin/sh");
    assert_eq!(run(&request), "run\n");
}
