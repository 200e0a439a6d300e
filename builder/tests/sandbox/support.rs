//! Helpers for tests of several promises: processes outside, and builds with limits.

use crate::scene::{Ran, Scene, child_exe, try_run};
use sandbox::Sandbox;
use sandbox::request::Limits;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

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

/// Returns the number of seconds that the sleeping processes of a test sleep, which no other test's
/// have.
pub fn unique_seconds(test: u8) -> String {
    format!("{test}{}", std::process::id())
}

/// Returns true when a process of this machine sleeps for so many seconds.
pub fn is_sleeping(seconds: &str) -> bool {
    let line = format!("sleep\0{seconds}\0");
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let own = entry.file_name().to_str() == Some(std::process::id().to_string().as_str());
        !own && std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|found| String::from_utf8_lossy(&found).contains(&line))
    })
}

/// Runs a script with limits, which must end within `within_secs`, with any status.
#[track_caller]
pub fn limited(script: &str, limits: Limits, within_secs: u64) -> Ran {
    let started = Instant::now();
    let scene = Scene::new();
    let mut request = scene.request(script);
    request.limits = limits;
    let ran = try_run(&request).unwrap_or_else(|error| panic!("{error}"));
    assert!(started.elapsed() < Duration::from_secs(within_secs), "it took {:?}", started.elapsed());
    ran
}

/// Returns true when this machine lets this user limit the memory of all processes of a build
/// together.
pub fn memory_is_limited_together() -> bool {
    has_feature("memory control group")
}

/// Returns true when this machine lets this user count the processes of a build.
pub fn processes_are_counted() -> bool {
    has_feature("process control group")
}

fn has_feature(name: &str) -> bool {
    let features = Sandbox::new(child_exe()).probe();
    features.iter().any(|feature| feature.name == name && feature.ok)
}

/// A control group of version 1 in which a whole caller is run.
pub struct Group(PathBuf);

impl Group {
    /// `None` where this user may make none.
    pub fn make(controller: &str, settings: &[(&str, u64)]) -> Option<Group> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let point = mounts.lines().find_map(|line| {
            let (mount, system) = line.split_once(" - cgroup ")?;
            system.rsplit(' ').next()?.split(',').any(|option| option == controller).then(|| mount.split(' ').nth(4))?
        })?;
        let group = Path::new(point).join(format!("test-{}-{number}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let group = Group(group);
        settings.iter().all(|(file, value)| fs::write(group.0.join(file), value.to_string()).is_ok()).then_some(group)
    }

    /// Runs a caller with a build in the group, and returns what it prints of the outcome.
    #[track_caller]
    pub fn run(&self, script: &str, limit: impl FnOnce(&mut Limits)) -> String {
        let scene = Scene::new();
        let mut request = scene.request(script);
        limit(&mut request.limits);
        fs::write(scene.path("request.json"), serde_json::to_string(&request).unwrap()).unwrap();
        let ran = Command::new("sh")
            .args(["-c", "echo $$ > \"$1/cgroup.procs\" && exec \"$2\" < \"$3\"", "sh"])
            .args([self.0.clone(), child_exe(), scene.path("request.json")])
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The caller's own group may be gone a moment later.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A sandbox whose spawner is started by a shell that has run `commands`.
pub fn after(scene: &Scene, name: &str, commands: &str) -> Sandbox {
    let path = scene.path(name);
    let script = format!("#!/bin/bash\n{commands}\nexec -a eval-sandbox {} \"$@\"\n", child_exe().display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    Sandbox::new(path)
}
