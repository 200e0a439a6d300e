//! A scratch directory for one test, and the runs of scripts in it.

use sandbox::request::{Bind, Limits, OutputPlace, Request, SandboxMode};
use sandbox::{Outcome, Sandbox, SandboxError, Status};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The monitor's executable; the run as an ordinary user has a copy elsewhere.
pub fn child_exe() -> PathBuf {
    std::env::var_os("SANDBOX_RUN").map_or_else(|| env!("CARGO_BIN_EXE_sandbox-run").into(), PathBuf::from)
}

/// The mode of builds: [`crate::relaxed`] runs the tests again in the other one.
fn mode() -> SandboxMode {
    if std::env::var_os("SANDBOX_MODE").is_some_and(|mode| mode == "relaxed") {
        SandboxMode::Relaxed
    } else {
        SandboxMode::Strict
    }
}

/// The scratch directory of one test, with the directories of a build in it.
pub struct Scene {
    directory: tempfile::TempDir,
}

/// The outcome and the log of a build.
pub struct Ran {
    pub outcome: Outcome,
    pub log: String,
}

impl Scene {
    pub fn new() -> Scene {
        let directory = tempfile::tempdir().expect("the temporary directory can be written to");
        for name in ["build", "output", "layer"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Scene { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn output(&self, name: &str) -> PathBuf {
        self.path("output").join(name)
    }

    /// A build that runs `script` with this machine's programs and no other inputs.
    pub fn request(&self, script: &str) -> Request {
        let host = ["/usr", "/bin", "/lib", "/lib64"].iter().filter(|path| Path::new(path).exists());
        Request {
            root_layers: vec![self.path("layer")],
            binds: host.map(|path| Bind::read_only(path, path)).collect(),
            store: None,
            outputs: OutputPlace::Rooted { host_dir: self.path("output") },
            build_dir: self.path("build"),
            argv: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            working_dir: "/build".into(),
            system: format!("{}-linux", std::env::consts::ARCH),
            cores: 2,
            jobserver: None,
            limits: Limits::default(),
            mode: mode(),
        }
    }
}

pub fn try_run(request: &Request) -> Result<Ran, SandboxError> {
    run_until(request, &AtomicBool::new(false))
}

pub fn run_until(request: &Request, cancelled: &AtomicBool) -> Result<Ran, SandboxError> {
    let sandbox = Sandbox::new(child_exe());
    // Twice the same root, so that the tested build gets a copy of a prepared one. Failures of
    // these are not tested.
    let mut before = request.clone();
    before.argv = ["/bin/sh", "-c", ":"].map(OsString::from).to_vec();
    // Except with outputs in the store: a build finds links there that are made for it.
    let builds = if matches!(request.outputs, OutputPlace::Rooted { .. }) { 2 } else { 0 };
    for _ in 0..builds {
        let _ = sandbox.run(&before, &mut |_| {}, &AtomicBool::new(false));
    }
    let mut log = Vec::new();
    let outcome = sandbox.run(request, &mut |bytes| log.extend_from_slice(bytes), cancelled)?;
    Ok(Ran { outcome, log: String::from_utf8_lossy(&log).into_owned() })
}

/// Runs a request that must end with status 0, and returns the log.
#[track_caller]
pub fn run(request: &Request) -> String {
    match try_run(request) {
        Ok(ran) => {
            assert_eq!(ran.outcome.status, Status::Exited(0), "log:\n{}", ran.log);
            assert!(mode() == SandboxMode::Relaxed || ran.outcome.skipped.is_empty(), "{:?}", ran.outcome.skipped);
            ran.log
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a script that must end with status 0, and returns what it wrote.
#[track_caller]
pub fn shell(script: &str) -> String {
    run(&Scene::new().request(script))
}

/// Runs a system call inside and returns the name of its errno, or `OK`; `arguments` is perl.
#[track_caller]
pub fn syscall(call: libc::c_long, arguments: &str) -> String {
    let script =
        format!("my $r = syscall({call}, {arguments}); print $r == -1 ? (grep {{ $!{{$_}} }} keys %!)[0] : 'OK'");
    let scene = Scene::new();
    let mut request = scene.request("");
    request.argv = ["/usr/bin/perl", "-MErrno", "-e", &script].map(OsString::from).to_vec();
    run(&request)
}
