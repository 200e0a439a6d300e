//! Builds that share the cores of the machine, token by token.

use crate::common::{World, text};

/// A program that follows the protocol: six processes that each take a token, work for a moment
/// and return it, and the first process, which needs none. It records when each of them worked, in
/// nanoseconds by the clock that all builds share.
fn program() -> String {
    let clock_gettime = libc::SYS_clock_gettime;
    r##"cat > work.pl <<'END'
        sub now { my $t = pack "qq", 0, 0; syscall(CLOCK, 0, $t); my ($s, $n) = unpack "qq", $t; $s * 1000000000 + $n }
        sub work { my $from = now(); select(undef, undef, undef, 0.01); my $to = now(); syswrite OUT, "$from $to\n" }
        open OUT, ">>", $ENV{out} or die; open R, "<&=", 198 or die; open W, ">&=", 199 or die;
        my $begin = now();
        for (1..6) {
            next if fork;
            for (1..15) { sysread(R, my $token, 1) == 1 or die; work(); syswrite(W, $token) == 1 or die }
            exit 0
        }
        while (wait > 0) { $? == 0 or die }
        my $end = now(); syswrite OUT, "$begin $end\n";
END
perl work.pl"##
        .replace("CLOCK", &clock_gettime.to_string())
}

#[test]
fn builds_at_the_same_time_run_no_more_processes_than_there_are_cores() {
    const CORES: usize = 8;
    let mut world = World::new();
    world.options.jobs = 4;
    world.options.cores = CORES;
    let script = |name: &str| world.script(name, &program()).set("__jobserver", "descriptors").add(&world);
    let drvs = ["a", "b", "c", "d"].map(script);
    if let Err(error) = world.build(&drvs.each_ref()) {
        panic!("{error}");
    }
    let mut moments: Vec<(u64, i32)> = Vec::new();
    for drv in &drvs {
        let worked = text(&world.physical(drv, "out"));
        assert_eq!(worked.lines().count(), 6 * 15 + 1);
        for line in worked.lines() {
            let (from, to) = line.split_once(' ').unwrap();
            moments.extend([(from.parse().unwrap(), 1), (to.parse().unwrap(), -1)]);
        }
    }
    // At the same moment, what ends is gone before what begins.
    moments.sort_unstable();
    let mut running = 0;
    let counts = moments.iter().map(|(_, step)| {
        running += step;
        running
    });
    let peak = usize::try_from(counts.max().unwrap()).unwrap();
    let cores = CORES.max(std::thread::available_parallelism().unwrap().get());
    assert!((5..=cores).contains(&peak), "{peak} at a time");
}

/// A build that does not ask finds no job server, and the form of the tokens is no part of the
/// action.
#[test]
fn only_a_build_that_asks_finds_the_job_server() {
    let mut world = World::new();
    world.options.cores = 3;
    let script = "echo $MAKEFLAGS; ls /dev > dev; { while read d; do [ $d != jobserver ] || echo there; done } < dev; echo x > $out";
    let log = |drv| world.log(drv);
    let plain = world.script("plain", script).add(&world);
    world.built(&plain);
    assert_eq!(log(&plain), "\n");

    let fifo = world.script("asks", script).set("__jobserver", "fifo").add(&world);
    world.built(&fifo);
    assert_eq!(log(&fifo), "-j3 --jobserver-auth=fifo:/dev/jobserver\nthere\n");
    let descriptors = world.script("asks", script).set("__jobserver", "descriptors").add(&world);
    world.built(&descriptors);
    assert_eq!(world.ended("asks"), "CutOff");

    let own = world.script("own", script).set("__jobserver", "fifo").set("MAKEFLAGS", "-k").add(&world);
    world.built(&own);
    assert_eq!(log(&own), "-k\nthere\n");

    let wrong = world.script("wrong", script).set("__jobserver", "1").add(&world);
    assert!(world.error(&wrong).contains("attribute `__jobserver`: expected `fifo` or `descriptors`, found `1`"));
}

/// The FIFO belongs to one build, which can use and not replace it; the tokens that it took come
/// back.
#[test]
fn a_build_that_keeps_its_tokens_blocks_no_other() {
    let mut world = World::new();
    world.options.jobs = 1;
    world.options.cores = 4;
    let hoard = "rm /dev/jobserver 2>/dev/null && exit 1; mkfifo /dev/other 2>/dev/null && exit 1
        perl -e 'open F, q(+<), q(/dev/jobserver) or die; for (1..3) { sysread(F, my $token, 1) == 1 or die }
            open G, q(+<), q(/dev/jobserver) or die; $SIG{ALRM} = sub { print STDERR qq(no fourth\\n); exit 0 }; alarm 1;
            sysread(G, my $token, 1)'
        echo x > $out";
    for name in ["first", "second"] {
        let drv = world.script(name, hoard).set("__jobserver", "fifo").add(&world);
        world.built(&drv);
        assert_eq!(world.log(&drv), "no fourth\n");
    }
}
