//! An entry beside the outputs is refused under any name: adopting the outputs might write there
//! (CVE-2026-39860).

use super::Precious;
use crate::common::{World, text};

#[test]
fn any_other_entry_is_refused() {
    let world = World::new();
    let precious = Precious::new();
    for name in ["out.tmp", ".tmp-out", "0-out", "out~"] {
        let script = format!("echo x > $out; ln -s {} ${{out%/*}}/{name}", precious.directory().display());
        let error = world.error(&world.script("beside", &script).add(&world));
        assert!(error.contains("not an output of this derivation"), "{name}: {error}");
    }
    precious.assert_untouched();
}

#[test]
fn what_was_there_for_a_moment_does_no_harm() {
    let world = World::new();
    let drv = world.script("moment", "ln -s /etc ${out%/*}/out.tmp; echo x > $out; rm ${out%/*}/out.tmp").add(&world);
    assert_eq!(text(&world.built(&drv)), "x\n");
}
