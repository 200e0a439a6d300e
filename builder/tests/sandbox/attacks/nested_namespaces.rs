//! A build makes and enters no namespaces: with them come capabilities that reach most of the
//! kernel.

use crate::scene::{shell, syscall};

#[test]
fn of_every_kind_are_refused() {
    let kinds = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("time", 0x80),
    ];
    for (name, flag) in kinds {
        assert_eq!(syscall(libc::SYS_unshare, &flag.to_string()), "EPERM", "{name}");
    }
    assert_eq!(syscall(libc::SYS_unshare, &libc::CLONE_FILES.to_string()), "OK");
    assert_eq!(
        shell("unshare -U true 2>/dev/null || echo refused; unshare -m true 2>/dev/null || echo refused"),
        "refused\nrefused\n"
    );
}

#[test]
fn come_with_no_new_process() {
    let user = libc::CLONE_NEWUSER | libc::SIGCHLD;
    assert_eq!(syscall(libc::SYS_clone, &format!("{user}, 0, 0, 0, 0")), "EPERM");
    assert_eq!(syscall(libc::SYS_clone3, "my $a = \"\\0\" x 88, 88"), "ENOSYS");
    // The threads and processes that every program makes still work.
    assert_eq!(shell("(echo sub); perl -e 'my $p = fork; $p ? wait : print qq(child\\n)'"), "sub\nchild\n");
    assert_eq!(shell("perl -Mthreads -e 'threads->create(sub { print qq(thread\\n) })->join'"), "thread\n");
}

#[test]
fn of_others_cannot_be_entered() {
    assert_eq!(syscall(libc::SYS_setns, "0, 0"), "EPERM");
    let enter = "for kind in user mnt net pid; do (: < /proc/1/ns/$kind) 2>/dev/null && echo $kind; done
        for kind in user mnt net pid; do (: < /proc/self/ns/$kind) || exit 1; done; echo own";
    assert_eq!(shell(enter), "own\n");
}
