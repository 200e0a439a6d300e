//! Visits: a command of the user in the sandbox of a build, with the user's streams.
//!
//! A visit has the root, mounts, namespaces, user, limits and filters of the build that its request
//! describes; only the command and the streams differ. No descriptor of the caller gets inside: a
//! program there could change the file behind it, or type into its terminal. Streams are pipes, or
//! a pseudo terminal of the sandbox's own `devpts`, whose master end comes out, and the caller
//! ([`Sandbox::visit`]) carries the bytes. So no byte of a program in the sandbox becomes input of
//! the caller's terminal, and what is typed reaches the sandbox's terminal only: Ctrl-C is a signal
//! there, for the job that is in the foreground there.

use super::error::Named;
use super::run::{check, conclude, is_complete, limited_by_itself, never_blocking, pipe};
use super::spawner::Spawner;
use super::{Outcome, Sandbox, SandboxError, Status, Usage, sys};
use crate::request::{Request, WindowSize, Words};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two checks of the cancel flag and of the size of the terminal.
const POLL_MS: u8 = 50;

/// A command in the sandbox of a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Visit {
    /// The build; its own command is not run.
    pub request: Request,
    /// The commands to try, the first one first: the first whose program exists is run.
    pub commands: Vec<Words>,
    /// A text that the command can read at [`Visit::SCRIPT`].
    pub script: Option<String>,
    /// The terminal to make inside, when there is one.
    pub terminal: Option<NewTerminal>,
}

impl Visit {
    /// The descriptor of the script.
    pub const SCRIPT_NUMBER: i32 = 19;
    /// The path of the script inside.
    pub const SCRIPT: &str = "/dev/fd/19";
}

/// A terminal made for a visit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct NewTerminal {
    /// The size at the start.
    pub size: WindowSize,
    /// Set for each of standard input, output and error that is this terminal. The others are
    /// pipes.
    pub streams: [bool; 3],
}

/// The caller's files that the bytes of a visit come from and go to.
pub struct Streams<'a> {
    pub input: BorrowedFd<'a>,
    pub output: BorrowedFd<'a>,
    pub errors: BorrowedFd<'a>,
    /// Returns the current size of the caller's terminal.
    pub size: &'a dyn Fn() -> Option<WindowSize>,
}

/// The descriptors at the sandbox's side of a visit, in the order in which they are sent.
pub(super) struct Inside {
    pub input: OwnedFd,
    pub output: OwnedFd,
    pub errors: OwnedFd,
    /// The socket over which the master end of a terminal leaves.
    pub handover: OwnedFd,
}

impl Inside {
    pub fn of(descriptors: Vec<OwnedFd>) -> Option<Inside> {
        let [input, output, errors, handover] = <[OwnedFd; 4]>::try_from(descriptors).ok()?;
        Some(Inside { input, output, errors, handover })
    }
}

/// Makes a terminal on the file system of terminals of the calling process's root, sends its master
/// end over `handover`, and returns the other end.
pub(super) fn make_terminal(terminal: &NewTerminal, handover: BorrowedFd) -> Result<OwnedFd, SandboxError> {
    const DOING: &str = "make a terminal in the sandbox";
    let master =
        posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).named(DOING, || "open(/dev/ptmx)".into())?;
    grantpt(&master).and_then(|()| unlockpt(&master)).named(DOING, || "ioctl(TIOCSPTLCK)".into())?;
    let name = ptsname_r(&master).named(DOING, || "ioctl(TIOCGPTN)".into())?;
    let slave = open(name.as_str(), OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty())
        .named(DOING, || format!("open({name})"))?;
    sys::set_window_size(master.as_fd(), terminal.size).named(DOING, || "ioctl(TIOCSWINSZ)".into())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let sent = [master.as_fd()];
    rights.push(SendAncillaryMessage::ScmRights(&sent));
    sendmsg(handover, &[IoSlice::new(b"t")], &mut rights, SendFlags::NOSIGNAL)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
        .named(DOING, || "sendmsg(terminal)".into())?;
    Ok(slave)
}

/// Receives the master end of a terminal.
fn receive_terminal(handover: &UnixStream) -> Option<File> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(handover, &mut [IoSliceMut::new(&mut byte)], &mut rights, flags).ok()?;
    let descriptor = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })?;
    fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
    Some(File::from(descriptor))
}

impl Sandbox {
    /// Runs one command in the sandbox of a build, and returns how it ended.
    ///
    /// Setting `cancelled` kills everything inside within a fraction of a second, and so does the
    /// end of this process.
    ///
    /// # Errors
    /// [`SandboxError`] when the sandbox could not be set up, or none of the commands be started.
    pub fn visit(&self, visit: &Visit, streams: &Streams, cancelled: &AtomicBool) -> Result<Outcome, SandboxError> {
        check(&visit.request)?;
        let started = Instant::now();
        let mut pooled = self.take_spawner(&visit.request.limits)?;
        let visit = Visit { request: limited_by_itself(&visit.request, &pooled.groups).into_owned(), ..visit.clone() };
        let (input_end, input) = pipe()?;
        let (output, output_end) = pipe()?;
        let (errors, errors_end) = pipe()?;
        let (handover, handover_end) =
            UnixStream::pair().named("set up a visit", || "socketpair(AF_UNIX, SOCK_STREAM)".into())?;
        let ends = [input_end.as_fd(), output_end.as_fd(), errors_end.as_fd(), handover_end.as_fd()];
        pooled.spawner.visit(&visit, &ends)?;
        drop((input_end, output_end, errors_end, handover_end));
        let on_terminal = visit.terminal.map_or([false; 3], |terminal| terminal.streams);
        let mut relay = Relay {
            streams,
            input: (!on_terminal[0]).then(|| never_blocking(input)).transpose()?,
            input_open: true,
            pending: Vec::new(),
            typing: on_terminal[0],
            output: Some(never_blocking(output)?),
            errors: Some(never_blocking(errors)?),
            handover: visit.terminal.map(|_| handover),
            master: None,
            size: visit.terminal.map(|terminal| terminal.size),
            report: Vec::new(),
        };
        let killed = relay.run(&mut pooled.spawner, cancelled)?;
        let report = std::mem::take(&mut relay.report);
        match conclude(&report, killed, started.elapsed()) {
            Err(SandboxError::Lost { .. }) if killed.is_some() => Ok(Outcome {
                status: Status::Cancelled,
                usage: Usage { wall: started.elapsed(), ..Usage::default() },
                landlock_abi: None,
                skipped: Vec::new(),
            }),
            concluded => concluded,
        }
    }
}

/// Carries the bytes of a running visit.
struct Relay<'a> {
    streams: &'a Streams<'a>,
    /// The pipe to standard input; `None` when that is closed, or the terminal.
    input: Option<File>,
    /// Set until the caller's input has ended.
    input_open: bool,
    /// Input that the sandbox has not taken yet.
    pending: Vec<u8>,
    /// Set when input goes to the terminal.
    typing: bool,
    output: Option<File>,
    errors: Option<File>,
    /// The socket from which the master end comes, until it has come.
    handover: Option<UnixStream>,
    master: Option<File>,
    size: Option<WindowSize>,
    report: Vec<u8>,
}

/// The sources that a visit waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Spawner,
    Handover,
    Caller,
    Master,
    Output,
    Errors,
    Sink,
}

impl Relay<'_> {
    /// Carries bytes until everything inside is dead; returns the reason for which it was killed.
    fn run(&mut self, spawner: &mut Spawner, cancelled: &AtomicBool) -> Result<Option<Status>, SandboxError> {
        const REAP_TIMEOUT: Duration = Duration::from_secs(20);
        let mut killed: Option<Instant> = None;
        loop {
            match killed {
                None if cancelled.load(Ordering::Relaxed) => {
                    killed = Some(Instant::now());
                    spawner.end();
                }
                Some(at) if at.elapsed() > REAP_TIMEOUT => spawner.kill(),
                _ => {}
            }
            self.resize();
            let ready = self.wait(spawner)?;
            for source in ready {
                match source {
                    Source::Spawner => {
                        if !spawner.read(&mut self.report)? || is_complete(&self.report) {
                            self.drain()?;
                            return Ok(killed.map(|_| Status::Cancelled));
                        }
                    }
                    Source::Handover => {
                        self.master = self.handover.take().as_ref().and_then(receive_terminal);
                    }
                    Source::Caller => self.read_input()?,
                    Source::Sink => self.write_input(),
                    Source::Master | Source::Output | Source::Errors => {
                        self.carry(source)?;
                    }
                }
            }
        }
    }

    /// Waits for a moment, and returns the sources that are ready.
    fn wait(&self, spawner: &Spawner) -> Result<Vec<Source>, SandboxError> {
        let mut watched = vec![(Source::Spawner, spawner.socket(), PollFlags::POLLIN)];
        let open = [
            (Source::Handover, self.handover.as_ref().map(AsFd::as_fd)),
            (Source::Master, self.master.as_ref().map(AsFd::as_fd)),
            (Source::Output, self.output.as_ref().map(AsFd::as_fd)),
            (Source::Errors, self.errors.as_ref().map(AsFd::as_fd)),
        ];
        watched.extend(open.into_iter().filter_map(|(source, file)| Some((source, file?, PollFlags::POLLIN))));
        if let Some(sink) = self.sink().map(AsFd::as_fd) {
            // No more than the sandbox takes is read of the caller's input.
            if !self.pending.is_empty() {
                watched.push((Source::Sink, sink, PollFlags::POLLOUT));
            } else if self.input_open {
                watched.push((Source::Caller, self.streams.input, PollFlags::POLLIN));
            }
        }
        let mut polled: Vec<PollFd<'_>> = watched.iter().map(|(_, file, flags)| PollFd::new(*file, *flags)).collect();
        match poll(&mut polled, PollTimeout::from(POLL_MS)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).named("watch the sandbox", || "poll".into()),
        }
        let ready = watched.iter().zip(&polled).filter(|(_, polled)| polled.any().unwrap_or(false));
        Ok(ready.map(|((source, ..), _)| *source).collect())
    }

    /// Returns the file that takes the caller's input.
    fn sink(&self) -> Option<&File> {
        if self.typing { self.master.as_ref() } else { self.input.as_ref() }
    }

    /// Gives the terminal inside the size of the caller's; the kernel notifies the programs there.
    fn resize(&mut self) {
        let Some(master) = self.master.as_ref().filter(|_| self.size.is_some()) else { return };
        let now = (self.streams.size)();
        if now.is_some() && now != self.size {
            self.size = now;
            if let Some(now) = now {
                // It only looks less pleasant when this fails.
                let _ = sys::set_window_size(master.as_fd(), now);
            }
        }
    }

    fn read_input(&mut self) -> Result<(), SandboxError> {
        let mut buffer = [0; 16 << 10];
        match nix::unistd::read(self.streams.input, &mut buffer) {
            // A terminal that is gone ends the process by a signal. All else ends as a file does.
            Ok(0) | Err(Errno::EIO) => {
                self.input_open = false;
                self.input = None;
            }
            Ok(count) => {
                self.pending.extend_from_slice(&buffer[..count]);
                self.write_input();
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).named("read the standard input", || "read(0)".into()),
        }
        Ok(())
    }

    fn write_input(&mut self) {
        let sink = if self.typing { self.master.as_ref() } else { self.input.as_ref() };
        let Some(mut sink) = sink else { return };
        match sink.write(&self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // No program inside reads any more.
            Err(_) => {
                self.pending.clear();
                self.input_open = false;
                self.input = None;
            }
        }
    }

    /// Passes on what is available of an output; returns false when nothing was.
    fn carry(&mut self, source: Source) -> Result<bool, SandboxError> {
        let (from, to) = match source {
            Source::Errors => (&mut self.errors, self.streams.errors),
            Source::Output => (&mut self.output, self.streams.output),
            _ => (&mut self.master, self.streams.output),
        };
        let mut buffer = [0; 32 << 10];
        let Some(file) = from else { return Ok(false) };
        match file.read(&mut buffer) {
            Ok(count @ 1..) => write_all(to, &buffer[..count]).map(|()| true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            // A terminal that no program has open any more is an error to read.
            Ok(_) | Err(_) => {
                *from = None;
                Ok(false)
            }
        }
    }

    /// Passes on what the dead have left.
    fn drain(&mut self) -> Result<(), SandboxError> {
        if let Some(handover) = self.handover.take() {
            self.master = receive_terminal(&handover);
        }
        for source in [Source::Master, Source::Output, Source::Errors] {
            while self.carry(source)? {}
        }
        Ok(())
    }
}

/// Writes to a file of the caller, which may be one that does not block.
fn write_all(to: BorrowedFd, mut bytes: &[u8]) -> Result<(), SandboxError> {
    while !bytes.is_empty() {
        match nix::unistd::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                // An error shows in the next write.
                let _ = poll(&mut [PollFd::new(to, PollFlags::POLLOUT)], PollTimeout::from(POLL_MS));
            }
            // A reader that closes the pipe, such as `head`, has seen enough.
            Err(Errno::EPIPE) => return Ok(()),
            Err(errno) => return Err(errno).named("pass on the output", || "write".into()),
        }
    }
    Ok(())
}
