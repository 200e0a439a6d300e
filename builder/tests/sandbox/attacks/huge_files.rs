//! A file that is only said to be large costs nothing, and one that is larger than can be is
//! refused.

use crate::scene::shell;

/// The file system refuses them; nothing crashes.
#[test]
fn with_holes_work_and_impossible_ones_fail() {
    let script = "truncate -s 1T hole && stat -c '%s' hole && rm hole
        truncate -s 100E huge 2>/dev/null || echo refused";
    assert_eq!(shell(script), "1099511627776\nrefused\n");
}
