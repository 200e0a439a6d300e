//! Runs a process under `ptrace` up to its N-th system call: to kill it there, or to have that call
//! fail.
//!
//! The process is this test binary again, running one test that prints `ready` and waits for a byte
//! before it starts. All of its threads are seized at that point; later threads are traced
//! automatically. Entries into the kernel are counted.

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Action at a system call; calls are counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    Count,
    /// Kill the process as it enters this call.
    Stop(u64),
    /// Let the call with this number, among those of the fault, fail.
    Fail(u64, &'static Fault),
}

/// An error number, and the calls that may end with it.
#[derive(Debug)]
pub struct Fault {
    pub errno: Errno,
    pub calls: &'static [libc::c_long],
}

/// A full disk, for the calls that need space.
pub const DISK_FULL: Fault = Fault {
    errno: Errno::ENOSPC,
    calls: &[
        libc::SYS_write,
        libc::SYS_pwrite64,
        libc::SYS_mkdir,
        libc::SYS_mkdirat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_mknodat,
    ],
};

/// End of a run.
#[derive(Debug)]
pub struct Ended {
    /// Number of counted calls.
    pub calls: u64,
    /// True when the process was killed, or a call failed, as planned.
    pub struck: bool,
    /// The exit status; `None` when it was killed.
    pub status: Option<i32>,
    pub printed: String,
}

/// Runs `command`, which prints `ready` and then waits for a line, under `plan`.
pub fn run(command: &mut Command, plan: Plan) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.ends_with("ready\n") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the process ended before it was ready");
    }
    let leader = Pid::from_raw(child.id() as i32);
    for thread in std::fs::read_dir(format!("/proc/{leader}/task")).unwrap() {
        let thread = Pid::from_raw(thread.unwrap().file_name().to_str().unwrap().parse().unwrap());
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        ptrace::seize(thread, options).unwrap();
        ptrace::interrupt(thread).unwrap();
    }
    let (calls, struck, status) = follow(&mut child, leader, plan);
    let mut printed = String::new();
    for pipe in [&mut stdout as &mut dyn std::io::Read, child.stderr.as_mut().unwrap()] {
        pipe.read_to_string(&mut printed).unwrap();
    }
    Ended { calls, struck, status, printed }
}

fn follow(child: &mut Child, leader: Pid, plan: Plan) -> (u64, bool, Option<i32>) {
    // Threads in a call, each with the error that the call must return.
    let mut inside: HashMap<Pid, Option<Errno>> = HashMap::new();
    let (mut calls, mut struck, mut started) = (0, false, false);
    loop {
        // Only children of this thread: other tests wait for their own processes.
        let status = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).unwrap();
        let (thread, signal) = match status {
            WaitStatus::Exited(thread, status) if thread == leader => return (calls, struck, Some(status)),
            WaitStatus::Signaled(thread, ..) if thread == leader => return (calls, struck, None),
            WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                inside.remove(&thread);
                continue;
            }
            WaitStatus::PtraceSyscall(thread) => {
                if let Some(failing) = inside.remove(&thread) {
                    if let Some(errno) = failing {
                        fail(thread, errno);
                    }
                } else {
                    let failing = enter(thread, plan, started, &mut calls);
                    struck |= failing.is_some();
                    if matches!(plan, Plan::Stop(stop) if started && calls > stop) && !struck {
                        struck = true;
                        kill(leader, Signal::SIGKILL).unwrap();
                    }
                    inside.insert(thread, failing);
                }
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, ..) => {
                if !started {
                    // All seized threads are stopped already or will be before their next call.
                    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
                    started = true;
                }
                (thread, None)
            }
            other => panic!("{other:?}"),
        };
        match ptrace::syscall(thread, signal) {
            // The thread is being killed.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => panic!("cannot go on with {thread}: {errno}"),
        }
    }
}

/// Counts a call at its entry; returns the error that it must return.
fn enter(thread: Pid, plan: Plan, started: bool, calls: &mut u64) -> Option<Errno> {
    if !started {
        return None;
    }
    let Plan::Fail(number, fault) = plan else {
        *calls += 1;
        return None;
    };
    let mut registers = ptrace::getregs(thread).ok()?;
    let call = registers.orig_rax as libc::c_long;
    let standard = matches!(call, libc::SYS_write | libc::SYS_read | libc::SYS_fcntl) && registers.rdi <= 2;
    if standard || !fault.calls.contains(&call) {
        return None;
    }
    *calls += 1;
    if *calls != number + 1 {
        return None;
    }
    // No such call: the kernel does nothing, and its result is replaced.
    registers.orig_rax = u64::MAX;
    ptrace::setregs(thread, registers).unwrap();
    Some(fault.errno)
}

fn fail(thread: Pid, errno: Errno) {
    let mut registers = ptrace::getregs(thread).unwrap();
    registers.rax = -(i64::from(errno as i32)) as u64;
    ptrace::setregs(thread, registers).unwrap();
}
