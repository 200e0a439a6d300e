//! A build inherits nothing of its caller except the files that its request names.

use crate::scene::{Scene, run, shell, try_run};
use sandbox::Status;
use std::fs;
use std::io::Read;

#[test]
fn descriptors_are_the_three_of_every_program() {
    // A descriptor that the caller forgot to mark close-on-exec.
    let kept = fs::File::open("/etc/passwd").unwrap();
    let fd = nix::fcntl::fcntl(&kept, nix::fcntl::FcntlArg::F_DUPFD(200)).unwrap();
    let open = shell("ls /proc/self/fd");
    nix::unistd::close(fd).unwrap();
    assert_eq!(open, "0\n1\n2\n3\n", "3 is what `ls` reads");
    assert_eq!(shell("readlink /proc/self/fd/0"), "/dev/null\n");
}

#[test]
fn environment_is_the_requests() {
    let mut own = String::new();
    fs::File::open("/proc/self/environ").unwrap().read_to_string(&mut own).unwrap();
    assert!(own.contains("CARGO") || own.contains("SANDBOX_RUN"), "there is something that could leak");
    let scene = Scene::new();
    let mut request =
        scene.request("env | cut -d= -f1 | grep -vE '^(EVAL_CORES|NIX_BUILD_CORES|PATH|PWD|_|SHLVL|OLDPWD)$' || true");
    assert_eq!(run(&request), "");
    request.env.push(("ASKED_FOR".into(), "x".into()));
    assert_eq!(run(&request), "ASKED_FOR\n");
}

/// This program, as every one of Rust's, ignores `SIGPIPE`.
#[test]
fn signals_have_their_default_actions() {
    let ended = |script: &str| try_run(&Scene::new().request(script)).unwrap().outcome.status;
    assert_eq!(ended("kill -PIPE $$"), Status::Signalled(13));
    assert_eq!(ended("trap '' PIPE; kill -PIPE $$"), Status::Exited(0), "what a build ignores is ignored");
}
