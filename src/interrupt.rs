//! Ctrl-C, SIGTERM and SIGHUP end any command within a second.
//!
//! A process that is killed at any instruction leaves a clean store, so an interrupted command has nothing to undo. It only
//! ends more pleasantly when it ends by itself: builds are stopped, reported as stopped, and their directories removed. So the
//! first signal sets the flag that builds, fetches and unpacking look at ([`flag`]), and as long as one of them is under way
//! ([`orderly`]) the command has [`GRACE`] to end. In all other cases, and after that time, the thread that waits for signals
//! reports what the command would have reported and ends the process: under an evaluation, a regular expression, a wait for a
//! lock, for SQLite or for a silent server. No loop and no system call has to be prepared for it, and none can be forgotten.
//!
//! A second signal ends the process at once. The exit status is 128 and the number of the signal.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// How long builds and fetches have to stop. What is left of them then dies with the process.
const GRACE: Duration = Duration::from_millis(400);
/// How long a line of `repl` has to end before the whole of it does.
const GRACE_OF_LINE: Duration = Duration::from_secs(2);
/// How long the report may take. Writing it waits for ever where nobody reads any more.
const REPORT: Duration = Duration::from_millis(400);
/// Signals that follow the first one so soon are the same request: `timeout` and shells signal a process and its group.
const SAME: Duration = Duration::from_millis(100);
/// In milliseconds.
const POLL: u8 = 5;

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// The signal that asked the process to end; 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// Somebody reports how the command ended, and nobody else may.
static REPORTED: AtomicBool = AtomicBool::new(false);
/// How much is under way that ends by itself soon after [`FLAG`] is set.
static ORDERLY: AtomicUsize = AtomicUsize::new(0);
/// Lines of `repl` begun and ended: odd while one is under way. 0 where Ctrl-C means the process.
static LINES: AtomicUsize = AtomicUsize::new(0);

type Step = Box<dyn FnOnce() + Send>;
/// What is done before the process is ended from outside, the last first.
static STEPS: Mutex<Vec<Step>> = Mutex::new(Vec::new());

/// Starts waiting for signals. Before any other thread exists, as each of them inherits that it gets none: so there is no handler,
/// and nothing that one could interrupt. (A program that is started has none blocked: `std` and the sandbox see to that.)
pub fn install() {
    let wanted: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let started = wanted.thread_block().is_ok()
        && SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).is_ok_and(|signals| {
            let thread = std::thread::Builder::new().name("signals".to_owned()).stack_size(64 << 10);
            thread.spawn(|| watch(signals)).is_ok()
        });
    if !started {
        // Then a signal ends the process without a word, which is as safe.
        let _ = wanted.thread_unblock();
    }
}

/// Whether whoever started this process had it ignore SIGHUP, as `nohup` does. It is not ignored while it is blocked.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (Signal::SIGHUP as i32 - 1) & 1 != 0)
}

/// The flag that stops builds, fetches and unpacking when it is set.
pub fn flag() -> Arc<AtomicBool> {
    FLAG.clone()
}

/// While it lives, the command ends by itself soon after the flag is set.
#[must_use]
pub struct Orderly(());

/// Says that what follows looks at the flag.
pub fn orderly() -> Orderly {
    ORDERLY.fetch_add(1, Ordering::SeqCst);
    Orderly(())
}

impl Drop for Orderly {
    fn drop(&mut self) {
        ORDERLY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Has `step` done before the process is ended from outside, and before the steps that were told earlier.
pub fn before_end(step: impl FnOnce() + Send + 'static) {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(step));
}

/// The exit status of an interrupted command.
pub fn exit_status() -> u8 {
    let signal = match SIGNAL.load(Ordering::SeqCst) {
        0 => Signal::SIGINT as i32,
        signal => signal,
    };
    u8::try_from(128 + signal).expect("the numbers of signals are below 65")
}

/// Lets the caller report how the command ended, and returns whether a signal asked for that. Does not return when the process is
/// being ended.
pub fn claim_report() -> bool {
    if REPORTED.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
    SIGNAL.load(Ordering::SeqCst) != 0
}

/// One line of `repl` on a terminal: while it lives, Ctrl-C ends the evaluation and not the process. Between lines Ctrl-C is a
/// key.
#[must_use]
pub struct Line(());

/// Begins a line.
pub fn line() -> Line {
    forget();
    LINES.fetch_add(1, Ordering::SeqCst);
    Line(())
}

/// From now on Ctrl-C means the line that is under way, if there is one.
pub fn begin_lines() {
    LINES.store(2, Ordering::SeqCst);
}

impl Drop for Line {
    fn drop(&mut self) {
        LINES.fetch_add(1, Ordering::SeqCst);
        forget();
    }
}

fn forget() {
    FLAG.store(false, Ordering::SeqCst);
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
        FLAG.store(true, Ordering::SeqCst);
        let mut orderly = false;
        wait(&signals, GRACE, || {
            orderly |= ORDERLY.load(Ordering::SeqCst) != 0 || REPORTED.load(Ordering::SeqCst);
            !orderly
        });
        end(signal);
    }
}

/// The next signal, if it comes in time.
fn next(signals: &SignalFd, time: PollTimeout) -> Option<Signal> {
    // Should it fail, the read says the same.
    let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], time);
    let read = signals.read_signal().ok().flatten()?;
    Signal::try_from(read.ssi_signo.cast_signed()).ok()
}

/// Ends the line under way, or the process when it does not end.
fn end_line(signals: &SignalFd, line: usize) {
    FLAG.store(true, Ordering::SeqCst);
    lang::interrupt();
    let ended = || LINES.load(Ordering::SeqCst) != line;
    if !wait(signals, GRACE_OF_LINE, ended) {
        SIGNAL.store(Signal::SIGINT as i32, Ordering::SeqCst);
        end(Signal::SIGINT);
    }
}

/// Waits until `done`, for `time` at the most, or until the next signal; returns whether it was `done`.
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

/// Reports, and ends the process under all its threads.
fn end(signal: Signal) -> ! {
    if !REPORTED.swap(true, Ordering::SeqCst) {
        let (told, done) = mpsc::channel();
        // In a thread of its own, as a lock may be held by one that waits for a terminal that has stopped.
        let report = std::thread::Builder::new().spawn(move || {
            let steps = std::mem::take(&mut *STEPS.lock().unwrap_or_else(PoisonError::into_inner));
            steps.into_iter().rev().for_each(|step| step());
            // Nobody waits any more when it took too long.
            let _ = told.send(());
        });
        if report.is_ok() {
            // Whether it is done or took too long: the process ends.
            let _ = done.recv_timeout(REPORT);
        }
    }
    signal_hook::low_level::exit(128 + signal as i32)
}
