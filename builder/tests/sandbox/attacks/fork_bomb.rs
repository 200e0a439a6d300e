//! A build that multiplies without end fails, and leaves the machine usable.

use crate::support::{Group, limited, processes_are_counted};
use sandbox::Status;
use sandbox::request::Limits;
use std::time::Duration;

#[test]
fn cannot_start_more_than_its_share() {
    let limits = Limits { processes_max: Some(100), timeout: Some(Duration::from_secs(40)), ..Limits::default() };
    let bomb = r#"perl -e '
        $SIG{ALRM} = "IGNORE"; my $made = 0;
        while ($made < 2000) { my $pid = fork; last unless defined $pid; if (!$pid) { sleep 600 } $made++ }
        print "made $made\n"; exit($made < 2000 ? 7 : 0)'"#;
    let ran = limited(bomb, limits.clone(), 60);
    let made: u32 = ran.log.trim().strip_prefix("made ").and_then(|text| text.parse().ok()).expect(&ran.log);
    assert!((20..=110).contains(&made), "{made}");
    assert!(matches!(ran.outcome.status, Status::TooManyProcesses | Status::Exited(7)), "{:?}", ran.outcome.status);

    let ran = limited("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1 & done; wait; echo ten", limits, 60);
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "ten\n"));
}

/// The builder's own status does not matter: without a process that it wanted, its outputs may
/// differ.
#[test]
fn fails_though_its_script_takes_no_notice() {
    let limits = Limits { processes_max: Some(60), timeout: Some(Duration::from_secs(40)), ..Limits::default() };
    let ignores = "perl -e 'for (1 .. 200) { my $pid = fork; if (defined $pid && !$pid) { sleep 600 } }'; exit 0";
    let ran = limited(ignores, limits.clone(), 60);
    // Where nothing counts processes, only the script knows.
    let expected = if processes_are_counted() { Status::TooManyProcesses } else { Status::Exited(0) };
    assert_eq!(ran.outcome.status, expected, "{}", ran.log);
    let fits = "perl -e 'for (1 .. 50) { my $pid = fork // die; if (!$pid) { sleep 1; exit } } 1 while wait > 0'";
    assert_eq!(limited(fits, limits, 60).outcome.status, Status::Exited(0));
}

/// The classic, without an end of its own: it has to leave the machine usable, and end with the
/// time limit at the latest.
#[test]
fn without_end_is_ended() {
    let limits = Limits { processes_max: Some(200), timeout: Some(Duration::from_secs(3)), ..Limits::default() };
    let ran = limited("bomb() { bomb | bomb & }; bomb; sleep 600", limits, 60);
    assert_ne!(ran.outcome.status, Status::Exited(0));
}

#[test]
fn without_a_limit_on_processes_ends_with_its_timeout() {
    let limits = Limits { timeout: Some(Duration::from_secs(2)), ..Limits::default() };
    let ran = limited("f() { sleep 600 & sleep 600 & }; for i in $(seq 100); do f; done; wait", limits, 60);
    assert_eq!(ran.outcome.status, Status::TimedOut);
}

/// The limit of a group above is not reported as the build's.
#[test]
fn with_the_limit_of_a_group_above_is_not_the_builds_failure() {
    let Some(above) = Group::make("pids", &[("pids.max", 40)]) else { return };
    let ran = above.run("for i in $(seq 100); do sleep 1 & done 2>/dev/null; wait; exit 1", |limits| {
        limits.processes_max = Some(1000);
    });
    assert!(ran.contains("MachineTooManyProcesses"), "{ran}");
}
