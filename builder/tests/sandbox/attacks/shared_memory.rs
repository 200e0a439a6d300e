//! Shared memory and message queues are a build's own.

use crate::scene::shell;
use crate::support::perl_outside;
use std::fs;

const OWN: &str = r#"perl -e 'my $id = shmget(0x4556414c, 4096, 01600) // die; shmwrite($id, "own", 0, 3);
    shmread($id, my $x, 0, 3); print "$x\n"'"#;

#[test]
fn and_queues_are_the_builds_own() {
    assert_eq!(shell("ipcs -m -s -q | grep -c '^0x' || true"), "0\n");
    // The same key twice: each build finds its own, empty.
    assert_eq!(shell(OWN), "own\n");
    assert_eq!(shell(OWN), "own\n");
}

#[test]
fn of_the_host_is_not_found() {
    let key = 0x4000_0000 + std::process::id();
    let id = perl_outside(&format!("print shmget({key}, 4096, 01600) // die $!"));
    let find = format!("print defined shmget({key}, 4096, 0) ? q(found) : q(none)");
    let seen = (perl_outside(&find), shell(&format!("perl -e '{find}'")));
    perl_outside(&format!("shmctl({id}, 0, 0) or die $!"));
    assert_eq!(seen, ("found".into(), "none".into()));
}

#[test]
fn by_name_is_not_the_hosts() {
    let path = format!("/dev/shm/eval-test-{}", std::process::id());
    fs::write(&path, "host").unwrap();
    let seen = shell(&format!("cat {path} 2>/dev/null || echo none; echo own > {path}; cat {path}"));
    let after = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!((seen.as_str(), after.as_str()), ("none\nown\n", "host"));
}
