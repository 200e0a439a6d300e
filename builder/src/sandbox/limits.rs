//! What a process inherits and a build should find the same everywhere: umask, resource limits, personality; and the
//! capabilities, all of which go.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::SandboxError;
use super::error::Named;
use super::sys;

/// Soft limits of a build, so far as the hard limits of the caller allow.
const SOFT_LIMITS: [(Resource, &str, u64); 3] = [
    (Resource::RLIMIT_CORE, "RLIMIT_CORE", 0),
    (Resource::RLIMIT_STACK, "RLIMIT_STACK", 8 << 20),
    (Resource::RLIMIT_NOFILE, "RLIMIT_NOFILE", 4096),
];

/// Lets this process open as many files as its hard limit allows; one is needed for each layer and bind.
pub fn raise_open_files() -> Result<(), SandboxError> {
    let set = || -> Result<(), Errno> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    };
    set().named("raise the limit on open files", || "setrlimit(RLIMIT_NOFILE)".into())
}

/// Fixes umask, resource limits and personality.
pub fn fix_surroundings() -> Result<(), SandboxError> {
    umask(Mode::from_bits_truncate(0o022));
    for (resource, name, soft) in SOFT_LIMITS {
        getrlimit(resource)
            .and_then(|(_, hard)| {
                let hard = if soft == 0 { 0 } else { hard };
                setrlimit(resource, soft.min(hard), hard)
            })
            .named("set a resource limit", || format!("setrlimit({name}, {soft})"))?;
    }
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
