//! Neither temporary directory can take more than its half of the memory.

use crate::scene::shell;

#[test]
fn are_bounded() {
    let script =
        "df -P -B1 /tmp /dev/shm | tail -n +2 | tr -s ' ' | cut -d' ' -f2; grep MemTotal /proc/meminfo | tr -dc 0-9";
    let seen = shell(script);
    let numbers: Vec<u64> = seen.split_whitespace().map(|text| text.parse().unwrap()).collect();
    let [tmp, shm, total_kib] = numbers[..] else { panic!("{seen}") };
    assert!(tmp > 0 && shm > 0 && tmp <= total_kib * 1024 / 2 + 4096 && shm <= total_kib * 1024 / 2 + 4096, "{seen}");
}

/// The kernel hands out no more than there is: one that would be too large is refused whole.
#[test]
fn refuse_a_file_that_is_larger() {
    let script = "for place in /tmp /dev/shm; do
            fallocate -l 1M $place/fits && echo fits
            fallocate -l 1E $place/huge 2>/dev/null || echo refused; done";
    assert_eq!(shell(script), "fits\nrefused\nfits\nrefused\n");
}
