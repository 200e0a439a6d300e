//! The spawner, run by hand with what is no request, says so.

use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn start(stdin: Stdio) -> Child {
    Command::new(crate::place::child_exe()).arg0("eval-sandbox").stdin(stdin).spawn().unwrap()
}

/// Asks for a build with these bytes as its request, and returns the answer up to the spawner's end.
fn ask(head: [u8; 9], body: &[u8], log: Option<BorrowedFd>) -> String {
    let (mut socket, theirs) = UnixStream::pair().unwrap();
    let mut spawner = start(OwnedFd::from(theirs).into());
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let log: Vec<BorrowedFd> = log.into_iter().collect();
    if !log.is_empty() {
        rights.push(SendAncillaryMessage::ScmRights(&log));
    }
    let parts = [IoSlice::new(&head), IoSlice::new(body)];
    sendmsg(&socket, &parts, &mut rights, SendFlags::NOSIGNAL).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    // Where the spawner leaves without having read everything, that is all.
    let _ = socket.read_to_string(&mut text);
    assert!(spawner.wait().unwrap().success());
    text
}

#[test]
fn that_is_garbage_is_an_error() {
    assert!(start(Stdio::null()).wait().unwrap().success(), "nobody asks for anything");
    let (_log, end) = std::io::pipe().unwrap();
    let run = |size: u64| {
        let mut head = [1; 9];
        head[1..].copy_from_slice(&size.to_le_bytes());
        head
    };
    let text = ask(run(7), b"garbage", Some(end.as_fd()));
    assert!(text.contains("Failed") && text.contains("Request") && text.ends_with("}\n"), "{text}");
    let text = ask(run(2), b"{}", None);
    assert!(text.contains("Failed"), "{text}");
    // Shorter than it says, and of a kind that there is not.
    assert_eq!(ask(run(u64::MAX), b"{}", Some(end.as_fd())), "");
    assert_eq!(ask([9; 9], b"{}", Some(end.as_fd())), "");
    // To end what does not run is nothing wrong.
    assert_eq!(ask([0; 9], b"", None), "");
}
