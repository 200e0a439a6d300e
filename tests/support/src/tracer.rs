//! Runs a process under `ptrace` up to its N-th system call: to kill it there, or to have that call fail.
//!
//! The process is this test binary again, running one test that says `ready` and waits for a byte before it starts. All of
//! its threads are seized then, and those that it starts later come along. Calls that enter the kernel are counted.

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// What to do at a call; calls are counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    Count,
    /// Kill the process as it enters this call.
    Stop(u64),
    /// Have the call with this number, among those of the fault, fail.
    Fail(u64, &'static Fault),
}

/// An error number, and the calls that may end with it.
#[derive(Debug)]
pub struct Fault {
    pub errno: Errno,
    pub calls: &'static [libc::c_long],
}

/// No room left: of the calls that need some.
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

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// How many calls were counted.
    pub calls: u64,
    /// Whether the process was killed, or a call failed, as planned.
    pub struck: bool,
    /// The exit status; `None` when it was killed.
    pub status: Option<i32>,
    pub printed: String,
}

/// Runs `command`, which says `ready` and then waits for a line, under `plan`.
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
    // Which threads are in a call, and whether that is to fail.
    let mut inside: HashMap<Pid, Option<Errno>> = HashMap::new();
    let (mut calls, mut struck, mut told) = (0, false, false);
    loop {
        // Only what this thread has started: other tests wait for processes of their own.
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
                    let failing = enter(thread, plan, told, &mut calls);
                    struck |= failing.is_some();
                    if matches!(plan, Plan::Stop(stop) if told && calls > stop) && !struck {
                        struck = true;
                        kill(leader, Signal::SIGKILL).unwrap();
                    }
                    inside.insert(thread, failing);
                }
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, ..) => {
                if !told {
                    // All that was seized is stopped by now or will be before its next call.
                    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
                    told = true;
                }
                (thread, None)
            }
            other => panic!("{other:?}"),
        };
        match ptrace::syscall(thread, signal) {
            // It is being killed.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => panic!("cannot go on with {thread}: {errno}"),
        }
    }
}

/// Counts a call that is entered; returns with what it is to fail.
fn enter(thread: Pid, plan: Plan, told: bool, calls: &mut u64) -> Option<Errno> {
    if !told {
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
    // No such call: the kernel does nothing, and what it returns is replaced.
    registers.orig_rax = u64::MAX;
    ptrace::setregs(thread, registers).unwrap();
    Some(fault.errno)
}

fn fail(thread: Pid, errno: Errno) {
    let mut registers = ptrace::getregs(thread).unwrap();
    registers.rax = -(i64::from(errno as i32)) as u64;
    ptrace::setregs(thread, registers).unwrap();
}
