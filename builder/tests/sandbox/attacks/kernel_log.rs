//! A build neither reads nor writes the kernel's log.

use crate::scene::{shell, syscall};

#[test]
fn cannot_be_read() {
    for command in [2, 3, 4] {
        assert_eq!(syscall(libc::SYS_syslog, &format!("{command}, my $a = \"\\0\" x 64, 64")), "EPERM");
    }
    assert_eq!(shell("for f in /dev/kmsg /proc/kmsg; do head -c 1 $f 2>/dev/null; done; true"), "");
}

#[test]
fn cannot_be_written_and_the_builds_own_log_can() {
    assert_eq!(
        shell("(echo x > /dev/kmsg) 2>/dev/null || echo no; (echo x > /dev/stderr) && echo own"),
        "no\nx\nown\n"
    );
}
