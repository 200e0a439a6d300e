//! The two processes between the caller and the builder: the spawner outside the process-id
//! namespace, the init inside. The order of the init's steps is in [`super`].
//!
//! Neither has a second thread. The spawner ends when its standard input closes, the init when the
//! spawner does, by the parent-death signal.

use super::base::Base;
use super::error::Named;
use super::message::Message;
use super::spawner::{Head, receive_body, receive_head, report};
use super::visit::{Inside, NewTerminal, Visit, make_terminal};
use super::{ATTACHING_NAME, SPAWNER_NAME, SandboxError, attach, filter, landlock, limits, mounts, namespaces, sys};
use crate::request::{Jobserver, JobserverForm, Request, Words};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid, write};
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Descriptor on which the init and the builder's process before `execve` report.
const REPORT: RawFd = 3;
/// Descriptor over which the init of a visit sends the other end of its terminal.
const HANDOVER: RawFd = 4;

/// Becomes the sandbox's spawner, or a program with trees of the store at their paths, when this
/// process was started as one, and does not return then.
///
/// It must be the first thing in `main`, before any thread exists.
pub fn child_entry() {
    match std::env::args_os().next().as_deref().map(OsStr::as_bytes) {
        Some(name) if name == SPAWNER_NAME.as_bytes() => serve(),
        Some(name) if name == ATTACHING_NAME.as_bytes() => attach::enter(),
        _ => {}
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
    while let Some((head, descriptors)) = receive_head(socket) {
        let received = match head {
            // The build to kill had ended by itself.
            Head::End => continue,
            Head::Run(size) => receive_body(socket, size).map(|body| body.and_then(|it| Task::build(it, descriptors))),
            Head::Visit(size) => {
                receive_body(socket, size).map(|body| body.and_then(|it| Task::visit(it, descriptors)))
            }
        };
        let Ok(task) = received else { break };
        let mut reports = Vec::new();
        let ran = match (&task, base.get_or_insert_with(Base::make)) {
            (Ok(task), Ok(base)) => run(base, task, socket, &mut reports),
            (Err(error), _) => Err(error.clone()),
            (_, Err(error)) => Err(error.clone()),
        };
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
        drop(task);
    }
    sys::exit_now(0)
}

/// One command to run in a sandbox, with its descriptors.
struct Task {
    request: Request,
    /// The commands to try.
    commands: Vec<Words>,
    streams: TaskStreams,
}

enum TaskStreams {
    /// A build: it reads nothing, and prints to the log.
    Log(OwnedFd),
    Visit {
        inside: Inside,
        script: Option<String>,
        terminal: Option<NewTerminal>,
    },
}

impl Task {
    fn build(request: Request, descriptors: Vec<OwnedFd>) -> Result<Task, SandboxError> {
        let commands = vec![Words(request.argv.clone())];
        let streams = descriptors.into_iter().next().map(TaskStreams::Log).ok_or_else(incomplete)?;
        Ok(Task { request, commands, streams })
    }

    fn visit(visit: Visit, descriptors: Vec<OwnedFd>) -> Result<Task, SandboxError> {
        let Visit { request, commands, script, terminal } = visit;
        // Out of the way of the numbers that the init uses.
        let moved = descriptors.into_iter().map(|file| sys::move_above(file, HANDOVER + 1)).collect::<Result<_, _>>();
        let inside = Inside::of(moved.named("set up a visit", || "fcntl(F_DUPFD_CLOEXEC)".into())?);
        let inside = inside.ok_or_else(incomplete)?;
        Ok(Task { request, commands, streams: TaskStreams::Visit { inside, script, terminal } })
    }

    /// Returns the file that takes messages of the sandbox's own processes, and the standard error
    /// of the command.
    fn errors(&self) -> &OwnedFd {
        match &self.streams {
            TaskStreams::Log(log) => log,
            TaskStreams::Visit { inside, .. } => &inside.errors,
        }
    }
}

fn incomplete() -> SandboxError {
    SandboxError::Request { reason: "it lacks a descriptor of its streams".into() }
}

/// Runs one task to its end: when this returns, none of its processes is alive. Their messages are
/// added to `reports`.
fn run(base: &mut Base, task: &Task, socket: BorrowedFd, reports: &mut Vec<u8>) -> Result<Message, SandboxError> {
    let request = &task.request;
    let mut skipped = Vec::new();
    // Made before the fork: the init would make it in pages that it first has to copy.
    let command = Command::new(task)?;
    base.prepare_network()?;
    base.prepare_view(request)?;
    base.prepare_root(request)?;
    base.set_clocks(request.mode, &mut skipped)?;
    let Some(init) = namespaces::start_init(base.template.is_none())? else {
        let logging = dup2_stderr(task.errors());
        let (Ok(()), Ok(to_spawner)) = (logging, sys::place_at(base.report.as_fd(), REPORT)) else { sys::exit_now(1) };
        let Err(error) = self::init(base, task, &command, skipped, to_spawner.as_fd());
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
    task: &Task,
    command: &Command,
    mut skipped: Vec<String>,
    to_spawner: BorrowedFd,
) -> Result<Infallible, SandboxError> {
    let request = &task.request;
    die_with_parent()?;
    limits::lower_priority(&request.limits)?;

    mounts::assemble(request, base, &mut skipped)?;
    namespaces::set_hostname()?;
    namespaces::enter_inner(base.inner.as_fd())?;

    setsid().named("leave the caller's terminal", || "setsid".into())?;
    let opened = open_streams(&task.streams)?;

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
        let Err(error) = opened.enter().and_then(|()| command.become_builder());
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

/// Files that the command gets besides its standard streams.
#[derive(Default)]
struct OpenedStreams {
    terminal: Option<(OwnedFd, [bool; 3])>,
    script: Option<OwnedFd>,
}

/// Sets the standard streams of the init, which are those of its command, and closes all other
/// inherited files. A terminal becomes the command's alone.
fn open_streams(streams: &TaskStreams) -> Result<OpenedStreams, SandboxError> {
    let close_from = |first: RawFd| {
        sys::close_from(first.unsigned_abs()).named("close inherited files", || format!("close_range({first}, ~0)"))
    };
    let (inside, script, terminal) = match streams {
        TaskStreams::Log(_) => {
            let input = null(OFlag::O_RDONLY)?;
            dup2_stdin(input.as_fd()).named("set the standard input", || "dup2(null, 0)".into())?;
            drop(input);
            dup2_stdout(std::io::stderr().as_fd()).named("set the standard output", || "dup2(2, 1)".into())?;
            close_from(REPORT + 1)?;
            return Ok(OpenedStreams::default());
        }
        TaskStreams::Visit { inside, script, terminal } => (inside, script, terminal),
    };
    dup2_stdin(&inside.input).named("set the standard input", || "dup2(pipe, 0)".into())?;
    dup2_stdout(&inside.output).named("set the standard output", || "dup2(pipe, 1)".into())?;
    let handover = sys::place_at(inside.handover.as_fd(), HANDOVER)
        .named("keep the socket of a terminal", || format!("dup3(socket, {HANDOVER})"))?;
    close_from(HANDOVER + 1)?;
    let terminal = match terminal {
        Some(terminal) => Some((make_terminal(terminal, handover.as_fd())?, terminal.streams)),
        None => None,
    };
    drop(handover);
    let script = script.as_deref().map(script_file).transpose()?;
    Ok(OpenedStreams { terminal, script })
}

/// Returns a file in memory with this text.
fn script_file(text: &str) -> Result<OwnedFd, SandboxError> {
    const DOING: &str = "write the script of a shell";
    let file = memfd_create(c"script", MFdFlags::MFD_CLOEXEC).named(DOING, || "memfd_create".into())?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).named(DOING, || "write(memfd)".into())?;
    Ok(file.into())
}

impl OpenedStreams {
    /// Gives them to the calling process, which becomes the command.
    fn enter(&self) -> Result<(), SandboxError> {
        const DOING: &str = "give the command its terminal";
        if let Some((terminal, [input, output, errors])) = &self.terminal {
            setsid().named(DOING, || "setsid".into())?;
            sys::take_terminal(terminal.as_fd()).named(DOING, || "ioctl(TIOCSCTTY)".into())?;
            let set = || -> nix::Result<()> {
                if *input {
                    dup2_stdin(terminal)?;
                }
                if *output {
                    dup2_stdout(terminal)?;
                }
                if *errors {
                    dup2_stderr(terminal)?;
                }
                Ok(())
            };
            set().named(DOING, || "dup2(terminal)".into())?;
        }
        if let Some(script) = &self.script {
            fcntl(script, FcntlArg::F_DUPFD(Visit::SCRIPT_NUMBER))
                .named("give the command its script", || "fcntl(F_DUPFD)".into())?;
        }
        Ok(())
    }
}

/// Programs with their arguments, of which the first that exists is started, and their environment.
struct Command {
    programs: Vec<(CString, Vec<CString>)>,
    environment: Vec<CString>,
    working_dir: CString,
    /// Set when it has descriptors of the job server.
    job_tokens: bool,
}

impl Command {
    fn new(task: &Task) -> Result<Command, SandboxError> {
        let request = &task.request;
        let text = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| SandboxError::Request { reason: "a text contains a NUL".into() })
        };
        let mut programs = Vec::with_capacity(task.commands.len());
        for Words(words) in &task.commands {
            let arguments: Vec<CString> =
                words.iter().map(|argument| text(argument.as_bytes())).collect::<Result<_, _>>()?;
            let Some(program) = arguments.first().cloned() else {
                return Err(SandboxError::Request { reason: "no builder is named".into() });
            };
            programs.push((program, arguments));
        }
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
        Ok(Command { programs, environment, working_dir, job_tokens })
    }

    fn become_builder(&self) -> Result<Infallible, SandboxError> {
        let directory = self.working_dir.as_c_str();
        chdir(directory).named("enter the working directory", || format!("chdir({})", directory.to_string_lossy()))?;
        if self.job_tokens {
            open_job_tokens()?;
        }
        let mut failed = None;
        for (program, arguments) in &self.programs {
            let errno = sys::execute(program, arguments, &self.environment);
            failed = Some((program, errno));
            if !matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
                break;
            }
        }
        let Some((program, errno)) = failed else {
            return Err(SandboxError::Request { reason: "no command is named".into() });
        };
        let program = program.to_string_lossy().into_owned();
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
