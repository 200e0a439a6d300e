//! What a process inherits and a build should find the same everywhere: umask, resource limits, huge pages,
//! personality; and the capabilities, all of which go.
//!
//! Memory and processes are limited here where no control group does it (`cgroup`).

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::write;

use super::SandboxError;
use super::error::Named;
use super::sys;
use crate::request::Limits;

/// The most that `pid_max` can be.
const PID_LIMIT: u64 = 4 << 20;

/// Soft limits of a build, so far as the hard limits of the caller allow.
const SOFT_LIMITS: [(Resource, &str, u64); 2] =
    [(Resource::RLIMIT_STACK, "RLIMIT_STACK", 8 << 20), (Resource::RLIMIT_NOFILE, "RLIMIT_NOFILE", 4096)];

/// Limits that a build cannot raise again. One byte of a core is none, and is how the kernel is told not to start the host's
/// program for cores either, which 0 does not say (see core(5)). The others would let it raise its priority.
const HARD_LIMITS: [(Resource, &str, u64); 3] = [
    (Resource::RLIMIT_CORE, "RLIMIT_CORE", 1),
    (Resource::RLIMIT_NICE, "RLIMIT_NICE", 0),
    (Resource::RLIMIT_RTPRIO, "RLIMIT_RTPRIO", 0),
];

/// Lets this process open as many files as its hard limit allows; one is needed for each layer and bind.
pub fn raise_open_files() -> Result<(), SandboxError> {
    let set = || -> Result<(), Errno> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    };
    set().named("raise the limit on open files", || "setrlimit(RLIMIT_NOFILE)".into())
}

/// How much sooner than others a build's processes are ended when the machine is out of memory, of 1000.
const OOM_SCORE: &str = "500";
/// Process ids below this are given out once and not again.
const RESERVED_PIDS: u64 = 300;

/// Volunteers this process and all it starts to be ended first when the machine has no memory left.
pub fn volunteer() {
    // Raising the score is always allowed; where something above has set a higher one, that stays.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

/// Lowers the priority as asked.
pub fn stand_back(limits: &Limits) -> Result<(), SandboxError> {
    if limits.niceness == 0 {
        return Ok(());
    }
    sys::add_niceness(limits.niceness.min(19).into())
        .named("lower the priority of the build", || format!("setpriority({})", limits.niceness))
}

/// Limits how many processes there can be at a time by the numbers that there are for them, for a build of the root
/// user, whom `RLIMIT_NPROC` does not bind. The bound is coarse: [`RESERVED_PIDS`] more may be had on the first round.
///
/// `proc` is a writable `/proc` of this process-id namespace that need not be attached anywhere. Kernels before 6.14
/// have one limit for the whole machine and refuse; `doctor` says so.
pub fn limit_process_ids(proc: &OwnedFd, max: u64) {
    let text = max.saturating_add(RESERVED_PIDS).min(PID_LIMIT).to_string();
    let _ = openat(proc.as_fd(), "sys/kernel/pid_max", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|file| write(file, text.as_bytes()));
}

/// Fixes umask, resource limits, huge pages and personality.
pub fn fix_surroundings(limits: &Limits) -> Result<(), SandboxError> {
    umask(Mode::from_bits_truncate(0o022));
    for (resource, name, soft) in SOFT_LIMITS {
        getrlimit(resource)
            .and_then(|(_, hard)| setrlimit(resource, soft.min(hard), hard))
            .named("set a resource limit", || format!("setrlimit({name}, {soft})"))?;
    }
    let own = [
        (Resource::RLIMIT_DATA, "RLIMIT_DATA", limits.memory_max_bytes),
        (Resource::RLIMIT_NPROC, "RLIMIT_NPROC", limits.processes_max),
    ];
    let asked = own.into_iter().filter_map(|(resource, name, max)| Some((resource, name, max?)));
    for (resource, name, max) in HARD_LIMITS.into_iter().chain(asked) {
        getrlimit(resource)
            .and_then(|(_, hard)| setrlimit(resource, max.min(hard), max.min(hard)))
            .named("set a resource limit", || format!("setrlimit({name}, {max})"))?;
    }
    // `eval` wants no huge pages for itself, and a process that has switched them off hands that on to all it starts.
    sys::prctl(libc::PR_SET_THP_DISABLE, 0)
        .named("allow huge pages again", || "prctl(PR_SET_THP_DISABLE, 0)".into())?;
    // Addresses that change from run to run find their way into outputs.
    let persona = libc::ADDR_NO_RANDOMIZE.cast_unsigned().into();
    sys::personality(persona).named("fix the memory layout", || "personality(ADDR_NO_RANDOMIZE)".into())
}

/// Gives up all capabilities, and the means to get any back.
pub fn drop_privileges() -> Result<(), SandboxError> {
    sys::clear_ambient_capabilities()
        .named("drop capabilities", || "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)".into())?;
    for capability in 0.. {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(_) => {}
            Err(Errno::EINVAL) if capability > 0 => break,
            Err(errno) => {
                return Err(errno).named("drop capabilities", || format!("prctl(PR_CAPBSET_DROP, {capability})"));
            }
        }
    }
    sys::clear_capabilities().named("drop capabilities", || "capset(0, 0, 0)".into())?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
        .named("renounce new privileges", || "prctl(PR_SET_NO_NEW_PRIVS)".into())
        .map(drop)
}
