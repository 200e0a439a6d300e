//! A build loads no programs into the kernel, but may filter its own system calls.

use crate::scene::{shell, syscall};

#[test]
fn programs_and_maps_cannot_be_made() {
    for command in ["0", "5"] {
        assert_eq!(syscall(libc::SYS_bpf, &format!("{command}, my $a = \"\\0\" x 120, 120")), "EPERM");
    }
    assert_eq!(syscall(libc::SYS_bpf, "0, 0, 0"), "EPERM");
}

/// Test suites of other sandboxes do so.
#[test]
fn a_filter_for_ones_own_calls_works() {
    let filter = format!(
        r#"perl -e 'my $allow = pack("SCCL", 6, 0, 0, 0x7fff0000);
            print syscall({}, 22, 2, pack("Sx6P", 1, $allow)) == 0 ? "filtered\n" : "refused: $!\n"'"#,
        libc::SYS_prctl
    );
    assert_eq!(shell(&filter), "filtered\n");
}
