//! State that a process inherits and a build should find the same everywhere: umask, resource
//! limits, huge pages, personality; and the capabilities, all of which are dropped.
//!
//! Memory and processes are limited here where no control group does it (`cgroup`).

use super::error::Named;
use super::{SandboxError, sys};
use crate::request::Limits;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::write;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

/// The most that `pid_max` can be.
const PID_LIMIT: u64 = 4 << 20;

/// A limit that a build has, soft and hard.
type Limit = (Resource, &'static str, u64, u64);
const NONE: u64 = libc::RLIM_INFINITY;

/// The limits of every build, for every caller. Lower hard limits of the caller stay, where this
/// process may not raise them ([`raise_hard_limits`]). Most of those of the caller depend on the
/// memory of the machine, or on its parent.
///
/// One byte of a core is none, and keeps the kernel from starting the host's program for cores as
/// well, which 0 does not (see core(5)). Pending signals and messages in queues are also counted
/// for the user as a whole, on the host as well: a build may have a small part of a user's.
const LIMITS: [Limit; 14] = [
    (Resource::RLIMIT_AS, "RLIMIT_AS", NONE, NONE),
    (Resource::RLIMIT_CORE, "RLIMIT_CORE", 1, 1),
    (Resource::RLIMIT_CPU, "RLIMIT_CPU", NONE, NONE),
    (Resource::RLIMIT_FSIZE, "RLIMIT_FSIZE", NONE, NONE),
    (Resource::RLIMIT_LOCKS, "RLIMIT_LOCKS", NONE, NONE),
    (Resource::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", 8 << 20, 8 << 20),
    (Resource::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", 800 << 10, 800 << 10),
    (Resource::RLIMIT_NICE, "RLIMIT_NICE", 0, 0),
    (Resource::RLIMIT_NOFILE, "RLIMIT_NOFILE", 4096, 64 << 10),
    (Resource::RLIMIT_RSS, "RLIMIT_RSS", NONE, NONE),
    (Resource::RLIMIT_RTPRIO, "RLIMIT_RTPRIO", 0, 0),
    (Resource::RLIMIT_RTTIME, "RLIMIT_RTTIME", NONE, NONE),
    (Resource::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING", 4096, 4096),
    (Resource::RLIMIT_STACK, "RLIMIT_STACK", 8 << 20, NONE),
];

/// The limits of one build: its memory, where no control group limits that, and its processes. Of
/// these two more are the sandbox's own, so that a control group is the first to refuse one, and
/// says so.
fn own_limits(limits: &Limits) -> [Limit; 2] {
    let memory = limits.memory_max_bytes.unwrap_or(NONE);
    let processes = limits.processes_max.map_or(NONE, |max| max.saturating_add(2));
    [
        (Resource::RLIMIT_DATA, "RLIMIT_DATA", memory, memory),
        (Resource::RLIMIT_NPROC, "RLIMIT_NPROC", processes, processes),
    ]
}

/// Raises hard limits to what builds have, where this process may, which is before it enters a user
/// namespace; and those soft limits that the kernel takes for limits of the namespace.
pub fn raise_hard_limits() {
    let of_one = own_limits(&Limits::default());
    for (resource, _, _, wanted) in LIMITS.into_iter().chain(of_one) {
        let Ok((soft, hard)) = getrlimit(resource) else { continue };
        let counted =
            matches!(resource, Resource::RLIMIT_NPROC | Resource::RLIMIT_SIGPENDING | Resource::RLIMIT_MSGQUEUE);
        let soft = |hard: u64| if counted { hard } else { soft };
        // An ordinary user may not; the limit is the caller's then.
        let raised = hard < wanted && setrlimit(resource, soft(wanted), wanted).is_ok();
        if !raised && counted {
            let _ = setrlimit(resource, hard, hard);
        }
    }
}

/// Lets this process open as many files as its hard limit allows; one is needed for each layer and
/// bind.
pub fn raise_open_files() -> Result<(), SandboxError> {
    let set = || -> Result<(), Errno> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    };
    set().named("raise the limit on open files", || "setrlimit(RLIMIT_NOFILE)".into())
}

/// Resources that the kernel counts for a user in all, on the host and in every build, with the
/// share of the builds of one spawner at a time: files of `/proc/sys/user`. Without this, one build
/// could take all that its user has.
const SHARES: [(&str, u32); 4] = [
    ("max_inotify_instances", 16),
    ("max_inotify_watches", 8192),
    ("max_fanotify_groups", 0),
    ("max_fanotify_marks", 0),
];

/// Bounds the part of [`SHARES`] that builds may have, for a process that is root in its user
/// namespace. Where `/proc/sys` cannot be written to, as in many containers, they have the limits
/// of their user.
pub fn limit_user_counts() {
    for (name, max) in SHARES {
        let _ = fs::write(format!("/proc/sys/user/{name}"), max.to_string());
    }
}

/// The kernel's preference, of 1000, for killing a build's processes when the machine is out of
/// memory.
const OOM_SCORE: &str = "500";
/// Process ids below this are given out once and not again.
const RESERVED_PIDS: u64 = 300;

/// Makes the kernel prefer this process, and all it starts, when it kills for want of memory.
pub fn raise_oom_score() {
    // Raising the score is always allowed; a higher one that a parent has set stays.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

/// Lowers the priority as asked.
pub fn lower_priority(limits: &Limits) -> Result<(), SandboxError> {
    if limits.niceness == 0 {
        return Ok(());
    }
    sys::add_niceness(limits.niceness.min(19).into())
        .named("lower the priority of the build", || format!("setpriority({})", limits.niceness))
}

/// Limits how many processes there can be at a time by the numbers that there are for them, for a
/// build of the root user, whom `RLIMIT_NPROC` does not bind. The bound is coarse:
/// [`RESERVED_PIDS`] more may be had on the first round.
///
/// `proc` is a writable `/proc` of this process-id namespace that need not be attached anywhere.
/// Kernels before 6.14 have one limit for the whole machine and refuse; `doctor` says so.
pub fn limit_process_ids(proc: &OwnedFd, max: u64) {
    let text = max.saturating_add(RESERVED_PIDS).min(PID_LIMIT).to_string();
    let _ = openat(proc.as_fd(), "sys/kernel/pid_max", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|file| write(file, text.as_bytes()));
}

/// Fixes the umask.
pub fn fix_umask() {
    umask(Mode::from_bits_truncate(0o022));
}

/// Fixes umask, resource limits, huge pages and personality.
pub fn fix_surroundings(limits: &Limits) -> Result<(), SandboxError> {
    fix_umask();
    for (resource, name, soft, hard) in LIMITS.into_iter().chain(own_limits(limits)) {
        getrlimit(resource)
            .and_then(|(_, most)| setrlimit(resource, soft.min(most), hard.min(most)))
            .named("set a resource limit", || format!("setrlimit({name}, {soft}, {hard})"))?;
    }
    // `eval` wants no huge pages for itself, and a process that has switched them off hands that on
    // to all it starts.
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
