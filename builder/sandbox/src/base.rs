//! What the builds of one spawner have in common, as it costs more to make than all the rest of a sandbox: the outer user
//! namespace and the one below it that builders are in, what does not differ in their file systems (`mounts`), a network
//! namespace, and the compiled filter.
//!
//! Invariant: no build can tell that there was one before it. What is shared of the file system is read-only to all of them. The
//! network namespace serves the next build only when it is as it was when it was new: no process is left in it, as they are
//! all dead by then; nobody in a build may configure it; and of what else could be left, sockets that outlive their
//! process (`TIME_WAIT`), what the kernel remembers of connections, labels and names that it holds, each comes with a
//! difference in the texts of [`TRACES`]. One differing byte, and there is a new one.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;

use super::SandboxError;
use super::error::Named;
use super::inputs::View;
use super::mounts::{Contents, Machine, Template};
use super::{devices, filter, limits, mounts, namespaces, sys};
use crate::request::{Mode, Request};

/// What `/proc/self/net` tells of a network namespace's past and of what is in it: packets by device, each that was sent
/// among them, as there is but the loopback device; what was not sent for want of a route, in the counts of the protocols;
/// labels; names of Unix sockets. A file that this kernel lacks is a facility that it lacks.
const TRACES: [&str; 5] = ["dev", "snmp", "snmp6", "ip6_flowlabel", "unix"];

/// Made once, by the spawner.
pub struct Base {
    /// The user namespace that builders are in: with one user, and owning nothing.
    pub inner: OwnedFd,
    /// The root of this build, when it is one that the next can have too.
    pub template: Option<Template>,
    /// The store, as builds see it; there from the first build on that sees anything of it.
    pub view: Option<View>,
    /// The root that was last wanted and was not the one before.
    last_root: Option<Contents>,
    pub machine: Machine,
    /// The mount namespace of this process.
    host: OwnedFd,
    /// What inits are to put themselves under, besides what this process is under.
    pub filter: Vec<sys::Instruction>,
    /// Where inits report.
    pub report: OwnedFd,
    reports: File,
    /// For the time namespaces.
    clock_offsets: Option<File>,
    network: Option<Network>,
}

/// The network namespace that this process is in.
struct Network {
    /// Of [`TRACES`], those that there are.
    files: Vec<File>,
    /// What they held when it was new.
    new: Vec<u8>,
    /// Room for a piece of what they hold now.
    piece: Box<[u8]>,
}

/// How much is read of a trace at once.
const PIECE: usize = 16 << 10;

impl Base {
    /// Enters the outer user namespace and prepares what builds share.
    pub fn make() -> Result<Base, SandboxError> {
        limits::raise_hard_limits();
        limits::raise_open_files()?;
        // What is made for builds has the same modes whoever calls.
        limits::fix_umask();
        limits::volunteer();
        // Where it is refused, as to every ordinary user, builds see the host's, which they cannot change.
        let own_nodes = devices::make_own_nodes().is_ok();
        namespaces::enter_outer()?;
        limits::share_out();
        mounts::prepare(own_nodes)?;
        let (reports, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .named("set up a pipe", || "pipe2(O_CLOEXEC|O_NONBLOCK)".into())?;
        let inner = namespaces::make_inner()?;
        // Where the kernel refuses this one, each build tries the whole and tells, or does without if it may.
        let filtered = sys::set_seccomp_filter(&filter::for_spawner()).is_ok();
        Ok(Base {
            inner,
            template: None,
            view: None,
            last_root: None,
            machine: Machine::look(),
            host: mounts::open_own_mounts()?,
            filter: if filtered { filter::for_init() } else { filter::whole() },
            report,
            reports: File::from(reports),
            clock_offsets: namespaces::open_clock_offsets(),
            network: None,
        })
    }

    /// Makes new clocks for the next process that is started.
    pub fn set_clocks(&self, mode: Mode, skipped: &mut Vec<String>) -> Result<(), SandboxError> {
        namespaces::enter_clocks(self.clock_offsets.as_ref(), mode, skipped)
    }

    /// Adds to `told` what the processes of a build have reported, all of which are dead.
    pub fn take_reports(&mut self, told: &mut Vec<u8>) {
        // It ends with the error that there is nothing more at the moment, as this process could still write.
        let _ = self.reports.read_to_end(told);
    }

    /// Sees to it that the template is that of `request`, or that there is none. There is one from the second build in a row with the
    /// same root on, as one that nobody uses costs more than it saves.
    pub fn settle_root(&mut self, request: &Request) -> Result<(), SandboxError> {
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

    /// Sees to it that what `request` shows of the store can be taken.
    pub fn settle_view(&mut self, request: &Request) -> Result<(), SandboxError> {
        self.view = View::settle(self.view.take(), request)?;
        Ok(())
    }

    /// Sees to it that this process is in a network namespace that nobody has used.
    pub fn settle_network(&mut self) -> Result<(), SandboxError> {
        if self.network.as_mut().is_some_and(Network::is_as_new) {
            return Ok(());
        }
        namespaces::enter_network()?;
        self.network = Network::look().ok();
        Ok(())
    }
}

impl Network {
    fn look() -> std::io::Result<Network> {
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

    /// Whether the traces hold what they did when it was new. What cannot be read is not.
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

/// Hands what the files hold at this moment to `each`, which says whether to go on, a piece at a time; returns whether it always
/// did. Nothing is kept, as each page that the spawner has written to is copied for each build.
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
