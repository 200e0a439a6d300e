//! The spawner, started by hand, runs a request, and reports an error for anything else.

use crate::scene::{Scene, child_exe};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{BufRead, BufReader, IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

fn start(stdin: Stdio) -> Child {
    Command::new(child_exe()).arg0("eval-sandbox").stdin(stdin).spawn().unwrap()
}

/// Asks a new spawner for a build with these bytes as its request.
fn send(head: [u8; 9], body: &[u8], log: Option<BorrowedFd>) -> (UnixStream, Child) {
    let (socket, theirs) = UnixStream::pair().unwrap();
    let spawner = start(OwnedFd::from(theirs).into());
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let log: Vec<BorrowedFd> = log.into_iter().collect();
    if !log.is_empty() {
        rights.push(SendAncillaryMessage::ScmRights(&log));
    }
    let parts = [IoSlice::new(&head), IoSlice::new(body)];
    sendmsg(&socket, &parts, &mut rights, SendFlags::NOSIGNAL).unwrap();
    (socket, spawner)
}

/// The same, with nothing after it; returns the answer up to the spawner's end.
fn ask(head: [u8; 9], body: &[u8], log: Option<BorrowedFd>) -> String {
    let (mut socket, mut spawner) = send(head, body, log);
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    // Where the spawner leaves without having read everything, that is all.
    let _ = socket.read_to_string(&mut text);
    assert!(spawner.wait().unwrap().success());
    text
}

/// The head of a request to run a build, whose body has so many bytes.
fn run(size: u64) -> [u8; 9] {
    let mut head = [1; 9];
    head[1..].copy_from_slice(&size.to_le_bytes());
    head
}

#[test]
fn that_is_garbage_is_an_error() {
    assert!(start(Stdio::null()).wait().unwrap().success(), "nobody asks for anything");
    let (_log, end) = std::io::pipe().unwrap();
    let text = ask(run(7), b"garbage", Some(end.as_fd()));
    assert!(text.contains("Failed") && text.contains("Request") && text.ends_with("}\n"), "{text}");
    let text = ask(run(2), b"{}", None);
    assert!(text.contains("Failed"), "{text}");
    // Shorter than it says, and of a kind that there is not.
    assert_eq!(ask(run(u64::MAX), b"{}", Some(end.as_fd())), "");
    assert_eq!(ask([9; 9], b"{}", Some(end.as_fd())), "");
    // The end of a build that does not run is no error.
    assert_eq!(ask([0; 9], b"", None), "");
}

#[test]
fn that_is_whole_is_run() {
    let scene = Scene::new();
    let body = serde_json::to_vec(&scene.request("echo by hand")).unwrap();
    let (mut log, end) = std::io::pipe().unwrap();
    let (socket, mut spawner) = send(run(body.len() as u64), &body, Some(end.as_fd()));
    drop(end);
    let mut printed = String::new();
    log.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "by hand\n");
    // A caller that closes its end before the last message wants the build to end.
    let messages: Vec<String> =
        BufReader::new(&socket).lines().map(Result::unwrap).take_while(|message| !message.contains("Usage")).collect();
    assert!(messages.last().is_some_and(|message| message.contains("Exited")), "{messages:?}");
    drop(socket);
    assert!(spawner.wait().unwrap().success());
}
