//! Namespaces and identity: two user namespaces deep, with the network down to a loopback device.
//!
//! The first user namespace owns all others, and in it the sandbox's own processes are root, which
//! mounting a `devpts` requires. The spawner is in it, so the builds that it starts share it; no
//! process of a build is ever in it. The second, entered when everything is mounted, maps the same
//! user to 1000 and owns nothing: capabilities that a process might get there cover no mount and no
//! device. In both the map has one entry, the user who runs the build, so that no setuid program
//! could lead to another user, and no privilege is needed to set it up.

use super::error::Named;
use super::{SandboxError, sys};
use crate::request::SandboxMode;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode as Permissions;
use nix::unistd::{getegid, geteuid, sethostname};
use std::fs;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The user and the group as which a build runs.
const BUILD_ID: u32 = 1000;
const TIME_NAMESPACE: &str = "time namespace";
const MAKING: &str = "make the namespaces of the sandbox";
const MAKING_INNER: &str = "make the user namespace of the build";

/// The namespaces that each build gets of its own when its init is started; the network and the
/// clocks are those of the spawner's moment ([`enter_network`], [`enter_clocks`]).
const OWN: CloneFlags = CloneFlags::CLONE_NEWPID
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Enters the first user namespace, and a mount namespace in which it may mount.
pub fn enter_outer() -> Result<(), SandboxError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).named_with_help(
        MAKING,
        || "unshare(NEWUSER|NEWNS)".into(),
        |errno| Some(user_namespace_help(errno)),
    )?;
    for (file, text) in
        [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))]
    {
        let path = format!("/proc/self/{file}");
        fs::write(&path, &text).named_with_help(
            "map the user into the sandbox",
            || format!("write({path}, `{text}`)"),
            |errno| Some(user_namespace_help(errno)),
        )?;
    }
    Ok(())
}

/// Starts a process in namespaces of its own; `None` in that process. It stays in the spawner's
/// mount namespace if it is to enter another by itself.
pub fn start_init(own_mounts: bool) -> Result<Option<OwnedFd>, SandboxError> {
    let mounts = if own_mounts { CloneFlags::CLONE_NEWNS } else { CloneFlags::empty() };
    sys::fork_into(OWN | mounts).named_with_help(
        MAKING,
        || "clone(NEWNS|NEWPID|NEWIPC|NEWUTS|NEWCGROUP)".into(),
        |errno| Some(user_namespace_help(errno)),
    )
}

/// Makes new clocks for the next process that is started. `offsets` is this process's
/// `timens_offsets`.
pub fn enter_clocks(
    offsets: Option<&fs::File>,
    mode: SandboxMode,
    skipped: &mut Vec<String>,
) -> Result<(), SandboxError> {
    match (unshare(CloneFlags::from_bits_retain(sys::CLONE_NEWTIME)), offsets) {
        (Ok(()), Some(offsets)) => start_clocks(offsets),
        (Ok(()) | Err(_), _) if mode == SandboxMode::Relaxed => {
            skipped.push(TIME_NAMESPACE.into());
            Ok(())
        }
        (made, _) => made.and(Err(Errno::ENOENT)).named_with_help(
            "make a time namespace",
            || "unshare(NEWTIME)".into(),
            |_| Some("the kernel needs CONFIG_TIME_NS; relaxed mode does without".into()),
        ),
    }
}

/// Enters a network namespace with nothing but a loopback device, which is up.
pub fn enter_network() -> Result<(), SandboxError> {
    unshare(CloneFlags::CLONE_NEWNET).named_with_help(
        MAKING,
        || "unshare(NEWNET)".into(),
        |errno| Some(user_namespace_help(errno)),
    )?;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .named("bring up the loopback device", || "socket(AF_INET)".into())?;
    sys::set_device_up(socket.as_fd(), "lo")
        .named("bring up the loopback device", || "ioctl(SIOCSIFFLAGS, `lo`, IFF_UP)".into())
}

/// Sets the hostname and the domain name.
pub fn set_hostname() -> Result<(), SandboxError> {
    sethostname("localhost").named("set the hostname", || "sethostname(`localhost`)".into())?;
    sys::set_domain_name("(none)").named("set the domain name", || "setdomainname(`(none)`)".into())
}

/// Opens the file that sets the clocks of the time namespace that this process has made last;
/// `None` when the kernel has none.
pub fn open_clock_offsets() -> Option<fs::File> {
    fs::File::options().write(true).open("/proc/self/timens_offsets").ok()
}

/// Lets the clocks that count from boot start at about zero.
fn start_clocks(mut offsets: &fs::File) -> Result<(), SandboxError> {
    let mut text = String::with_capacity(64);
    for (name, clock) in [("monotonic", libc::CLOCK_MONOTONIC), ("boottime", libc::CLOCK_BOOTTIME)] {
        let now = sys::clock_seconds(clock).named("read a clock", || format!("clock_gettime({name})"))?;
        text.push_str(&format!("{name} -{now} 0\n"));
    }
    offsets
        .rewind()
        .and_then(|()| offsets.write_all(text.as_bytes()))
        .named("set the clocks of the sandbox", || format!("write(timens_offsets, {text:?})"))
}

/// Returns the next step on a machine that refuses user namespaces.
pub fn user_namespace_help(errno: Errno) -> String {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_owned());
    let mut advice = Vec::new();
    if setting("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        advice.push("run `sysctl -w kernel.unprivileged_userns_clone=1` as root".to_owned());
    }
    if setting("user/max_user_namespaces").as_deref() == Some("0") {
        advice.push("run `sysctl -w user.max_user_namespaces=10000` as root".to_owned());
    }
    if setting("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        advice.push("run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root, or install an AppArmor profile for this program that has `userns,`".to_owned());
    }
    if !advice.is_empty() {
        return advice.join("; ");
    }
    match errno {
        Errno::ENOSPC | Errno::EUSERS => {
            "the limit on namespaces is reached: raise `user.max_user_namespaces` and its siblings under `user.` with sysctl, or end other sandboxes".into()
        }
        Errno::EINVAL => "the kernel lacks a kind of namespace: it needs CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_IPC_NS, CONFIG_UTS_NS and CONFIG_CGROUPS".into(),
        _ => "something forbids user namespaces here, as a container's seccomp profile or a chroot does: allow `unshare` there (for docker: `--security-opt seccomp=unconfined`), or run outside of it".into(),
    }
}

/// Makes the second user namespace, in which there is but the user and the group 1000. For a
/// process of one thread.
pub fn make_inner() -> Result<OwnedFd, SandboxError> {
    let mut made = None;
    // A process that makes a user namespace is in it from then on, so another process does it. The
    // descriptor stays.
    let helper = sys::fork_until_exec(CloneFlags::CLONE_FILES, &mut || {
        made = Some(map_inner());
        sys::exit_now(0)
    });
    helper.named(MAKING_INNER, || "clone(CLONE_VM|CLONE_VFORK|CLONE_FILES)".into())?;
    sys::wait_any().named(MAKING_INNER, || "wait4".into())?;
    made.unwrap_or(Err(Errno::ECHILD).named(MAKING_INNER, || "wait4".into()))
}

fn map_inner() -> Result<OwnedFd, SandboxError> {
    unshare(CloneFlags::CLONE_NEWUSER).named_with_help(
        MAKING_INNER,
        || "unshare(NEWUSER)".into(),
        |errno| Some(user_namespace_help(errno)),
    )?;
    let map = format!("{BUILD_ID} 0 1");
    for (file, text) in [("setgroups", "deny"), ("uid_map", map.as_str()), ("gid_map", map.as_str())] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).named("map the user to the build user", || format!("write({path}, `{text}`)"))?;
    }
    const OWN: &str = "/proc/self/ns/user";
    open(OWN, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Permissions::empty()).named(MAKING_INNER, || format!("open({OWN})"))
}

/// Enters the second user namespace, as user and group 1000.
pub fn enter_inner(inner: BorrowedFd) -> Result<(), SandboxError> {
    setns(inner, CloneFlags::CLONE_NEWUSER).named("enter the user namespace of the build", || "setns(NEWUSER)".into())
}
