//! The queues of io_uring, whose calls no filter sees, are closed.

use crate::scene::{shell, syscall};

#[test]
fn is_no_call_of_this_kernel() {
    assert_eq!(syscall(libc::SYS_io_uring_setup, "1, my $a = \"\\0\" x 120"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_io_uring_enter, "0, 1, 0, 0, 0, 0"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_io_uring_register, "0, 0, 0, 0"), "ENOSYS");
}

/// Programs find the calls to which they fall back.
#[test]
fn other_ways_to_wait_for_many_files_work() {
    assert_eq!(syscall(libc::SYS_epoll_create1, "0"), "OK");
    assert_eq!(syscall(libc::SYS_eventfd2, "0, 0"), "OK");
    let wait = r#"perl -e 'pipe(R, W); syswrite W, "x"; vec(my $r = "", fileno R, 1) = 1; print scalar select($r, undef, undef, 9), "\n"'"#;
    assert_eq!(shell(wait), "1\n");
}
