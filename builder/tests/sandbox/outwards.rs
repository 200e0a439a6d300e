//! What a build cannot reach outside: processes, other users' files through descriptors, the kernel's settings.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{Place, run, shell, syscall};

/// A process of this user outside.
struct Victim(std::process::Child);

impl Victim {
    fn new() -> Victim {
        Victim(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead; what matters was asserted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn signals_reach_own_processes_and_no_others() {
    let mut victim = Victim::new();
    let script = format!(
        "kill -9 {} 2>/dev/null && echo killed outside; sleep 600 & kill -9 $! && echo killed own",
        victim.0.id()
    );
    let seen = shell(&script);
    assert_eq!(seen, "killed own\n");
    // "All processes" are the build's own, less the one that asks.
    assert_eq!(shell("sleep 600 & kill -9 -1; wait; echo over"), "over\n");
    assert!(victim.is_alive());
    // The init survives what a build sends it, and so does the build's end arrive.
    assert_eq!(shell("kill -9 1; kill -TERM 1; kill -STOP 1; echo alive"), "alive\n");
}

#[test]
fn tracing_works_on_own_processes_and_no_others() {
    const ATTACH: i32 = 16;
    let victim = Victim::new();
    assert_eq!(syscall(libc::SYS_ptrace, &format!("{ATTACH}, {}, 0, 0", victim.0.id())), "ESRCH");
    assert_eq!(syscall(libc::SYS_ptrace, &format!("{ATTACH}, 1, 0, 0")), "EPERM");
    assert_eq!(
        syscall(libc::SYS_process_vm_readv, "1, my $a = pack('QQ', 4096, 8), 1, my $b = pack('QQ', 4096, 8), 1, 0"),
        "EPERM"
    );
    assert_eq!(syscall(libc::SYS_pidfd_open, &format!("{}, 0", victim.0.id())), "ESRCH");
    let own = format!(
        r#"perl -e 'my $p = fork // die; if (!$p) {{ sleep 600 }}
            my $r = syscall({}, {ATTACH}, $p, 0, 0); print $r == 0 ? "own\n" : "not even own: $!\n"; kill 9, $p'"#,
        libc::SYS_ptrace
    );
    assert_eq!(shell(&own), "own\n");
}

/// CVE-2024-27297 and -2025-46416: a descriptor handed to a helper outside keeps the output writable after the check.
#[test]
fn descriptors_cannot_be_handed_out() {
    let place = Place::new();
    // A socket of the host that the build may even know the name of.
    let socket = place.path("helper");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let script = format!(
        r#"perl -MSocket -e 'for my $name ("{path}", "\0{path}", "/proc/1/root{path}", "/proc/self/cwd/../helper") {{
            socket(S, AF_UNIX, SOCK_STREAM, 0) or die;
            print connect(S, pack("Sa*", AF_UNIX, $name)) ? "reached $name\n" : "refused\n" }}
            socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die; syswrite A, "own"; sysread B, my $x, 3; print "$x\n"'"#,
        path = socket.display()
    );
    assert_eq!(run(&place.request(&script)), "refused\nrefused\nrefused\nrefused\nown\n");
    assert!(listener.accept().is_err(), "nobody came");
}

/// The log is the one thing that leads out: a pipe, through which no descriptor passes and no terminal is reached.
#[test]
fn the_log_is_a_pipe_and_nothing_else() {
    assert_eq!(shell("readlink /proc/self/fd/1 | cut -d: -f1; readlink /proc/self/fd/2 | cut -d: -f1"), "pipe\npipe\n");
    // TIOCSTI and TIOCLINUX are refused on any descriptor, a terminal of the build's own included.
    assert_eq!(syscall(libc::SYS_ioctl, "1, 0x5412, my $a = 'x'"), "EPERM");
    assert_eq!(syscall(libc::SYS_ioctl, "1, 0x541c, my $a = \"\\2\""), "EPERM");
    // With bits beyond the 32 that the kernel looks at.
    assert_eq!(syscall(libc::SYS_ioctl, "1, 0x100005412, my $a = 'x'"), "EPERM");
    assert_eq!(shell("script -qec 'stty -a | head -c 5' /dev/null"), "speed");
}

/// When root builds, the numbers of the init's descriptors can be listed; what they are, and they themselves, cannot be had.
#[test]
fn proc_and_sys_tell_and_change_nothing_of_the_host() {
    let refused = "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/drop_caches \
            /proc/self/uid_map /proc/1/mem /proc/sys/kernel/pid_max /proc/sys/user/max_user_namespaces; do
            (echo 1 > $f) 2>/dev/null && echo written $f; done
        for f in /proc/kcore /proc/kmsg /proc/1/environ /proc/1/mem /proc/1/maps /proc/1/stack; do
            [ -e $f ] && (head -c 1 $f > /dev/null) 2>/dev/null && echo read $f; done
        ls /sys 2>/dev/null | head -n 1; ls /proc/1/root/ 2>/dev/null; for n in 0 1 2 3; do readlink /proc/1/fd/$n; (head -c 1 /proc/1/fd/$n) 2>/dev/null; done
        grep -c processor /proc/cpuinfo > /dev/null && echo own /proc works";
    assert_eq!(shell(refused), "own /proc works\n");
    assert_eq!(shell("cat /proc/self/cgroup | cut -d: -f3 | sort -u"), "/\n", "the group's name is not told");
}

#[test]
fn shared_memory_and_queues_are_the_builds_own() {
    assert_eq!(shell("ipcs -m -s -q | grep -c '^0x' || true"), "0\n");
    let own = r#"perl -e 'my $id = shmget(0x4556414c, 4096, 01600) // die; shmwrite($id, "own", 0, 3);
        shmread($id, my $x, 0, 3); print "$x\n"'"#;
    // The same key twice: each build finds its own, empty.
    assert_eq!(shell(own), "own\n");
    assert_eq!(shell(own), "own\n");
}

/// Nested sandboxes would need capabilities that reach most of the kernel.
#[test]
fn nested_namespaces_of_every_kind_are_refused() {
    let kinds = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("time", 0x80),
    ];
    for (name, flag) in kinds {
        assert_eq!(syscall(libc::SYS_unshare, &flag.to_string()), "EPERM", "{name}");
    }
    assert_eq!(syscall(libc::SYS_unshare, &libc::CLONE_FILES.to_string()), "OK");
}

/// File capabilities are extended attributes, and privileges come from neither kind of file.
#[test]
fn file_capabilities_cannot_be_set() {
    let capability = r#"my $a = '/build/f', my $b = 'security.capability', my $c = "\1\0\0\2" . "\xff" x 16, 20, 0"#;
    assert!(["ENOTSUP", "EOPNOTSUPP"].contains(&syscall(libc::SYS_setxattr, capability).as_str()));
    let host_setuid = "for f in /usr/bin/su /usr/bin/passwd /bin/mount; do [ -u $f ] && echo there; done | sort -u
        grep NoNewPrivs /proc/self/status | cut -f2; findmnt -no OPTIONS /usr | grep -c nosuid";
    assert!(shell(host_setuid).ends_with("1\n1\n"));
}

/// A build that ends while its children hold the log open does not hang the caller.
#[test]
fn daemons_do_not_keep_the_build_open() {
    let started = Instant::now();
    let script = "perl -e 'use POSIX; fork and exit; setsid; fork and exit; $SIG{$_} = q(IGNORE) for qw(HUP TERM INT); sleep 600' ; echo over";
    assert_eq!(shell(script), "over\n");
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// The environment and the command line of the caller stay outside.
#[test]
fn the_callers_environment_is_not_inherited() {
    let mut own = String::new();
    std::fs::File::open("/proc/self/environ").unwrap().read_to_string(&mut own).unwrap();
    assert!(own.contains("CARGO") || own.contains("SANDBOX_RUN"), "there is something that could leak");
    assert_eq!(
        shell("env | cut -d= -f1 | grep -vE '^(EVAL_CORES|NIX_BUILD_CORES|PATH|PWD|_|SHLVL|OLDPWD)$' || true"),
        ""
    );
}
