//! What a build sees beside its root: store paths and sources, with inodes of its own.
//!
//! The inodes of the store are the same for the host and for all builds, and what a process attaches to an inode concerns everybody who
//! opens it: a lease makes others wait, a lock can be felt, a watch tells who reads. A file system that lies over another has
//! inodes of its own, so inputs are shown through a read-only overlay that is made for one build: one for all that lie in
//! the store ([`Request::store`]), one each for others. Of an overlay each input is a mount by itself, so that its neighbours cannot be named.
//!
//! An overlay wants two layers. The second is empty.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::SandboxError;
use super::error::Named;
use super::mounts::{EMPTY, PLAIN, attach, host_tree, open_layer};
use super::sys::{self, attr};
use crate::request::{Bind, Mode, Request};

const DOING: &str = "give the inputs inodes of the build's own";
/// Where overlays are attached for a moment, in the new root: a mount point that is there and not yet used.
const STAGING: &str = "/build";

/// How a bind is made.
pub enum Source {
    /// A symbolic link is not followed but made again.
    Link(PathBuf),
    File,
    Directory,
}

/// What kind of thing each bind shows, those above before those below.
pub fn sources(request: &Request) -> Result<Vec<(&Bind, Source)>, SandboxError> {
    let mut binds: Vec<(&Bind, Source)> =
        request.binds.iter().map(|bind| Ok((bind, source(bind)?))).collect::<Result<_, SandboxError>>()?;
    binds.sort_by(|(a, _), (b, _)| a.inside.cmp(&b.inside));
    Ok(binds)
}

fn source(bind: &Bind) -> Result<Source, SandboxError> {
    let doing = || format!("take `{}` into the sandbox", bind.host.display());
    let kind =
        fs::symlink_metadata(&bind.host).named(&doing(), || format!("lstat({})", bind.host.display()))?.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(&bind.host).named(&doing(), || format!("readlink({})", bind.host.display()))?;
        return Ok(Source::Link(target));
    }
    if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
        return Err(SandboxError::Request {
            reason: format!("`{}` is neither file, directory nor symbolic link", bind.host.display()),
        });
    }
    Ok(if kind.is_dir() { Source::Directory } else { Source::File })
}

/// A directory of the host, attached nowhere, and what of it is shown.
struct View<'a> {
    host: &'a Path,
    mount: OwnedFd,
    /// Numbers of binds, each with its path below the directory.
    shown: Vec<(usize, &'a Path)>,
}

/// What is shown of the host, taken before the root changes.
pub struct Views<'a> {
    views: Vec<View<'a>>,
    /// For each bind what is mounted as it is.
    mounts: Vec<Option<OwnedFd>>,
}

impl<'a> Views<'a> {
    /// Takes all that is mounted of `binds`. Where there are no overlays, inputs are shown as they are, if the mode allows that.
    pub fn take(
        request: &'a Request,
        binds: &[(&'a Bind, Source)],
        skipped: &mut Vec<String>,
    ) -> Result<Views<'a>, SandboxError> {
        let mut taken = Views { views: Vec::new(), mounts: Vec::with_capacity(binds.len()) };
        let mut refused = false;
        for (number, (bind, source)) in binds.iter().enumerate() {
            let direct = match source {
                Source::Link(_) => None,
                _ if bind.writable => Some(host_tree(&bind.host, PLAIN)?),
                _ => match taken.show(number, view_of(request, bind, source)) {
                    Err(_) if request.mode == Mode::Relaxed => {
                        refused = true;
                        Some(host_tree(&bind.host, PLAIN | attr::RDONLY)?)
                    }
                    shown => shown.map(|()| None)?,
                },
            };
            taken.mounts.push(direct);
        }
        if refused {
            skipped.push("inodes of the build's own for inputs".into());
        }
        Ok(taken)
    }

    fn show(&mut self, number: usize, (host, below): (&'a Path, &'a Path)) -> Result<(), SandboxError> {
        match self.views.iter_mut().find(|view| view.host == host) {
            Some(view) => view.shown.push((number, below)),
            None => self.views.push(View { host, mount: overlay(host)?, shown: vec![(number, below)] }),
        }
        Ok(())
    }

    /// Returns a mount for each bind but links, to be attached at its place. For a process in the new root, in which
    /// nothing is attached at `/build` yet.
    pub fn into_mounts(self) -> Result<Vec<Option<OwnedFd>>, SandboxError> {
        let mut mounts = self.mounts;
        for View { host, mount, shown } in self.views {
            if let [(number, below)] = shown.as_slice()
                && below.as_os_str().is_empty()
            {
                mounts[*number] = Some(mount);
                continue;
            }
            // Older kernels clone nothing that is attached nowhere.
            attach(mount.as_fd(), STAGING)?;
            for (number, below) in shown {
                let path = Path::new(STAGING).join(below);
                let input = sys::clone_tree(path.as_os_str(), false)
                    .named(DOING, || format!("open_tree({}, OPEN_TREE_CLONE)", host.join(below).display()))?;
                mounts[number] = Some(input);
            }
            umount2(STAGING, MntFlags::MNT_DETACH).named(DOING, || format!("umount2({STAGING}, MNT_DETACH)"))?;
        }
        Ok(mounts)
    }
}

/// The directory of which a bind is shown, and the bind's path below that.
fn view_of<'a>(request: &'a Request, bind: &'a Bind, source: &Source) -> (&'a Path, &'a Path) {
    let path = bind.host.as_path();
    let own = if matches!(source, Source::Directory) { path } else { path.parent().unwrap_or(path) };
    let host = request.store.as_deref().filter(|store| path.starts_with(store)).unwrap_or(own);
    (host, path.strip_prefix(host).unwrap_or(Path::new("")))
}

/// A read-only overlay of a directory of the host, attached nowhere.
fn overlay(host: &Path) -> Result<OwnedFd, SandboxError> {
    let layers = [open_layer(host)?, open_layer(Path::new(EMPTY))?];
    let fs = sys::fsopen("overlay").remedied(DOING, || "fsopen(overlay)".into(), super::unite::no_overlay)?;
    let named = layers.each_ref().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd())).join(":");
    for (key, value) in [("lowerdir", named.as_str()), ("xino", "on")] {
        sys::fsconfig_string(fs.as_fd(), key, value).named(DOING, || {
            format!("fsconfig(overlay, {key} of {}): {}", host.display(), sys::fs_messages(fs.as_fd()))
        })?;
    }
    sys::fsconfig_create(fs.as_fd()).remedied(
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
