//! Errors name the call and the kernel's answer, and their help the next step.

use crate::scene::{Scene, try_run};
use sandbox::SandboxError;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The message and the help of an error.
fn text(error: &SandboxError) -> String {
    format!("{error}; {}", error.help().unwrap_or_default())
}

#[track_caller]
fn builder_error(scene: &Scene, program: &str) -> String {
    let mut request = scene.request("");
    request.argv = vec![OsString::from(program)];
    text(&try_run(&request).err().expect("it cannot be started"))
}

#[test]
fn builders_that_cannot_start() {
    let scene = Scene::new();
    assert_eq!(
        builder_error(&scene, "/bin/none"),
        "cannot start the builder `/bin/none` in the sandbox: ENOENT (No such file or directory); no tree of the root and no input brings this file"
    );
    for (name, text, mode) in
        [("script", "#!/bin/none\n", 0o755), ("plain", "#!/bin/sh\n", 0o644), ("data", "\x7f1234", 0o755)]
    {
        fs::write(scene.path("layer").join(name), text).unwrap();
        fs::set_permissions(scene.path("layer").join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert!(builder_error(&scene, "/script").contains("the interpreter named in its first line"));
    assert!(builder_error(&scene, "/plain").contains("EACCES (Permission denied); the file is not executable"));
    assert!(builder_error(&scene, "/data").contains("ENOEXEC"));
}

#[test]
fn directories_that_do_not_exist() {
    let scene = Scene::new();
    let mut request = scene.request("true");
    request.build_dir = "/nonexistent/build".into();
    let error = try_run(&request).err().unwrap().to_string();
    assert_eq!(
        error,
        "cannot take `/nonexistent/build` into the sandbox: open_tree(/nonexistent/build, OPEN_TREE_CLONE|AT_RECURSIVE): ENOENT (No such file or directory)"
    );
    let mut request = scene.request("true");
    request.working_dir = "/nowhere".into();
    let error = try_run(&request).err().unwrap().to_string();
    assert_eq!(error, "cannot enter the working directory: chdir(/nowhere): ENOENT (No such file or directory)");
}

#[test]
fn requests_that_make_no_sense() {
    let scene = Scene::new();
    let mut request = scene.request("true");
    request.system = "riscv64-linux".into();
    assert!(matches!(try_run(&request).err(), Some(SandboxError::ForeignSystem { .. })));
    let mut request = scene.request("true");
    request.env.push(("A=B".into(), "c".into()));
    assert!(try_run(&request).err().unwrap().to_string().contains("`A=B`"));
    let mut request = scene.request("true");
    request.binds[0].inside = "/source/../etc".into();
    assert!(try_run(&request).err().unwrap().to_string().contains("not a plain absolute path"));
    let mut request = scene.request("true");
    request.argv.clear();
    assert!(try_run(&request).err().unwrap().to_string().contains("no builder is named"));
}
