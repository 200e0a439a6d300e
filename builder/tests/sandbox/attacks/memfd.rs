//! A file without a name (`memfd`) is a file of the build's own: it can be sealed and run, as test
//! suites do, and gives the program that runs nothing that the build did not have.

use crate::scene::shell;

/// Perl that makes one, `$fd`, with the bytes of a program in it.
fn with_program(flags: u32, rest: &str) -> String {
    format!(
        r#"cat > memfd.pl <<'END'
        $^F = 1000;
        my $name = 'program';
        my $fd = syscall {}, $name, {flags};
        die "memfd: $!" if $fd < 0;
        open my $file, '+<&=', $fd or die;
        open my $from, '<', '/usr/bin/env'; local $/; binmode $_ for $file, $from;
        syswrite $file, <$from>;
        sub fcntl_of {{ syscall {}, $fd, @_ }}
        sub fchmod_of {{ syscall {}, $fd, @_ }}
        {rest}
END
        perl memfd.pl"#,
        libc::SYS_memfd_create,
        libc::SYS_fcntl,
        libc::SYS_fchmod,
    )
}

#[test]
fn can_be_sealed() {
    let seal = "print fcntl_of(1033, 0xf) == 0 ? qq(sealed\\n) : qq(not\\n); print fcntl_of(1034), qq(\\n);
        print defined syswrite($file, 'x') ? qq(written\\n) : qq(refused\\n); print truncate($file, 0) ? qq(cut\\n) : qq(refused\\n)";
    assert_eq!(shell(&with_program(2, seal)), "sealed\n15\nrefused\nrefused\n");
}

#[test]
fn runs_as_confined_as_any_program() {
    let run = r#"exec {"/proc/self/fd/$fd"} 'env', 'sh', '-c',
        'grep -E "^(NoNewPrivs|Seccomp|CapEff|CapBnd):" /proc/self/status; id -u; (echo x > /etc/new) 2>/dev/null || echo refused'"#;
    let confined = "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n1000\nrefused\n";
    assert_eq!(shell(&with_program(0, run)), confined);
}

#[test]
fn gets_no_privileges_for_a_user_who_runs_it() {
    let set = "for (04755, 02755, 06755) { print fchmod_of($_) == 0 ? qq(set\\n) : qq(refused\\n) }
        printf qq(%o\\n), (stat $file)[2] & 07777;";
    assert_eq!(shell(&with_program(0, set)), "refused\nrefused\nrefused\n777\n");
}
