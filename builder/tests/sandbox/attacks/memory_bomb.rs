//! A build that takes memory without end fails, alone.

use crate::scene::Ran;
use crate::support::{Group, limited, memory_is_limited_together};
use sandbox::Status;
use sandbox::request::Limits;

fn with_200_mib(script: &str) -> Ran {
    limited(script, Limits { memory_max_bytes: Some(200 << 20), ..Limits::default() }, 60)
}

/// Where there is no control group, the allocation fails and with it the program; else the kernel
/// ends it.
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

/// Files in `/tmp` and `/dev/shm` take memory, which is counted where a control group can be made;
/// else both have a bound.
#[test]
fn in_temporary_files_fails() {
    for place in ["/tmp", "/dev/shm"] {
        let ran = with_200_mib(&format!("head -c 400M /dev/zero > {place}/bomb && echo survived"));
        let expected = if memory_is_limited_together() { Status::OutOfMemory } else { Status::Exited(1) };
        assert_eq!((ran.outcome.status, ran.log.contains("survived")), (expected, false), "{}", ran.log);
        let ran = with_200_mib(&format!("head -c 20M /dev/zero > {place}/file && echo fits"));
        assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "fits\n"));
    }
    let both = "head -c 150M /dev/zero > /tmp/bomb; head -c 150M /dev/zero > /dev/shm/bomb && echo survived";
    assert!(!with_200_mib(both).log.contains("survived"));
    let files = "perl -e 'for (1 .. 2_000_000) { open my $f, q(>), qq(/tmp/$_) or die }' && echo survived";
    assert!(!with_200_mib(files).log.contains("survived"));
}

/// Memory that processes share: files without a name, mappings, segments of System V. Only control
/// groups count it, so where there is none it is bounded by the machine alone.
#[test]
fn in_shared_memory_fails_where_it_is_counted() {
    let bombs = [
        format!("my $fd = syscall({}, my $n = 'bomb', 0); open my $f, '>&=', $fd; print $f 'a' x 1048576 for 1 .. MIB", libc::SYS_memfd_create),
        format!(
            "my $at = syscall({}, 0, MIB << 20, 3, 0x21, -1, 0); pipe my $r, my $w;
            for (0 .. MIB - 1) {{ syswrite $w, 'a'; syscall({}, fileno $r, $at + ($_ << 20) + ($_ % 256) * 4096, 1) }}
            syscall({}, $at, MIB << 20, 23) == 0 or die",
            libc::SYS_mmap,
            libc::SYS_read,
            libc::SYS_madvise
        ),
        "my $id = shmget(1, MIB << 20, 01600) // die; shmwrite($id, 'a' x 1048576, $_ << 20, 1048576) or die for 0 .. MIB - 1"
            .to_owned(),
    ];
    for bomb in bombs {
        let script = |mib: u32| {
            format!("cat > bomb.pl <<'X'\n{}\nX\nperl bomb.pl && echo survived", bomb.replace("MIB", &mib.to_string()))
        };
        let ran = with_200_mib(&script(20));
        assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "survived\n"), "{bomb}");
        let ran = with_200_mib(&script(400));
        let expected = if memory_is_limited_together() { Status::OutOfMemory } else { Status::Exited(0) };
        assert_eq!(ran.outcome.status, expected, "{bomb}: {}", ran.log);
    }
}

/// The limit of a group above, here in place of the machine's, is not reported as the build's.
#[test]
fn with_the_limit_of_a_group_above_is_not_the_builds_failure() {
    let Some(above) = Group::make("memory", &[("memory.limit_in_bytes", 200 << 20)]) else { return };
    let ran = above.run("perl -e 'my @x; push @x, qq(a) x 10_000_000 for 1 .. 200'", |limits| {
        limits.memory_max_bytes = Some(2 << 30);
    });
    assert!(ran.contains("MachineOutOfMemory"), "{ran}");
}
