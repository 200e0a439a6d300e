//! A build makes no device nodes.

use crate::scene::shell;

#[test]
fn cannot_be_made_and_fifos_can() {
    assert_eq!(
        shell(
            "mkfifo f && echo fifo; mknod n c 1 3 2>/dev/null || echo refused; mknod w c 0 0 2>/dev/null || echo refused"
        ),
        "fifo\nrefused\nrefused\n"
    );
}
