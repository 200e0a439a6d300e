//! A build finds nothing of the one that ran before it.

use super::{CONNECT, MISS, build};
use crate::scene::child_exe;
use sandbox::Sandbox;

/// All traces that a build could leave, as the next one sees it. The number of TCP sockets and
/// their memory are those of the whole machine.
const LOOK: &str = "cd /proc/net; for file in dev snmp snmp6 netstat sockstat unix; do cat $file; done 2>/dev/null | sed 's/ alloc [0-9]* mem [0-9]*$//'
    ls -la /dev /dev/shm /dev/pts /tmp /etc /eval /var | sed 's/ [A-Z][a-z][a-z] .*:[0-9]* / /'
    cat /etc/passwd; find /build /output /tmp /dev/shm; there=$(ls /proc); echo \"$there\" | grep -c '^[0-9]'";

#[test]
fn of_the_build_before_are_not_found() {
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
