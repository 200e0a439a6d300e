//! The inputs that a build sees beside its root, store paths and sources, with inodes of its own.
//!
//! The inodes of the store are the same for the host and for all builds, and a process that
//! attaches something to an inode affects all that open it: a lease makes others wait, a lock is a
//! covert channel, a watch shows who reads. A file system over another has inodes of its own, so
//! inputs are shown through a read-only overlay that no other build has at the same time: one for
//! all in the store ([`View`]), one each for others. Of an overlay each input is a mount by itself,
//! so that its neighbours cannot be named.
//!
//! An overlay requires two layers. The second is empty.

use super::SandboxError;
use super::error::Named;
use super::mounts::{EMPTY, PLAIN, PREPARED_VIEW, STAGING, attach, host_tree, open_layer};
use super::sys::{self, attr};
use crate::request::{Bind, Request, SandboxMode};
use nix::mount::{MntFlags, umount2};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DOING: &str = "give the inputs inodes of the build's own";

/// The kind of object that a bind shows.
pub enum BindKind {
    /// A symbolic link is not followed but made again.
    Link(PathBuf),
    File,
    Directory,
}

/// Returns the binds with the kinds of their sources, those above before those below.
pub fn sources(request: &Request) -> Result<Vec<(&Bind, BindKind)>, SandboxError> {
    let mut binds: Vec<(&Bind, BindKind)> =
        request.binds.iter().map(|bind| Ok((bind, source(bind)?))).collect::<Result<_, SandboxError>>()?;
    binds.sort_by(|(a, _), (b, _)| a.inside.cmp(&b.inside));
    Ok(binds)
}

fn source(bind: &Bind) -> Result<BindKind, SandboxError> {
    let doing = || format!("take `{}` into the sandbox", bind.host.display());
    let kind =
        fs::symlink_metadata(&bind.host).named(&doing(), || format!("lstat({})", bind.host.display()))?.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(&bind.host).named(&doing(), || format!("readlink({})", bind.host.display()))?;
        return Ok(BindKind::Link(target));
    }
    if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
        return Err(SandboxError::Request {
            reason: format!("`{}` is neither file, directory nor symbolic link", bind.host.display()),
        });
    }
    Ok(if kind.is_dir() { BindKind::Directory } else { BindKind::File })
}

/// The overlay over the store, attached in the spawner's mount namespace, in which no build runs.
/// Builds get clones of its parts.
///
/// It serves successive builds, as to make one takes a tenth of a trivial build: nothing of a build
/// stays in it, as locks and watches end with their process and calls with lasting effects are
/// refused (`filter`).
pub struct View {
    store: PathBuf,
    /// Device and inode of the store.
    of: (u64, u64),
    /// The paths that builds have seen of it.
    seen: BTreeMap<PathBuf, Identity>,
    made: Instant,
}

impl View {
    /// The longest use of one: an input that is damaged, and repaired in place, may stay damaged in
    /// it as long.
    const AGE_MAX: Duration = Duration::from_secs(1);

    /// Returns a view for `request`, if that needs one. `None` where there can be none, and the
    /// mode allows that.
    ///
    /// # Errors
    /// When the kernel refuses it in strict mode.
    pub fn renew(kept: Option<View>, request: &Request) -> Result<Option<View>, SandboxError> {
        let Some(store) = request.store.as_ref().filter(|store| shown(request, store).next().is_some()) else {
            return Ok(kept);
        };
        let found = fs::metadata(store).named(DOING, || format!("stat({})", store.display()))?;
        // Its times change with each path that is added.
        let of = (found.dev(), found.ino());
        let now = identities(request, store)?;
        if let Some(mut kept) = kept {
            let same = |(path, inode)| kept.seen.get(path).is_none_or(|seen| seen == inode);
            if kept.store == *store && kept.of == of && kept.made.elapsed() < View::AGE_MAX && now.iter().all(same) {
                kept.seen.extend(now);
                return Ok(Some(kept));
            }
            umount2(PREPARED_VIEW, MntFlags::MNT_DETACH)
                .named(DOING, || format!("umount2({PREPARED_VIEW}, MNT_DETACH)"))?;
        }
        match overlay(store).and_then(|mount| attach(mount.as_fd(), PREPARED_VIEW)) {
            Ok(()) => Ok(Some(View { store: store.clone(), of, seen: now, made: Instant::now() })),
            Err(_) if request.mode == SandboxMode::Relaxed => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The identity of a file, which a replacement with its name, and perhaps its inode, does not have:
/// the inode's last change is part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    pub fn of(found: &fs::Metadata) -> Identity {
        Identity { device: found.dev(), inode: found.ino(), changed: (found.ctime(), found.ctime_nsec()) }
    }
}

fn shown<'a>(request: &'a Request, store: &'a Path) -> impl Iterator<Item = &'a Path> {
    request
        .binds
        .iter()
        .filter(|bind| !bind.writable)
        .map(|bind| bind.host.as_path())
        .filter(move |host| host.starts_with(store))
}

/// Returns the paths of the store that `request` shows, with their identities now.
fn identities(request: &Request, store: &Path) -> Result<BTreeMap<PathBuf, Identity>, SandboxError> {
    let of = |path: &Path| {
        let found = fs::symlink_metadata(path).named(DOING, || format!("lstat({})", path.display()))?;
        Ok((path.to_owned(), Identity::of(&found)))
    };
    shown(request, store).map(of).collect()
}

/// Returns a mount for each of `binds` but links, attached nowhere. For a process that sees the
/// host's files. Where there are no overlays, inputs are shown as they are, if the mode allows
/// that.
pub fn take(
    request: &Request,
    binds: &[(&Bind, BindKind)],
    view: Option<&View>,
    skipped: &mut Vec<String>,
) -> Result<Vec<Option<OwnedFd>>, SandboxError> {
    let mut refused = false;
    let mounts = binds.iter().map(|(bind, source)| match source {
        BindKind::Link(_) => Ok(None),
        _ if bind.writable => host_tree(&bind.host, PLAIN).map(Some),
        _ => match show(&bind.host, source, view) {
            Err(_) if request.mode == SandboxMode::Relaxed => {
                refused = true;
                host_tree(&bind.host, PLAIN | attr::RDONLY).map(Some)
            }
            shown => shown.map(Some),
        },
    });
    let mounts = mounts.collect::<Result<_, _>>()?;
    if refused {
        skipped.push("inodes of the build's own for inputs".into());
    }
    Ok(mounts)
}

/// Returns the object at a path of the host, out of the view if it is in there, or else out of an
/// overlay of its own.
fn show(host: &Path, source: &BindKind, view: Option<&View>) -> Result<OwnedFd, SandboxError> {
    if let Some(below) = view.and_then(|view| host.strip_prefix(&view.store).ok()) {
        return clone(&Path::new(PREPARED_VIEW).join(below), host);
    }
    let BindKind::File = source else { return overlay(host) };
    // Older kernels clone nothing that is attached nowhere.
    let (Some(parent), Some(name)) = (host.parent(), host.file_name()) else { return overlay(host) };
    attach(overlay(parent)?.as_fd(), STAGING)?;
    let shown = clone(&Path::new(STAGING).join(name), host);
    umount2(STAGING, MntFlags::MNT_DETACH).named(DOING, || format!("umount2({STAGING}, MNT_DETACH)"))?;
    shown
}

fn clone(path: &Path, host: &Path) -> Result<OwnedFd, SandboxError> {
    sys::clone_tree(path.as_os_str(), false)
        .named(DOING, || format!("open_tree({} in an overlay, OPEN_TREE_CLONE)", host.display()))
}

/// Returns a read-only overlay of a directory of the host, attached nowhere.
fn overlay(host: &Path) -> Result<OwnedFd, SandboxError> {
    let layers = [open_layer(host)?, open_layer(Path::new(EMPTY))?];
    let fs =
        sys::fsopen("overlay").named_with_help(DOING, || "fsopen(overlay)".into(), super::unite::no_overlay_help)?;
    let named = layers.each_ref().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd())).join(":");
    for (key, value) in [("lowerdir", named.as_str()), ("xino", "on")] {
        sys::fsconfig_string(fs.as_fd(), key, value).named(DOING, || {
            format!("fsconfig(overlay, {key} of {}): {}", host.display(), sys::fs_messages(fs.as_fd()))
        })?;
    }
    sys::fsconfig_create(fs.as_fd()).named_with_help(
        DOING,
        || format!("fsconfig(overlay of {}, CMD_CREATE): {}", host.display(), sys::fs_messages(fs.as_fd())),
        |_| {
            Some(format!(
                "overlayfs must take `{}` as a layer, which it does on ext4, xfs, btrfs and tmpfs: set EVAL_ROOT to a directory of such a file system; `--sandbox=relaxed` does without",
                host.display()
            ))
        },
    )?;
    sys::fsmount(fs.as_fd(), PLAIN | attr::RDONLY).named(DOING, || "fsmount(overlay)".into())
}
