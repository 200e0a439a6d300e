//! A build sets no extended attributes, and so neither capabilities nor access lists.

use crate::place::syscall;

#[test]
fn are_not_supported() {
    let call = "my $a = '/build', my $b = 'user.x', my $c = 'y', 1, 0";
    assert!(["ENOTSUP", "EOPNOTSUPP"].contains(&syscall(libc::SYS_setxattr, call).as_str()));
}
