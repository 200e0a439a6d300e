//! The features of this machine that the sandbox needs, for a user whose builds do not run.

use super::cgroup::Parents;
use super::error::Named;
use super::{Sandbox, SandboxError, namespaces, sys};
use crate::request::{Limits, OutputPlace, Request, SandboxMode};
use nix::errno::Errno;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// One thing that builds need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// The name of the feature.
    pub name: &'static str,
    /// The level or version of the feature, or the problem.
    pub level: String,
    /// Set when it is enough.
    pub ok: bool,
    /// Set when builds do not run without it; else they run with less, as `level` says.
    pub required: bool,
    /// The next step where it is not.
    pub remedy: Option<String>,
}

/// Probes with the running executable as the spawner; see [`Sandbox::probe`].
pub fn probe() -> Vec<Feature> {
    Sandbox::default().probe()
}

/// The oldest kernel that builds run on: before, Landlock keeps them from moving files between
/// directories.
const KERNEL_MIN: (u32, u32) = (5, 19);

/// The kinds of namespaces besides the user's: what they are called, their file in `/proc/self/ns`,
/// the kernel's option.
const NAMESPACES: [(&str, &str, &str); 7] = [
    ("mount namespaces", "mnt", "CONFIG_NAMESPACES"),
    ("process namespaces", "pid", "CONFIG_PID_NS"),
    ("network namespaces", "net", "CONFIG_NET_NS"),
    ("ipc namespaces", "ipc", "CONFIG_IPC_NS"),
    ("hostname namespaces", "uts", "CONFIG_UTS_NS"),
    ("cgroup namespaces", "cgroup", "CONFIG_CGROUPS"),
    ("time namespaces", "time", "CONFIG_TIME_NS; relaxed mode does without"),
];

/// Returns the protection that Landlock of this level adds.
fn landlock_walls(level: i32) -> &'static str {
    match level {
        ..=1 => "files, but no moving between directories, which many builds need; Linux 5.19 has level 2",
        2 => "files; truncation from Linux 6.2",
        3 | 4 => "files; device ioctls from Linux 6.10",
        5 => "files and device ioctls; abstract sockets and signals from Linux 6.12",
        6.. => "files, device ioctls, abstract sockets and signals",
    }
}

/// Returns the features that limit memory and processes of a build: without these it runs, with
/// weaker limits.
fn limits() -> Vec<Feature> {
    let feature = |name, found: Result<String, &str>, remedy: &str| {
        let ok = found.is_ok();
        let level = found.unwrap_or_else(str::to_owned);
        Feature { name, level, ok, required: false, remedy: (!ok).then(|| remedy.to_owned()) }
    };
    let delegate =
        "start `ev` in a group that is handed down, as with `systemd-run --user --scope -p Delegate=yes ev …`";
    let [(memory, memory_found), (processes, processes_found)] = Parents::find().describe();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let process_ids =
        if version(&release) >= (6, 14) { Ok("available".to_owned()) } else { Err("one for the whole machine") };
    vec![
        feature(memory, memory_found.ok_or("none can be made: each process is limited by itself"), delegate),
        feature(processes, processes_found.ok_or("none can be made: process ids or RLIMIT_NPROC limit"), delegate),
        feature("process id limits", process_ids, "Linux 6.14 or newer has a limit in each namespace"),
    ]
}

/// The first two numbers of a kernel's release; zeros where there are none.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(|digits| digits.parse::<u32>());
    let mut number = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (number(), number())
}

/// Returns the fitness of a kernel of this release for builds.
fn kernel(release: &str) -> Feature {
    let ok = version(release) >= KERNEL_MIN;
    let (major, minor) = KERNEL_MIN;
    let remedy = (!ok).then(|| format!("builds need Linux {major}.{minor} or newer"));
    Feature { name: "kernel", level: release.to_owned(), ok, required: true, remedy }
}

impl Sandbox {
    /// Probes each part by itself, and last sets up a whole sandbox, with a builder that does not
    /// exist.
    pub fn probe(&self) -> Vec<Feature> {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut features = vec![kernel(&release)];
        let mut add = |name, level: Result<String, String>, remedy: &dyn Fn() -> String| {
            let ok = level.is_ok();
            let (Ok(level) | Err(level)) = level;
            features.push(Feature { name, level, ok, required: true, remedy: (!ok).then(remedy) });
        };
        let forbidden = [
            ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            ("/proc/sys/user/max_user_namespaces", "0"),
            ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        ];
        let forbidding = forbidden.iter().find(|(path, value)| read(path).is_ok_and(|text| text == *value));
        let user = match forbidding {
            Some((path, value)) => Err(format!("{path} is {value}")),
            None if Path::new("/proc/self/ns/user").exists() => Ok("available".into()),
            None => Err("the kernel has none".into()),
        };
        add("user namespaces", user, &|| namespaces::user_namespace_help(Errno::EINVAL));
        for (name, file, option) in NAMESPACES {
            let exists = Path::new("/proc/self/ns").join(file).exists();
            let level = if exists { Ok("available".into()) } else { Err("missing".into()) };
            add(name, level, &|| format!("the kernel needs {option}"));
        }
        let landlock = sys::landlock_abi()
            .map(|level| format!("level {level}: {}", landlock_walls(level)))
            .map_err(|errno| format!("{errno:?}"));
        add("landlock", landlock, &|| {
            "the kernel needs CONFIG_SECURITY_LANDLOCK and `landlock` in its `lsm=` parameter (5.13 or newer); relaxed mode does without".into()
        });
        let actions = read("/proc/sys/kernel/seccomp/actions_avail").map_err(|error| error.to_string());
        add("seccomp", actions, &|| "the kernel needs CONFIG_SECCOMP_FILTER; relaxed mode does without".into());
        let systems = read("/proc/filesystems").unwrap_or_default();
        let overlay = systems.lines().any(|line| line.ends_with("\toverlay"));
        let overlay = if overlay { Ok("available".into()) } else { Err("not loaded".into()) };
        add("overlay", overlay, &|| "run `modprobe overlay` as root".into());

        let (ok, level, remedy) = match self.trial() {
            Ok(()) => (true, "works".to_owned(), None),
            Err(SandboxError::Call { help: Some(remedy), doing, call, errno }) => {
                (false, format!("cannot {doing}: {call}: {:?}", Errno::from_raw(errno)), Some(remedy))
            }
            Err(error) => (false, error.to_string(), None),
        };
        features.push(Feature { name: "sandbox", level, ok, required: true, remedy });
        features.extend(limits());
        features
    }

    /// Sets up a sandbox whose builder is missing, which is its last step to fail.
    fn trial(&self) -> Result<(), SandboxError> {
        // Its name cannot be foretold, and no other user gets in.
        let place = nix::unistd::mkdtemp(&std::env::temp_dir().join("eval-probe-XXXXXX"))
            .named("make a directory for a trial", || format!("mkdtemp({})", std::env::temp_dir().display()))?;
        let directory = |name: &str| -> Result<PathBuf, SandboxError> {
            let path = place.join(name);
            fs::create_dir(&path)
                .map_err(|error| SandboxError::Request { reason: format!("mkdir({}): {error}", path.display()) })?;
            Ok(path)
        };
        let request = Request {
            root_layers: vec![directory("layer")?],
            binds: Vec::new(),
            store: None,
            outputs: OutputPlace::Rooted { host_dir: directory("output")? },
            build_dir: directory("build")?,
            argv: vec!["/no-builder".into()],
            env: Vec::new(),
            working_dir: "/build".into(),
            system: format!("{}-linux", std::env::consts::ARCH),
            cores: 1,
            jobserver: None,
            limits: Limits::default(),
            mode: SandboxMode::Strict,
        };
        let ran = self.run(&request, &mut |_| {}, &AtomicBool::new(false));
        os::remove_tree(&place)
            .named("remove the directory of a trial", || format!("unlinkat({})", place.display()))?;
        match ran {
            Err(SandboxError::Builder { errno, .. }) if errno == Errno::ENOENT as i32 => Ok(()),
            Err(error) => Err(error),
            Ok(outcome) => Err(SandboxError::Lost { how: format!("a builder that does not exist ended: {outcome:?}") }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_are_too_old_are_reported() {
        for (release, ok) in [
            ("5.10.0-46-amd64", false),
            ("5.18.19", false),
            ("4.19", false),
            ("", false),
            ("5.19.0", true),
            ("6.1.0-50-amd64", true),
            ("10.0-rc1", true),
        ] {
            let feature = kernel(release);
            assert_eq!((feature.ok, feature.remedy.is_none()), (ok, ok), "{release}");
        }
    }
}
