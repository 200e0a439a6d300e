//! A build makes no file that gives capabilities to a user who runs it.

use crate::scene::{shell, syscall};

/// They are extended attributes.
#[test]
fn cannot_be_set() {
    let capability = r#"my $a = '/build/f', my $b = 'security.capability', my $c = "\1\0\0\2" . "\xff" x 16, 20, 0"#;
    assert!(["ENOTSUP", "EOPNOTSUPP"].contains(&syscall(libc::SYS_setxattr, capability).as_str()));
    let capability = r#"my $a = '/build', my $b = 'security.capability', my $c = "\1\0\0\2" . "\xff" x 16, 20, 0"#;
    assert!(["ENOTSUP", "EOPNOTSUPP"].contains(&syscall(libc::SYS_lsetxattr, capability).as_str()));
}

#[test]
fn are_had_by_no_program_that_is_made() {
    let made = "cp /usr/bin/grep own; chmod 755 own; ./own CapEff /proc/self/status | cut -f2";
    assert_eq!(shell(made), "0000000000000000\n");
}
