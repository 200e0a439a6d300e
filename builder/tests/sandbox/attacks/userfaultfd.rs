//! A build does not hold the kernel up in the middle of a copy, which makes its races winnable.

use crate::scene::{shell, syscall};

#[test]
fn cannot_be_opened() {
    for flags in [0, 1, libc::O_CLOEXEC | libc::O_NONBLOCK] {
        assert_eq!(syscall(libc::SYS_userfaultfd, &flags.to_string()), "EPERM");
    }
    assert_eq!(shell("ls /dev/userfaultfd /dev/fuse 2>/dev/null; true"), "");
}

/// The other way in which programs handle their faults.
#[test]
fn a_signal_for_a_fault_works() {
    assert_eq!(shell("perl -e '$SIG{SEGV} = sub { print qq(caught\\n); exit }; kill SEGV => $$; sleep 9'"), "caught\n");
}
