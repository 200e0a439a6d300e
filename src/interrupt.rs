//! Ctrl-C, SIGTERM and SIGHUP end any command within a second.
//!
//! A process that is killed at any instruction leaves a clean store, so an interrupted command has
//! nothing to undo. It only ends more pleasantly by itself: builds are stopped, reported as
//! stopped, and their directories removed. So the first signal sets the flag that builds, fetches
//! and unpacking look at ([`Interrupts`]), and as long as one of them runs the command has
//! [`GRACE`] to end. In all other cases, and after that time, the thread that waits for signals
//! reports for the command and ends the process: during an evaluation, a regular expression, or a
//! wait for a lock, for SQLite or for a silent server. So no loop and no system call needs code for
//! signals, and none can lack it.
//!
//! A second signal ends the process at once. The exit status is 128 and the number of the signal.

use crate::exit::Exit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};
use workspace::Interrupts;

/// Time that builds and fetches have to stop. Those that take longer die with the process.
const GRACE: Duration = Duration::from_millis(400);
/// Time that a line of `repl` has to end before the process does.
const GRACE_OF_LINE: Duration = Duration::from_secs(2);
/// Time limit of the report, which blocks indefinitely when its pipe is full and has no reader.
const REPORT: Duration = Duration::from_millis(400);
/// Signals this soon after the first one are the same request: `timeout` and shells signal a
/// process and its group.
const SAME: Duration = Duration::from_millis(100);
/// Interval of polls, in milliseconds.
const POLL: u8 = 5;

static INTERRUPTS: LazyLock<Interrupts> = LazyLock::new(Interrupts::default);
/// Signal that asked the process to end; 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// Set by the thread that reports how the command ended; no other may.
static REPORTED: AtomicBool = AtomicBool::new(false);
/// Lines of `repl` begun and ended: odd while one is running. 0 where Ctrl-C means the process.
static LINES: AtomicUsize = AtomicUsize::new(0);

type Step = Box<dyn FnOnce() + Send>;
/// Steps before a signal ends the process, the last one first.
static STEPS: Mutex<Vec<Step>> = Mutex::new(Vec::new());

/// Starts the thread that waits for signals. Must run before any other thread exists: each inherits
/// the mask that blocks them, so that there is no handler and nothing that one could interrupt.
/// (`std` and the sandbox unblock them in the programs they start.)
pub fn install() {
    let wanted: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let started = wanted.thread_block().is_ok()
        && SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).is_ok_and(|signals| {
            let thread = std::thread::Builder::new().name("signals".to_owned()).stack_size(64 << 10);
            thread.spawn(|| watch(signals)).is_ok()
        });
    if !started {
        // Then a signal ends the process without a report, which is as safe.
        let _ = wanted.thread_unblock();
    }
}

/// Returns whether this process inherited an ignored SIGHUP, as from `nohup`. A blocked signal
/// arrives nevertheless.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (Signal::SIGHUP as i32 - 1) & 1 != 0)
}

/// Returns the interrupts of this process, for sessions to watch.
pub fn interrupts() -> &'static Interrupts {
    &INTERRUPTS
}

/// Adds a step that runs before a signal ends the process, and before the steps added earlier.
pub fn before_end(step: impl FnOnce() + Send + 'static) {
    os::lock(&STEPS).push(Box::new(step));
}

/// Returns the end of an interrupted command.
pub fn exit() -> Exit {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => Exit::Interrupted(Signal::SIGINT as i32),
        signal => Exit::Interrupted(signal),
    }
}

/// Reserves the report for the caller, and returns whether a signal ended the command. Does not
/// return once the thread that waits for signals is ending the process.
pub fn claim_report() -> bool {
    if REPORTED.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
    SIGNAL.load(Ordering::SeqCst) != 0
}

/// One line of `repl` on a terminal: until it is dropped, Ctrl-C ends the evaluation and not the
/// process. Between lines Ctrl-C is a key.
#[must_use]
pub struct Line(());

/// Begins a line.
pub fn line() -> Line {
    reset();
    LINES.fetch_add(1, Ordering::SeqCst);
    Line(())
}

/// Makes Ctrl-C mean the line that is running, if there is one, from now on.
pub fn begin_lines() {
    LINES.store(2, Ordering::SeqCst);
}

impl Drop for Line {
    fn drop(&mut self) {
        LINES.fetch_add(1, Ordering::SeqCst);
        reset();
    }
}

fn reset() {
    INTERRUPTS.requested.store(false, Ordering::SeqCst);
    lang::resume();
}

fn watch(signals: SignalFd) {
    loop {
        let Some(signal) = next(&signals, PollTimeout::NONE) else { continue };
        let line = LINES.load(Ordering::SeqCst);
        if signal == Signal::SIGINT && line != 0 {
            if !line.is_multiple_of(2) {
                end_line(&signals, line);
            }
            continue;
        }
        if signal == Signal::SIGHUP && is_hangup_ignored() {
            continue;
        }
        SIGNAL.store(signal as i32, Ordering::SeqCst);
        INTERRUPTS.requested.store(true, Ordering::SeqCst);
        let mut cooperating = false;
        wait(&signals, GRACE, || {
            cooperating |= INTERRUPTS.cooperating.load(Ordering::SeqCst) != 0 || REPORTED.load(Ordering::SeqCst);
            !cooperating
        });
        end(signal);
    }
}

/// Returns the next signal, or `None` after `time`.
fn next(signals: &SignalFd, time: PollTimeout) -> Option<Signal> {
    // When polling fails, the read does too.
    let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], time);
    let read = signals.read_signal().ok().flatten()?;
    Signal::try_from(read.ssi_signo.cast_signed()).ok()
}

/// Ends the running line, or the process when the line does not end.
fn end_line(signals: &SignalFd, line: usize) {
    INTERRUPTS.requested.store(true, Ordering::SeqCst);
    lang::interrupt();
    let ended = || LINES.load(Ordering::SeqCst) != line;
    if !wait(signals, GRACE_OF_LINE, ended) {
        SIGNAL.store(Signal::SIGINT as i32, Ordering::SeqCst);
        end(Signal::SIGINT);
    }
}

/// Waits until `done`, but at most for `time` and until the next signal; returns whether it was
/// `done`.
fn wait(signals: &SignalFd, time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    loop {
        if done() {
            return true;
        }
        let again = next(signals, POLL.into()).is_some() && since.elapsed() > SAME;
        if again || since.elapsed() > time {
            return false;
        }
    }
}

/// Reports, and ends the process with all its threads.
fn end(signal: Signal) -> ! {
    if !REPORTED.swap(true, Ordering::SeqCst) {
        let (reported, done) = mpsc::channel();
        // In a thread of its own: another may hold a lock and wait for a terminal that has stopped.
        let report = std::thread::Builder::new().spawn(move || {
            let steps = std::mem::take(&mut *os::lock(&STEPS));
            steps.into_iter().rev().for_each(|step| step());
            // The receiver is gone when this took too long.
            let _ = reported.send(());
        });
        if report.is_ok() {
            // Done or timed out, the process ends.
            let _ = done.recv_timeout(REPORT);
        }
    }
    signal_hook::low_level::exit(Exit::Interrupted(signal as i32).status().into())
}
