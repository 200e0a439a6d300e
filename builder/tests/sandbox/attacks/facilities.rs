//! What the kernel keeps outside of namespaces is closed to a build.

use crate::place::syscall;

#[test]
fn outside_of_namespaces_are_closed() {
    assert_eq!(syscall(libc::SYS_keyctl, "0, -3, 1, 0, 0"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_add_key, "my $a = 'user', my $b = 'x', my $c = 'y', 1, -4"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_io_uring_setup, "1, my $a = \"\\0\" x 120"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_bpf, "0, 0, 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_userfaultfd, "0"), "EPERM");
    assert_eq!(syscall(libc::SYS_perf_event_open, "0, 0, 0, 0, 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_syslog, "3, my $a = \"\\0\" x 64, 64"), "EPERM");
    let vsock = format!("{}, {}, 0", libc::AF_VSOCK, libc::SOCK_STREAM);
    assert_eq!(syscall(libc::SYS_socket, &vsock), "EAFNOSUPPORT");
    assert_eq!(syscall(libc::SYS_socket, &format!("{}, {}, 0", libc::AF_UNIX, libc::SOCK_STREAM)), "OK");
    assert_eq!(syscall(libc::SYS_ioctl, "0, 0x5412, my $a = 'x'"), "EPERM");
}
