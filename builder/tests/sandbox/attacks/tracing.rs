//! A build traces its own processes only.

use crate::scene::{shell, syscall};
use crate::support::Victim;

const ATTACH: i32 = 16;

#[test]
fn works_on_own_processes_and_no_others() {
    let victim = Victim::new();
    assert_eq!(syscall(libc::SYS_ptrace, &format!("{ATTACH}, {}, 0, 0", victim.id())), "ESRCH");
    assert_eq!(syscall(libc::SYS_pidfd_open, &format!("{}, 0", victim.id())), "ESRCH");
    assert_eq!(syscall(libc::SYS_pidfd_open, "$$ + 0, 0"), "OK");
    let own = format!(
        r#"perl -e 'my $p = fork // die; if (!$p) {{ sleep 600 }}
            my $r = syscall({}, {ATTACH}, $p, 0, 0); print $r == 0 ? "own\n" : "not even own: $!\n"; kill 9, $p'"#,
        libc::SYS_ptrace
    );
    assert_eq!(shell(&own), "own\n");
}

#[test]
fn of_the_init_is_refused() {
    assert_eq!(syscall(libc::SYS_ptrace, &format!("{ATTACH}, 1, 0, 0")), "EPERM");
    assert_eq!(
        syscall(libc::SYS_process_vm_readv, "1, my $a = pack('QQ', 4096, 8), 1, my $b = pack('QQ', 4096, 8), 1, 0"),
        "EPERM"
    );
    // A descriptor of the init's, taken over.
    let take = format!(
        "my $p = syscall({}, 1, 0); die if $p == -1; exit(syscall({}, $p, 3, 0) == -1 ? 0 : 1)",
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd
    );
    assert_eq!(shell(&format!("perl -e '{take}' && echo refused")), "refused\n");
}
