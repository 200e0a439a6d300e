//! A build sets no extended attributes, and so neither capabilities nor access lists.

use crate::scene::{shell, syscall};

#[track_caller]
fn assert_unsupported(call: libc::c_long, arguments: &str) {
    let errno = syscall(call, arguments);
    assert!(["ENOTSUP", "EOPNOTSUPP"].contains(&errno.as_str()), "{call}: {errno}");
}

#[test]
fn are_not_supported() {
    let set = "my $a = '/build', my $b = 'user.x', my $c = 'y', 1, 0";
    for call in [libc::SYS_setxattr, libc::SYS_lsetxattr] {
        assert_unsupported(call, set);
    }
    assert_unsupported(libc::SYS_fsetxattr, "0, my $b = 'user.x', my $c = 'y', 1, 0");
    for call in [libc::SYS_removexattr, libc::SYS_lremovexattr] {
        assert_unsupported(call, "my $a = '/build', my $b = 'user.x'");
    }
    assert_unsupported(libc::SYS_fremovexattr, "0, my $b = 'user.x'");
}

/// Programs that look for attributes, or would keep them, work.
#[test]
fn can_be_looked_for() {
    assert_eq!(syscall(libc::SYS_listxattr, "my $a = '/build', my $b = \"\\0\" x 64, 64"), "OK");
    assert_eq!(shell("echo kept > f; chmod 750 f; cp -a f g; stat -c %a g; cat g"), "750\nkept\n");
}
