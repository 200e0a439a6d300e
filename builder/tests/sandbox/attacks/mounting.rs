//! A build mounts nothing, uncovers nothing, and makes nothing else its root.

use crate::scene::{shell, syscall};

#[test]
fn is_refused_in_every_call() {
    for (call, arguments) in [
        (libc::SYS_mount, "my $a = 'none', my $b = '/tmp', my $c = 'tmpfs', 0, 0"),
        (libc::SYS_umount2, "my $a = '/build', 0"),
        (libc::SYS_fsopen, "my $a = 'tmpfs', 0"),
        (libc::SYS_fspick, "-100, my $a = '/tmp', 0"),
        (libc::SYS_open_tree, "-100, my $a = '/build', 1"),
        (libc::SYS_move_mount, "-100, my $a = '/build', -100, my $b = '/tmp', 0"),
        (libc::SYS_mount_setattr, "-100, my $a = '/usr', 0, my $b = \"\\0\" x 32, 32"),
        (libc::SYS_pivot_root, "my $a = '/build', my $b = '/build'"),
        (libc::SYS_chroot, "my $a = '/build'"),
    ] {
        assert_eq!(syscall(call, arguments), "EPERM", "call {call}");
    }
}

#[test]
fn moving_and_linking_work_instead() {
    assert_eq!(shell("mkdir a; echo x > a/f; mv a b; ln -s b c; cat c/f; cd c; pwd -P"), "x\n/build/b\n");
}
