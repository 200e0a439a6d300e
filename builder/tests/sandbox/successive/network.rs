//! A network serves again only when nothing has used it.

use super::{CONNECT, MISS, build};
use crate::scene::child_exe;
use sandbox::Sandbox;

#[test]
fn serves_again_only_when_nothing_has_used_it() {
    let sandbox = Sandbox::new(child_exe());
    let which = || build(&sandbox, "readlink /proc/self/ns/net");
    let first = which();
    assert_eq!(which(), first, "what is untouched is not made again");
    for used in [CONNECT, MISS] {
        let before = which();
        build(&sandbox, used);
        assert_ne!(which(), before, "after {used}");
    }
}
