//! The file system of a build.
//!
//! ```text
//! /                  overlay, read-only: skeleton (tmpfs: mount points, /etc files) below the layers
//! ├── build          the build directory, writable
//! ├── dev            tmpfs, read-only: null zero full random urandom tty; pts (devpts), shm (tmpfs)
//! ├── eval/store     store paths; or the writable directory of the outputs with the store paths in it
//! ├── output         the outputs, writable, in a build that sees its inputs at `/`
//! ├── proc           this process-id namespace, read-only; empty files over some of the machine's
//! ├── source         sources by name
//! └── tmp            tmpfs
//! ```
//!
//! The parts that do not differ from build to build, the skeleton and the devices, are made once by
//! the spawner ([`prepare`]); builds have copies of the mounts, all of them read-only. The whole
//! root is one of them ([`Template`]) when a build wants the same as the one before.
//!
//! Everything of the host is opened before the root changes and attached after, so that no path of
//! the host is looked up inside and no symbolic link of a layer can lead out. Invariants: all
//! mounts are `nosuid`; all but the device nodes are `nodev`; the skeleton is at the bottom, so
//! that a layer's own `/etc/passwd` wins.

use super::base::Base;
use super::error::Named;
use super::inputs::{self, BindKind, Identity};
use super::sys::{self, attr};
use super::unite::{self, UNITING};
use super::{SandboxError, devices, limits};
use crate::memory;
use crate::request::{Bind, Limits, OutputPlace, Request};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, access, chdir, fchdir, pivot_root};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// The directory of everything that the spawner prepares: one that every machine has and no build
/// needs anything of. Only the spawner's mount namespace, and those of its builds until they have
/// their root, have these mounts there.
pub const PREPARED: &str = "/sys";
/// The mount points and files of the skeleton, below [`PREPARED`].
const SKELETON: &str = "/sys/skeleton";
/// The directory at which the new root is attached for a moment, below [`PREPARED`].
pub const STAGING: &str = "/sys/root";
/// An empty file, below [`PREPARED`].
const NOTHING: &str = "/sys/nothing";
/// The directory of the overlay over the store, below [`PREPARED`].
pub const PREPARED_VIEW: &str = "/sys/inputs";
/// An empty directory, below [`PREPARED`].
pub const EMPTY: &str = "/sys/empty";
/// Files of `/proc` about the whole machine that every user may read: the keys of the user who
/// builds, and the locks of open files (`F_OFD_SETLK`), which are shown for all users.
const OF_OTHERS: [&str; 3] = ["keys", "key-users", "locks"];
/// No link is among them, so that no mount point is made through one.
const MOUNT_POINTS: [&str; 10] =
    ["build", "dev", "eval/store", "etc", "output", "proc", "source", "tmp", "usr/bin", "var/tmp"];
const ETC: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/build:/noshell\nbuild:x:1000:1000:build user:/build:/noshell\nnobody:x:65534:65534:nobody:/:/noshell\n",
    ),
    ("etc/group", "root:x:0:\nbuild:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];
pub const PLAIN: u64 = attr::NOSUID | attr::NODEV;

/// Prepares the mounts that all builds share, in the mount namespace of the calling process.
///
/// `own_nodes` says whether [`devices::make_own_nodes`] has succeeded.
pub fn prepare(own_nodes: bool) -> Result<(), SandboxError> {
    let everywhere = None::<&str>;
    mount(everywhere, "/", everywhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, everywhere)
        .named("detach the sandbox's mounts from the host's", || "mount(/, MS_REC|MS_PRIVATE)".into())?;
    let nodes = devices::take_nodes(own_nodes)?;
    let prepared = fresh("tmpfs", &[("mode", "0755")], PLAIN)?;
    attach(prepared.as_fd(), PREPARED)?;
    for place in [SKELETON, devices::PREPARED_DEV, STAGING, PREPARED_VIEW, EMPTY] {
        fs::create_dir(place).named("prepare the root", || format!("mkdir({place})"))?;
    }
    fs::write(NOTHING, "").named("prepare the root", || format!("write({NOTHING})"))?;
    populate_skeleton(Path::new(SKELETON))?;
    devices::populate_dev(&nodes, None)?;
    read_only(prepared.as_fd(), PREPARED)
}

/// Facts about this machine that are looked up once.
pub struct Machine {
    /// Files of `/proc` that are empty for builds.
    hidden: Vec<PathBuf>,
    memory_bytes: Option<u64>,
}

impl Machine {
    pub fn read() -> Machine {
        Machine { hidden: hidden_of_proc(), memory_bytes: memory::machine_bytes() }
    }
}

/// Returns the files of `/proc` that are empty for builds: those that other users of this machine
/// may not read, which matters where root builds, and [`OF_OTHERS`]. They are the same for every
/// process, so they are looked up once.
fn hidden_of_proc() -> Vec<PathBuf> {
    let others_may_read = |mode: u32| mode & 0o004 != 0;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let closed = files.filter(|entry| {
        entry.metadata().is_ok_and(|found| !others_may_read(found.mode()))
            && access(&entry.path(), AccessFlags::R_OK).is_ok()
    });
    let of_others = OF_OTHERS.iter().map(|name| Path::new("/proc").join(name)).filter(|path| path.exists());
    closed.map(|entry| entry.path()).chain(of_others).collect()
}

/// A root that is ready but for what belongs to one build, in a mount namespace of its own that no
/// process is in. Builds enter copies of it.
///
/// The union is read-only, so a build leaves nothing in it. The numbers of inodes are those of the
/// layers and not assigned when directories are first read, where the layers' file systems allow it
/// (`xino`).
pub struct Template {
    namespace: OwnedFd,
    of: Contents,
    made: Instant,
}

/// The facts that decide the contents of a root.
#[derive(PartialEq, Eq)]
pub struct Contents {
    layers: Vec<PathBuf>,
    outputs: PathBuf,
    /// Paths at which binds need a mount point or a link of their own, with their sources.
    places: Vec<(PathBuf, PathBuf)>,
    /// Identities of the layers and of the sources of the binds.
    trees: Vec<Identity>,
}

impl Contents {
    /// Returns the contents of a request's root; `None` for a root that no other build could have.
    pub fn of(request: &Request) -> Option<Contents> {
        if request.root_layers.is_empty() || request.jobserver.is_some() {
            return None;
        }
        let own = || request.binds.iter().filter(|bind| !hidden_in_skeleton(request, &bind.inside));
        let layers = request.root_layers.iter().map(fs::metadata);
        let found = layers.chain(own().map(|bind| fs::symlink_metadata(&bind.host)));
        let trees =
            found.map(|found| found.as_ref().map(Identity::of).map_err(|_| ())).collect::<Result<_, _>>().ok()?;
        Some(Contents {
            layers: request.root_layers.clone(),
            outputs: request.outputs.inside().to_owned(),
            places: own().map(|bind| (bind.inside.clone(), bind.host.clone())).collect(),
            trees,
        })
    }
}

impl Template {
    /// The longest use of one: a layer that is damaged offline and repaired in place may stay
    /// damaged in it as long.
    const AGE_MAX: Duration = Duration::from_secs(1);

    /// Makes the root of `request`, which has the contents `of`, ready. The calling process is in
    /// the mount namespace `host` before and after.
    ///
    /// `None` when it could not be made: the build then tries by itself, and reports the reason.
    pub fn make(request: &Request, of: Contents, host: BorrowedFd) -> Result<Option<Template>, SandboxError> {
        let made = Template::prepare(request);
        enter_mounts(host)?;
        Ok(made.ok().map(|namespace| Template { namespace, of, made: Instant::now() }))
    }

    fn prepare(request: &Request) -> Result<OwnedFd, SandboxError> {
        unshare(CloneFlags::CLONE_NEWNS).named(UNITING, || "unshare(NEWNS)".into())?;
        let namespace = open_own_mounts()?;
        assemble_root(request, &inputs::sources(request)?)?;
        Ok(namespace)
    }

    /// Returns true when a root with these contents is a copy of it, at this moment.
    pub fn serves(&self, contents: &Contents) -> bool {
        self.of == *contents && self.made.elapsed() < Template::AGE_MAX
    }

    fn enter(&self) -> Result<(), SandboxError> {
        enter_mounts(self.namespace.as_fd())?;
        unshare(CloneFlags::CLONE_NEWNS).named(UNITING, || "unshare(NEWNS)".into())
    }
}

/// Opens the mount namespace that this process is in.
pub fn open_own_mounts() -> Result<OwnedFd, SandboxError> {
    const OWN: &str = "/proc/self/ns/mnt";
    open(OWN, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).named(UNITING, || format!("open({OWN})"))
}

fn enter_mounts(namespace: BorrowedFd) -> Result<(), SandboxError> {
    setns(namespace, CloneFlags::CLONE_NEWNS).named("enter a mount namespace", || "setns(NEWNS)".into())
}

/// Replaces the root, of a process in a mount namespace of its own; with a template, of one in the
/// spawner's.
pub fn assemble(request: &Request, base: &Base, skipped: &mut Vec<String>) -> Result<(), SandboxError> {
    let machine = &base.machine;
    let proc = proc(&request.limits)?;
    let nothing =
        || sys::clone_tree(NOTHING.as_ref(), false).named("hide a file of /proc", || format!("open_tree({NOTHING})"));
    let covers: Vec<OwnedFd> = machine.hidden.iter().map(|_| nothing()).collect::<Result<_, _>>()?;
    let build = host_tree(&request.build_dir, PLAIN)?;
    let outputs = host_tree(request.outputs.host_dir(), PLAIN)?;
    let binds = inputs::sources(request)?;
    let inputs = inputs::take(request, &binds, base.view.as_ref(), skipped)?;
    match &base.template {
        Some(template) => template.enter()?,
        None => assemble_root(request, &binds)?,
    }

    attach(proc.as_fd(), "/proc")?;
    for (path, cover) in machine.hidden.iter().zip(&covers) {
        attach(cover.as_fd(), path)?;
    }
    attach(fresh("devpts", &[("mode", "620"), ("ptmxmode", "666")], attr::NOSUID | attr::NOEXEC)?.as_fd(), "/dev/pts")?;
    for place in ["/dev/shm", "/tmp"] {
        attach(temporary(&request.limits, machine)?.as_fd(), place)?;
    }
    attach(build.as_fd(), "/build")?;
    attach(outputs.as_fd(), request.outputs.inside())?;
    for directory in [Path::new("/build"), request.outputs.inside()] {
        open_to_all(directory)?;
    }
    for ((bind, source), mount) in binds.iter().zip(&inputs) {
        if hidden_in_skeleton(request, &bind.inside) {
            make_mount_point(Path::new("/"), &bind.inside, source)?;
        }
        if let Some(mount) = mount {
            attach(mount.as_fd(), &bind.inside)?;
        }
    }
    Ok(())
}

/// Replaces the root by one for this build alone, with `/dev` in it.
fn assemble_root(request: &Request, binds: &[(&Bind, BindKind)]) -> Result<(), SandboxError> {
    if let Some(jobserver) = &request.jobserver {
        devices::populate_dev_with(&jobserver.fifo)?;
    }
    let dev = devices::clone_dev()?;
    let layers = open_layers(request)?;
    let own = own_mount_points(request, binds)?;
    let root = if layers.is_empty() {
        let root = fresh("tmpfs", &[("mode", "0755")], PLAIN)?;
        attach(root.as_fd(), STAGING)?;
        populate_skeleton(Path::new(STAGING))?;
        populate_for(Path::new(STAGING), &own)?;
        read_only(root.as_fd(), "/")?;
        root
    } else if own.is_empty() {
        overlay(&[(open_layer(Path::new(SKELETON))?, Path::new("skeleton"))], &layers, request)?
    } else {
        let places = fresh("tmpfs", &[("mode", "0755")], PLAIN)?;
        // An overlay takes no layer that is attached nowhere.
        attach(places.as_fd(), STAGING)?;
        populate_for(Path::new(STAGING), &own)?;
        let skeleton = (open_layer(Path::new(SKELETON))?, Path::new("skeleton"));
        overlay(&[(places, Path::new("mount points of inputs")), skeleton], &layers, request)?
    };
    enter(&root)?;
    attach(dev.as_fd(), "/dev")
}

/// Returns the `/proc` that builds see.
fn proc(limits: &Limits) -> Result<OwnedFd, SandboxError> {
    let hardened = PLAIN | attr::NOEXEC;
    let Some(max) = limits.processes_max.filter(|_| !limits.processes_counted) else {
        return fresh("proc", &[], hardened | attr::RDONLY);
    };
    let proc = fresh("proc", &[], hardened)?;
    limits::limit_process_ids(&proc, max);
    read_only(proc.as_fd(), "/proc")?;
    Ok(proc)
}

/// Gives a directory that the caller has made the mode that it has for every caller, in spite of
/// the umask.
fn open_to_all(directory: &Path) -> Result<(), SandboxError> {
    const MODE: u32 = 0o755;
    let doing = || format!("set the mode of `{}`", directory.display());
    let found = fs::metadata(directory).named(&doing(), || format!("stat({})", directory.display()))?.mode();
    if found & 0o7777 == MODE {
        return Ok(());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(MODE))
        .named(&doing(), || format!("chmod({}, {MODE:o})", directory.display()))
}

/// Returns a file system in memory for a build. Where no control group counts it as memory, the two
/// of a build together take at most as much as a process of it may, with a page for each file;
/// else, and without a limit, each takes at most half of the machine's memory, as usual.
fn temporary(limits: &Limits, machine: &Machine) -> Result<OwnedFd, SandboxError> {
    const PAGE: u64 = 4096;
    let half = limits.memory_max_bytes.map(|bytes| (bytes / 2).max(PAGE));
    let bounds = half.filter(|half| machine.memory_bytes.is_none_or(|total| *half < total / 2));
    let Some(bytes) = bounds else { return fresh("tmpfs", &[("mode", "1777")], PLAIN) };
    let (size, files) = (bytes.to_string(), (bytes / PAGE).max(1024).to_string());
    fresh("tmpfs", &[("mode", "1777"), ("size", &size), ("nr_inodes", &files)], PLAIN)
}

/// Returns a new file system of `kind`, attached nowhere.
pub fn fresh(kind: &str, options: &[(&str, &str)], attributes: u64) -> Result<OwnedFd, SandboxError> {
    let doing = format!("make a {kind} file system");
    let remedy = |errno| {
        (kind == "proc" && errno == Errno::EPERM).then(|| {
        "parts of this machine's /proc are covered by other mounts, as in a container, and the kernel then refuses a new one: run outside of the container, or let it show all of /proc (docker: `--security-opt systempaths=unconfined`; podman: `--security-opt unmask=ALL`)".to_owned()
    })
    };
    let fs = sys::fsopen(kind).named(&doing, || format!("fsopen({kind})"))?;
    for (key, value) in options {
        sys::fsconfig_string(fs.as_fd(), key, value).named(&doing, || format!("fsconfig({kind}, {key}={value})"))?;
    }
    sys::fsconfig_create(fs.as_fd()).named_with_help(&doing, || format!("fsconfig({kind}, CMD_CREATE)"), remedy)?;
    sys::fsmount(fs.as_fd(), attributes).named_with_help(&doing, || format!("fsmount({kind})"), remedy)
}

/// Returns a copy of the host's tree at `path`, attached nowhere.
pub fn host_tree(path: &Path, attributes: u64) -> Result<OwnedFd, SandboxError> {
    let doing = format!("take `{}` into the sandbox", path.display());
    // Recursive, as the kernel does not let a user namespace uncover what is below a mount of its
    // parent.
    let tree = sys::clone_tree(path.as_os_str(), true)
        .named(&doing, || format!("open_tree({}, OPEN_TREE_CLONE|AT_RECURSIVE)", path.display()))?;
    sys::set_tree_attributes(tree.as_fd(), attributes)
        .named(&doing, || format!("mount_setattr({}, {attributes:#x})", path.display()))?;
    Ok(tree)
}

pub fn open_layer(path: &Path) -> Result<OwnedFd, SandboxError> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .named("open a tree of the root", || format!("open({}, O_PATH|O_DIRECTORY)", path.display()))
}

fn open_layers(request: &Request) -> Result<Vec<OwnedFd>, SandboxError> {
    request.root_layers.iter().map(|layer| open_layer(layer)).collect()
}

pub fn read_only(mount: BorrowedFd, what: &str) -> Result<(), SandboxError> {
    sys::set_mount_attributes(mount, attr::RDONLY)
        .named(&format!("make `{what}` read-only"), || format!("mount_setattr({what}, MOUNT_ATTR_RDONLY)"))
}

pub fn attach(mount: BorrowedFd, target: impl AsRef<Path>) -> Result<(), SandboxError> {
    let target = target.as_ref();
    let remedy = |errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            Some(format!("a tree of the root has something else at `{}` or above it", target.display()))
        }
        _ => None,
    };
    sys::move_mount(mount, target.as_os_str()).named_with_help(
        &format!("attach a mount at `{}`", target.display()),
        || format!("move_mount({}, {})", mount.as_raw_fd(), target.display()),
        remedy,
    )
}

/// A path that has to be made in the root of one build for it alone.
enum MountPoint<'a> {
    Directory(&'a Path),
    ForBind(&'a Path, &'a BindKind),
}

/// Returns the mount points that the skeleton lacks, and the links; those last, so that no mount
/// point is made through one.
fn own_mount_points<'a>(
    request: &'a Request,
    binds: &'a [(&Bind, BindKind)],
) -> Result<Vec<MountPoint<'a>>, SandboxError> {
    let outputs = request.outputs.inside();
    let is_prepared = relative(outputs)?.to_str().is_some_and(|place| MOUNT_POINTS.contains(&place));
    let (links, mounts): (Vec<_>, Vec<_>) = binds
        .iter()
        .filter(|(bind, _)| !hidden_in_skeleton(request, &bind.inside))
        .map(|(bind, source)| MountPoint::ForBind(&bind.inside, source))
        .partition(|place| matches!(place, MountPoint::ForBind(_, BindKind::Link(_))));
    let outputs = (!is_prepared).then_some(MountPoint::Directory(outputs));
    Ok(outputs.into_iter().chain(mounts).chain(links).collect())
}

/// Makes the mount points that a build has for itself.
fn populate_for(top: &Path, places: &[MountPoint]) -> Result<(), SandboxError> {
    for place in places {
        match place {
            MountPoint::Directory(path) => make_directories(top, &relative(path)?)?,
            MountPoint::ForBind(inside, source) => make_mount_point(top, inside, source)?,
        }
    }
    Ok(())
}

/// Makes the mount points and the few files that programs expect.
fn populate_skeleton(top: &Path) -> Result<(), SandboxError> {
    for directory in MOUNT_POINTS {
        make_directories(top, Path::new(directory))?;
    }
    for (name, text) in ETC {
        fs::write(top.join(name), text).named("populate the root", || format!("write(/{name})"))?;
    }
    Ok(())
}

/// Returns true when a directory of its own is mounted above `inside`, so that its mount point must
/// be made there.
fn hidden_in_skeleton(request: &Request, inside: &Path) -> bool {
    let in_store = matches!(&request.outputs, OutputPlace::InStore { store_dir, .. } if inside.starts_with(store_dir));
    in_store || ["/build", "/tmp", "/output"].iter().any(|place| inside.starts_with(place))
}

/// Makes the mount point of `source`, or the symbolic link that it is.
fn make_mount_point(top: &Path, inside: &Path, source: &BindKind) -> Result<(), SandboxError> {
    let inside = relative(inside)?;
    let doing = || format!("make a mount point for `/{}`", inside.display());
    if let Some(parent) = inside.parent() {
        make_directories(top, parent)?;
    }
    let at = top.join(&inside);
    match source {
        BindKind::Link(target) => {
            symlink(target, &at).named(&doing(), || format!("symlink({}, /{})", target.display(), inside.display()))
        }
        BindKind::Directory => make_directories(top, &inside),
        BindKind::File if fs::symlink_metadata(&at).is_ok() => Ok(()),
        BindKind::File => fs::write(&at, "").named(&doing(), || format!("open(/{}, O_CREAT)", inside.display())),
    }
}

/// Returns `path` below the root, or an error when it could lead elsewhere.
fn relative(path: &Path) -> Result<PathBuf, SandboxError> {
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => below.push(name),
            _ => {
                return Err(SandboxError::Request {
                    reason: format!("`{}` is not a plain absolute path", path.display()),
                });
            }
        }
    }
    Ok(below)
}

fn make_directories(top: &Path, below: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(top.join(below))
        .named(&format!("make a mount point for `/{}`", below.display()), || format!("mkdir(/{})", below.display()))
}

/// Attaches the union of the layers and those below them, topmost first, at [`STAGING`].
fn overlay(below: &[(OwnedFd, &Path)], layers: &[OwnedFd], request: &Request) -> Result<OwnedFd, SandboxError> {
    // The kernel takes the topmost first.
    let named: Vec<(&OwnedFd, &Path)> = layers
        .iter()
        .zip(request.root_layers.iter().map(PathBuf::as_path))
        .rev()
        .chain(below.iter().map(|(layer, path)| (layer, *path)))
        .collect();
    unite::at(STAGING, &named)
}

/// Makes `root` the root and detaches the old one.
fn enter(root: &OwnedFd) -> Result<(), SandboxError> {
    const DOING: &str = "enter the root of the sandbox";
    fchdir(root.as_fd()).named(DOING, || "fchdir(root)".into())?;
    // With the same directory twice the old root is mounted over the new one, from which it is
    // detached.
    pivot_root(".", ".").named_with_help(
        DOING,
        || "pivot_root(., .)".into(),
        |errno| {
            (errno == Errno::EINVAL).then(|| {
                "the kernel refuses this where the root is an initramfs: run from a real root file system".into()
            })
        },
    )?;
    umount2(".", MntFlags::MNT_DETACH).named(DOING, || "umount2(old root, MNT_DETACH)".into())?;
    chdir("/").named(DOING, || "chdir(/)".into())
}
