//! `/proc` and `/sys` tell and change nothing of the host.

use crate::place::shell;

/// When root builds, the numbers of the init's descriptors can be listed; what they are, and they themselves, cannot be had.
#[test]
fn tell_and_change_nothing_of_the_host() {
    let refused = "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/drop_caches \
            /proc/self/uid_map /proc/1/mem /proc/sys/kernel/pid_max /proc/sys/user/max_user_namespaces; do
            (echo 1 > $f) 2>/dev/null && echo written $f; done
        for f in /proc/kcore /proc/kmsg /proc/1/environ /proc/1/mem /proc/1/maps /proc/1/stack; do
            [ -e $f ] && (head -c 1 $f > /dev/null) 2>/dev/null && echo read $f; done
        ls /sys 2>/dev/null | head -n 1; ls /proc/1/root/ 2>/dev/null; for n in 0 1 2 3; do readlink /proc/1/fd/$n; (head -c 1 /proc/1/fd/$n) 2>/dev/null; done
        grep -c processor /proc/cpuinfo > /dev/null && echo own /proc works";
    assert_eq!(shell(refused), "own /proc works\n");
    assert_eq!(shell("(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo refused"), "refused\n");
}

/// The init's executable is a file of the host.
#[test]
fn lead_to_no_file_of_the_host() {
    assert_eq!(
        shell("for f in exe fd/1 fd/3 cwd; do readlink /proc/1/$f; (echo x > /proc/1/$f) 2>/dev/null; done; true"),
        ""
    );
    assert_eq!(shell("readlink /proc/self/cwd; readlink /proc/self/root"), "/build\n/\n", "one's own can be followed");
}

#[test]
fn do_not_tell_the_control_group() {
    assert_eq!(shell("cat /proc/self/cgroup | cut -d: -f3 | sort -u"), "/\n", "the group's name is not told");
}
