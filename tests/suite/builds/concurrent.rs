//! Two concurrent processes with the same target: one builds, the other waits for its result.

use crate::workspace::{Workspace, finish};
use insta::assert_snapshot;

#[test]
fn one_builds_and_the_other_waits() {
    // A unique name, as the time of an earlier build of that name would be in the plan.
    let workspace = Workspace::new(
        "(import ./prelude.nix).sh { name = \"shared-@nonce@\"; script = \": @nonce@; sleep 2; echo > $out\"; }",
    );
    let build = "build -f default.nix --no-link --print-out-paths";
    let first = workspace.start_until(build, &format!("building shared-{}", workspace.nonce));
    workspace.wait_for_build();
    let second = workspace.check(build);
    let first = finish(first);
    assert_snapshot!(format!("{}{second}", workspace.text(&first)), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-shared-[NONCE]
    --- stderr
    built    shared-[NONCE] in [TIME]
    1 built in [TIME]
    status: 0
    --- stdout
    [STORE]/store/[HASH]-shared-[NONCE]
    --- stderr
    plan: 1 build to run
          shared-[NONCE]
    waiting for process [PID] ([PROGRAM] build -f default.nix --no-link --print-out-paths), which holds shared-[NONCE]
    found    shared-[NONCE]: built by another process
    1 found in [TIME]
    "#);
}
