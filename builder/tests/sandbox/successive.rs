//! Builds that follow one another in one slot, and so share what is costly to make, find nothing of those before.

use std::sync::atomic::AtomicBool;

use builder::sandbox::{Sandbox, Status};

use crate::place::{Place, child_exe};

/// All that a build could leave, as the next one sees it. How many TCP sockets there are and what they take of memory is told of the
/// whole machine.
const LOOK: &str = "cd /proc/net; for file in dev snmp snmp6 netstat sockstat unix; do cat $file; done 2>/dev/null | sed 's/ alloc [0-9]* mem [0-9]*$//'
    ls -la /dev /dev/shm /dev/pts /tmp /etc /eval /var | sed 's/ [A-Z][a-z][a-z] .*:[0-9]* / /'
    cat /etc/passwd; find /build /output /tmp /dev/shm; there=$(ls /proc); echo \"$there\" | grep -c '^[0-9]'";

#[track_caller]
fn build(sandbox: &Sandbox, script: &str) -> String {
    let mut log = Vec::new();
    let place = Place::new();
    let ran = sandbox.run(&place.request(script), &mut |bytes| log.extend_from_slice(bytes), &AtomicBool::new(false));
    let log = String::from_utf8_lossy(&log).into_owned();
    assert_eq!(ran.unwrap().status, Status::Exited(0), "log:\n{log}");
    log
}

/// A connection leaves a socket in `TIME_WAIT`, and counters; what was not reached leaves counters too.
const CONNECT: &str = r#"perl -MIO::Socket::INET -e '
    my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => 4711) or die $!;
    my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => 4711) or die $!;
    my $s = $l->accept; close $s; close $c'"#;
const MISS: &str =
    r#"perl -MIO::Socket::INET -e 'IO::Socket::INET->new(PeerAddr => "192.0.2.1", PeerPort => 1) and die'"#;

#[test]
fn the_next_build_finds_nothing_of_the_one_before() {
    let sandbox = Sandbox::new(child_exe());
    let first = build(&sandbox, LOOK);
    assert!(first.contains("lo:"), "{first}");
    let leave = "echo x >/tmp/x; echo x >/dev/shm/x; echo x >/build/x; (echo x >/etc/passwd; echo x >/dev/x; rm /dev/null; \
        chmod 777 /dev /etc; mkdir /eval/x /x; mv /var /y) 2>/dev/null; sleep 1000 & true";
    for left in [CONNECT, MISS, leave] {
        build(&sandbox, left);
        assert_eq!(build(&sandbox, LOOK), first, "after {left}");
    }
    // The port would still be taken.
    build(&sandbox, CONNECT);
    build(&sandbox, CONNECT);
}

#[test]
fn a_network_serves_again_only_when_nothing_has_used_it() {
    let sandbox = Sandbox::new(child_exe());
    let which = || build(&sandbox, "readlink /proc/self/ns/net");
    let first = which();
    assert_eq!(which(), first, "what is untouched is not made again");
    for used in [CONNECT, MISS] {
        let before = which();
        build(&sandbox, used);
        assert_ne!(which(), before, "after {used}");
    }
}

#[test]
fn clocks_start_with_each_build() {
    let sandbox = Sandbox::new(child_exe());
    let uptime = || build(&sandbox, "cut -d. -f1 /proc/uptime").trim().parse::<u64>().unwrap();
    uptime();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(uptime() < 4);
}

#[test]
fn a_root_serves_again_while_its_layers_are_the_same() {
    let sandbox = Sandbox::new(child_exe());
    let place = Place::new();
    let run = |script: &str| {
        let mut log = Vec::new();
        let request = place.request(script);
        let ran = sandbox.run(&request, &mut |bytes| log.extend_from_slice(bytes), &AtomicBool::new(false));
        assert_eq!(ran.unwrap().status, Status::Exited(0));
        String::from_utf8_lossy(&log).into_owned()
    };
    std::fs::write(place.path("layer").join("old"), "x").unwrap();
    let first = run("ls /");
    assert!(first.contains("old\n"), "{first}");
    for _ in 0..4 {
        assert_eq!(run("ls /"), first);
    }
    // Another tree under the same name.
    std::fs::rename(place.path("layer"), place.path("before")).unwrap();
    std::fs::create_dir(place.path("layer")).unwrap();
    std::fs::write(place.path("layer").join("new"), "x").unwrap();
    for _ in 0..3 {
        assert_eq!(run("ls /"), first.replace("old\n", "").replace("lib64\n", "lib64\nnew\n"));
    }
}

#[test]
fn the_order_in_which_a_build_looks_at_directories_does_not_show() {
    let sandbox = Sandbox::new(child_exe());
    let place = Place::new();
    for name in ["a", "b", "etc/x", "etc/y"] {
        std::fs::create_dir_all(place.path("layer").join(name)).unwrap();
    }
    let numbers = |first: &str| {
        let mut log = Vec::new();
        let script = format!("ls -d {first} >/dev/null; stat -c %i /etc/y /b /etc /a /etc/x");
        let ran =
            sandbox.run(&place.request(&script), &mut |bytes| log.extend_from_slice(bytes), &AtomicBool::new(false));
        assert_eq!(ran.unwrap().status, Status::Exited(0));
        log
    };
    let one = numbers("/a /etc/x");
    for first in ["/b /etc/y", "/a", "/etc /b"] {
        assert_eq!(numbers(first), one, "after looking at {first}");
    }
}
