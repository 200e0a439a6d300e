//! Errors say what was asked of the kernel, what it answered, and what to do.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use builder::sandbox::SandboxError;

use crate::place::{Place, try_run};

#[track_caller]
fn builder_error(place: &Place, program: &str) -> String {
    let mut request = place.request("");
    request.argv = vec![OsString::from(program)];
    try_run(&request).err().expect("it cannot be started").to_string()
}

#[test]
fn builders_that_cannot_start() {
    let place = Place::new();
    assert_eq!(
        builder_error(&place, "/bin/none"),
        "cannot start the builder `/bin/none` in the sandbox: ENOENT (No such file or directory); no tree of the root and no input brings this file"
    );
    for (name, text, mode) in
        [("script", "#!/bin/none\n", 0o755), ("plain", "#!/bin/sh\n", 0o644), ("data", "\x7f1234", 0o755)]
    {
        fs::write(place.path("layer").join(name), text).unwrap();
        fs::set_permissions(place.path("layer").join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert!(builder_error(&place, "/script").contains("the interpreter named in its first line"));
    assert!(builder_error(&place, "/plain").contains("EACCES (Permission denied); the file is not executable"));
    assert!(builder_error(&place, "/data").contains("ENOEXEC"));
}

#[test]
fn directories_that_do_not_exist() {
    let place = Place::new();
    let mut request = place.request("true");
    request.build_dir = "/nonexistent/build".into();
    let error = try_run(&request).err().unwrap().to_string();
    assert_eq!(
        error,
        "cannot take `/nonexistent/build` into the sandbox: open_tree(/nonexistent/build, OPEN_TREE_CLONE|AT_RECURSIVE): ENOENT (No such file or directory)"
    );
    let mut request = place.request("true");
    request.working_dir = "/nowhere".into();
    let error = try_run(&request).err().unwrap().to_string();
    assert_eq!(error, "cannot enter the working directory: chdir(/nowhere): ENOENT (No such file or directory)");
}

#[test]
fn requests_that_make_no_sense() {
    let place = Place::new();
    let mut request = place.request("true");
    request.system = "riscv64-linux".into();
    assert!(matches!(try_run(&request).err(), Some(SandboxError::ForeignSystem { .. })));
    let mut request = place.request("true");
    request.env.push(("A=B".into(), "c".into()));
    assert!(try_run(&request).err().unwrap().to_string().contains("`A=B`"));
    let mut request = place.request("true");
    request.binds[0].inside = "/source/../etc".into();
    assert!(try_run(&request).err().unwrap().to_string().contains("not a plain absolute path"));
    let mut request = place.request("true");
    request.argv.clear();
    assert!(try_run(&request).err().unwrap().to_string().contains("no builder is named"));
}
