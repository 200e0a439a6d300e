//! No process can change an output after it was hashed (CVE-2024-27297, from within).

use super::assert_clean;
use crate::common::{World, text};

/// A process that stays behind would write to the output.
#[test]
fn by_what_is_left_of_the_build_is_impossible() {
    let world = World::new();
    let script = "echo good > $out
        (exec 3>>$out; sleep 1; echo evil >&3; echo evil > $out; chmod 777 $out) > /dev/null 2>&1 &
        perl -e 'open F, q(+<), $ENV{out}; fork and exit; sleep 1; syswrite F, q(evil)' > /dev/null 2>&1 &
        sleep 0.2";
    let drv = world.script("changing", script).add(&world);
    let built = world.built(&drv);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(text(&built), "good\n");
    assert_clean(&world);
}

/// Until its end, a build may change its outputs.
#[test]
fn before_the_end_is_the_builds_own_affair() {
    let world = World::new();
    let script = "echo first > $out; (sleep 0.2; echo second > $out) & wait; chmod 600 $out
        perl -e 'rename $ENV{out}, q(/output/x) and rename q(/output/x), $ENV{out} or die $!'";
    assert_eq!(text(&world.built(&world.script("own", script).add(&world))), "second\n");
    assert_clean(&world);
}
