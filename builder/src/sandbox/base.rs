//! What the builds of one spawner have in common, as it costs more to make than all the rest of a sandbox: the outer user
//! namespace, what does not differ in their file systems (`mounts`), and a network namespace.
//!
//! Invariant: no build can tell that there was one before it. What is shared of the file system is read-only to all of them. The
//! network namespace serves the next build only when it is as it was when it was new: no process is left in it, as they are
//! all dead by then; nobody in a build may configure it; and of what else could be left, sockets that outlive their
//! process (`TIME_WAIT`), what the kernel remembers of connections, labels and names that it holds, each comes with a
//! difference in the texts of [`TRACES`]. One differing byte, and there is a new one.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use super::SandboxError;
use super::{limits, mounts, namespaces};

/// What `/proc/self/net` tells of a network namespace's past and of what is in it: packets by device; what the protocols
/// did, which counts every connection and every failure to make one; labels; names of Unix sockets. A file that this kernel
/// lacks is a facility that it lacks.
const TRACES: [&str; 6] = ["dev", "snmp", "snmp6", "netstat", "ip6_flowlabel", "unix"];

/// Made once, by the spawner.
pub struct Base {
    network: Option<Network>,
    /// Room for the traces of now.
    now: Vec<u8>,
}

/// The network namespace that this process is in.
struct Network {
    traces: Vec<File>,
    /// What they held when it was new.
    new: Vec<u8>,
}

impl Base {
    /// Enters the outer user namespace and prepares what builds share.
    pub fn make() -> Result<Base, SandboxError> {
        limits::raise_open_files()?;
        namespaces::enter_outer()?;
        mounts::prepare()?;
        Ok(Base { network: None, now: Vec::new() })
    }

    /// Sees to it that this process is in a network namespace that nobody has used.
    pub fn settle_network(&mut self) -> Result<(), SandboxError> {
        if let Some(network) = &self.network
            && read(&network.traces, &mut self.now).is_ok()
            && self.now == network.new
        {
            return Ok(());
        }
        namespaces::enter_network()?;
        self.network = Network::look().ok();
        Ok(())
    }
}

impl Network {
    fn look() -> std::io::Result<Network> {
        let mut traces = Vec::with_capacity(TRACES.len());
        for name in TRACES {
            match File::open(format!("/proc/self/net/{name}")) {
                Ok(file) => traces.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut new = Vec::new();
        read(&traces, &mut new)?;
        if new.is_empty() { Err(ErrorKind::NotFound.into()) } else { Ok(Network { traces, new }) }
    }
}

/// Fills `into` with what the files hold at this moment.
fn read(files: &[File], into: &mut Vec<u8>) -> std::io::Result<()> {
    const PIECE: usize = 16 << 10;
    into.clear();
    for file in files {
        let mut offset = 0;
        loop {
            let end = into.len();
            into.resize(end + PIECE, 0);
            let count = file.read_at(&mut into[end..], offset)?;
            into.truncate(end + count);
            offset += count as u64;
            if count == 0 {
                break;
            }
        }
    }
    Ok(())
}
