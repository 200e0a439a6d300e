//! A directory for one test, and how a script is run in it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use builder::request::{Bind, Limits, Mode, OutputPlace, Request};
use builder::sandbox::{Outcome, Sandbox, SandboxError, Status};

/// The monitor's executable; the run as an ordinary user has a copy elsewhere.
pub fn child_exe() -> PathBuf {
    std::env::var_os("SANDBOX_RUN").map_or_else(|| env!("CARGO_BIN_EXE_sandbox-run").into(), PathBuf::from)
}

/// How builds are run: [`crate::relaxed`] runs the tests again in the other way.
fn mode() -> Mode {
    if std::env::var_os("SANDBOX_MODE").is_some_and(|mode| mode == "relaxed") { Mode::Relaxed } else { Mode::Strict }
}

pub struct Place {
    directory: tempfile::TempDir,
}

/// How a build went.
pub struct Ran {
    pub outcome: Outcome,
    pub log: String,
}

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::tempdir().expect("the temporary directory can be written to");
        for name in ["build", "output", "layer"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Place { directory }
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
    // Twice the same root, and what is tested gets a copy of one that was made ready. Their failing is not what is tested.
    let mut before = request.clone();
    before.argv = ["/bin/sh", "-c", ":"].map(OsString::from).to_vec();
    // But for outputs in the store: a build finds links there that are made for it.
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
            assert!(mode() == Mode::Relaxed || ran.outcome.skipped.is_empty(), "{:?}", ran.outcome.skipped);
            ran.log
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a script that must end with status 0, and returns what it wrote.
#[track_caller]
pub fn shell(script: &str) -> String {
    run(&Place::new().request(script))
}

/// Runs a system call inside and returns the name of its errno, or `OK`; `arguments` is perl.
#[track_caller]
pub fn syscall(call: libc::c_long, arguments: &str) -> String {
    let script =
        format!("my $r = syscall({call}, {arguments}); print $r == -1 ? (grep {{ $!{{$_}} }} keys %!)[0] : 'OK'");
    let place = Place::new();
    let mut request = place.request("");
    request.argv = ["/usr/bin/perl", "-MErrno", "-e", &script].map(OsString::from).to_vec();
    run(&request)
}
