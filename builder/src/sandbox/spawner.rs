//! Starting monitors. To start this executable anew costs as much as all the rest of a sandbox, so it is not done for each
//! build: the *spawner* is this executable without threads and with next to nothing in memory, and forks a monitor for one
//! build after the other. It is in the control groups of these builds.
//!
//! The caller and the spawner talk over a socket. A request is one byte with three descriptors, the monitor's standard
//! input, output and error; the answer is the monitor's process id, or the negative of an errno. When the socket closes,
//! because the caller is done or dead, the spawner ends, and with it whatever monitors are left.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::error::Named;
use super::{SPAWNER_NAME, SandboxError, sys};

/// How long monitors may take to end when their caller is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The caller's end.
#[derive(Debug)]
pub struct Spawner {
    /// Closed first.
    socket: Option<OwnedFd>,
    process: Child,
}

impl Spawner {
    /// Starts `executable`, whose `main` calls [`super::child_entry`] first.
    pub fn start(executable: &Path) -> Result<Spawner, SandboxError> {
        const DOING: &str = "start the sandbox process";
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .named(DOING, || "socketpair(AF_UNIX, SOCK_SEQPACKET)".into())?;
        let process = Command::new(executable)
            .arg0(SPAWNER_NAME)
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .named(DOING, || format!("execve({})", executable.display()))?;
        Ok(Spawner { socket: Some(ours), process })
    }

    /// The spawner's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Starts a monitor with these as its standard streams, and returns its process id.
    pub fn monitor(&mut self, streams: [BorrowedFd; 3]) -> Result<libc::pid_t, SandboxError> {
        const DOING: &str = "start the monitor of the sandbox";
        let Some(socket) = &self.socket else { return Err(lost()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        rights.push(SendAncillaryMessage::ScmRights(&streams));
        let sent = sendmsg(socket, &[IoSlice::new(&[0])], &mut rights, SendFlags::NOSIGNAL);
        sent.map_err(from_rustix).named(DOING, || "sendmsg(spawner)".into())?;
        let mut answer = [0; 4];
        let count = loop {
            match nix::unistd::read(socket, &mut answer) {
                Err(Errno::EINTR) => {}
                read => break read,
            }
        };
        match count {
            Ok(4) => {}
            Ok(_) | Err(Errno::ECONNRESET) => return Err(lost()),
            Err(errno) => return Err(errno).named(DOING, || "read(spawner)".into()),
        }
        match i32::from_le_bytes(answer) {
            errno @ ..0 => Err(Errno::from_raw(-errno)).named(DOING, || "fork".into()),
            pid => Ok(pid),
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.socket.take());
        // It ends now that the socket is closed; there is nothing to be done about one that could not be waited for.
        let _ = self.process.wait();
    }
}

fn lost() -> SandboxError {
    SandboxError::Lost { how: "the process that starts the builds is gone".into() }
}

fn from_rustix(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// Serves the caller at the other end of standard input; returns in each process that is to be a monitor, with what is to be
/// its standard streams.
pub fn serve() -> [OwnedFd; 3] {
    let socket = std::io::stdin();
    // Nothing of the caller's is to be held open by this process, which may outlive what it was meant for.
    if sys::close_from(3).is_err() || !sys::is_single_threaded() {
        sys::exit_now(1);
    }
    loop {
        let Some(streams) = receive(socket.as_fd()) else { end() };
        bury();
        let answer = match <[OwnedFd; 3]>::try_from(streams) {
            Ok(streams) => match sys::fork_alone() {
                Ok(None) => return streams,
                Ok(Some(pid)) => pid,
                Err(errno) => -(errno as i32),
            },
            Err(_) => -(Errno::EBADMSG as i32),
        };
        // The caller's death is told by the next receive.
        let _ = nix::unistd::write(socket.as_fd(), &answer.to_le_bytes());
    }
}

/// Waits for monitors that have ended, so that what they took counts as taken by the caller; returns whether any is left.
fn bury() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Ends this process, and by that any monitor that does not end by itself now that its caller is gone.
fn end() -> ! {
    let until = Instant::now() + PATIENCE;
    while bury() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    sys::exit_now(0)
}

/// Returns the descriptors of the next request; `None` when the caller has closed its end.
fn receive(socket: BorrowedFd) -> Option<Vec<OwnedFd>> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let got = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut rights, RecvFlags::CMSG_CLOEXEC);
        match got {
            Ok(message) if message.bytes > 0 => {}
            Ok(_) | Err(rustix::io::Errno::CONNRESET) => return None,
            Err(rustix::io::Errno::INTR) => continue,
            // Started by something that is no caller.
            Err(_) => sys::exit_now(1),
        }
        let descriptors = rights.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        return Some(descriptors.flatten().collect());
    }
}
