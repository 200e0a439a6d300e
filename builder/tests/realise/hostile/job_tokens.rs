//! A build can harm its own FIFO of job tokens only: a build beside it runs to its end, and the one
//! after it finds as many tokens as there were at first.

use crate::common::{World, text};

/// Perl with `$fifo` open for reading and writing, without blocking.
const ATTACKS: [(&str, &str); 11] = [
    ("bytes_of_every_value", "for (0 .. 255) { syswrite $fifo, chr; sysread $fifo, my $byte, 1 }"),
    ("flood", "for (1 .. 20_000) { syswrite $fifo, '?' x 4096 or last }"),
    ("flood_for_a_while", "my $end = time + 2; while (time < $end) { syswrite $fifo, '?' x 4096; sysread $fifo, my $some, 3000 }"),
    ("take_all", "my $end = time + 2; while (time < $end) { sysread $fifo, my $byte, 1 or select undef, undef, undef, 0.001 }"),
    ("give_and_take", "my $end = time + 2; while (time < $end) { sysread $fifo, my $byte, 1; syswrite $fifo, '+' }"),
    ("close", "close $fifo; system 'exec 198<&- 199>&-; ls /proc/self/fd'"),
    ("shrink", "syscall(FCNTL, fileno $fifo, 1031, 4096); syswrite $fifo, '?' x 9000; syscall(FCNTL, fileno $fifo, 1031, 1 << 20)"),
    ("lock", "flock $fifo, 2 | 4; syscall(FCNTL, fileno $fifo, 8, $$); syscall(FCNTL, fileno $fifo, 4, 0x2000 | 0x800 | 2)"),
    ("writers_that_wait", "for (1 .. 20) { next if fork; open my $own, '>', '/dev/jobserver'; syswrite $own, '?' x 100_000; sleep 600 }"),
    ("readers_that_wait", "for (1 .. 20) { next if fork; open my $own, '<', '/dev/jobserver'; sysread $own, my $some, 100_000; sleep 600 }"),
    (
        "replace",
        "for my $call (sub { unlink '/dev/jobserver' }, sub { rename '/dev/jobserver', '/dev/x' }, sub { symlink '/etc/passwd', '/dev/jobserver' },
            sub { chmod 0, '/dev/jobserver' }, sub { chmod 0, $fifo }, sub { truncate '/dev/jobserver', 0 }, sub { link '/dev/jobserver', '/build/x' },
            sub { rename '/build/file', '/dev/jobserver' }, sub { utime 1, 1, $fifo }, sub { chown 1000, 1000, '/dev/jobserver' }) {
            print \"replaced\\n\" if $call->() }",
    ),
];

/// Takes tokens and returns them, as `make` does.
const HONEST: &str = "perl -e 'open R, q(<&=), 198 or die; open W, q(>&=), 199 or die;
    for (1 .. 3) { next if fork; for (1 .. 10) { sysread(R, my $t, 1) == 1 or die; select undef, undef, undef, 0.005; syswrite(W, $t) == 1 or die } exit }
    while (wait > 0) { $? == 0 or exit 1 }'; echo x > $out";

/// Three can be taken at the same time, and no fourth.
const COUNT: &str = "perl -e 'open F, q(+<), q(/dev/jobserver) or die; for (1 .. 3) { sysread(F, my $token, 1) == 1 or die }
    open G, q(+<), q(/dev/jobserver) or die; $SIG{ALRM} = sub { exit 0 }; alarm 1; sysread(G, my $token, 1); print STDERR qq(a fourth\\n)'
    echo x > $out";

#[test]
fn do_no_harm_to_others() {
    let mut world = World::new();
    world.options.cores = 4;
    world.options.jobs = 2;
    for (name, attack) in ATTACKS {
        let attack = attack.replace("FCNTL", &libc::SYS_fcntl.to_string());
        let script = format!(
            "cat > attack.pl <<'END'\nsysopen my $fifo, '/dev/jobserver', 0x802 or die; {attack}\nEND
            perl attack.pl; echo x > $out"
        );
        let hostile = world.script(name, &script).set("__jobserver", "descriptors").add(&world);
        let honest = world.script(&format!("beside-{name}"), HONEST).set("__jobserver", "descriptors").add(&world);
        if let Err(error) = world.build(&[&hostile, &honest]) {
            panic!("{name}: {error}");
        }
        assert!(!world.log(&hostile).contains("replaced"), "{name}: {}", world.log(&hostile));
        let count = world.script(&format!("after-{name}"), COUNT).set("__jobserver", "fifo").add(&world);
        assert_eq!(text(&world.built(&count)), "x\n", "{name}");
        assert_eq!(world.log(&count), "", "{name}");
    }
}
