#![allow(unsafe_code)]
//! System calls for which `nix` has no function, as safe functions: the mount interface of Linux
//! 5.2 and later, forking the single-threaded spawner, capabilities, seccomp.
//!
//! Unsafe code is needed because these are raw system calls. Each function checks what it passes;
//! none keeps a pointer beyond the call.

use crate::request::WindowSize;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// `CLONE_NEWTIME`, which `libc` spells only for `clone3`.
pub const CLONE_NEWTIME: i32 = 0x80;

/// Attributes of a mount, `MOUNT_ATTR_*` of `mount_setattr(2)`.
pub mod attr {
    /// The mount is read-only.
    pub const RDONLY: u64 = 0x1;
    /// Setuid bits have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
}

fn cstring(bytes: &OsStr) -> Result<CString> {
    CString::new(bytes.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// The kernel's answer to a raw call, as a descriptor that is ours.
fn new_fd(answer: libc::c_long) -> Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(answer)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call that just succeeded returned `fd` as a new descriptor, which nothing else
    // owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `fsopen(kind, FSOPEN_CLOEXEC)`: a file system to be configured.
pub fn fsopen(kind: &str) -> Result<OwnedFd> {
    let kind = cstring(OsStr::new(kind))?;
    // SAFETY: the string is NUL-terminated and outlives the call.
    new_fd(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) })
}

/// `fsconfig(fs, FSCONFIG_SET_STRING, key, value)`.
pub fn fsconfig_string(fs: BorrowedFd, key: &str, value: &str) -> Result<()> {
    let (key, value) = (cstring(OsStr::new(key))?, cstring(OsStr::new(value))?);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), 1, key.as_ptr(), value.as_ptr(), 0) };
    Errno::result(answer).map(drop)
}

/// `fsconfig(fs, FSCONFIG_CMD_CREATE)`.
pub fn fsconfig_create(fs: BorrowedFd) -> Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes neither key nor value.
    let answer = unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), 6, none, none, 0) };
    Errno::result(answer).map(drop)
}

/// The messages that a configured file system holds about what it refused.
pub fn fs_messages(fs: BorrowedFd) -> String {
    let mut text = String::new();
    let mut buffer = [0u8; 1024];
    while let Ok(count) = nix::unistd::read(fs, &mut buffer) {
        if count == 0 {
            break;
        }
        text.push_str(String::from_utf8_lossy(&buffer[..count]).trim_end());
        text.push(' ');
    }
    text.trim_end().to_owned()
}

/// `fsmount(fs, FSMOUNT_CLOEXEC, attributes)`: the file system as a mount that is attached nowhere.
pub fn fsmount(fs: BorrowedFd, attributes: u64) -> Result<OwnedFd> {
    // SAFETY: only integers are passed.
    new_fd(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, attributes) })
}

/// `open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)`: a copy of what is mounted there, attached nowhere;
/// symbolic links at the end of the path are not followed.
pub fn clone_tree(path: &OsStr, recursive: bool) -> Result<OwnedFd> {
    let path = cstring(path)?;
    let flags = 1 | libc::O_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is NUL-terminated and outlives the call.
    new_fd(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// `move_mount(mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)`.
pub fn move_mount(mount: BorrowedFd, target: &OsStr) -> Result<()> {
    let target = cstring(target)?;
    // SAFETY: both paths are NUL-terminated and outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            0x4 | 0x10,
        )
    };
    Errno::result(answer).map(drop)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `mount_setattr(mount, "", AT_EMPTY_PATH, set)`: adds attributes to one mount.
pub fn set_mount_attributes(mount: BorrowedFd, set: u64) -> Result<()> {
    mount_setattr(mount, set, 0)
}

/// `mount_setattr(mount, "", AT_EMPTY_PATH | AT_RECURSIVE, set)`: adds attributes to a mount and
/// all below it.
pub fn set_tree_attributes(mount: BorrowedFd, set: u64) -> Result<()> {
    mount_setattr(mount, set, libc::AT_RECURSIVE)
}

fn mount_setattr(mount: BorrowedFd, set: u64, flags: libc::c_int) -> Result<()> {
    let attributes = MountAttr { set, clear: 0, propagation: 0, userns: 0 };
    // SAFETY: the structure is that of the kernel's first version, its size is passed, and it
    // outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    Errno::result(answer).map(drop)
}

/// Returns true when this process has one thread only.
pub fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) == 1
}

/// `clone` with new namespaces (`CLONE_NEW*`): `None` in the child, a descriptor of that process in
/// the parent. Only for the spawner, which has checked that it is [`is_single_threaded`].
pub fn fork_into(namespaces: CloneFlags) -> Result<Option<OwnedFd>> {
    let flags = libc::c_long::from(namespaces.bits() | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut pidfd: RawFd = -1;
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without a stack and without CLONE_VM this is `fork`: the child goes on in a copy of
    // the memory. The process has one thread, as the spawner has checked and starts none, so no
    // lock can be held by a thread that does not exist in the child. The third argument is, on all
    // machines, where the descriptor is written, and outlives the call.
    let answer = unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut pidfd, none, none) };
    match Errno::result(answer)? {
        0 => Ok(None),
        _ => new_fd(pidfd.into()).map(Some),
    }
}

/// Starts a process that shares this one's memory, which stands still until `work` has called
/// `execve` or [`exit_now`]: nothing is copied that would be thrown away. For a process of one
/// thread.
///
/// `sharing` is what else the two have in common, of `CLONE_FILES`.
pub fn fork_until_exec(sharing: CloneFlags, mut work: &mut dyn FnMut()) -> Result<libc::pid_t> {
    const STACK_BYTES: usize = 256 << 10;
    const ALIGNMENT: usize = 16;
    type Work<'a> = &'a mut dyn FnMut();
    extern "C" fn start(work: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the pointer is that of `work` below, whose function waits in `clone` and so
        // outlives this one.
        let work = unsafe { &mut *work.cast::<Work<'_>>() };
        work();
        127
    }
    let mut stack = Vec::<u8>::with_capacity(STACK_BYTES + ALIGNMENT);
    let bottom = stack.as_mut_ptr();
    let top = STACK_BYTES + bottom.wrapping_add(STACK_BYTES).align_offset(ALIGNMENT);
    let argument = (&raw mut work).cast::<libc::c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | (sharing & CloneFlags::CLONE_FILES).bits();
    // SAFETY: `top` is aligned and in the allocation of `stack`, of which nothing else is used; it
    // and `work` outlive the other process's use of them, as CLONE_VFORK has this one wait. As both
    // have one thread, nothing runs at the same time in the memory that they share.
    Errno::result(unsafe { libc::clone(start, bottom.add(top).cast(), flags, argument) })
}

/// `pidfd_send_signal(pidfd, SIGKILL)`.
pub fn pidfd_kill(pidfd: BorrowedFd) -> Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null `siginfo` means that the kernel fills it in.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, none, 0) };
    Errno::result(answer).map(drop)
}

/// The facts that `wait4` gives of a dead process and of those it waited for.
pub struct Waited {
    /// The process.
    pub pid: libc::pid_t,
    /// Exit status, or the signal's number.
    pub status: std::result::Result<i32, i32>,
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident set of a single process, in bytes.
    pub max_rss_bytes: u64,
}

/// `wait4(-1)`: waits for any child.
pub fn wait_any() -> Result<Waited> {
    let mut status = 0;
    // SAFETY: `rusage` is plain integers, for which all zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that outlive the call.
    let pid = Errno::result(unsafe { libc::wait4(-1, &raw mut status, 0, &raw mut usage) })?;
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    let signalled = libc::WIFSIGNALED(status);
    Ok(Waited {
        pid,
        status: if signalled { Err(libc::WTERMSIG(status)) } else { Ok(libc::WEXITSTATUS(status)) },
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        max_rss_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
    })
}

/// Exits at once, running no destructors.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Closes all descriptors from `first` on.
pub fn close_from(first: libc::c_uint) -> Result<()> {
    // SAFETY: closing is sound here because the callers are about to start another program or only
    // to wait and exit; values that own one of these descriptors are not used, nor dropped, any
    // more.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).map(drop)
}

/// Makes descriptor `to` a copy of `from` that is closed when a program is started. The file that
/// was open under this number is closed.
pub fn place_at(from: BorrowedFd, to: RawFd) -> Result<OwnedFd> {
    if from.as_raw_fd() == to {
        return Err(Errno::EINVAL);
    }
    // SAFETY: closing is sound here because the caller is a new process that runs on until it
    // exits; values that own the descriptor of the process that it is a copy of are not used, nor
    // dropped, any more.
    new_fd(unsafe { libc::dup3(from.as_raw_fd(), to, libc::O_CLOEXEC) }.into())
}

/// Moves a descriptor to a number that is at least `min`.
pub fn move_above(file: OwnedFd, min: RawFd) -> Result<OwnedFd> {
    // SAFETY: only integers are passed.
    new_fd(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, min) }.into())
}

/// Makes an inherited descriptor this process's own, to be closed when a program is started.
pub fn adopt(number: RawFd) -> Result<std::fs::File> {
    // SAFETY: only integers are passed; the call fails for a number that is not open.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, as the call has shown, and the caller is a new process in which no other
    // value owns it.
    Ok(unsafe { std::fs::File::from_raw_fd(number) })
}

/// `execve`; returns only when it failed.
pub fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that outlive
    // the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

/// Gives every signal its default action and unblocks all.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: the default action refers to no code of ours. The calls that fail (SIGKILL,
        // SIGSTOP, numbers that the C library keeps) leave what cannot be changed anyway.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `sigset_t` is plain integers and is initialised by `sigemptyset` before use.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Unblocks every signal, and gives SIGPIPE, which Rust's runtime ignores, its default action.
pub fn unblock_signals() {
    // SAFETY: the default action refers to no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: `sigset_t` is plain integers and is initialised by `sigemptyset` before use.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// `prctl` with integer arguments.
pub fn prctl(option: libc::c_int, argument: libc::c_ulong) -> Result<libc::c_int> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used here take integers only: the parent-death signal, the dumpable flag,
    // no_new_privs, the capability bounding set, huge pages.
    Errno::result(unsafe { libc::prctl(option, argument, zero, zero, zero) })
}

/// `prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)`.
pub fn clear_ambient_capabilities() -> Result<()> {
    let zero: libc::c_ulong = 0;
    let (option, clear): (libc::c_int, libc::c_ulong) = (libc::PR_CAP_AMBIENT, 4);
    // SAFETY: only integers are passed.
    Errno::result(unsafe { libc::prctl(option, clear, zero, zero, zero) }).map(drop)
}

/// `capset` to no capabilities at all.
pub fn clear_capabilities() -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [[0u32; 3]; 2];
    // SAFETY: version 3 of the interface takes two triples of 32-bit sets; both outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) }).map(drop)
}

/// `personality(persona)`.
pub fn personality(persona: libc::c_ulong) -> Result<()> {
    // SAFETY: only an integer is passed; what changes is the layout of programs started later.
    Errno::result(unsafe { libc::personality(persona) }).map(drop)
}

/// Lowers the priority of this process and of all it starts by `steps`, 1 to 19.
pub fn add_niceness(steps: libc::c_int) -> Result<()> {
    Errno::clear();
    // SAFETY: only an integer is passed. The answer may be -1 without an error, hence the cleared
    // errno.
    match unsafe { libc::nice(steps) } {
        -1 if Errno::last() != Errno::UnknownErrno => Err(Errno::last()),
        _ => Ok(()),
    }
}

/// Sets the NIS domain name.
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: pointer and length are those of one string, which the kernel copies.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Sets the flags of a network device, as `ip link set DEVICE up` does.
pub fn set_device_up(socket: BorrowedFd, name: &str) -> Result<()> {
    // SAFETY: `ifreq` is plain bytes, for which all zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::EINVAL);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: this request reads an `ifreq`, which outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// `ioctl(TIOCSCTTY)`: makes a terminal the one of this process's session, which has none.
pub fn take_terminal(terminal: BorrowedFd) -> Result<()> {
    // SAFETY: the argument of this request is an integer.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// `ioctl(TIOCGWINSZ)`: the size of a terminal.
pub fn window_size(terminal: BorrowedFd) -> Result<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: this request writes a `winsize`, which outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// `ioctl(TIOCSWINSZ)`.
pub fn set_window_size(terminal: BorrowedFd, size: WindowSize) -> Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: this request reads a `winsize`, which outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// One instruction of a classic BPF program.
pub type Instruction = libc::sock_filter;

/// `seccomp(SECCOMP_SET_MODE_FILTER)`; `no_new_privs` must be set, or the caller be root in its
/// user namespace.
pub fn set_seccomp_filter(program: &[Instruction]) -> Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: length and pointer are those of one slice, which the kernel copies and does not write
    // to.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    Errno::result(answer).map(drop)
}

/// Returns the level of Landlock that the kernel has, or the error when it has none.
pub fn landlock_abi() -> Result<i32> {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with the version flag the call takes no structure.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, 1) };
    Errno::result(answer).map(|level| i32::try_from(level).unwrap_or(i32::MAX))
}

/// Seconds that the clock shows.
pub fn clock_seconds(clock: libc::clockid_t) -> Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local that outlives the call.
    Errno::result(unsafe { libc::clock_gettime(clock, &raw mut time) }).map(|_| time.tv_sec)
}
