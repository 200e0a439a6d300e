//! Builds with bad intentions. Those that once succeeded against another build system are named by their number.

use std::fs;
use std::os::unix::fs::MetadataExt;

use builder::sandbox::{Status, remove_tree};

use crate::place::{Place, run, shell, syscall, try_run};

/// CVE-2024-38531 and the setuid half of CVE-2024-27297: a file that would run as its owner when started from outside.
#[test]
fn setuid_files_cannot_be_made() {
    assert_eq!(
        shell(
            "touch f; chmod 755 f && echo plain; chmod u+s f 2>/dev/null || echo refused; chmod 2755 f 2>/dev/null || echo refused; chmod g+s . 2>/dev/null || echo refused"
        ),
        "plain\nrefused\nrefused\nrefused\n"
    );
    let create = libc::O_CREAT | libc::O_WRONLY;
    let at = libc::AT_FDCWD;
    assert_eq!(syscall(libc::SYS_openat, &format!("{at}, my $a = 'plain', {create}, 0755")), "OK");
    assert_eq!(syscall(libc::SYS_openat, &format!("{at}, my $a = 'bad', {create}, 04755")), "EPERM");
    let tmpfile = libc::O_TMPFILE | libc::O_RDWR;
    assert_eq!(syscall(libc::SYS_openat, &format!("{at}, my $a = '/build', {tmpfile}, 06755")), "EPERM");
    assert_eq!(syscall(libc::SYS_openat2, &format!("{at}, my $a = 'bad', my $b = '', 24")), "ENOSYS");
    assert_eq!(syscall(452, &format!("{at}, my $a = '/build', 04755, 0")), "EPERM");
    assert_eq!(syscall(libc::SYS_mknodat, &format!("{at}, my $a = 'bad', {}, 0", libc::S_IFREG | 0o4755)), "EPERM");

    // A failing build leaves none either.
    let place = Place::new();
    let ran =
        try_run(&place.request("cp /bin/sh sh; chmod 4755 sh; cp sh /output/out; chmod 6755 /output/out; exit 1"))
            .unwrap();
    assert_eq!(ran.outcome.status, Status::Exited(1));
    for file in [place.path("build/sh"), place.output("out")] {
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o6000, 0);
    }
}

#[test]
fn device_nodes_cannot_be_made_and_fifos_can() {
    assert_eq!(
        shell(
            "mkfifo f && echo fifo; mknod n c 1 3 2>/dev/null || echo refused; mknod w c 0 0 2>/dev/null || echo refused"
        ),
        "fifo\nrefused\nrefused\n"
    );
}

#[test]
fn no_way_to_more_privileges() {
    assert_eq!(
        shell("unshare -U true 2>/dev/null || echo refused; unshare -m true 2>/dev/null || echo refused"),
        "refused\nrefused\n"
    );
    let user = libc::CLONE_NEWUSER | libc::SIGCHLD;
    assert_eq!(syscall(libc::SYS_clone, &format!("{user}, 0, 0, 0, 0")), "EPERM");
    assert_eq!(syscall(libc::SYS_clone3, "my $a = \"\\0\" x 88, 88"), "ENOSYS");
    assert_eq!(syscall(libc::SYS_mount, "my $a = 'none', my $b = '/tmp', my $c = 'tmpfs', 0, 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_umount2, "my $a = '/build', 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_fsopen, "my $a = 'tmpfs', 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_setns, "0, 0"), "EPERM");
    assert_eq!(syscall(libc::SYS_chroot, "my $a = '/build'"), "EPERM");
    assert_eq!(syscall(libc::SYS_setuid, "0"), "EINVAL");
    // The threads and processes that every program makes still work.
    assert_eq!(shell("(echo sub); perl -e 'my $p = fork; $p ? wait : print qq(child\\n)'"), "sub\nchild\n");
}

#[test]
fn facilities_outside_of_namespaces_are_closed() {
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

#[test]
fn extended_attributes_are_not_supported() {
    let call = "my $a = '/build', my $b = 'user.x', my $c = 'y', 1, 0";
    assert!(["ENOTSUP", "EOPNOTSUPP"].contains(&syscall(libc::SYS_setxattr, call).as_str()));
}

/// The classic of 2013: a hard link to a file of the host, whose permissions are then changed with the output's.
#[test]
fn files_of_inputs_cannot_be_linked_into_outputs() {
    let place = Place::new();
    fs::create_dir(place.path("input")).unwrap();
    fs::write(place.path("input/file"), "x").unwrap();
    let mut request = place.request("ln /eval/store/in/file /output/out 2>/dev/null && echo linked; ln /bin/sh /output/sh 2>/dev/null && echo linked; touch a && ln a b && echo own");
    request.binds.push(builder::request::Bind::read_only(place.path("input"), "/eval/store/in"));
    assert_eq!(run(&request), "own\n");
    assert_eq!(fs::metadata(place.path("input/file")).unwrap().nlink(), 1);
}

/// The escape of containers whose process keeps the runtime's executable open (CVE-2019-5736).
#[test]
fn the_monitors_executable_is_out_of_reach() {
    let place = Place::new();
    let mut request = place.request("");
    request.argv = vec!["/proc/self/exe".into()];
    let error = try_run(&request).err().expect("it lies outside of the root");
    assert!(error.to_string().contains("EACCES"), "{error}");
    fs::write(place.path("layer/script"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(place.path("layer/script"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    request.argv = vec!["/script".into()];
    assert!(try_run(&request).is_err());
}

/// CVE-2025-46415 and -52991: what a builder leaves must not lead the removal elsewhere.
#[test]
fn what_a_build_leaves_is_removed_and_nothing_else() {
    let place = Place::new();
    let precious = place.path("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "stays").unwrap();
    let script = format!(
        "mkdir a a/b; ln -s {0} a/link; ln -s / root; mkdir shut; touch shut/f; chmod 0 shut; mkfifo pipe; d=.; for i in $(seq 300); do d=$d/d; done; mkdir -p $d",
        precious.display()
    );
    run(&place.request(&script));
    remove_tree(&place.path("build")).unwrap();
    assert!(!place.path("build").exists());
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "stays");
}

#[test]
fn a_fork_bomb_ends_with_its_timeout() {
    let place = Place::new();
    let mut request = place.request("f() { sleep 600 & sleep 600 & }; for i in $(seq 100); do f; done; wait");
    request.limits.timeout = Some(std::time::Duration::from_secs(2));
    assert_eq!(try_run(&request).unwrap().outcome.status, Status::TimedOut);
}

/// The spawner is run by hand, and asked for what is no request.
#[test]
fn garbage_for_a_request_is_an_error() {
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
