//! The caller's end of a spawner. Starting this executable costs as much as all the rest of a
//! sandbox, so it is not done for each build: the *spawner* is this executable without threads and
//! with next to nothing in memory, which runs one build after the other (`child`). It is in the
//! control groups of these builds.
//!
//! The two talk over a stream socket. Each kind of request is a [`Head`]; that of a build comes with
//! the write end of the log, and is followed by the [`crate::request::Request`] as JSON; that of a
//! visit comes with its streams, and is followed by the [`crate::Visit`]. The
//! answers to it are [`super::message::Message`]s, a line each, of which the last says that nothing
//! of the build is alive. When the socket closes, because the caller is done or dead, the spawner
//! ends what is running, and itself.

use super::error::Named;
use super::visit::Visit;
use super::{SPAWNER_NAME, SandboxError};
use crate::request::Request;
use nix::errno::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Requests up to this size are read without growing a buffer for them.
const BODY_AT_ONCE: usize = 1 << 20;
/// The most descriptors that come with a request.
const DESCRIPTORS_MAX: usize = 4;

/// The caller's end.
#[derive(Debug)]
pub struct Spawner {
    /// Closed first.
    socket: Option<UnixStream>,
    process: Child,
}

/// The head of a request: its kind, and the number of bytes that follow.
pub enum Head {
    /// Run a build; the request has this many bytes.
    Run(u64),
    /// Run a command of the user; the [`Visit`] has this many bytes.
    Visit(u64),
    /// Kill the build that is running. There may be none any more.
    End,
}

impl Head {
    const BYTES: usize = 9;

    fn encode(&self) -> [u8; Head::BYTES] {
        let mut bytes = [0; Head::BYTES];
        let (kind, size) = match self {
            Head::End => (0, 0),
            Head::Run(size) => (1, *size),
            Head::Visit(size) => (2, *size),
        };
        bytes[0] = kind;
        bytes[1..].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; Head::BYTES]) -> Option<Head> {
        let [kind, size @ ..] = bytes;
        match kind {
            0 => Some(Head::End),
            1 => Some(Head::Run(u64::from_le_bytes(size))),
            2 => Some(Head::Visit(u64::from_le_bytes(size))),
            _ => None,
        }
    }
}

impl Spawner {
    /// Starts `executable`, whose `main` calls [`super::child_entry`] first.
    pub fn start(executable: &Path) -> Result<Spawner, SandboxError> {
        const DOING: &str = "start the sandbox process";
        let (ours, theirs) = UnixStream::pair().named(DOING, || "socketpair(AF_UNIX, SOCK_STREAM)".into())?;
        let process = Command::new(executable)
            .arg0(SPAWNER_NAME)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the terminal's foreground: Ctrl-C there is for the caller, who then ends the
            // builds and knows why they ended.
            .process_group(0)
            .spawn()
            .named(DOING, || format!("execve({})", executable.display()))?;
        Ok(Spawner { socket: Some(ours), process })
    }

    /// The spawner's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the socket, which becomes readable when there is something to [`Spawner::read`].
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("it is there until the drop").as_fd()
    }

    /// Starts a build whose log goes to `log`.
    pub fn run(&self, request: &Request, log: BorrowedFd) -> Result<(), SandboxError> {
        self.start_with(Head::Run, request, &[log])
    }

    /// Starts a visit with these descriptors ([`super::visit::Inside`]).
    pub fn visit(&self, visit: &Visit, descriptors: &[BorrowedFd]) -> Result<(), SandboxError> {
        self.start_with(Head::Visit, visit, descriptors)
    }

    fn start_with(
        &self,
        head: fn(u64) -> Head,
        body: &impl Serialize,
        descriptors: &[BorrowedFd],
    ) -> Result<(), SandboxError> {
        let body = serde_json::to_vec(body).map_err(|error| SandboxError::Request { reason: error.to_string() })?;
        let head = head(body.len() as u64).encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        rights.push(SendAncillaryMessage::ScmRights(descriptors));
        let parts = [IoSlice::new(&head), IoSlice::new(&body)];
        let sent = loop {
            match sendmsg(self.socket(), &parts, &mut rights, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => break sent.map_err(from_rustix),
            }
        };
        let rest = sent.and_then(|sent| match sent.checked_sub(head.len()) {
            Some(done) => self.send(&body[done..]),
            // Nine bytes are taken whole or not at all.
            None => Err(Errno::EIO),
        });
        match rest {
            // It is gone; reading will show it.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(errno).named("hand the request to the sandbox process", || "sendmsg(spawner)".into()),
        }
    }

    /// Asks the spawner to kill the running build.
    pub fn end(&self) {
        // One that is gone has nothing to kill.
        let _ = self.send(&Head::End.encode());
    }

    /// Kills the spawner itself, and with it the build.
    pub fn kill(&mut self) {
        // One that is gone need not be killed.
        let _ = self.process.kill();
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match rustix::net::send(self.socket(), bytes, SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(from_rustix(errno)),
            }
        }
        Ok(())
    }

    /// Adds the available bytes to `report`; false when the spawner is gone.
    pub fn read(&self, report: &mut Vec<u8>) -> Result<bool, SandboxError> {
        let mut buffer = [0; 4 << 10];
        match rustix::net::recv(self.socket(), &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => Ok(false),
            Ok((_, count)) => {
                report.extend_from_slice(&buffer[..count.min(buffer.len())]);
                Ok(true)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(from_rustix(errno)).named("read the sandbox's report", || "recv(spawner)".into()),
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.socket.take());
        // It ends now that the socket is closed; there is nothing to be done about one that could
        // not be waited for.
        let _ = self.process.wait();
    }
}

fn from_rustix(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// Receives the next head at the spawner's end, and the descriptors that came with it. `None` when
/// the caller has closed its end, or sends anything else.
pub fn receive_head(socket: BorrowedFd) -> Option<(Head, Vec<OwnedFd>)> {
    let mut head = [0; Head::BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let count = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut head)], &mut rights, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
            Ok(message) => break message.bytes,
        }
    };
    let messages = rights.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = messages.flatten().collect();
    // A stream may give a part only, though not of so few bytes that were sent at once.
    Reader(socket).read_exact(&mut head[count..]).ok().filter(|()| count > 0)?;
    Head::decode(head).map(|head| (head, descriptors))
}

/// Receives the body that follows a head. The outer error means that the caller is gone.
pub fn receive_body<T: DeserializeOwned>(socket: BorrowedFd, size: u64) -> std::io::Result<Result<T, SandboxError>> {
    let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(BODY_AT_ONCE));
    Reader(socket).take(size).read_to_end(&mut body)?;
    if body.len() as u64 != size {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&body).map_err(|error| SandboxError::Request { reason: error.to_string() }))
}

/// Sends messages to the caller.
pub fn report(to: BorrowedFd, lines: &[u8]) {
    // It is lost when the caller is dead.
    let _ = Writer(to).write_all(lines);
}

struct Reader<'a>(BorrowedFd<'a>);

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        nix::unistd::read(self.0, buffer).map_err(Into::into)
    }
}

struct Writer<'a>(BorrowedFd<'a>);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL).map_err(Into::into)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
