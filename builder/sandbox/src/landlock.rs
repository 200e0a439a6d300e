//! Landlock: a second layer of defence, behind the mounts, in case one of those has a hole.
//!
//! Reading and executing is allowed everywhere in the root, writing only where a build may write.
//! Abstract sockets and signals of processes outside are out of reach. TCP is left alone: the
//! network namespace holds nothing but the build's own loopback device, and test suites talk to
//! themselves over it.

use super::error::Named;
use super::{SandboxError, sys};
use crate::request::{Request, SandboxMode};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, RestrictSelfAttr, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::errno::Errno;
use std::path::Path;

/// The newest level whose rights are asked for; older kernels give what they have.
const NEWEST: ABI = ABI::V9;
/// Directories in which every build may write.
const WRITABLE: [&str; 3] = ["/build", "/tmp", "/dev/shm"];
/// The directory in which devices may be opened for writing, and the job server's FIFO: nothing can
/// be made in it.
const DEVICES: &str = "/dev";

/// Restricts the calling process and all it starts, for good; returns the level in force.
pub fn restrict(request: &Request, skipped: &mut Vec<String>) -> Result<Option<i32>, SandboxError> {
    const DOING: &str = "restrict the build with Landlock";
    let level = match sys::landlock_abi() {
        Ok(level) => level,
        Err(_) if request.mode == SandboxMode::Relaxed => {
            skipped.push("landlock".into());
            return Ok(None);
        }
        Err(errno) => {
            return Err(errno).named_with_help(
                DOING,
                || "landlock_create_ruleset(LANDLOCK_CREATE_RULESET_VERSION)".into(),
                |_| Some("the kernel needs CONFIG_SECURITY_LANDLOCK and `landlock` in its `lsm=` parameter (5.13 or newer); relaxed mode does without".into()),
            );
        }
    };
    let status = apply(request).map_err(|error| SandboxError::Call {
        doing: DOING.into(),
        call: format!("landlock_restrict_self: {error}"),
        errno: Errno::last_raw(),
        help: None,
    })?;
    match status {
        RulesetStatus::NotEnforced => Err(Errno::ENOTSUP).named(DOING, || "landlock_restrict_self".into()),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(Some(level)),
    }
}

fn apply(request: &Request) -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    let look: BitFlags<AccessFs> = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    let write = AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);

    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rule(beneath(Path::new("/"), look)?)?;
    let binds = request.binds.iter().filter(|bind| bind.writable).map(|bind| bind.inside.as_path());
    for path in WRITABLE.iter().map(Path::new).chain([request.outputs.inside()]).chain(binds) {
        rules = rules.add_rule(beneath(path, write)?)?;
    }
    rules = rules.add_rule(beneath(Path::new(DEVICES), device)?)?;
    // Refusals of a build do not belong into the machine's audit log.
    let restricted = rules.log_same_exec(false)?.log_new_exec(false)?.log_subdomains(false)?.restrict_self()?;
    Ok(restricted.ruleset)
}

fn beneath(path: &Path, access: BitFlags<AccessFs>) -> Result<PathBeneath<PathFd>, Box<dyn std::error::Error>> {
    let fd = PathFd::new(path)?;
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    Ok(PathBeneath::new(fd, access))
}
