//! What tests of several promises need: processes outside, and builds with limits.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use builder::request::Limits;
use builder::sandbox::Sandbox;

use crate::place::{Place, Ran, child_exe, try_run};

/// A process of this user outside.
pub struct Victim(Child);

impl Victim {
    pub fn new() -> Victim {
        Victim(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead; what matters was asserted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs perl outside, as this user, and returns what it prints.
#[track_caller]
pub fn perl_outside(script: &str) -> String {
    let ran = Command::new("perl").args(["-e", script]).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// How many seconds the sleeping processes of a test sleep: a number that no other test's have.
pub fn unique_seconds(test: u8) -> String {
    format!("{test}{}", std::process::id())
}

/// Whether a process of this machine sleeps for so many seconds.
pub fn is_sleeping(seconds: &str) -> bool {
    let line = format!("sleep\0{seconds}\0");
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let own = entry.file_name().to_str() == Some(std::process::id().to_string().as_str());
        !own && std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|found| String::from_utf8_lossy(&found).contains(&line))
    })
}

/// Runs a script with limits, which must have ended by then, in whatever way.
#[track_caller]
pub fn limited(script: &str, limits: Limits, within_secs: u64) -> Ran {
    let started = Instant::now();
    let place = Place::new();
    let mut request = place.request(script);
    request.limits = limits;
    let ran = try_run(&request).unwrap_or_else(|error| panic!("{error}"));
    assert!(started.elapsed() < Duration::from_secs(within_secs), "it took {:?}", started.elapsed());
    ran
}

/// Whether this machine lets this user limit the memory of all processes of a build together.
pub fn memory_is_limited_together() -> bool {
    let features = Sandbox::new(child_exe()).probe();
    features.iter().any(|feature| feature.name == "memory control group" && feature.ok)
}
