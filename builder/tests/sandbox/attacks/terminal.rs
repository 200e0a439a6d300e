//! A build types nothing into a terminal: it has none but those it makes, and the calls that put
//! words into one are refused.

use crate::scene::{Scene, child_exe, shell, syscall};
use std::fs;
use std::process::{Command, Stdio};

const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// CVE-2017-5226.
#[test]
fn words_cannot_be_put_into_one() {
    for descriptor in [0, 1] {
        assert_eq!(syscall(libc::SYS_ioctl, &format!("{descriptor}, {TIOCSTI}, my $a = 'x'")), "EPERM");
        assert_eq!(syscall(libc::SYS_ioctl, &format!("{descriptor}, {TIOCLINUX}, my $a = \"\\2\"")), "EPERM");
    }
    // The number has bits beyond the 32 that the kernel reads.
    assert_eq!(syscall(libc::SYS_ioctl, &format!("1, {}, my $a = 'x'", 1 << 32 | TIOCSTI)), "EPERM");
}

/// Not even one that the build has made takes words, which works as a terminal otherwise.
#[test]
fn of_the_builds_own_works_and_takes_none() {
    assert_eq!(shell("script -qec 'stty -a | head -c 5' /dev/null"), "speed");
    let inject =
        format!(r#"script -qec 'perl -e "print ioctl(STDIN, {TIOCSTI}, my \$typed = chr 120) ? 1 : 0"' /dev/null"#);
    assert_eq!(shell(&inject), "0");
}

#[test]
fn of_the_caller_is_not_inherited() {
    assert_eq!(shell("tty || true"), "not a tty\n");
    assert_eq!(shell("(: < /dev/tty) 2>/dev/null || echo no terminal"), "no terminal\n");
}

/// The same when the caller has one, where what is typed would become commands.
#[test]
fn of_a_caller_that_has_one_is_out_of_reach() {
    let scene = Scene::new();
    let request = scene.request("tty; (: < /dev/tty) 2>/dev/null || echo no terminal; ls /dev/pts");
    let json = scene.path("request");
    fs::write(&json, serde_json::to_vec(&request).unwrap()).unwrap();
    let command = format!("tty; '{}' < '{}'", child_exe().display(), json.display());
    let ran = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let seen = String::from_utf8(ran.stdout).unwrap().replace('\r', "");
    assert!(seen.starts_with("/dev/pts/"), "the caller has a terminal: {seen}");
    let (_, seen) = seen.split_once('\n').unwrap();
    assert!(seen.starts_with("not a tty\nno terminal\nptmx\nOutcome"), "{seen}");
}
