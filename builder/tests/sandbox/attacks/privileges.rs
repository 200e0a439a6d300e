//! A build has no privileges and gets none.

use crate::place::{shell, syscall};

#[test]
fn no_way_to_more() {
    assert_eq!(
        shell("unshare -U true 2>/dev/null || echo refused; unshare -m true 2>/dev/null || echo refused"),
        "refused\nrefused\n"
    );
    let user = libc::CLONE_NEWUSER | libc::SIGCHLD;
    assert_eq!(syscall(libc::SYS_clone, &format!("{user}, 0, 0, 0, 0")), "EPERM");
    assert_eq!(syscall(libc::SYS_clone3, "my $a = \"\\0\" x 88, 88"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_mount, "my $a = 'none', my $b = '/tmp', my $c = 'tmpfs', 0, 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_umount2, "my $a = '/build', 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_fsopen, "my $a = 'tmpfs', 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_setns, "0, 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_chroot, "my $a = '/build'"), "EPERM");
    assert_eq!(syscall(libc::SYS_setuid, "0"), "EINVAL");
    // The threads and processes that every program makes still work.
    assert_eq!(shell("(echo sub); perl -e 'my $p = fork; $p ? wait : print qq(child\\n)'"), "sub\nchild\n");
}
