//! The monitor, run by hand with what is no request, says so.

/// The spawner is run by hand, and asked for what is no request.
#[test]
fn that_is_garbage_is_an_error() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::{IoSlice, Read};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::process::CommandExt;

    let start = |stdin: std::process::Stdio| {
        std::process::Command::new(crate::place::child_exe()).arg0("eval-sandbox").stdin(stdin).spawn().unwrap()
    };
    assert!(!start(std::process::Stdio::null()).wait().unwrap().success());

    let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let mut spawner = start(theirs.into());
    let ask = |streams: &[BorrowedFd]| {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        rights.push(SendAncillaryMessage::ScmRights(streams));
        sendmsg(&socket, &[IoSlice::new(b"?")], &mut rights, SendFlags::empty()).unwrap();
        let mut answer = [0; 4];
        assert_eq!(nix::unistd::read(&socket, &mut answer), Ok(4));
        i32::from_le_bytes(answer)
    };
    let (mut report, report_end) = std::io::pipe().unwrap();
    assert!(ask(&[report_end.as_fd()]) < 0, "three descriptors are needed");
    let (control, control_end) = std::io::pipe().unwrap();
    drop(control_end);
    assert!(ask(&[control.as_fd(), report_end.as_fd(), report_end.as_fd()]) > 0);
    drop(report_end);
    let mut text = String::new();
    report.read_to_string(&mut text).unwrap();
    assert!(text.contains("Failed"), "{text}");
    drop(socket);
    assert!(spawner.wait().unwrap().success());
}
