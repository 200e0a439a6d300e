//! A build makes no file that runs as its owner, and gets nothing from those that there are.

use crate::scene::{Scene, shell, syscall, try_run};
use sandbox::Status;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// CVE-2024-38531 and the setuid half of CVE-2024-27297: a file that would run as its owner when
/// started from outside.
#[test]
fn cannot_be_made() {
    assert_eq!(
        shell(
            "touch f; chmod 755 f && echo plain; chmod u+s f 2>/dev/null || echo refused; chmod 2755 f 2>/dev/null || echo refused; chmod g+s . 2>/dev/null || echo refused"
        ),
        "plain\nrefused\nrefused\nrefused\n"
    );
    let create = libc::O_CREAT | libc::O_WRONLY;
    let at = libc::AT_FDCWD;
    assert_eq!(syscall(libc::SYS_openat, &format!("{at}, my $a = 'plain', {create}, 0755")), "OK");
    assert_eq!(syscall(libc::SYS_openat, &format!("{at}, my $a = 'bad', {create}, 04755")), "EPERM");
    let tmpfile = libc::O_TMPFILE | libc::O_RDWR;
    assert_eq!(syscall(libc::SYS_openat, &format!("{at}, my $a = '/build', {tmpfile}, 06755")), "EPERM");
    assert_eq!(syscall(libc::SYS_openat2, &format!("{at}, my $a = 'bad', my $b = '', 24")), "ENOSYS");
    assert_eq!(syscall(452, &format!("{at}, my $a = '/build', 04755, 0")), "EPERM");
    assert_eq!(syscall(libc::SYS_mknodat, &format!("{at}, my $a = 'bad', {}, 0", libc::S_IFREG | 0o4755)), "EPERM");
}

#[test]
fn are_not_left_by_a_failing_build() {
    let scene = Scene::new();
    let ran =
        try_run(&scene.request("cp /bin/sh sh; chmod 4755 sh; cp sh /output/out; chmod 6755 /output/out; exit 1"))
            .unwrap();
    assert_eq!(ran.outcome.status, Status::Exited(1));
    for file in [scene.path("build/sh"), scene.output("out")] {
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o6000, 0);
    }
}

#[test]
fn of_the_host_give_nothing() {
    let host_setuid = "for f in /usr/bin/su /usr/bin/passwd /bin/mount; do [ -u $f ] && echo there; done | sort -u
        grep NoNewPrivs /proc/self/status | cut -f2; findmnt -no OPTIONS /usr | grep -c nosuid";
    assert!(shell(host_setuid).ends_with("1\n1\n"));
}
