//! A build that takes memory without end fails, alone.

use builder::request::Limits;
use builder::sandbox::Status;

use crate::place::Ran;
use crate::support::{limited, memory_is_limited_together};

fn with_200_mib(script: &str) -> Ran {
    limited(script, Limits { memory_max_bytes: Some(200 << 20), ..Limits::default() }, 60)
}

/// Where there is no control group, the allocation fails and with it the program; else the kernel ends it.
#[test]
fn fails_and_a_small_program_does_not() {
    let ran = with_200_mib("perl -e 'my @x; push @x, \"a\" x 10_000_000 for 1..200; print qq(survived\\n)'");
    assert!(
        matches!(ran.outcome.status, Status::OutOfMemory | Status::Exited(1..) | Status::Signalled(_)),
        "{:?} {}",
        ran.outcome.status,
        ran.log
    );
    assert!(!ran.log.contains("survived"));
    let ran = with_200_mib("perl -e 'my $x = \"a\" x 20_000_000; print qq(fits\\n)'");
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "fits\n"));
}

/// All processes together, where a control group can be made; each by itself is small.
#[test]
fn of_many_small_processes_fails() {
    if !memory_is_limited_together() {
        return;
    }
    let several = |count: u32| {
        format!(
            "for i in $(seq {count}); do perl -e 'my $x = \"a\" x 40_000_000; sleep 2' & done
            for i in $(seq {count}); do wait -n || exit 1; done; echo survived"
        )
    };
    let several = |count| format!("bash -c '{}'", several(count).replace('\'', "'\\''"));
    let ran = with_200_mib(&several(12));
    assert_eq!((ran.outcome.status, ran.log.contains("survived")), (Status::OutOfMemory, false), "{}", ran.log);
    let ran = with_200_mib(&several(1));
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "survived\n"));
}

/// What lies in `/tmp` and `/dev/shm` is memory, and counts as such where a control group can be made.
#[test]
fn in_temporary_files_fails() {
    if !memory_is_limited_together() {
        return;
    }
    for place in ["/tmp", "/dev/shm"] {
        let ran = with_200_mib(&format!("head -c 400M /dev/zero > {place}/bomb && echo survived"));
        assert_eq!((ran.outcome.status, ran.log.contains("survived")), (Status::OutOfMemory, false), "{}", ran.log);
        let ran = with_200_mib(&format!("head -c 20M /dev/zero > {place}/file && echo fits"));
        assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "fits\n"));
    }
}
