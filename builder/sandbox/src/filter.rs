//! The system calls that a build must not make, as a seccomp filter.
//!
//! This crate writes the program by hand: `seccompiler` knows neither x32, whose calls share the
//! native architecture's name, nor several errno numbers in one filter. Calls that are not listed
//! are allowed: namespaces and Landlock confine a build, and the filter removes ways around them
//! and calls that would make outputs dangerous or depend on the machine.
//!
//! There are two filters. The spawner installs the long one once; it refuses the calls that the
//! sandbox itself does not need, and all processes of the spawner inherit it. Each init installs a
//! second, short one, which refuses the calls that populate a root. The kernel compiles a filter
//! when it is set, so the long one is not compiled for each build. Of two answers the kernel takes
//! the stricter, so together they are one filter.
//!
//! Every answer is one that programs meet elsewhere: "not permitted", "no such call", "not
//! supported by the file system".

use super::SandboxError;
use super::error::Named;
use super::sys::{self, Instruction};
use crate::request::SandboxMode;
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, EAFNOSUPPORT, EINVAL,
    ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
};

/// The native architecture in `seccomp_data.arch`, `AUDIT_ARCH_*`.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;
/// Calls of the x32 interface have this bit.
const X32_BIT: u32 = 0x4000_0000;

const SETID: u32 = libc::S_ISUID | libc::S_ISGID;
/// Flags of `open` with which its mode argument counts: `O_CREAT` and the bit that makes
/// `O_TMPFILE`.
const CREATING: u32 = 0o100 | 0o20_000_000;

/// When a rule applies; arguments are numbered from 0 and compared in their lower half, as the
/// kernel's are 32 bits wide.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// Any of these bits is set in the argument.
    Any(u8, u32),
    /// The same in both.
    AnyOfBoth([(u8, u32); 2]),
    /// The argument, under the mask, is the value.
    Is(u8, u32, u32),
    /// The argument is none of these.
    NoneOf(u8, &'static [u32]),
}

struct Rule {
    call: libc::c_long,
    when: When,
    errno: i32,
}

/// The system calls of newer kernels that `libc` has no names for have one number on all machines.
const OPEN_TREE_ATTR: libc::c_long = 467;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const FCHMODAT2: libc::c_long = 452;
/// Hints about the lifetime of written data, of an inode and of an open file.
const F_SET_RW_HINT: libc::c_int = 1036;
const F_SET_FILE_RW_HINT: libc::c_int = 1038;
/// A lease on a directory, of Linux 6.19.
const F_SETDELEG: libc::c_int = 1040;
/// `FS_IOC_SET_ENCRYPTION_POLICY`, `FS_IOC_ADD_ENCRYPTION_KEY`, `FS_IOC_REMOVE_ENCRYPTION_KEY`, the
/// same for all users, and `FS_IOC_GET_ENCRYPTION_KEY_STATUS`.
const FSCRYPT: [u32; 5] = [0x800c_6613, 0xc050_6617, 0xc040_6618, 0xc040_6619, 0xc080_661a];

/// Returns the rules for calls that make a build's root, and with which the spawner enters
/// namespaces.
fn mounting_calls() -> Vec<Rule> {
    let calls = [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_open_tree,
        OPEN_TREE_ATTR,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_setns,
    ];
    calls.map(|call| Rule { call, when: When::Always, errno: EPERM }).into()
}

/// Returns the rules for calls that neither a build nor the sandbox needs, once the spawner is in
/// its user namespace.
fn always_refused() -> Vec<Rule> {
    use When::{Always, Any, AnyOfBoth, Is, NoneOf};
    let mut rules = Vec::new();
    let mut deny = |errno: i32, when: When, calls: &[libc::c_long]| {
        rules.extend(calls.iter().map(|&call| Rule { call, when, errno }));
    };
    // Setuid and setgid files could be run from outside, where they would mean the user who builds.
    deny(EPERM, Any(1, SETID), &[libc::SYS_fchmod]);
    deny(EPERM, Any(2, SETID), &[libc::SYS_fchmodat, FCHMODAT2]);
    deny(EPERM, Any(2, SETID), &[libc::SYS_mknodat]);
    deny(EPERM, Is(2, libc::S_IFMT, libc::S_IFCHR), &[libc::SYS_mknodat]);
    deny(EPERM, Is(2, libc::S_IFMT, libc::S_IFBLK), &[libc::SYS_mknodat]);
    deny(EPERM, AnyOfBoth([(2, CREATING), (3, SETID)]), &[libc::SYS_openat]);
    // Its mode is in memory, out of a filter's sight; the C library then uses `openat`.
    deny(ENOSYS, Always, &[libc::SYS_openat2]);
    #[cfg(target_arch = "x86_64")]
    {
        deny(EPERM, Any(1, SETID), &[libc::SYS_chmod, libc::SYS_creat, libc::SYS_mknod]);
        deny(EPERM, Is(1, libc::S_IFMT, libc::S_IFCHR), &[libc::SYS_mknod]);
        deny(EPERM, Is(1, libc::S_IFMT, libc::S_IFBLK), &[libc::SYS_mknod]);
        deny(EPERM, AnyOfBoth([(1, CREATING), (2, SETID)]), &[libc::SYS_open]);
    }
    // Outputs carry no extended attributes, so setting one must not appear to work.
    deny(
        ENOTSUP,
        Always,
        &[
            libc::SYS_setxattr,
            libc::SYS_lsetxattr,
            libc::SYS_fsetxattr,
            SETXATTRAT,
            libc::SYS_removexattr,
            libc::SYS_lremovexattr,
            libc::SYS_fremovexattr,
            REMOVEXATTRAT,
        ],
    );
    // Keyrings belong to the user and outlive the build; the others are large and rarely audited.
    deny(
        ENOSYS,
        Always,
        &[
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ],
    );
    deny(
        EPERM,
        Always,
        &[
            libc::SYS_bpf,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_open_by_handle_at,
            libc::SYS_syslog,
        ],
    );
    // A process that attaches something to an inode affects all processes that have the inode: a
    // lease makes them wait, a hint about its writing stays. The answers are those of kernels and
    // file systems without such features.
    for command in [libc::F_SETLEASE, F_SETDELEG, F_SET_RW_HINT, F_SET_FILE_RW_HINT] {
        deny(EINVAL, Is(1, u32::MAX, command.unsigned_abs()), &[libc::SYS_fcntl]);
    }
    deny(EPERM, Always, &[libc::SYS_fanotify_init]);
    // Keys of a file system belong to the user and outlive the build; an encrypted file is no
    // output.
    for request in FSCRYPT {
        deny(EOPNOTSUPP, Is(1, u32::MAX, request), &[libc::SYS_ioctl]);
    }
    // With a user namespace come capabilities, and with them most of the kernel.
    let new_user = libc::CLONE_NEWUSER.unsigned_abs();
    deny(EPERM, Any(0, new_user), &[libc::SYS_unshare, libc::SYS_clone]);
    // Its flags are in memory; the C library then uses `clone`.
    deny(ENOSYS, Always, &[libc::SYS_clone3]);
    // These put words into a terminal.
    deny(EPERM, Is(1, u32::MAX, 0x5412), &[libc::SYS_ioctl]);
    deny(EPERM, Is(1, u32::MAX, 0x541c), &[libc::SYS_ioctl]);
    // Other families are not all divided by network namespaces: vsock reaches the host of a virtual
    // machine.
    const FAMILIES: &[u32] = &[1, 2, 10, 16];
    deny(EAFNOSUPPORT, NoneOf(0, FAMILIES), &[libc::SYS_socket, libc::SYS_socketpair]);
    rules
}

/// Offset in `seccomp_data` of the call's number.
const NUMBER: u32 = 0;

/// Offset in `seccomp_data` of the lower half of an argument.
fn argument(index: u8) -> u32 {
    let low = if cfg!(target_endian = "little") { 0 } else { 4 };
    16 + 8 * u32::from(index) + low
}

fn op(code: u32, k: u32) -> Instruction {
    Instruction { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(code: u32, k: u32, jt: usize, jf: usize) -> Instruction {
    let near = |distance: usize| u8::try_from(distance).expect("rules are a few instructions long");
    Instruction { code: (BPF_JMP | BPF_K | code) as u16, jt: near(jt), jf: near(jf), k }
}

fn load(offset: u32) -> Instruction {
    op(BPF_LD | BPF_W | BPF_ABS, offset)
}

/// The instructions that go on to the next rule, with the call's number loaded, unless the
/// condition holds.
fn condition(when: When) -> Vec<Instruction> {
    let any = |index: u8, mask: u32| [load(argument(index)), op(BPF_ALU | BPF_AND | BPF_K, mask)];
    // Each block ends with a jump of two kinds: on to the following instruction, or to the end of
    // the rule, whose distance is known when the block is whole; until then it is marked 255.
    const OUT: u8 = u8::MAX;
    let to = |k: u32, jt: u8, jf: u8| Instruction { code: (BPF_JMP | BPF_K | BPF_JEQ) as u16, jt, jf, k };
    match when {
        When::Always => Vec::new(),
        When::Any(index, mask) => any(index, mask).into_iter().chain([to(0, OUT, 0)]).collect(),
        When::AnyOfBoth(both) => both
            .into_iter()
            .flat_map(|(index, mask)| any(index, mask).into_iter().chain([to(0, OUT, 0)]).collect::<Vec<_>>())
            .collect(),
        When::Is(index, mask, value) => any(index, mask).into_iter().chain([to(value, 0, OUT)]).collect(),
        When::NoneOf(index, values) => {
            [load(argument(index))].into_iter().chain(values.iter().map(|&value| to(value, OUT, 0))).collect()
        }
    }
}

/// Returns the filter for the spawner, once it is in its user namespaces.
pub fn for_spawner() -> Vec<Instruction> {
    program(always_refused())
}

/// Returns the filter for the init of a build whose spawner is under [`for_spawner`], which checks
/// the architecture.
pub fn for_init() -> Vec<Instruction> {
    let mut program = vec![load(NUMBER)];
    append_sorted(mounting_calls(), &mut program);
    program
}

/// Returns both in one.
pub fn whole() -> Vec<Instruction> {
    program(always_refused().into_iter().chain(mounting_calls()).collect())
}

fn program(rules: Vec<Rule>) -> Vec<Instruction> {
    let mut program = vec![
        load(4),
        jump(BPF_JEQ, ARCH, 1, 0),
        // A 32-bit program has another table of calls; no error that it understands would say so.
        op(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        program.extend([jump(BPF_JGE, X32_BIT, 0, 1), refuse(ENOSYS)]);
    }
    append_sorted(rules, &mut program);
    program
}

fn append_sorted(mut rules: Vec<Rule>, program: &mut Vec<Instruction>) {
    // Stable, so that the rules of one call keep their order.
    rules.sort_by_key(|rule| rule.call);
    search(&rules, program);
}

/// Number of calls that are compared one by one.
const LEAF: usize = 4;

/// Adds a binary search for the call: the kernel runs the program for each call when it is loaded,
/// to cache those that it always allows.
fn search(rules: &[Rule], program: &mut Vec<Instruction>) {
    let half = rules.len() / 2;
    // The rules of one call stay together.
    let split = (half..rules.len()).find(|&at| at > 0 && rules[at].call != rules[at - 1].call);
    match split {
        Some(split) if rules.len() > LEAF => {
            let mut lower = Vec::new();
            search(&rules[..split], &mut lower);
            program.push(jump(BPF_JGE, number(&rules[split]), 0, 1));
            program.push(op(BPF_JMP | BPF_JA, u32::try_from(lower.len()).expect("the rules are few")));
            program.extend(lower);
            search(&rules[split..], program);
        }
        _ => {
            for rule in rules {
                append(rule, program);
            }
            program.push(op(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        }
    }
}

fn number(rule: &Rule) -> u32 {
    u32::try_from(rule.call).expect("system call numbers are small")
}

fn refuse(errno: i32) -> Instruction {
    op(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno.unsigned_abs())
}

/// Adds one rule, which is entered and left with the call's number loaded.
fn append(rule: &Rule, program: &mut Vec<Instruction>) {
    let mut body = condition(rule.when);
    let reload = !body.is_empty();
    body.push(refuse(rule.errno));
    let end = body.len();
    for (at, instruction) in body.iter_mut().enumerate() {
        let out = u8::try_from(end - at - 1).expect("rules are a few instructions long");
        for target in [&mut instruction.jt, &mut instruction.jf] {
            if *target == u8::MAX {
                *target = out;
            }
        }
    }
    if reload {
        body.push(load(NUMBER));
    }
    program.push(jump(BPF_JEQ, number(rule), 0, body.len()));
    program.extend(body);
}

/// Puts the calling process and all it starts under the filter, for good.
pub fn apply(program: &[Instruction], mode: SandboxMode, skipped: &mut Vec<String>) -> Result<(), SandboxError> {
    let applied = sys::set_seccomp_filter(program);
    if applied.is_err() && mode == SandboxMode::Relaxed {
        skipped.push("seccomp".into());
        return Ok(());
    }
    applied.named_with_help(
        "filter system calls",
        || "seccomp(SECCOMP_SET_MODE_FILTER)".into(),
        |_| Some("the kernel needs CONFIG_SECCOMP_FILTER; relaxed mode does without".into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the answer to a call, which is the same whether the filter is in two parts or in
    /// one.
    #[track_caller]
    fn verdict(arch: u32, call: libc::c_long, arguments: [u32; 6]) -> u32 {
        let [spawner, init, whole] =
            [for_spawner(), for_init(), whole()].map(|program| run(&program, arch, call, arguments));
        // The kernel takes what is least as a signed number.
        let strictest = [spawner, init].into_iter().min_by_key(|answer| answer.cast_signed()).unwrap();
        assert_eq!(strictest, whole, "call {call} with {arguments:x?}");
        whole
    }

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], arch: u32, call: libc::c_long, arguments: [u32; 6]) -> u32 {
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            let code = u32::from(code);
            at += 1;
            if code == BPF_LD | BPF_W | BPF_ABS {
                accumulator = match k {
                    0 => u32::try_from(call).unwrap(),
                    4 => arch,
                    k => arguments[((k - 16) / 8) as usize],
                };
            } else if code == BPF_ALU | BPF_AND | BPF_K {
                accumulator &= k;
            } else if code == BPF_RET | BPF_K {
                return k;
            } else if code == BPF_JMP | BPF_JA {
                at += k as usize;
            } else {
                let holds = if code == BPF_JMP | BPF_K | BPF_JEQ { accumulator == k } else { accumulator >= k };
                at += usize::from(if holds { jt } else { jf });
            }
        }
    }

    #[track_caller]
    fn check(call: libc::c_long, arguments: [u32; 6], errno: Option<i32>) {
        let expected = errno.map_or(SECCOMP_RET_ALLOW, |errno| SECCOMP_RET_ERRNO | errno.unsigned_abs());
        assert_eq!(verdict(ARCH, call, arguments), expected, "call {call} with {arguments:x?}");
    }

    #[test]
    fn modes_with_setuid_are_refused_where_they_count() {
        check(libc::SYS_fchmodat, [0, 0, 0o755, 0, 0, 0], None);
        check(libc::SYS_fchmodat, [0, 0, 0o4755, 0, 0, 0], Some(EPERM));
        check(libc::SYS_fchmodat, [0, 0, 0o2755, 0, 0, 0], Some(EPERM));
        check(FCHMODAT2, [0, 0, 0o4755, 0, 0, 0], Some(EPERM));
        let create = (libc::O_CREAT | libc::O_WRONLY).unsigned_abs();
        check(libc::SYS_openat, [0, 0, create, 0o4755, 0, 0], Some(EPERM));
        check(libc::SYS_openat, [0, 0, create, 0o644, 0, 0], None);
        check(libc::SYS_openat, [0, 0, 0, 0o4755, 0, 0], None);
        check(libc::SYS_openat, [0, 0, libc::O_TMPFILE.unsigned_abs(), 0o4755, 0, 0], Some(EPERM));
        check(libc::SYS_openat, [0, 0, libc::O_DIRECTORY.unsigned_abs(), 0o4755, 0, 0], None);
    }

    #[test]
    fn namespaces_devices_and_foreign_sockets_are_refused() {
        let new_user = libc::CLONE_NEWUSER.unsigned_abs();
        check(libc::SYS_clone, [new_user, 0, 0, 0, 0, 0], Some(EPERM));
        check(libc::SYS_clone, [libc::SIGCHLD.unsigned_abs(), 0, 0, 0, 0, 0], None);
        check(libc::SYS_clone3, [0; 6], Some(ENOSYS));
        check(libc::SYS_mknodat, [0, 0, libc::S_IFCHR | 0o666, 0, 0, 0], Some(EPERM));
        check(libc::SYS_mknodat, [0, 0, libc::S_IFIFO | 0o666, 0, 0, 0], None);
        for (family, errno) in
            [(1, None), (2, None), (10, None), (16, None), (17, Some(EAFNOSUPPORT)), (40, Some(EAFNOSUPPORT))]
        {
            check(libc::SYS_socket, [family, 1, 0, 0, 0, 0], errno);
        }
        check(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0], Some(EPERM));
        check(libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0], None);
        check(libc::SYS_read, [0; 6], None);
    }

    #[test]
    fn what_others_would_feel_of_an_inode_is_refused_and_locks_are_not() {
        for command in [libc::F_SETLEASE, F_SETDELEG, F_SET_RW_HINT, F_SET_FILE_RW_HINT] {
            check(libc::SYS_fcntl, [3, command.unsigned_abs(), 1, 0, 0, 0], Some(EINVAL));
        }
        for command in [libc::F_GETLEASE, libc::F_SETLK, libc::F_OFD_SETLK, libc::F_DUPFD_CLOEXEC, libc::F_SETFL] {
            check(libc::SYS_fcntl, [3, command.unsigned_abs(), 1, 0, 0, 0], None);
        }
        check(libc::SYS_fanotify_init, [0x200, 0, 0, 0, 0, 0], Some(EPERM));
        check(libc::SYS_inotify_init1, [0; 6], None);
        for request in FSCRYPT {
            check(libc::SYS_ioctl, [3, request, 0, 0, 0, 0], Some(EOPNOTSUPP));
        }
    }

    /// The binary search finds the same rule as a linear one.
    #[test]
    fn every_call_meets_its_own_rules() {
        let rules: Vec<Rule> = always_refused().into_iter().chain(mounting_calls()).collect();
        for call in 0..600 {
            let always = rules.iter().find(|rule| rule.call == call && matches!(rule.when, When::Always));
            if always.is_some() || !rules.iter().any(|rule| rule.call == call) {
                check(call, [0; 6], always.map(|rule| rule.errno));
            }
        }
    }

    #[test]
    fn other_architectures_are_refused() {
        assert_eq!(verdict(0x4000_0003, 1, [0; 6]), SECCOMP_RET_KILL_PROCESS);
        if cfg!(target_arch = "x86_64") {
            check(i64::from(X32_BIT) + 1, [0; 6], Some(ENOSYS));
        }
    }
}
