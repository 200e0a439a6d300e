//! The union of trees, by overlayfs.

use super::SandboxError;
use super::error::Named;
use super::mounts::{PLAIN, attach};
use super::sys::{self, attr};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::chdir;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// The purpose of the calls here, in messages.
pub const UNITING: &str = "unite the trees of the root";

/// An open directory, and its name in messages.
pub type Layer<'a> = (&'a OwnedFd, &'a Path);

/// Attaches the read-only union of the layers, topmost first, at a directory.
///
/// # Errors
/// The kernel's refusals. It takes a layer an option from Linux 6.8 on. Before, there is no such
/// option: 6.5 to 6.7 say so when it is set; older ones when the union is made, or when all the
/// options are longer than a page.
pub fn at(place: &str, layers: &[Layer]) -> Result<OwnedFd, SandboxError> {
    match layer_by_layer(place, layers) {
        Err(refused @ SandboxError::Call { errno, .. }) if errno == Errno::EINVAL as i32 => {
            // If the kernel knows the option, its first answer says more.
            in_one_string(place, layers).map_err(|_| refused)
        }
        made => made,
    }
}

fn layer_by_layer(place: &str, layers: &[Layer]) -> Result<OwnedFd, SandboxError> {
    let root = detached(layers)?;
    attach(root.as_fd(), place)?;
    Ok(root)
}

/// Returns the read-only union of the layers, topmost first, attached nowhere.
///
/// # Errors
/// The kernel's refusals; older kernels than 6.8 may refuse the option for layers.
pub fn detached(layers: &[Layer]) -> Result<OwnedFd, SandboxError> {
    let fs = sys::fsopen("overlay").named_with_help(UNITING, || "fsopen(overlay)".into(), no_overlay_help)?;
    for (layer, path) in layers {
        sys::fsconfig_string(fs.as_fd(), "lowerdir+", &format!("/proc/self/fd/{}", layer.as_raw_fd()))
            .named(UNITING, || {
                format!("fsconfig(overlay, lowerdir+={}): {}", path.display(), sys::fs_messages(fs.as_fd()))
            })?;
    }
    sys::fsconfig_string(fs.as_fd(), "xino", "on")
        .named(UNITING, || format!("fsconfig(overlay, xino=on): {}", sys::fs_messages(fs.as_fd())))?;
    sys::fsconfig_create(fs.as_fd()).named_with_help(
        UNITING,
        || format!("fsconfig(overlay, CMD_CREATE): {}", sys::fs_messages(fs.as_fd())),
        overlay_help,
    )?;
    sys::fsmount(fs.as_fd(), PLAIN | attr::RDONLY).named(UNITING, || "fsmount(overlay)".into())
}

/// The same through `mount(2)`, whose options must fit a page: the layers are named by their
/// descriptors' numbers, relative to the directory that lists those, which takes some two thousand
/// bytes for as many as are allowed.
fn in_one_string(place: &str, layers: &[Layer]) -> Result<OwnedFd, SandboxError> {
    const DESCRIPTORS: &str = "/proc/self/fd";
    chdir(DESCRIPTORS).named(UNITING, || format!("chdir({DESCRIPTORS})"))?;
    let numbers: Vec<String> = layers.iter().map(|(layer, _)| layer.as_raw_fd().to_string()).collect();
    let options = format!("xino=on,lowerdir={}", numbers.join(":"));
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), place, Some("overlay"), flags, Some(options.as_str())).named_with_help(
        UNITING,
        || {
            let paths: Vec<String> = layers.iter().map(|(_, path)| path.display().to_string()).collect();
            format!("mount(overlay, lowerdir={})", paths.join(":"))
        },
        overlay_help,
    )?;
    open(place, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .named(UNITING, || format!("open({place})"))
}

/// Returns the next step where there are no overlays.
pub fn no_overlay_help(errno: Errno) -> Option<String> {
    (errno == Errno::ENODEV).then(|| "the kernel needs CONFIG_OVERLAY_FS: run `modprobe overlay` as root".into())
}

fn overlay_help(errno: Errno) -> Option<String> {
    (errno == Errno::EPERM).then(|| "the kernel must be 5.11 or newer to unite trees without root".into())
}
