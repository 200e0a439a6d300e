//! Hostname, umask, limits, directory and environment are the same for every caller.

use crate::scene::{Scene, run, shell};
use crate::support::after;
use sandbox::Sandbox;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;

#[test]
fn are_the_same_everywhere() {
    assert_eq!(
        shell("hostname; umask; ulimit -c; ulimit -s; pwd; env | grep -E '^(EVAL|NIX)' | sort"),
        "localhost\n0022\n0\n8192\n/build\nEVAL_CORES=2\nNIX_BUILD_CORES=2\n"
    );
    // Less than a page of a core is none, and 1 keeps the kernel from starting the host's program
    // for cores, as 0 does not.
    let limits = shell("grep -E 'core file|priority' /proc/self/limits");
    let limits: Vec<Vec<&str>> = limits.lines().map(|line| line.split_whitespace().collect()).collect();
    let values = |line: &[&str]| line.iter().filter_map(|word| word.parse().ok()).collect::<Vec<u64>>();
    assert_eq!(limits.iter().map(|line| values(line)).collect::<Vec<_>>(), [[1, 1], [0, 0], [0, 0]], "{limits:?}");
}

#[test]
fn can_be_asked_for() {
    let scene = Scene::new();
    let mut request = scene.request("pwd; echo $EVAL_CORES $NIX_BUILD_CORES");
    request.working_dir = "/tmp".into();
    request.cores = 3;
    request.env.push(("NIX_BUILD_CORES".into(), "1".into()));
    assert_eq!(run(&request), "/tmp\n3 1\n");
}

#[test]
fn have_the_same_modes_for_every_umask() {
    let scene = Scene::new();
    let script = "stat -c '%a %n' / /build /dev /etc /etc/passwd /eval/store /output /source /tmp /usr/bin";
    let modes = |sandbox: &Sandbox| {
        let mut log = Vec::new();
        let request = scene.request(script);
        sandbox.run(&request, &mut |bytes| log.extend_from_slice(bytes), &AtomicBool::new(false)).unwrap();
        String::from_utf8(log).unwrap()
    };
    let usual = modes(&after(&scene, "usual", "umask 022"));
    for umask in ["077", "000", "777"] {
        // The caller makes them so.
        for directory in ["build", "output"] {
            let mode = 0o777 & !u32::from_str_radix(umask, 8).unwrap();
            fs::set_permissions(scene.path(directory), fs::Permissions::from_mode(mode | 0o700)).unwrap();
        }
        assert_eq!(modes(&after(&scene, umask, &format!("umask {umask}"))), usual, "{umask}");
    }
}
