//! The two processes between the caller and the builder: the spawner outside the process-id
//! namespace, the init inside. The order of the init's steps is in [`super`].
//!
//! Neither has a second thread. The spawner ends when its standard input closes, the init when the
//! spawner does, by the parent-death signal.

use super::base::Base;
use super::error::Named;
use super::message::Message;
use super::spawner::{Head, receive_head, receive_request, report};
use super::{SPAWNER_NAME, SandboxError, filter, landlock, limits, mounts, namespaces, sys};
use crate::request::{Jobserver, JobserverForm, Request};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid, write};
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Descriptor on which the init and the builder's process before `execve` report.
const REPORT: RawFd = 3;

/// Becomes the sandbox's spawner when this process was started as one, and does not return then.
///
/// It must be the first thing in `main`, before any thread exists.
pub fn child_entry() {
    if std::env::args_os().next().as_deref() == Some(OsStr::new(SPAWNER_NAME)) {
        serve();
    }
}

/// Runs the builds that the caller at the other end of standard input asks for, one at a time.
fn serve() -> ! {
    let socket = std::io::stdin();
    let socket = socket.as_fd();
    // This process must not hold the caller's files open, as it may outlive their purpose.
    if sys::close_from(3).is_err() || !sys::is_single_threaded() {
        sys::exit_now(1);
    }
    // Builders must not ignore the signals that the caller, or its parent, ignores or blocks.
    sys::reset_signals();
    let mut base = None;
    while let Some((head, log)) = receive_head(socket) {
        let size = match head {
            // The build to kill had ended by itself.
            Head::End => continue,
            Head::Run(size) => size,
        };
        let Ok(request) = receive_request(socket, size) else { break };
        let mut reports = Vec::new();
        let ran = request.and_then(|request| match (base.get_or_insert_with(Base::make), &log) {
            (Ok(base), Some(log)) => build(base, &request, log, socket, &mut reports),
            (Ok(_), None) => Err(SandboxError::Request { reason: "it has no descriptor for the log".into() }),
            (Err(error), _) => Err(error.clone()),
        });
        let usage = match ran {
            Ok(usage) => usage,
            Err(error) => {
                Message::Failed(error).append_to(&mut reports);
                Message::Usage { user: Duration::ZERO, system: Duration::ZERO, max_rss_bytes: 0 }
            }
        };
        usage.append_to(&mut reports);
        report(socket, &reports);
        // Not before, so that the caller is not woken once more by the end of the log.
        drop(log);
    }
    sys::exit_now(0)
}

/// Runs one build to its end: when this returns, none of its processes is alive. Their messages are
/// added to `reports`.
fn build(
    base: &mut Base,
    request: &Request,
    log: &OwnedFd,
    socket: BorrowedFd,
    reports: &mut Vec<u8>,
) -> Result<Message, SandboxError> {
    let mut skipped = Vec::new();
    // Made before the fork: the init would make it in pages that it first has to copy.
    let command = Command::new(request)?;
    base.prepare_network()?;
    base.prepare_view(request)?;
    base.prepare_root(request)?;
    base.set_clocks(request.mode, &mut skipped)?;
    let Some(init) = namespaces::start_init(base.template.is_none())? else {
        let logging = dup2_stderr(log);
        let (Ok(()), Ok(to_spawner)) = (logging, sys::place_at(base.report.as_fd(), REPORT)) else { sys::exit_now(1) };
        let Err(error) = self::init(base, request, &command, skipped, to_spawner.as_fd());
        send(to_spawner.as_fd(), &Message::Failed(error));
        sys::exit_now(1);
    };
    let watched = watch(init.as_fd(), socket);
    if !matches!(watched, Ok(End::Itself)) {
        match sys::pidfd_kill(init.as_fd()) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno).named("kill the build", || "pidfd_send_signal(SIGKILL)".into()),
        }
    }
    // The init is reaped only when all processes of its namespace are dead.
    let waited = sys::wait_any().named("wait for the init of the sandbox", || "wait4".into())?;
    base.take_reports(reports);
    watched?;
    Ok(Message::Usage { user: waited.user, system: waited.system, max_rss_bytes: waited.max_rss_bytes })
}

/// Sends a message to the spawner, which reads it when the init is dead. A message that does not
/// fit into the pipe is dropped.
fn send(to_spawner: BorrowedFd, message: &Message) {
    let mut line = Vec::new();
    message.append_to(&mut line);
    let _ = write(to_spawner, &line);
}

/// The cause of a build's end.
enum End {
    /// The build's init has exited.
    Itself,
    /// The caller wants it to end, or is gone.
    Caller,
}

/// Waits for the end of a build.
fn watch(init: BorrowedFd, socket: BorrowedFd) -> Result<End, SandboxError> {
    loop {
        let mut polled = [PollFd::new(init, PollFlags::POLLIN), PollFd::new(socket, PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).named("watch the build", || "poll".into()),
        }
        let [ended, called] = polled.map(|polled| polled.any().unwrap_or(false));
        if ended {
            return Ok(End::Itself);
        }
        if called {
            // While a build runs there is only one request. When the caller is gone, the next
            // receive fails.
            receive_head(socket);
            return Ok(End::Caller);
        }
    }
}

fn die_with_parent() -> Result<(), SandboxError> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
        .named("tie the sandbox to its caller", || "prctl(PR_SET_PDEATHSIG, SIGKILL)".into())
        .map(drop)
}

fn null(flags: OFlag) -> Result<OwnedFd, SandboxError> {
    open("/dev/null", flags | OFlag::O_CLOEXEC, Mode::empty())
        .named("open the null device", || "open(/dev/null)".into())
}

/// Process 1 of the sandbox.
fn init(
    base: &Base,
    request: &Request,
    command: &Command,
    mut skipped: Vec<String>,
    to_spawner: BorrowedFd,
) -> Result<Infallible, SandboxError> {
    die_with_parent()?;
    limits::lower_priority(&request.limits)?;

    mounts::assemble(request, base, &mut skipped)?;
    namespaces::set_hostname()?;
    namespaces::enter_inner(base.inner.as_fd())?;

    setsid().named("leave the caller's terminal", || "setsid".into())?;
    let input = null(OFlag::O_RDONLY)?;
    dup2_stdin(input.as_fd()).named("set the standard input", || "dup2(null, 0)".into())?;
    drop(input);
    dup2_stdout(std::io::stderr().as_fd()).named("set the standard output", || "dup2(2, 1)".into())?;
    sys::close_from(REPORT.unsigned_abs() + 1).named("close inherited files", || "close_range(4, ~0)".into())?;

    limits::fix_surroundings(&request.limits)?;
    limits::drop_privileges()?;
    // Again, as a change of credentials may clear it.
    die_with_parent()?;
    // Process 1 is as confined as the builder; not dumpable, it also keeps its files and its
    // executable to itself.
    sys::prctl(libc::PR_SET_DUMPABLE, 0)
        .named("hide the init from the builder", || "prctl(PR_SET_DUMPABLE, 0)".into())?;
    let landlock_abi = landlock::restrict(request, &mut skipped)?;
    filter::apply(&base.filter, request.mode, &mut skipped)?;

    send(to_spawner, &Message::Ready { landlock_abi, skipped });
    let builder = sys::fork_until_exec(CloneFlags::empty(), &mut || {
        let Err(error) = command.become_builder();
        send(to_spawner, &Message::Failed(error));
        sys::exit_now(127)
    })
    .named("start the builder", || "clone(CLONE_VM|CLONE_VFORK)".into())?;
    loop {
        let waited = sys::wait_any().named("wait for the builder", || "wait4".into())?;
        if waited.pid == builder {
            let max_rss_bytes = waited.max_rss_bytes;
            let message = match waited.status {
                Ok(code) => Message::Exited { code, max_rss_bytes },
                Err(signal) => Message::Signalled { signal, max_rss_bytes },
            };
            send(to_spawner, &message);
            sys::exit_now(0);
        }
    }
}

/// Program, arguments and environment of the builder.
struct Command {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    working_dir: CString,
    /// Set when it has descriptors of the job server.
    job_tokens: bool,
}

impl Command {
    fn new(request: &Request) -> Result<Command, SandboxError> {
        let text = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| SandboxError::Request { reason: "a text contains a NUL".into() })
        };
        let arguments: Vec<CString> =
            request.argv.iter().map(|argument| text(argument.as_bytes())).collect::<Result<_, _>>()?;
        let Some(program) = arguments.first().cloned() else {
            return Err(SandboxError::Request { reason: "no builder is named".into() });
        };
        let variable = |name: &OsStr, value: &OsStr| text(&[name.as_bytes(), b"=", value.as_bytes()].concat());
        let mut environment: Vec<CString> =
            request.env.iter().map(|(name, value)| variable(name, value)).collect::<Result<_, _>>()?;
        for name in ["EVAL_CORES", "NIX_BUILD_CORES"] {
            if !request.env.iter().any(|(set, _)| set == name) {
                environment.push(variable(OsStr::new(name), OsStr::new(&request.cores.to_string()))?);
            }
        }
        let jobserver = request.jobserver.as_ref();
        if let Some(jobserver) = jobserver
            && !request.env.iter().any(|(set, _)| set == "MAKEFLAGS")
        {
            environment.push(variable(OsStr::new("MAKEFLAGS"), OsStr::new(&jobserver.make_flags()))?);
        }
        let job_tokens = jobserver.is_some_and(|jobserver| jobserver.form == JobserverForm::Descriptors);
        let working_dir = text(request.working_dir.as_os_str().as_bytes())?;
        Ok(Command { program, arguments, environment, working_dir, job_tokens })
    }

    fn become_builder(&self) -> Result<Infallible, SandboxError> {
        let directory = self.working_dir.as_c_str();
        chdir(directory).named("enter the working directory", || format!("chdir({})", directory.to_string_lossy()))?;
        if self.job_tokens {
            open_job_tokens()?;
        }
        let errno = sys::execute(&self.program, &self.arguments, &self.environment);
        let program = self.program.to_string_lossy().into_owned();
        let help = match errno {
            Errno::ENOENT if std::fs::symlink_metadata(&program).is_ok() => Some(
                "the file is there: the interpreter named in its first line or in its ELF header is not".to_owned(),
            ),
            Errno::ENOENT => Some("no tree of the root and no input brings this file".to_owned()),
            Errno::ENOEXEC => {
                Some("it is neither a program for this machine nor a script that starts with `#!`".to_owned())
            }
            Errno::EACCES => Some("the file is not executable".to_owned()),
            _ => None,
        };
        Err(SandboxError::Builder { program, errno: errno as i32, help })
    }
}

/// Opens the FIFO of the job server for the program that is started next, under the numbers that
/// `MAKEFLAGS` names.
fn open_job_tokens() -> Result<(), SandboxError> {
    for (number, flags) in Jobserver::DESCRIPTORS.into_iter().zip([OFlag::O_RDONLY, OFlag::O_WRONLY]) {
        let place = Jobserver::PATH;
        // The caller has it open at both ends, so this does not wait.
        open(place, flags | OFlag::O_CLOEXEC, Mode::empty())
            .and_then(|file| fcntl(&file, FcntlArg::F_DUPFD(number)))
            .named("open the job server", || format!("open({place})"))?;
    }
    Ok(())
}
