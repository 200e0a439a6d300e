//! What a build finds, and what it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use builder::request::{Bind, OutputPlace};
use builder::sandbox::Status;

use crate::place::{Place, run, shell, try_run};

#[test]
fn output_status_and_log_come_out() {
    let place = Place::new();
    let request = place.request(
        "echo to the log; echo and errors >&2; mkdir /output/out; echo hi > /output/out/file; ln -s file /output/dev",
    );
    assert_eq!(run(&request), "to the log\nand errors\n");
    assert_eq!(fs::read_to_string(place.output("out/file")).unwrap(), "hi\n");
    assert_eq!(fs::read_link(place.output("dev")).unwrap().to_str(), Some("file"));

    let ended = |script: &str| try_run(&Place::new().request(script)).unwrap().outcome.status;
    assert_eq!(ended("exit 3"), Status::Exited(3));
    assert_eq!(ended("kill -9 $$"), Status::Signalled(9));
    assert_eq!(ended("kill -PIPE $$"), Status::Signalled(13), "signals have their default actions");
}

#[test]
fn the_build_is_nobody_in_particular() {
    assert_eq!(shell("id -u; id -g; id -G; whoami"), "1000\n1000\n1000\nbuild\n");
    let status = shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
    for line in status.lines().filter(|line| line.starts_with("Cap")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
}

#[test]
fn surroundings_are_the_same_everywhere() {
    assert_eq!(
        shell("hostname; umask; ulimit -c; ulimit -s; pwd; env | grep -E '^(EVAL|NIX)' | sort"),
        "localhost\n0022\n0\n8192\n/build\nEVAL_CORES=2\nNIX_BUILD_CORES=2\n"
    );
    // The clock that counts from boot starts anew, and addresses are not random.
    let uptime: f64 = shell("cut -d' ' -f1 /proc/uptime").trim().parse().unwrap();
    assert!(uptime < 60.0, "{uptime}");
    let addresses = "perl -e 'open F, q(/proc/self/maps); print grep { /stack|libc/ } <F>' | cut -d' ' -f1";
    assert_eq!(shell(addresses), shell(addresses));
}

/// The command's allocator switches them off for its own process.
#[test]
fn huge_pages_are_as_the_machine_has_them() {
    nix::sys::prctl::set_thp_disable(true).unwrap();
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    assert!(ours.contains("THP_enabled:\t0\n"), "{ours}");
    assert_eq!(shell("grep THP_enabled /proc/self/status"), "THP_enabled:\t1\n");
}

#[test]
fn nothing_is_inherited() {
    // A descriptor that the caller forgot to mark close-on-exec.
    let kept = fs::File::open("/etc/passwd").unwrap();
    let fd = nix::fcntl::fcntl(&kept, nix::fcntl::FcntlArg::F_DUPFD(200)).unwrap();
    let open = shell("ls /proc/self/fd");
    nix::unistd::close(fd).unwrap();
    assert_eq!(open, "0\n1\n2\n3\n", "3 is what `ls` reads");
    assert_eq!(shell("readlink /proc/self/fd/0"), "/dev/null\n");
    assert_eq!(shell("tty || true"), "not a tty\n");
    assert_eq!(shell("(: < /dev/tty) 2>/dev/null || echo no terminal"), "no terminal\n");
}

#[test]
fn only_build_tmp_shm_and_output_can_be_written() {
    let script = "for d in /build /tmp /dev/shm /output /var/tmp / /etc /usr /dev /proc /source /eval/store; do
        if (echo x > $d/file) 2>/dev/null; then echo yes $d; else echo no $d; fi; done";
    assert_eq!(
        shell(script),
        "yes /build\nyes /tmp\nyes /dev/shm\nyes /output\nno /var/tmp\nno /\nno /etc\nno /usr\nno /dev\nno /proc\nno /source\nno /eval/store\n"
    );
    assert_eq!(shell("(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo refused"), "refused\n");
    // Renaming between directories works, as moving things within the build directory must.
    assert_eq!(shell("mkdir a b && echo x > a/f && mv a/f b/f && ln b/f a/g && cat a/g"), "x\n");
}

#[test]
fn devices_work_and_others_do_not_exist() {
    assert_eq!(
        shell("head -c 4 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c; echo x > /dev/null && echo ok"),
        "4\n8\nok\n"
    );
    assert_eq!(shell("echo x > /dev/full 2>/dev/null || echo full"), "full\n");
    assert_eq!(
        shell("ls /dev | tr '\\n' ' '"),
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero "
    );
    assert_eq!(shell("script -qec 'tty' /dev/null | tr -d '\\r'"), "/dev/pts/0\n");
}

#[test]
fn the_host_is_not_there() {
    let place = Place::new();
    let secret = place.path("secret");
    fs::write(&secret, "secret").unwrap();
    let script = format!(
        "cat {} 2>/dev/null || echo no file; ls /home /root 2>/dev/null || echo no homes; ls -d /proc/[0-9]* | wc -l",
        secret.display()
    );
    let seen = run(&place.request(&script));
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(&lines[..2], ["no file", "no homes"]);
    assert!(lines[2].parse::<u32>().unwrap() < 6, "only the build's own processes: {seen}");
    // The init's executable is a file of the host.
    assert_eq!(
        shell("for f in exe fd/1 fd/3 cwd; do readlink /proc/1/$f; (echo x > /proc/1/$f) 2>/dev/null; done; true"),
        ""
    );
    assert_eq!(shell("cat /proc/self/mountinfo | grep -c ' /old' || true"), "0\n");
}

#[test]
fn inputs_can_be_read_and_not_changed() {
    let place = Place::new();
    let input = place.path("input");
    fs::create_dir(&input).unwrap();
    fs::write(input.join("file"), "content\n").unwrap();
    fs::write(place.path("single"), "one\n").unwrap();
    std::os::unix::fs::symlink("/eval/store/aaa-input/file", place.path("link")).unwrap();
    let script = "cat /eval/store/aaa-input/file /eval/store/bbb-single /eval/store/ccc-link
        for f in /eval/store/aaa-input/file /eval/store/aaa-input/new /eval/store/bbb-single; do
            (echo x > $f) 2>/dev/null && echo written $f; done
        rm -f /eval/store/aaa-input/file 2>/dev/null && echo removed
        chmod 777 /eval/store/aaa-input/file 2>/dev/null && echo changed
        mv /eval/store/aaa-input /eval/store/moved 2>/dev/null && echo moved
        touch -d 2001-01-01 /eval/store/aaa-input 2>/dev/null && echo touched
        echo mine > $out";
    for in_store in [false, true] {
        let mut request = place.request(script);
        request.binds.extend([
            Bind::read_only(&input, "/eval/store/aaa-input"),
            Bind::read_only(place.path("single"), "/eval/store/bbb-single"),
            Bind::read_only(place.path("link"), "/eval/store/ccc-link"),
        ]);
        let out = if in_store { "/eval/store/ddd-mine" } else { "/output/out" };
        if in_store {
            let store_dir = "/eval/store".into();
            request.outputs = OutputPlace::InStore { host_dir: place.path("output"), store_dir };
        }
        request.env.push(("out".into(), out.into()));
        assert_eq!(run(&request), "content\none\ncontent\n", "in store: {in_store}");
        assert_eq!(fs::read_to_string(input.join("file")).unwrap(), "content\n");
        let name = if in_store { "ddd-mine" } else { "out" };
        assert_eq!(fs::read_to_string(place.output(name)).unwrap(), "mine\n");
    }
}

#[test]
fn writable_binds_are_written_through() {
    let place = Place::new();
    fs::create_dir(place.path("shared")).unwrap();
    let mut request = place.request("echo x > /source/shared/file");
    request.binds.push(Bind { host: place.path("shared"), inside: "/source/shared".into(), writable: true });
    run(&request);
    assert_eq!(fs::read_to_string(place.path("shared/file")).unwrap(), "x\n");
    let mode = fs::metadata(place.path("shared/file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
}
