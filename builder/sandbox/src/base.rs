//! The parts that the builds of one spawner share, as they cost more to make than all the rest of a
//! sandbox: the outer user namespace and the one below it that builders are in, the equal parts of
//! their file systems (`mounts`), a network namespace, and the compiled filter.
//!
//! Invariant: no build can detect that there was one before it. Shared parts of the file system are
//! read-only to all of them. The network namespace serves the next build only when it is as it was
//! when it was new: no process is left in it, as all are dead; no process of a build may configure
//! it; and everything else that could be left, sockets that outlive their process (`TIME_WAIT`),
//! the kernel's memory of connections, labels and names, shows as a difference in the texts of
//! [`TRACES`]. One differing byte, and there is a new one.

use super::error::Named;
use super::inputs::View;
use super::mounts::{Contents, Machine, Template};
use super::{SandboxError, devices, filter, limits, mounts, namespaces, sys};
use crate::request::{Request, SandboxMode};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Files of `/proc/self/net` that show the past and the contents of a network namespace. `dev`
/// counts packets by device: every packet that was sent, as there is only the loopback device. The
/// counters of the protocols, `snmp` and `snmp6`, include packets that were not sent because there
/// was no route. `ip6_flowlabel` lists flow labels, `unix` names of Unix sockets. A missing file
/// means that the kernel lacks the feature.
const TRACES: [&str; 5] = ["dev", "snmp", "snmp6", "ip6_flowlabel", "unix"];

/// Made once, by the spawner.
pub struct Base {
    /// The user namespace that builders are in: with one user, and owning nothing.
    pub inner: OwnedFd,
    /// The root of this build, when it is one that the next can have too.
    pub template: Option<Template>,
    /// The store, as builds see it; there from the first build on that sees anything of it.
    pub view: Option<View>,
    /// The last requested root, if it differed from the one before it.
    last_root: Option<Contents>,
    pub machine: Machine,
    /// The mount namespace of this process.
    host: OwnedFd,
    /// The filter of inits, besides the one of this process.
    pub filter: Vec<sys::Instruction>,
    /// The end of the pipe to which inits report.
    pub report: OwnedFd,
    reports: File,
    /// The file that sets the clocks of time namespaces.
    clock_offsets: Option<File>,
    network: Option<Network>,
}

/// The network namespace that this process is in.
struct Network {
    /// The files of [`TRACES`] that exist.
    files: Vec<File>,
    /// Their contents when it was new.
    new: Vec<u8>,
    /// A buffer for a piece of their contents now.
    piece: Box<[u8]>,
}

/// Number of bytes of a trace that are read at once.
const PIECE: usize = 16 << 10;

impl Base {
    /// Enters the outer user namespace and prepares the parts that builds share.
    pub fn make() -> Result<Base, SandboxError> {
        limits::raise_hard_limits();
        limits::raise_open_files()?;
        // Files made for builds have the same modes for every caller.
        limits::fix_umask();
        limits::raise_oom_score();
        // Where it is refused, as to every ordinary user, builds see the host's, which they cannot
        // change.
        let own_nodes = devices::make_own_nodes().is_ok();
        namespaces::enter_outer()?;
        limits::limit_user_counts();
        mounts::prepare(own_nodes)?;
        let (reports, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .named("set up a pipe", || "pipe2(O_CLOEXEC|O_NONBLOCK)".into())?;
        let inner = namespaces::make_inner()?;
        // If the kernel refuses this filter, each build installs the whole filter and reports the
        // failure, or runs without it if that is allowed.
        let filtered = sys::set_seccomp_filter(&filter::for_spawner()).is_ok();
        Ok(Base {
            inner,
            template: None,
            view: None,
            last_root: None,
            machine: Machine::read(),
            host: mounts::open_own_mounts()?,
            filter: if filtered { filter::for_init() } else { filter::whole() },
            report,
            reports: File::from(reports),
            clock_offsets: namespaces::open_clock_offsets(),
            network: None,
        })
    }

    /// Makes new clocks for the next process that is started.
    pub fn set_clocks(&self, mode: SandboxMode, skipped: &mut Vec<String>) -> Result<(), SandboxError> {
        namespaces::enter_clocks(self.clock_offsets.as_ref(), mode, skipped)
    }

    /// Adds the messages of a build's processes, all of which are dead, to `reports`.
    pub fn take_reports(&mut self, reports: &mut Vec<u8>) {
        // It ends with the error that there is nothing more at the moment, as this process could
        // still write.
        let _ = self.reports.read_to_end(reports);
    }

    /// Keeps the template if it is that of `request`, and drops it otherwise. One is made for the
    /// second build in a row with the same root, as one that is not reused costs more than it
    /// saves.
    pub fn prepare_root(&mut self, request: &Request) -> Result<(), SandboxError> {
        let contents = Contents::of(request);
        if let (Some(template), Some(contents)) = (&self.template, &contents)
            && template.serves(contents)
        {
            return Ok(());
        }
        // First the old one goes.
        self.template = None;
        if let Some(wanted) = contents {
            if self.last_root.as_ref() == Some(&wanted) {
                self.template = Template::make(request, wanted, self.host.as_fd())?;
            } else {
                self.last_root = Some(wanted);
            }
        }
        Ok(())
    }

    /// Prepares the view of the store that `request` needs.
    pub fn prepare_view(&mut self, request: &Request) -> Result<(), SandboxError> {
        self.view = View::renew(self.view.take(), request)?;
        Ok(())
    }

    /// Puts this process into a network namespace that no build has used.
    pub fn prepare_network(&mut self) -> Result<(), SandboxError> {
        if self.network.as_mut().is_some_and(Network::is_as_new) {
            return Ok(());
        }
        namespaces::enter_network()?;
        self.network = Network::read().ok();
        Ok(())
    }
}

impl Network {
    fn read() -> std::io::Result<Network> {
        let mut files = Vec::with_capacity(TRACES.len());
        for name in TRACES {
            match File::open(format!("/proc/self/net/{name}")) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut network = Network { files, new: Vec::with_capacity(PIECE), piece: vec![0; PIECE].into() };
        let Network { files, new, piece } = &mut network;
        read(files, piece, |text| {
            new.extend_from_slice(text);
            true
        })?;
        if network.new.is_empty() { Err(ErrorKind::NotFound.into()) } else { Ok(network) }
    }

    /// Returns true when the traces are as they were when it was new. A trace that cannot be read
    /// is not.
    fn is_as_new(&mut self) -> bool {
        let Network { files, new, piece } = self;
        let mut rest = new.as_slice();
        let read = read(files, piece, |text| match rest.strip_prefix(text) {
            Some(further) => {
                rest = further;
                true
            }
            None => false,
        });
        matches!(read, Ok(true)) && rest.is_empty()
    }
}

/// Passes the contents of the files to `each`, a piece at a time, until it returns false; returns
/// true when it never did. Nothing is stored, as each page that the spawner has written to is
/// copied for each build.
fn read(files: &[File], piece: &mut [u8], mut each: impl FnMut(&[u8]) -> bool) -> std::io::Result<bool> {
    /// The kernel ends a piece when the next record, which is a line or two, does not fit its page.
    const SURELY_LAST: usize = 2 << 10;
    for file in files {
        let mut offset = 0;
        loop {
            let count = file.read_at(piece, offset)?;
            if !each(&piece[..count]) {
                return Ok(false);
            }
            offset += count as u64;
            if count < SURELY_LAST {
                break;
            }
        }
    }
    Ok(true)
}
