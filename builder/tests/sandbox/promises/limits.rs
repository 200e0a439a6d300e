//! Resource limits are the same for every caller, soft and hard.

use crate::scene::{Scene, child_exe, shell};
use crate::support::after;
use sandbox::Sandbox;
use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;

/// Returns the limits that a build finds, without the words around them.
fn limits_of(sandbox: &Sandbox) -> Vec<(String, String, String)> {
    let mut log = Vec::new();
    let scene = Scene::new();
    let mut request = scene.request("cat /proc/self/limits");
    request.limits.processes_max = Some(5000);
    sandbox.run(&request, &mut |bytes| log.extend_from_slice(bytes), &AtomicBool::new(false)).unwrap();
    let text = String::from_utf8(log).unwrap();
    // The kernel's table has columns of a fixed width.
    let of_line = |line: &str| {
        let values: Vec<&str> = line[26..].split_whitespace().collect();
        (line[..26].trim().to_owned(), values[0].to_owned(), values[1].to_owned())
    };
    text.lines().skip(1).map(of_line).collect()
}

const EXPECTED: [(&str, &str, &str); 16] = [
    ("Max cpu time", "unlimited", "unlimited"),
    ("Max file size", "unlimited", "unlimited"),
    ("Max data size", "unlimited", "unlimited"),
    ("Max stack size", "8388608", "unlimited"),
    ("Max core file size", "1", "1"),
    ("Max resident set", "unlimited", "unlimited"),
    ("Max processes", "5002", "5002"),
    ("Max open files", "4096", "65536"),
    ("Max locked memory", "8388608", "8388608"),
    ("Max address space", "unlimited", "unlimited"),
    ("Max file locks", "unlimited", "unlimited"),
    ("Max pending signals", "4096", "4096"),
    ("Max msgqueue size", "819200", "819200"),
    ("Max nice priority", "0", "0"),
    ("Max realtime priority", "0", "0"),
    ("Max realtime timeout", "unlimited", "unlimited"),
];

/// An ordinary user cannot raise a hard limit of the caller.
fn expected(hard_of_caller: impl Fn(&str) -> Option<u64>) -> Vec<(String, String, String)> {
    let bounded = |name: &str, value: &str| match (hard_of_caller(name), value.parse::<u64>()) {
        (Some(hard), Ok(value)) => value.min(hard).to_string(),
        (Some(hard), Err(_)) => hard.to_string(),
        (None, _) => value.to_owned(),
    };
    let of = |(name, soft, hard): (&str, &str, &str)| (name.to_owned(), bounded(name, soft), bounded(name, hard));
    EXPECTED.map(of).into()
}

/// Returns true when this user may raise hard limits: root, except in many containers.
fn may_raise() -> bool {
    Command::new("bash").args(["-c", "ulimit -n 300 && ulimit -n 301 2>/dev/null"]).status().unwrap().success()
}

fn hard_of_this_process(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line[26..].split_whitespace().nth(1).unwrap().parse().ok()
}

#[test]
fn are_the_same_for_every_caller() {
    let scene = Scene::new();
    let may_raise = may_raise();
    let expected = expected(|name| if may_raise { None } else { hard_of_this_process(name) });
    assert_eq!(limits_of(&Sandbox::new(child_exe())), expected);
    // Less than what builds have, of everything that lets a shell go on.
    let softer =
        "ulimit -Sn 300; ulimit -Ss 2000; ulimit -Sc 0; ulimit -Si 500; ulimit -Sl 32; ulimit -Sq 1000; ulimit -Su 4000
        ulimit -Sf 100000; ulimit -St 500; ulimit -Sv 9000000; ulimit -Sd 8000000";
    assert_eq!(limits_of(&after(&scene, "softer", softer)), expected);
    let more = "ulimit -Sn hard; ulimit -Ss hard; ulimit -Sc hard; ulimit -Si hard; ulimit -Sl hard; ulimit -Sq hard";
    assert_eq!(limits_of(&after(&scene, "more", more)), expected);
    if may_raise {
        assert_eq!(limits_of(&after(&scene, "harder", &softer.replace("-S", "-"))), expected);
    }
}

/// A caller that may raise limits does so for builds; else they are bounded by the caller's.
#[test]
fn are_never_more_than_the_hard_limits_of_an_ordinary_caller() {
    if may_raise() {
        return;
    }
    let scene = Scene::new();
    let found = limits_of(&after(&scene, "harder", "ulimit -n 300; ulimit -i 500; ulimit -l 32"));
    let caller = |name: &str| match name {
        "Max open files" => Some(300),
        "Max pending signals" => Some(500),
        "Max locked memory" => Some(32 << 10),
        name => hard_of_this_process(name),
    };
    assert_eq!(found, expected(caller));
}

/// One build does not take all of a resource that the kernel counts by user: the host and other
/// builds would lack it.
#[test]
fn leave_watches_to_others() {
    let take = format!(
        "perl -e 'my $n = 0; while ($n < 1000) {{ last if syscall({}, 0) < 0; $n++ }} print $n'",
        libc::SYS_inotify_init1
    );
    assert_eq!(shell(&take), "16");
    let mark = format!("perl -e 'print syscall({}, 0x200, 0)'", libc::SYS_fanotify_init);
    assert_eq!(shell(&mark), "-1");
}
