//! A build does not measure the processor, and with it other users; it may measure its own time.

use crate::scene::{shell, syscall};

#[test]
fn cannot_be_opened() {
    assert_eq!(syscall(libc::SYS_perf_event_open, "0, 0, 0, 0, 0"), "EPERM");
    // A counter of the processor's cycles, of this process and of all.
    for process in [0, -1] {
        let arguments = format!("my $a = pack('LLQ', 0, 128, 0) . \"\\0\" x 112, {process}, 0, -1, 0");
        assert_eq!(syscall(libc::SYS_perf_event_open, &arguments), "EPERM");
    }
}

#[test]
fn a_builds_own_time_can_be_read() {
    assert_eq!(shell("perl -e '1 while times < 0.05; print qq(measured\\n)'"), "measured\n");
}
