//! Objects that two concurrent builds see are no covert channel: neither by locks, leases and hints
//! on their inodes, nor by watches on their readers, nor by their metadata.
//!
//! One build holds every object that both have, by every call that takes an inode; the other tries
//! all of them, alone and beside it, and has to find the same. Then the first prints the events
//! that its watches have seen.

use crate::scene::{Scene, child_exe, run};
use sandbox::request::{Bind, Request};
use sandbox::{Sandbox, Status};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Objects that both builds see: of the store, of a source, of the root's layers and skeleton, of
/// the kernel.
const OBJECTS: [&str; 17] = [
    "/eval/store/aaa-input",
    "/eval/store/aaa-input/file",
    "/eval/store/bbb-single",
    "/source/tree",
    "/source/tree/file",
    "/",
    "/of-a-layer",
    "/etc",
    "/etc/passwd",
    "/usr/bin/env",
    "/proc/version",
    "/proc/self/ns/user",
    "/proc/self/ns/net",
    "/proc/self/ns/time",
    "/dev",
    "/tmp",
    "/output",
];
/// Inodes of the host, where an ordinary user builds.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Perl that both scripts begin with. `each_object` gives a new descriptor of each object to a
/// function.
fn preamble(objects: &[&str]) -> String {
    let numbers = [
        ("fcntl", libc::SYS_fcntl),
        ("flock", libc::SYS_flock),
        ("inotify_init1", libc::SYS_inotify_init1),
        ("inotify_add_watch", libc::SYS_inotify_add_watch),
        ("fanotify_init", libc::SYS_fanotify_init),
        ("fanotify_mark", libc::SYS_fanotify_mark),
        ("utimensat", libc::SYS_utimensat),
        ("fchmodat", libc::SYS_fchmodat),
    ];
    let numbers: String = numbers.map(|(name, number)| format!("sub SYS_{name} () {{ {number} }}\n")).concat();
    format!(
        r#"{numbers}
        use Fcntl qw(:DEFAULT :flock); use Errno;
        my @objects = qw({});
        my @kept;
        sub opened {{
            my ($path, $fd) = @_;
            sysopen($fd, $path, O_RDWR | O_NONBLOCK | O_NOCTTY) || sysopen($fd, $path, O_RDONLY | O_NONBLOCK | O_NOCTTY) || return;
            push @kept, $fd;
            return fileno $fd;
        }}
        # A lock on the whole: type, from the start, no one's.
        sub lock_of {{ my ($type) = @_; return pack 's s x4 q q l x4', $type, 0, 0, 0, 0 }}
        "#,
        objects.join(" ")
    )
}

/// Holds all objects, says so in `/build`, and prints the events of its watches when it may end.
const HOLD: &str = r#"
    my $inotify = syscall SYS_inotify_init1, O_NONBLOCK;
    my $fanotify = syscall SYS_fanotify_init, 0x200 | O_NONBLOCK, 0;
    my (%watched, $signals);
    $SIG{IO} = sub { $signals++ };
    for my $path (@objects) {
        my $fd = opened($path) // next;
        syscall SYS_flock, $fd, LOCK_EX | LOCK_NB;
        # A process that may not write may not lock against readers.
        for my $command (6, 37) {
            for my $type (F_WRLCK, F_RDLCK) {
                my $lock = lock_of($type);
                last if syscall(SYS_fcntl, opened($path), $command, $lock) == 0;
            }
        }
        for my $type (F_WRLCK, F_RDLCK) { last if syscall(SYS_fcntl, opened($path), 1024, $type) == 0 }
        my $delegation = pack 'LSS', 0, F_RDLCK, 0;
        syscall SYS_fcntl, $fd, 1040, $delegation;
        my $hint = pack 'Q', 3;
        syscall SYS_fcntl, $fd, 1036, $hint;
        syscall SYS_fcntl, $fd, 1033, 0xf;
        syscall SYS_fchmodat, -100, $path, (stat $path)[2] & 07777;
        syscall SYS_utimensat, -100, $path, 0, 0;
        sysread $kept[-1], my $read, 1 if -f $path;
    }
    for my $path (@objects) {
        my $watch = syscall SYS_inotify_add_watch, $inotify, $path, 0xfff;
        $watched{$watch} = $path if $watch > 0;
        syscall SYS_fanotify_mark, $fanotify, 1, 0x3b, -100, $path if $fanotify >= 0;
        syscall SYS_fcntl, opened($path), 1026, 0x8000003f if -d $path;
    }
    # What it did itself.
    my $drained = '';
    open my $events, '<&=', $inotify;
    1 while sysread $events, $drained, 65536;
    $signals = 0;
    open my $held, '>', '/build/held'; close $held;
    for (1 .. 600) { last if -e '/build/end'; select undef, undef, undef, 0.1 }
    print "by a signal\n" if $signals;
    if ($fanotify >= 0) { open my $f, '<&=', $fanotify; print "fanotify\n" if sysread $f, $drained, 65536 }
    my %seen;
    while (sysread $events, my $buffer, 65536) {
        while (length $buffer) {
            my ($watch, $mask, $cookie, $length) = unpack 'lLLL', $buffer;
            my $name = unpack 'Z*', substr $buffer, 16, $length;
            $seen{"$watched{$watch} $name"} = 1;
            substr $buffer, 0, 16 + $length, '';
        }
    }
    print "watched $_\n" for sort keys %seen;"#;

/// Prints, object by object, the effects of other builds that it can detect.
const FEEL: &str = r#"
    for my $path (@objects) {
        my $fd = opened($path);
        if (!defined $fd) { print "$path: ", $!{ENXIO} ? 'no terminal' : $!, "\n"; next }
        my @felt;
        push @felt, 'flock ' . (syscall(SYS_flock, $fd, LOCK_EX | LOCK_NB) == 0 ? 'free' : 'held');
        for my $command (5, 36) {
            my $lock = lock_of(F_WRLCK);
            syscall SYS_fcntl, $fd, $command, $lock;
            push @felt, "lock $command " . ((unpack 's', $lock)[0] == F_UNLCK ? 'free' : 'held');
        }
        for my $flags (O_RDONLY, O_WRONLY) {
            sysopen my $other, $path, $flags | O_NONBLOCK | O_NOCTTY;
            push @felt, $!{EAGAIN} ? 'lease' : 'no lease';
        }
        my $hint = pack 'Q', 0;
        syscall SYS_fcntl, $fd, 1035, $hint;
        my $seals = syscall SYS_fcntl, $fd, 1034;
        push @felt, 'hint ' . unpack('Q', $hint), "seals $seals";
        my @stat = stat $path;
        push @felt, "metadata @stat[2..5, 7..10]" if $path !~ m{^/(proc|tmp|output|dev$)};
        if (-d $path) { opendir my $d, $path; readdir $d } elsif (-f $path) { sysread $kept[-1], my $read, 10 }
        print "$path: ", join(', ', @felt), "\n";
    }
    open my $locks, '<', '/proc/locks';
    print "locks: ", scalar(grep { / (WRITE|READ) / } <$locks>), "\n";"#;

fn populate(scene: &Scene) {
    for directory in ["store/aaa-input", "source/tree"] {
        fs::create_dir_all(scene.path(directory)).unwrap();
    }
    for file in ["layer/of-a-layer", "store/aaa-input/file", "store/bbb-single", "source/tree/file"] {
        fs::write(scene.path(file), "content\n").unwrap();
    }
}

/// Returns the objects that both builds have, and those among them that are their own.
fn objects() -> (Vec<&'static str>, Vec<&'static str>) {
    let all = [OBJECTS.as_slice(), &DEVICES].concat();
    // The kernel lets no ordinary user have device nodes of his own.
    let own = if nix::unistd::geteuid().is_root() { all.clone() } else { OBJECTS.to_vec() };
    (all, own)
}

/// Returns a build that runs `script` in `scene`, with the files that [`populate`] made in
/// `shared`.
fn request(scene: &Scene, shared: &Scene, script: &str) -> Request {
    let mut request = scene.request("");
    fs::write(scene.path("build").join("script.pl"), script).unwrap();
    request.argv = ["/usr/bin/perl", "/build/script.pl"].map(Into::into).to_vec();
    request.root_layers = vec![shared.path("layer")];
    request.store = Some(shared.path("store"));
    request.binds.extend([
        Bind::read_only(shared.path("store/aaa-input"), "/eval/store/aaa-input"),
        Bind::read_only(shared.path("store/bbb-single"), "/eval/store/bbb-single"),
        Bind::read_only(shared.path("source/tree"), "/source/tree"),
    ]);
    request
}

#[track_caller]
fn build(sandbox: &Sandbox, request: &Request) -> String {
    let mut log = Vec::new();
    let ran = sandbox.run(request, &mut |bytes| log.extend_from_slice(bytes), &AtomicBool::new(false));
    let log = String::from_utf8_lossy(&log).into_owned();
    assert_eq!(ran.unwrap().status, Status::Exited(0), "log:\n{log}");
    log
}

#[track_caller]
fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} has not come", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the effects that were detected, by object.
fn felt(log: &str) -> BTreeMap<&str, &str> {
    log.lines().map(|line| line.split_once(": ").unwrap()).collect()
}

#[test]
fn carry_nothing_from_one_build_to_another() {
    let shared = Scene::new();
    populate(&shared);
    let (holder, feeler) = (Scene::new(), Scene::new());
    let sandbox = Sandbox::new(child_exe());
    let (all, own) = objects();
    let feel = request(&feeler, &shared, &(preamble(&all) + FEEL));
    // Twice, so that what the first look itself changes (times of reading) is changed already.
    build(&sandbox, &feel);
    let alone = build(&sandbox, &feel);
    let hold = request(&holder, &shared, &(preamble(&all) + HOLD));
    let (beside, seen) = std::thread::scope(|scope| {
        let holding = scope.spawn(|| build(&Sandbox::new(child_exe()), &hold));
        wait_for(&holder.path("build/held"));
        let beside = build(&sandbox, &feel);
        fs::write(holder.path("build/end"), "").unwrap();
        (beside, holding.join().unwrap())
    });
    let (alone, beside) = (felt(&alone), felt(&beside));
    assert_eq!(alone.len(), all.len() + 1, "{alone:?}");
    for object in own.iter().chain(&["locks"]) {
        assert_eq!(beside[object], alone[object], "{object}");
    }
    assert!(OBJECTS.iter().all(|object| alone[object].starts_with("flock free")), "{alone:?}");
    let of_own = |line: &&str| line.strip_prefix("watched ").is_none_or(|object| own.contains(&object.trim_end()));
    assert_eq!(seen.lines().filter(of_own).collect::<Vec<_>>(), Vec::<&str>::new());
    if own.len() < all.len() {
        // The page says so, and would be wrong if it were otherwise. Locks on them others may have.
        assert!(seen.contains("watched /dev/null"), "{seen}");
    }
}

/// Within one build all of these calls have their effects: otherwise the test above would prove
/// nothing.
#[test]
fn carry_something_within_one_build() {
    let shared = Scene::new();
    populate(&shared);
    let scene = Scene::new();
    let script = "if (!fork) { while (!-e '/build/held') { select undef, undef, undef, 0.01 }
            exec '/usr/bin/perl', '/build/feel.pl' }\n";
    // Others' tests have the same devices where they are not the build's own.
    let (_, own) = objects();
    let request = request(&scene, &shared, &(preamble(&own) + script + HOLD));
    let end = "open my $end, '>', '/build/end';";
    fs::write(scene.path("build").join("feel.pl"), preamble(&own) + FEEL + end).unwrap();
    let log = run(&request);
    for object in ["/eval/store/aaa-input/file", "/of-a-layer", "/source/tree", "/etc/passwd", "/proc/version"] {
        let line = log.lines().find(|line| line.starts_with(&format!("{object}: "))).expect(&log);
        for held in ["flock held", "lock 5 held", "lock 36 held"] {
            assert!(line.contains(held), "{line}");
        }
        assert!(log.lines().any(|line| line.trim_end() == format!("watched {object}")), "{object}: {log}");
    }
}

/// A lease would make every process that opens the file wait: other builds, and the store that
/// reads it to check it.
#[test]
fn cannot_be_kept_from_those_who_open_them() {
    let scene = Scene::new();
    populate(&scene);
    let script = r#"
        my @own = ('/build/own', '/output/out');
        for (@own) { open my $new, '>', $_ }
        for my $path (@objects, @own) {
            for my $type (F_WRLCK, F_RDLCK) {
                print "lease on $path\n" if defined(my $fd = opened($path)) && syscall(SYS_fcntl, $fd, 1024, $type) == 0;
                sysopen my $fd, $path, O_RDONLY | O_NONBLOCK | O_NOCTTY;
                print "lease on $path\n" if defined fileno $fd && syscall(SYS_fcntl, fileno $fd, 1024, $type) == 0;
                push @kept, $fd;
            }
        }
        open my $held, '>', '/build/held'; close $held;
        for (1 .. 600) { last if -e '/build/end'; select undef, undef, undef, 0.1 }"#;
    let request = request(&scene, &scene, &(preamble(&OBJECTS) + script));
    let log = std::thread::scope(|scope| {
        let holding = scope.spawn(|| build(&Sandbox::new(child_exe()), &request));
        wait_for(&scene.path("build/held"));
        // Such an opening does not wait, but says that it would have to.
        use std::os::unix::fs::OpenOptionsExt;
        for file in ["store/aaa-input/file", "store/bbb-single", "source/tree/file", "build/own", "output/out"] {
            for write in [false, true] {
                let opened =
                    fs::File::options().read(true).write(write).custom_flags(libc::O_NONBLOCK).open(scene.path(file));
                assert!(opened.is_ok(), "{file}: {opened:?}");
            }
        }
        fs::write(scene.path("build/end"), "").unwrap();
        holding.join().unwrap()
    });
    assert_eq!(log, "");
}
