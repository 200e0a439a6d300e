//! The caller's side: hands a spawner the request, carries the log, and ends the build at its
//! limits.

use super::cgroup::{Exhausted, Groups, Parents, Whose};
use super::error::Named;
use super::message::Message;
use super::spawner::Spawner;
use super::{LAYERS_MAX, SandboxError};
use crate::request::{Limits, Request};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statvfs::statvfs;
use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Time between two checks of `cancelled`.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// The least time between two checks of the free space.
const DISK_POLL: Duration = Duration::from_millis(25);
/// A process that does not check for so long, though it checks every [`CANCEL_POLL`], was stopped.
const SUSPENSION: Duration = Duration::from_secs(5);
/// The longest time in which the spawner must reap a killed build before it is killed itself.
const REAP_TIMEOUT: Duration = Duration::from_secs(20);

/// The end of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The builder exited with this status.
    Exited(i32),
    /// This signal ended the builder.
    Signalled(i32),
    /// Killed after [`crate::request::Limits::timeout`].
    TimedOut,
    /// Killed after [`crate::request::Limits::max_silent`] without output.
    Silent,
    /// Killed when the log reached [`crate::request::Limits::max_log_bytes`].
    LogTooLong,
    /// The kernel ended a process of it, as [`crate::request::Limits::memory_max_bytes`] was
    /// reached.
    OutOfMemory,
    /// The kernel ended a process of it, as the machine was out of memory, or a control group that
    /// the caller is in.
    MachineOutOfMemory,
    /// It was refused a process, as [`crate::request::Limits::processes_max`] was reached.
    TooManyProcesses,
    /// It was refused a process by the limit of a control group that the caller is in.
    MachineTooManyProcesses,
    /// Killed when fewer bytes were free than [`crate::request::Limits::disk_reserve_bytes`].
    DiskFull,
    /// Killed as the caller wished.
    Cancelled,
}

/// The resources that a build used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time from the request to the death of the last process.
    pub wall: Duration,
    /// Processor time in user mode, of all processes.
    pub user: Duration,
    /// Processor time in the kernel, of all processes.
    pub system: Duration,
    /// Largest resident set of a single process, in bytes; the sandbox's own few megabytes are its
    /// lower bound.
    pub max_rss_bytes: u64,
}

/// The outcome of a build that could be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The end of the build.
    pub status: Status,
    /// The resources that it used.
    pub usage: Usage,
    /// Level of Landlock that was in force.
    pub landlock_abi: Option<i32>,
    /// Parts of the sandbox that were missing; empty unless the mode was relaxed.
    pub skipped: Vec<String>,
}

/// Runs builds, of any number of threads at the same time.
#[derive(Debug)]
pub struct Sandbox {
    child_exe: PathBuf,
    /// Spawners that no build uses at the moment.
    idle: Mutex<Vec<PooledSpawner>>,
}

/// A spawner, which runs one build at a time, in its control groups.
#[derive(Debug)]
pub(super) struct PooledSpawner {
    /// Before the groups, which it is in.
    pub(super) spawner: Spawner,
    pub(super) groups: Groups,
    limits: (Option<u64>, Option<u64>),
}

impl Default for Sandbox {
    /// Uses the running executable.
    fn default() -> Sandbox {
        Sandbox::new(PathBuf::from("/proc/self/exe"))
    }
}

/// Runs a build with the running executable as the spawner; see [`Sandbox::run`].
///
/// # Errors
/// The errors of [`Sandbox::run`].
pub fn run(request: &Request, on_log: &mut dyn FnMut(&[u8]), cancelled: &AtomicBool) -> Result<Outcome, SandboxError> {
    Sandbox::default().run(request, on_log, cancelled)
}

impl Sandbox {
    /// A sandbox whose processes are of `child_exe`, an executable whose `main` calls
    /// [`super::child_entry`] first.
    pub fn new(child_exe: PathBuf) -> Sandbox {
        Sandbox { child_exe, idle: Mutex::default() }
    }

    pub(super) fn take_spawner(&self, limits: &Limits) -> Result<PooledSpawner, SandboxError> {
        let wanted = (limits.memory_max_bytes, limits.processes_max);
        let mut idle = os::lock(&self.idle);
        if let Some(at) = idle.iter().position(|pooled| pooled.limits == wanted) {
            return Ok(idle.swap_remove(at));
        }
        drop(idle);
        let mut groups = Groups::make(control_groups(), limits);
        let spawner = Spawner::start(&self.child_exe)?;
        groups.add(spawner.id());
        Ok(PooledSpawner { spawner, groups, limits: wanted })
    }

    /// Runs one build to its end and returns how it ended.
    ///
    /// `on_log` gets what the builder writes to its standard output and error, in order, in pieces
    /// that need not be lines; and an empty piece now and then while there is none. Setting `cancelled` ends the build within a fraction of a second.
    ///
    /// # Errors
    /// [`SandboxError`] when the sandbox could not be set up or the builder not started.
    pub fn run(
        &self,
        request: &Request,
        on_log: &mut dyn FnMut(&[u8]),
        cancelled: &AtomicBool,
    ) -> Result<Outcome, SandboxError> {
        check(request)?;
        let started = Instant::now();
        let mut pooled = self.take_spawner(&request.limits)?;
        let (log, log_end) = pipe()?;
        pooled.spawner.run(&limited_by_itself(request, &pooled.groups), log_end.as_fd())?;
        drop(log_end);
        let log = never_blocking(log)?;
        let mut watch = Watch {
            request,
            on_log,
            started,
            last_output: started,
            log_bytes: 0,
            killed: None,
            killed_at: started,
            report: Vec::new(),
            disk_checked: started,
            checked: started,
        };
        watch.supervise(&mut pooled.spawner, &log, cancelled)?;
        let (killed, report) = (watch.killed, watch.report);
        let exhausted = pooled.groups.exhausted();
        let mut outcome = match conclude(&report, killed, started.elapsed()) {
            // The kernel may kill a group as a whole, and then no process is left to report.
            Err(SandboxError::Lost { .. }) if matches!(exhausted, Some(Exhausted::Memory(_))) => Outcome {
                status: Status::Signalled(libc::SIGKILL),
                usage: Usage { wall: started.elapsed(), ..Usage::default() },
                landlock_abi: None,
                skipped: Vec::new(),
            },
            // A signal to a whole session or group kills the spawner as well.
            Err(SandboxError::Lost { .. }) if cancelled.load(Ordering::Relaxed) => Outcome {
                status: Status::Cancelled,
                usage: Usage { wall: started.elapsed(), ..Usage::default() },
                landlock_abi: None,
                skipped: Vec::new(),
            },
            concluded => concluded?,
        };
        // Also of a builder that takes no notice: what it made without a process may not be what it
        // makes with it.
        if let (Status::Exited(_) | Status::Signalled(_), Some(exhausted)) = (outcome.status, exhausted) {
            outcome.status = match exhausted {
                Exhausted::Memory(Whose::Own) => Status::OutOfMemory,
                Exhausted::Memory(Whose::Ancestor) => Status::MachineOutOfMemory,
                Exhausted::Processes(Whose::Own) => Status::TooManyProcesses,
                Exhausted::Processes(Whose::Ancestor) => Status::MachineTooManyProcesses,
            };
        }
        // The next build would be blamed for what this one has used up, and not be started by a
        // spawner that is dead.
        if exhausted.is_none() && is_complete(&report) {
            os::lock(&self.idle).push(pooled);
        }
        Ok(outcome)
    }
}

/// Returns the directories in which this process may make control groups, looked up once.
fn control_groups() -> &'static Parents {
    static PARENTS: OnceLock<Parents> = OnceLock::new();
    PARENTS.get_or_init(Parents::find)
}

/// Returns the request with the limits that the sandbox has to set itself: those for which there is
/// no control group.
pub(super) fn limited_by_itself<'a>(request: &'a Request, groups: &Groups) -> Cow<'a, Request> {
    let mut request = Cow::Borrowed(request);
    if groups.limits_memory() {
        request.to_mut().limits.memory_max_bytes = None;
    }
    if groups.limits_processes() {
        request.to_mut().limits.processes_counted = true;
    }
    request
}

/// The state of one running build.
struct Watch<'a> {
    request: &'a Request,
    on_log: &'a mut dyn FnMut(&[u8]),
    started: Instant,
    last_output: Instant,
    log_bytes: u64,
    killed: Option<Status>,
    killed_at: Instant,
    report: Vec<u8>,
    /// Time of the last check of the free space.
    disk_checked: Instant,
    /// Time of the last check for a reason to end.
    checked: Instant,
}

impl Watch<'_> {
    fn supervise(&mut self, spawner: &mut Spawner, log: &File, cancelled: &AtomicBool) -> Result<(), SandboxError> {
        let mut log_open = true;
        loop {
            if self.killed.is_none() {
                self.killed = self.reason_to_end(cancelled);
                if self.killed.is_some() {
                    self.killed_at = Instant::now();
                    spawner.end();
                }
            } else if self.killed_at.elapsed() > REAP_TIMEOUT {
                spawner.kill();
            }
            let mut polled = vec![PollFd::new(spawner.socket(), PollFlags::POLLIN)];
            if log_open {
                polled.push(PollFd::new(log.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut polled, self.poll_timeout()) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).named("watch the build", || "poll".into()),
            }
            let ready = |index: usize| polled.get(index).and_then(PollFd::any).unwrap_or(false);
            let (report_ready, log_ready) = (ready(0), ready(1));
            if log_ready {
                log_open = self.read_log(log)?;
            } else {
                (self.on_log)(&[]);
            }
            // The usage is the last message.
            if report_ready && (!spawner.read(&mut self.report)? || is_complete(&self.report)) {
                break;
            }
        }
        while log_open {
            let before = self.log_bytes;
            log_open = self.read_log(log)? && self.log_bytes != before;
        }
        Ok(())
    }

    fn reason_to_end(&mut self, cancelled: &AtomicBool) -> Option<Status> {
        self.skip_suspension();
        let limits = &self.request.limits;
        let over = |limit: Option<Duration>, since: Instant| limit.is_some_and(|limit| since.elapsed() >= limit);
        if cancelled.load(Ordering::Relaxed) {
            Some(Status::Cancelled)
        } else if limits.max_log_bytes.is_some_and(|max| self.log_bytes > max) {
            Some(Status::LogTooLong)
        } else if over(limits.timeout, self.started) {
            Some(Status::TimedOut)
        } else if over(limits.max_silent, self.last_output) {
            Some(Status::Silent)
        } else if let Some(reserve) = limits.disk_reserve_bytes
            && self.disk_checked.elapsed() >= DISK_POLL
        {
            self.disk_checked = Instant::now();
            (self.free_bytes() < reserve).then_some(Status::DiskFull)
        } else {
            None
        }
    }

    /// Leaves the time out of the limits in which this process was stopped, as by Ctrl-Z: a build
    /// goes on at that time, but waits as soon as the pipe of its log is full.
    fn skip_suspension(&mut self) {
        let stopped = self.checked.elapsed();
        if stopped > SUSPENSION {
            self.started += stopped;
            self.last_output += stopped;
        }
        self.checked = Instant::now();
    }

    /// Returns the free bytes of the build's file system. One that gives no answer is not full.
    fn free_bytes(&self) -> u64 {
        statvfs(&self.request.build_dir).map_or(u64::MAX, |stat| stat.blocks_available() * stat.fragment_size())
    }

    /// Returns the time until the next limit can be met.
    fn poll_timeout(&self) -> PollTimeout {
        let limits = &self.request.limits;
        let left = |limit: Option<Duration>, since: Instant| limit.map(|limit| limit.saturating_sub(since.elapsed()));
        let mut wait = CANCEL_POLL;
        if self.killed.is_none() {
            for due in [left(limits.timeout, self.started), left(limits.max_silent, self.last_output)] {
                wait = wait.min(due.unwrap_or(wait));
            }
        }
        // Rounded up, as a poll of zero milliseconds before the limit would spin.
        PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO)
    }

    /// Passes on the available log; false at its end.
    fn read_log(&mut self, mut log: &File) -> Result<bool, SandboxError> {
        let mut buffer = [0; 32 << 10];
        match log.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                let max = self.request.limits.max_log_bytes.unwrap_or(u64::MAX);
                let room = usize::try_from(max.saturating_sub(self.log_bytes)).unwrap_or(usize::MAX);
                if room > 0 {
                    (self.on_log)(&buffer[..count.min(room)]);
                }
                self.log_bytes += count as u64;
                self.last_output = Instant::now();
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
            Err(error) => Err(error).named("read the build log", || "read(pipe)".into()),
        }
    }
}

pub(super) fn check(request: &Request) -> Result<(), SandboxError> {
    let wrong = |reason: String| Err(SandboxError::Request { reason });
    if request.root_layers.len() > LAYERS_MAX {
        return Err(SandboxError::TooManyLayers { count: request.root_layers.len(), max: LAYERS_MAX });
    }
    let here = format!("{}-linux", std::env::consts::ARCH);
    if request.system != here {
        return Err(SandboxError::ForeignSystem { wanted: request.system.clone(), here });
    }
    if request.argv.is_empty() {
        return wrong("no builder is named".into());
    }
    let hosts = request.root_layers.iter().chain(request.binds.iter().map(|bind| &bind.host));
    let insides = request.binds.iter().map(|bind| bind.inside.as_path());
    let others = [request.build_dir.as_path(), request.outputs.host_dir(), request.outputs.inside()];
    for path in hosts.map(PathBuf::as_path).chain(insides).chain(others) {
        if !path.is_absolute() {
            return wrong(format!("`{}` is not absolute", path.display()));
        }
    }
    for (name, value) in &request.env {
        let name = name.as_encoded_bytes();
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.as_encoded_bytes().contains(&0) {
            return wrong(format!(
                "environment variable `{}`: a name must not be empty nor contain `=`, and neither name nor value a NUL",
                String::from_utf8_lossy(name)
            ));
        }
    }
    if request.argv.iter().any(|argument| argument.as_encoded_bytes().contains(&0)) {
        return wrong("an argument of the builder contains a NUL".into());
    }
    Ok(())
}

/// Both ends of a pipe, the one to read from first.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).named("set up a pipe", || "pipe2(O_CLOEXEC)".into())
}

/// Makes the end of a pipe a file that never blocks.
pub(super) fn never_blocking(end: OwnedFd) -> Result<File, SandboxError> {
    fcntl(end.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).named("set up a pipe", || "fcntl(F_SETFL)".into())?;
    Ok(File::from(end))
}

/// Returns true when the last message of a report has come.
pub(super) fn is_complete(report: &[u8]) -> bool {
    let Some(report) = report.strip_suffix(b"\n") else { return false };
    let last = report.rsplit(|&byte| byte == b'\n').next().unwrap_or(report);
    matches!(serde_json::from_slice(last), Ok(Message::Usage { .. }))
}

/// Returns the outcome that the report's messages give.
pub(super) fn conclude(report: &[u8], killed: Option<Status>, wall: Duration) -> Result<Outcome, SandboxError> {
    let mut status = killed;
    let mut usage = Usage { wall, ..Usage::default() };
    let (mut landlock_abi, mut skipped) = (None, Vec::new());
    let mut exact_rss = None;
    for line in report.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let message = serde_json::from_slice(line)
            .map_err(|error| SandboxError::Lost { how: format!("its report is garbled: {error}") })?;
        match message {
            Message::Ready { landlock_abi: abi, skipped: parts } => (landlock_abi, skipped) = (abi, parts),
            Message::Failed(error) => return Err(error),
            Message::Exited { code, max_rss_bytes } => {
                status.get_or_insert(Status::Exited(code));
                exact_rss = Some(max_rss_bytes);
            }
            Message::Signalled { signal, max_rss_bytes } => {
                status.get_or_insert(Status::Signalled(signal));
                exact_rss = Some(max_rss_bytes);
            }
            Message::Usage { user, system, max_rss_bytes } => {
                usage = Usage { wall, user, system, max_rss_bytes: exact_rss.unwrap_or(max_rss_bytes) };
            }
        }
    }
    match status {
        Some(status) => Ok(Outcome { status, usage, landlock_abi, skipped }),
        None => Err(SandboxError::Lost { how: "something has killed it".into() }),
    }
}
