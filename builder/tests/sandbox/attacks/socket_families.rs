//! A build has sockets of those families only that its network namespace divides from the host's:
//! vsock would reach the host of a virtual machine.

use crate::scene::syscall;

#[track_caller]
fn check(family: i32, kind: i32, expected: &str) {
    assert_eq!(syscall(libc::SYS_socket, &format!("{family}, {kind}, 0")), expected, "family {family}, type {kind}");
}

#[test]
fn that_reach_elsewhere_are_closed() {
    for family in [libc::AF_VSOCK, libc::AF_PACKET, libc::AF_BLUETOOTH, libc::AF_ALG, libc::AF_TIPC] {
        check(family, libc::SOCK_STREAM, "EAFNOSUPPORT");
    }
    // Packets made by hand.
    let raw = format!("{}, {}, {}", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
    assert_eq!(syscall(libc::SYS_socket, &raw), "EPERM");
}

#[test]
fn that_programs_talk_to_themselves_with_are_open() {
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        check(family, libc::SOCK_STREAM, "OK");
    }
    check(libc::AF_NETLINK, libc::SOCK_RAW, "OK");
}
