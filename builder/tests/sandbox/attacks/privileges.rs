//! A build has no privileges and gets none.

use crate::scene::{shell, syscall};

#[test]
fn are_none() {
    let status = shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
    for line in status.lines().filter(|line| line.starts_with("Cap")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
}

#[test]
fn of_other_users_cannot_be_had() {
    for call in [libc::SYS_setuid, libc::SYS_setgid] {
        assert_eq!(syscall(call, "0"), "EINVAL");
        assert_eq!(syscall(call, "1000"), "OK");
    }
    assert_eq!(syscall(libc::SYS_setgroups, "0, 0"), "EPERM");
    assert_eq!(
        shell("touch f; chown 0:0 f 2>/dev/null || echo refused; chown 1000:1000 f && echo own"),
        "refused\nown\n"
    );
}
