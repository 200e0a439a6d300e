//! Keyrings, which belong to the user and outlive a build, are closed.

use crate::scene::{shell, syscall};
use crate::support::perl_outside;

#[test]
fn cannot_be_used() {
    assert_eq!(syscall(libc::SYS_keyctl, "0, -3, 1, 0, 0"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_add_key, "my $a = 'user', my $b = 'x', my $c = 'y', 1, -4"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_request_key, "my $a = 'user', my $b = 'x', 0, 0"), "ENOSYS");
}

/// A key outside that every process of this user may read.
#[test]
fn keys_of_the_user_cannot_be_had() {
    const REVOKE: u32 = 3;
    const SET_PERMISSIONS: u32 = 5;
    const LINK: u32 = 8;
    const READ: u32 = 11;
    let name = format!("eval-test-{}", std::process::id());
    let (add, ctl) = (libc::SYS_add_key, libc::SYS_keyctl);
    let key = perl_outside(&format!(
        "my $k = syscall({add}, my $t = 'user', my $n = '{name}', my $v = 'secret', 6, -2);
        $k != -1 and syscall({ctl}, {SET_PERMISSIONS}, $k, 0x3f3f0000) == 0 and syscall({ctl}, {LINK}, $k, -4) == 0 or die $!;
        print $k"
    ));
    let read = |key: &str| format!("my $b = ' ' x 6; print syscall({ctl}, {READ}, {key}, $b, 6) == 6 ? $b : 'none'");
    let outside = perl_outside(&read(&key));
    let inside = shell(&format!("perl -e \"{}\"", read(&key).replace('$', "\\$")));
    perl_outside(&format!("syscall({ctl}, {REVOKE}, {key}) == 0 or die $!"));
    assert_eq!((outside.as_str(), inside.as_str()), ("secret", "none"));
}

/// Calls that keep a secret among the build's own processes still work.
#[test]
fn files_without_a_name_work_instead() {
    assert_eq!(syscall(libc::SYS_memfd_create, "my $a = 'own', 0"), "OK");
}
