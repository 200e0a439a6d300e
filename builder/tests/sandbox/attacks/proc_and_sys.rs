//! `/proc` and `/sys` show and change nothing of the host.

use crate::scene::shell;

/// When root builds, the numbers of the init's descriptors can be listed; their targets cannot be
/// read, nor opened.
#[test]
fn show_and_change_nothing_of_the_host() {
    let refused = "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/drop_caches \
            /proc/self/uid_map /proc/1/mem /proc/sys/kernel/pid_max /proc/sys/user/max_user_namespaces; do
            (echo 1 > $f) 2>/dev/null && echo written $f; done
        for f in /proc/kcore /proc/kmsg /proc/1/environ /proc/1/mem /proc/1/maps /proc/1/stack; do
            [ $(head -c 1 $f 2>/dev/null | wc -c) = 0 ] || echo read $f; done
        ls /sys 2>/dev/null | head -n 1; ls /proc/1/root/ 2>/dev/null; for n in 0 1 2 3; do readlink /proc/1/fd/$n; (head -c 1 /proc/1/fd/$n) 2>/dev/null; done
        grep -c processor /proc/cpuinfo > /dev/null && echo own /proc works";
    assert_eq!(shell(refused), "own /proc works\n");
    assert_eq!(shell("(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo refused"), "refused\n");
}

/// A build of any caller reads in `/proc` no file that other users may not read, and nothing about
/// the user's keys.
#[test]
fn show_what_every_user_may_read_and_nothing_of_the_user() {
    assert_eq!(shell("cat /proc/keys /proc/key-users /proc/locks 2>/dev/null | wc -c"), "0\n");
    let closed = "for f in /proc/*; do [ -f $f ] && [ -r $f ] && [ -z \"$(find $f -maxdepth 0 -perm -004)\" ] && echo $f; done; true";
    assert_eq!(shell(closed), "");
    let tables = "for f in slabinfo vmallocinfo pagetypeinfo timer_list kpageflags; do
        [ -e /proc/$f ] && (head -c 100 /proc/$f | wc -c) 2>/dev/null | grep -v '^0$'; done; true";
    assert_eq!(shell(tables), "");
    assert_eq!(
        shell("grep -c MemTotal /proc/meminfo; (echo x > /proc/keys) 2>/dev/null || echo refused"),
        "1\nrefused\n"
    );
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
    assert_eq!(shell("cat /proc/self/cgroup | cut -d: -f3 | sort -u"), "/\n", "the group's name is hidden");
}
