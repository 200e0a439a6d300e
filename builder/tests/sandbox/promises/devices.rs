//! The devices that programs expect work, and no others exist.

use crate::scene::shell;

#[test]
fn work() {
    assert_eq!(
        shell("head -c 4 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c; echo x > /dev/null && echo ok"),
        "4\n8\nok\n"
    );
    assert_eq!(shell("echo x > /dev/full 2>/dev/null || echo full"), "full\n");
    assert_eq!(shell("script -qec 'tty' /dev/null | tr -d '\\r'"), "/dev/pts/0\n");
}

#[test]
fn of_other_kinds_do_not_exist() {
    assert_eq!(
        shell("ls /dev | tr '\\n' ' '"),
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero "
    );
}
