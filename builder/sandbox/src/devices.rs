//! `/dev` of builds.
//!
//! The owner of an inode changes its mode and its times, and any user may set the times of a file
//! that can be written. Device nodes can be written by all, and where root builds they belong to
//! the build's user. So no build sees a host node on a writable mount:
//!
//! - Where this process may make device nodes, which takes root outside of any user namespace,
//!   builds have nodes of their own: nothing that a build does to one reaches the host or a build
//!   of another spawner, locks and watches included.
//! - An ordinary user cannot have any, as the kernel opens no device on a file system of a user
//!   namespace. Builds see the host's inodes then, read-only: that keeps their metadata as they are
//!   and lets devices be written to all the same.

use super::SandboxError;
use super::error::Named;
use super::mounts::{PLAIN, attach, fresh, host_tree, read_only};
use super::sys::{self, attr};
use crate::request::Jobserver;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, fchmodat, makedev, mknodat};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

/// The directory of the `/dev` that the spawner prepares, below [`super::mounts::PREPARED`].
pub const PREPARED_DEV: &str = "/sys/dev";
/// The directory of nodes of our own until the prepared directories are there. Nothing of the
/// host's is needed there.
const OWN_NODES: &str = "/sys";
/// The device nodes that every build sees: name, major and minor number.
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const READ_ONLY: u64 = attr::NOSUID | attr::RDONLY;

/// Makes device nodes of our own, for [`take_nodes`], where that can be done: before the process
/// enters a user namespace, as what is mounted there opens no devices.
///
/// # Errors
/// The kernel's refusal: nodes are the host's then.
pub fn make_own_nodes() -> Result<(), Errno> {
    let everywhere = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(everywhere, "/", everywhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, everywhere)?;
    let fs = sys::fsopen("tmpfs")?;
    sys::fsconfig_string(fs.as_fd(), "mode", "0755")?;
    sys::fsconfig_create(fs.as_fd())?;
    let nodes = sys::fsmount(fs.as_fd(), attr::NOSUID)?;
    let mode = Mode::from_bits_truncate(0o666);
    for (name, major, minor) in DEVICES {
        mknodat(&nodes, name, SFlag::S_IFCHR, mode, makedev(major, minor))?;
        // `fchmodat` ignores the umask, which `mknodat` applied.
        fchmodat(&nodes, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)?;
        // A container may let nodes be made and not opened.
        let path = format!("/proc/self/fd/{}/{name}", nodes.as_raw_fd());
        if name != "tty" {
            fs::File::open(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        }
    }
    sys::set_mount_attributes(nodes.as_fd(), attr::RDONLY)?;
    sys::move_mount(nodes.as_fd(), OWN_NODES.as_ref())
}

/// Returns the device nodes for builds, as mounts that are attached nowhere: ours, if they were
/// made, or the host's.
pub fn take_nodes(own: bool) -> Result<Vec<OwnedFd>, SandboxError> {
    let directory = Path::new(if own { OWN_NODES } else { "/dev" });
    DEVICES.iter().map(|(name, ..)| host_tree(&directory.join(name), READ_ONLY)).collect()
}

/// Prepares the `/dev` of builds, over an earlier one.
pub fn populate_dev(nodes: &[OwnedFd], jobserver: Option<&Path>) -> Result<(), SandboxError> {
    let doing = "populate /dev";
    // A FIFO can be written to where its metadata cannot.
    let fifo = jobserver.map(|fifo| host_tree(fifo, PLAIN | attr::NOEXEC | attr::RDONLY)).transpose()?;
    let mount = fresh("tmpfs", &[("mode", "0755")], PLAIN)?;
    attach(mount.as_fd(), PREPARED_DEV)?;
    let dev = Path::new(PREPARED_DEV);
    let named = DEVICES.iter().map(|(name, ..)| *name).zip(nodes);
    for (name, node) in named.chain(fifo.as_ref().map(|fifo| (Jobserver::NAME, fifo))) {
        let path = dev.join(name);
        fs::write(&path, "").named(doing, || format!("open({}, O_CREAT)", path.display()))?;
        attach(node.as_fd(), &path)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name)).named(doing, || format!("symlink({target}, /dev/{name})"))?;
    }
    for directory in ["pts", "shm"] {
        fs::create_dir(dev.join(directory)).named(doing, || format!("mkdir(/dev/{directory})"))?;
    }
    read_only(mount.as_fd(), "/dev")
}

/// Does the same as [`populate_dev`], for one build, with the FIFO of its job server.
pub fn populate_dev_with(jobserver: &Path) -> Result<(), SandboxError> {
    let prepared = Path::new(PREPARED_DEV);
    let nodes: Vec<OwnedFd> =
        DEVICES.iter().map(|(name, ..)| host_tree(&prepared.join(name), READ_ONLY)).collect::<Result<_, _>>()?;
    populate_dev(&nodes, Some(jobserver))
}

/// Returns a copy of the prepared `/dev`, attached nowhere.
pub fn clone_dev() -> Result<OwnedFd, SandboxError> {
    sys::clone_tree(PREPARED_DEV.as_ref(), true)
        .named("populate /dev", || format!("open_tree({PREPARED_DEV}, OPEN_TREE_CLONE|AT_RECURSIVE)"))
}
