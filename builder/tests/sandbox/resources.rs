//! Memory, processes and disk have bounds, and a build that reaches one fails with a reason.

use std::time::{Duration, Instant};

use builder::request::Limits;
use builder::sandbox::Status;

use crate::place::{Place, Ran, shell, try_run};

#[track_caller]
fn limited(script: &str, limits: Limits) -> Ran {
    let started = Instant::now();
    let place = Place::new();
    let mut request = place.request(script);
    request.limits = limits;
    let ran = try_run(&request).unwrap_or_else(|error| panic!("{error}"));
    assert!(started.elapsed() < Duration::from_secs(60), "it took {:?}", started.elapsed());
    ran
}

/// Where there is no control group, the allocation fails and with it the program; else the kernel ends it.
#[test]
fn a_memory_bomb_fails_and_a_small_program_does_not() {
    let limits = Limits { memory_max_bytes: Some(200 << 20), ..Limits::default() };
    let bomb = "perl -e 'my @x; push @x, \"a\" x 10_000_000 for 1..200; print qq(survived\\n)'";
    let ran = limited(bomb, limits.clone());
    assert!(
        matches!(ran.outcome.status, Status::OutOfMemory | Status::Exited(1..) | Status::Signalled(_)),
        "{:?} {}",
        ran.outcome.status,
        ran.log
    );
    assert!(!ran.log.contains("survived"));
    let ran = limited("perl -e 'my $x = \"a\" x 20_000_000; print qq(fits\\n)'", limits);
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "fits\n"));
}

#[test]
fn a_fork_bomb_cannot_start_more_than_its_share() {
    let limits = Limits { processes_max: Some(100), timeout: Some(Duration::from_secs(40)), ..Limits::default() };
    let bomb = r#"perl -e '
        $SIG{ALRM} = "IGNORE"; my $made = 0;
        while ($made < 2000) { my $pid = fork; last unless defined $pid; if (!$pid) { sleep 600 } $made++ }
        print "made $made\n"; exit($made < 2000 ? 7 : 0)'"#;
    let ran = limited(bomb, limits.clone());
    let made: u32 = ran.log.trim().strip_prefix("made ").and_then(|text| text.parse().ok()).expect(&ran.log);
    assert!((20..=110).contains(&made), "{made}");
    assert!(matches!(ran.outcome.status, Status::TooManyProcesses | Status::Exited(7)), "{:?}", ran.outcome.status);

    let ran = limited("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1 & done; wait; echo ten", limits);
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "ten\n"));
}

/// The classic, without an end of its own: it has to leave the machine usable, and end with the time limit at the latest.
#[test]
fn a_fork_bomb_without_end_is_ended() {
    let limits = Limits { processes_max: Some(200), timeout: Some(Duration::from_secs(3)), ..Limits::default() };
    let ran = limited("bomb() { bomb | bomb & }; bomb; sleep 600", limits);
    assert_ne!(ran.outcome.status, Status::Exited(0));
}

#[test]
fn priority_is_lowered_as_asked_and_the_killer_of_last_resort_comes_here_first() {
    let limits = Limits { niceness: 7, ..Limits::default() };
    let before: i32 = shell("nice").trim().parse().unwrap();
    let ran = limited("nice", limits);
    assert_eq!(ran.log.trim().parse(), Ok((before + 7).min(19)));
    let score: i32 = shell("cat /proc/self/oom_score_adj").trim().parse().unwrap();
    assert!(score >= 500, "{score}");
}

/// Neither temporary directory can take more than its half of the memory.
#[test]
fn temporary_directories_are_bounded() {
    let script =
        "df -P -B1 /tmp /dev/shm | tail -n +2 | tr -s ' ' | cut -d' ' -f2; grep MemTotal /proc/meminfo | tr -dc 0-9";
    let seen = shell(script);
    let numbers: Vec<u64> = seen.split_whitespace().map(|text| text.parse().unwrap()).collect();
    let [tmp, shm, total_kib] = numbers[..] else { panic!("{seen}") };
    assert!(tmp > 0 && shm > 0 && tmp <= total_kib * 1024 / 2 + 4096 && shm <= total_kib * 1024 / 2 + 4096, "{seen}");
}

/// A hole costs nothing and a file as large as the file system allows is refused by it, not by a crash.
#[test]
fn sparse_files_work_and_impossible_ones_fail() {
    let script = "truncate -s 1T hole && stat -c '%s' hole && rm hole
        truncate -s 100E huge 2>/dev/null || echo refused";
    assert_eq!(shell(script), "1099511627776\nrefused\n");
}
