//! No build changes an inode of the host: neither mode, owner, times and attributes, nor flags,
//! leases and hints.
//!
//! The build walks all of its mounts and tries each call on the mounted object, and on a file and a
//! directory in it. It may change its own objects only: the directories that it writes to, and file
//! systems that were made for it.

use crate::scene::{Scene, run, shell};
use nix::sys::stat::Mode;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use sandbox::request::{Bind, Jobserver, JobserverForm, OutputPlace, Request};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Calls whose success changes metadata, by name, as perl: `$p` is a path, `$fd` a descriptor of
/// it, opened for reading.
///
/// They give what there is already, so a call that works does no harm but to the time of the last
/// change.
const CALLS: &str = r#"
    my ($mode, $uid, $gid) = ((stat $p)[2] & 07777, (stat _)[4, 5]);
    my $times = pack 'q4', (stat _)[8], 1, (stat _)[9], 1;
    my $flags = "\0" x 8;
    ioctl $fd, 0x80086601, $flags;
    my ($name, $value) = ('user.x', 'x');
    my $attr = "\0" x 24;
    syscall 468, -100, $p, $attr, 24, 0;
    my @calls = (
        fchmodat => sub { syscall SYS_fchmodat, -100, $p, $mode },
        fchmodat2 => sub { syscall 452, -100, $p, $mode, 0 },
        fchmod => sub { syscall SYS_fchmod, fileno $fd, $mode },
        other_mode => sub { syscall SYS_fchmodat, -100, $p, -d $p ? 0755 : 0666 },
        fchownat => sub { syscall SYS_fchownat, -100, $p, $uid, $gid, 0 },
        fchownat_unchanged => sub { syscall SYS_fchownat, -100, $p, -1, -1, 0 },
        fchown => sub { syscall SYS_fchown, fileno $fd, $uid, $gid },
        utimensat => sub { syscall SYS_utimensat, -100, $p, $times, 0 },
        utimensat_now => sub { syscall SYS_utimensat, -100, $p, 0, 0 },
        futimens => sub { syscall SYS_utimensat, fileno $fd, 0, $times, 0 },
        futimens_now => sub { syscall SYS_utimensat, fileno $fd, 0, 0, 0 },
        setxattr => sub { syscall SYS_setxattr, $p, $name, $value, 1, 0 },
        fsetxattr => sub { syscall SYS_fsetxattr, fileno $fd, $name, $value, 1, 0 },
        setflags => sub { ioctl($fd, 0x40086602, $flags) ? 0 : -1 },
        fssetxattr => sub { my $x = "\0" x 28; ioctl($fd, 0x401c5820, $x) ? 0 : -1 },
        setversion => sub { my $x = "\0" x 8; ioctl($fd, 0x40087602, $x) ? 0 : -1 },
        enable_verity => sub { my $x = pack 'L3 x116', 1, 1, 4096; ioctl($fd, 0x40806685, $x) ? 0 : -1 },
        encryption_policy => sub { my $x = "\0" x 12; ioctl($fd, 0x800c6613, $x) ? 0 : -1 },
        file_setattr => sub { syscall 469, -100, $p, $attr, 24, 0 },
        read_lease => sub { syscall SYS_fcntl, fileno $fd, 1024, 0 },
        write_lease => sub { syscall SYS_fcntl, fileno $fd, 1024, 1 },
        delegation => sub { my $x = pack 'LSS', 0, 0, 0; syscall SYS_fcntl, fileno $fd, 1040, $x },
        write_hint => sub { my $x = pack 'Q', 2; syscall SYS_fcntl, fileno $fd, 1036, $x },
        truncate => sub { syscall SYS_truncate, $p, -s $p },
        open_for_writing => sub { (-f $p) ? syscall SYS_openat, -100, $p, 2, 0 : -1 },
        link => sub { syscall SYS_linkat, -100, $p, -100, "$p.link", 0 },
        rename => sub { syscall SYS_renameat2, -100, $p, -100, "$p.moved", 1 },
        make => sub { (-d $p) ? syscall SYS_mkdirat, -100, "$p/made", 0755 : -1 },
    );
    while (my ($what, $call) = splice @calls, 0, 2) { print "$p $what\n" if $call->() != -1 }
    sysread $fd, my $read, 1;
    if (opendir my $d, $p) { readdir $d }"#;

/// Tries [`CALLS`] on the object mounted at each path, and on the first file and the first
/// directory there.
fn walk(own: &[&str]) -> String {
    let numbers = [
        ("fchmodat", libc::SYS_fchmodat),
        ("fchmod", libc::SYS_fchmod),
        ("fchownat", libc::SYS_fchownat),
        ("fchown", libc::SYS_fchown),
        ("utimensat", libc::SYS_utimensat),
        ("setxattr", libc::SYS_setxattr),
        ("fsetxattr", libc::SYS_fsetxattr),
        ("fcntl", libc::SYS_fcntl),
        ("truncate", libc::SYS_truncate),
        ("openat", libc::SYS_openat),
        ("linkat", libc::SYS_linkat),
        ("renameat2", libc::SYS_renameat2),
        ("mkdirat", libc::SYS_mkdirat),
    ];
    let numbers: String = numbers.map(|(name, number)| format!("sub SYS_{name} () {{ {number} }}\n")).concat();
    format!(
        r#"{numbers}
        use Fcntl;
        my %own = map {{ $_ => 1 }} qw({});
        my %seen;
        open my $mounts, '<', '/proc/self/mountinfo' or die $!;
        my @places = map {{ (split / /)[4] }} <$mounts>;
        my %mounted = map {{ $_ => 1 }} @places;
        for my $place (@places) {{
            next if $seen{{$place}}++;
            my @objects = ($place);
            if (opendir my $d, $place) {{
                my @entries = map {{ $place eq '/' ? "/$_" : "$place/$_" }} sort grep {{ !/^\.\.?$/ }} readdir $d;
                my ($file) = grep {{ -f && ! -l && !$mounted{{$_}} }} @entries;
                my ($directory) = grep {{ -d && ! -l && !/\/proc\/\d/ && !$mounted{{$_}} }} @entries;
                push @objects, grep {{ defined }} $file, $directory;
            }}
            next if $own{{$place}};
            print "at $place\n";
            for my $p (@objects) {{
                sysopen my $fd, $p, O_RDONLY | O_NONBLOCK | O_NOCTTY;
                # There is no terminal that `/dev/tty` could be.
                sysopen $fd, '/', O_RDONLY if !defined fileno $fd;
                {CALLS}
            }}
        }}"#,
        own.join(" ")
    )
}

/// The host's metadata of an inode, without its contents.
#[derive(Debug, PartialEq, Eq)]
struct Metadata(String);

fn metadata(paths: &[PathBuf]) -> BTreeMap<PathBuf, Metadata> {
    let of = |path: &PathBuf| {
        let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::ALL).unwrap();
        let time = |time: rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
        let mut times = [found.stx_atime, found.stx_mtime, found.stx_ctime].map(time).to_vec();
        if path.ends_with("tty") {
            // Any use of a terminal changes two of them, that of other tests included.
            times.drain(..2);
        }
        let (mode, links, attributes) = (found.stx_mode, found.stx_nlink, found.stx_attributes);
        Metadata(format!(
            "{mode:o} of {}:{}, {links} links, {times:?}, {attributes:?}, {} bytes",
            found.stx_uid, found.stx_gid, found.stx_size
        ))
    };
    paths.iter().map(|path| (path.clone(), of(path))).collect()
}

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Returns a build with one object of each kind, and the paths of the host among them.
fn populated(scene: &Scene) -> (Request, Vec<PathBuf>) {
    let mut hosts: Vec<PathBuf> = DEVICES.iter().map(|name| Path::new("/dev").join(name)).collect();
    for directory in ["layer/sub", "store/aaa-input/sub", "source/tree/sub"] {
        fs::create_dir_all(scene.path(directory)).unwrap();
        hosts.extend([scene.path(directory), scene.path(directory).parent().unwrap().to_owned()]);
    }
    for file in ["layer/file", "store/aaa-input/file", "store/bbb-single", "source/tree/file"] {
        fs::write(scene.path(file), "content\n").unwrap();
        hosts.push(scene.path(file));
    }
    let mut request = scene.request("");
    request.store = Some(scene.path("store"));
    request.binds.extend([
        Bind::read_only(scene.path("store/aaa-input"), "/eval/store/aaa-input"),
        Bind::read_only(scene.path("store/bbb-single"), "/eval/store/bbb-single"),
        Bind::read_only(scene.path("source/tree"), "/source/tree"),
    ]);
    hosts.push("/usr".into());
    (request, hosts)
}

#[track_caller]
fn check(scene: &Scene, mut request: Request, hosts: &[PathBuf], places: &[&str]) {
    let outputs = request.outputs.inside().to_str().unwrap();
    let script = scene.path("build").join("walk.pl");
    fs::write(&script, walk(&["/build", "/tmp", "/dev/shm", "/dev/pts", outputs])).unwrap();
    request.argv = ["/usr/bin/perl", "/build/walk.pl"].map(Into::into).to_vec();
    let before = metadata(hosts);
    let log = run(&request);
    let changed: Vec<String> = metadata(hosts)
        .into_iter()
        .filter(|(path, now)| before[path] != *now)
        .map(|(path, now)| format!("{}: {:?}, was {:?}", path.display(), now.0, before[&path].0))
        .collect();
    assert_eq!(changed, Vec::<String>::new(), "the build said:\n{log}");
    let (walked, changed): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.starts_with("at "));
    assert_eq!(changed, Vec::<&str>::new());
    for place in places {
        assert!(walked.contains(&format!("at {place}").as_str()), "{place} is not among {walked:?}");
    }
}

const EVERYWHERE: [&str; 13] = [
    "/",
    "/dev",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/proc",
    "/eval/store/aaa-input",
    "/eval/store/bbb-single",
    "/source/tree",
    "/usr",
];

#[test]
fn stays_as_it_is_on_every_mount() {
    let scene = Scene::new();
    let (request, hosts) = populated(&scene);
    check(&scene, request, &hosts, &EVERYWHERE);
}

#[test]
fn stays_as_it_is_where_outputs_are_in_the_store() {
    let scene = Scene::new();
    let (mut request, hosts) = populated(&scene);
    request.outputs = OutputPlace::InStore { host_dir: scene.path("output"), store_dir: "/eval/store".into() };
    check(&scene, request, &hosts, &EVERYWHERE);
}

#[test]
fn stays_as_it_is_without_layers() {
    let scene = Scene::new();
    let (mut request, hosts) = populated(&scene);
    request.root_layers.clear();
    check(&scene, request, &hosts, &EVERYWHERE);
}

#[test]
fn of_the_job_servers_fifo_stays_as_it_is() {
    let scene = Scene::new();
    let (mut request, mut hosts) = populated(&scene);
    let fifo = scene.path("jobserver");
    nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    hosts.push(fifo.clone());
    request.jobserver = Some(Jobserver { fifo, form: JobserverForm::Fifo, jobs: 2 });
    check(&scene, request, &hosts, &["/dev/jobserver", "/dev/null"]);
}

/// The kernel records the last use of a terminal, to eight seconds, on the node by which it was
/// opened. An ordinary user's builds have the host's node, so this covert channel remains for them.
#[test]
fn is_not_that_of_a_terminals_node_where_root_builds() {
    let script = "script -qec 'sh -c \"echo used > /dev/tty; stty -a < /dev/tty >/dev/null\"' /dev/null; stat -c '%d %i' /dev/tty";
    let log = shell(script);
    let (used, node) = log.split_once('\n').unwrap();
    assert_eq!(used, "used\r");
    let hosts = fs::metadata("/dev/tty").unwrap();
    let is_the_hosts = node.trim_end() == format!("{} {}", hosts.dev(), hosts.ino());
    assert_eq!(is_the_hosts, !nix::unistd::geteuid().is_root(), "{node}");
}

/// A build does change its own objects: otherwise the walk would prove nothing.
#[test]
fn changes_where_the_build_writes() {
    let scene = Scene::new();
    let mut request = scene.request("");
    let script = scene.path("build").join("walk.pl");
    fs::write(&script, walk(&[])).unwrap();
    request.argv = ["/usr/bin/perl", "/build/walk.pl"].map(Into::into).to_vec();
    let log = run(&request);
    for own in ["/build", "/output", "/tmp", "/dev/shm"] {
        for call in ["fchmodat", "fchmod", "fchownat", "utimensat", "utimensat_now", "futimens", "make"] {
            assert!(log.lines().any(|line| line == format!("{own} {call}")), "{own} {call}:\n{log}");
        }
        for call in ["setxattr", "read_lease", "write_lease", "delegation", "write_hint"] {
            assert!(!log.lines().any(|line| line == format!("{own} {call}")), "{own} {call}:\n{log}");
        }
    }
}
