//! Builds that fail, and builds that attempt forbidden operations.

use crate::workspace::Workspace;
use insta::assert_snapshot;

/// Builds one script, traced, as `set -x` shows the command that failed.
#[track_caller]
fn check(script: &str) -> String {
    let source = format!("(import ./prelude.nix).sh {{ name = \"toy\"; script = ''\n{script}\n''; }}");
    Workspace::new(&source).check("build -f default.nix --no-link")
}

#[test]
fn failing_command_and_last_log_lines() {
    assert_snapshot!(check("set -x; echo one; echo two >&2; ls /nonexistent; echo never"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::failed]: `toy` failed: the builder exited with status 2
        command:     ls /nonexistent
        first error: ls: cannot access '/nonexistent': No such file or directory
        last lines of the log:
        > + echo one
        > one
        > + echo two
        > two
        > + ls /nonexistent
        > ls: cannot access '/nonexistent': No such file or directory
     |
     = help: the whole log: `ev log /eval/store/[HASH]-toy.drv`
             enter it as it failed: `ev shell --failed toy`
    1 failed in [TIME]
    error[build::failed]: `toy` failed, as reported above
    "#);
}

#[test]
fn only_the_last_lines_of_a_long_log() {
    assert_snapshot!(check("for i in {1..200}; do echo line $i; done; exit 3"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::failed]: `toy` failed: the builder exited with status 3
        last lines of the log:
        > line 176
        > line 177
        > line 178
        > line 179
        > line 180
        > line 181
        > line 182
        > line 183
        > line 184
        > line 185
        > line 186
        > line 187
        > line 188
        > line 189
        > line 190
        > line 191
        > line 192
        > line 193
        > line 194
        > line 195
        > line 196
        > line 197
        > line 198
        > line 199
        > line 200
     |
     = help: the whole log: `ev log /eval/store/[HASH]-toy.drv`
             enter it as it failed: `ev shell --failed toy`
    1 failed in [TIME]
    error[build::failed]: `toy` failed, as reported above
    "#);
}

#[test]
fn killed_by_a_signal() {
    assert_snapshot!(check("echo going; kill -SEGV $$"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::failed]: `toy` failed: the builder was killed by signal 11
        last lines of the log:
        > going
     |
     = help: the whole log: `ev log /eval/store/[HASH]-toy.drv`
             enter it as it failed: `ev shell --failed toy`
    1 failed in [TIME]
    error[build::failed]: `toy` failed, as reported above
    "#);
}

#[test]
fn no_network() {
    assert_snapshot!(check("set -x; echo > $out; exec 3<>/dev/tcp/192.0.2.1/80"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::failed]: `toy` failed: the builder exited with status 1
        command:     exec
        first error: /bin/bash: connect: Network is unreachable
        last lines of the log:
        > + echo
        > + exec
        > /bin/bash: connect: Network is unreachable
        > /bin/bash: line 1: /dev/tcp/192.0.2.1/80: Network is unreachable
     |
     = help: the whole log: `ev log /eval/store/[HASH]-toy.drv`
             enter it as it failed: `ev shell --failed toy`
    1 failed in [TIME]
    error[build::failed]: `toy` failed, as reported above
    "#);
}

#[test]
fn writes_outside_its_output() {
    assert_snapshot!(check("set -x; echo > $out; echo leak > /etc/leak"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::failed]: `toy` failed: the builder exited with status 1
        command:     echo leak
        first error: /bin/bash: line 1: /etc/leak: Read-only file system
        last lines of the log:
        > + echo
        > + echo leak
        > /bin/bash: line 1: /etc/leak: Read-only file system
     |
     = help: the whole log: `ev log /eval/store/[HASH]-toy.drv`
             enter it as it failed: `ev shell --failed toy`
    1 failed in [TIME]
    error[build::failed]: `toy` failed, as reported above
    "#);
}

#[test]
fn writes_an_output_it_does_not_have() {
    assert_snapshot!(check("echo > $out; echo leak > /output/other"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::output]: `toy` failed: the builder made `/output/other`, which is not an output of this derivation; its outputs are `out`
     |
     = help: enter it as it failed: `ev shell --failed toy`
    1 failed in [TIME]
    error[build::output]: `toy` failed, as reported above
    "#);
}

#[test]
fn makes_no_output() {
    assert_snapshot!(check("true"), @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::output]: `toy` failed: the builder succeeded but did not make the output `out`: there is nothing at `/output/out`
     |
     = help: enter it as it failed: `ev shell --failed toy`
    1 failed in [TIME]
    error[build::output]: `toy` failed, as reported above
    "#);
}

#[test]
fn takes_too_long() {
    let workspace =
        Workspace::new("(import ./prelude.nix).sh { name = \"slow\"; script = \"echo starting; sleep 300\"; }");
    assert_snapshot!(workspace.check("build -f default.nix --no-link --timeout 2"), @r#"
    status: 101
    --- stderr
    plan: 1 build to run
          slow
    building slow
    error[build::timed_out]: `slow` failed: the build took longer than its time limit of 2 seconds
        last lines of the log:
        > starting
     |
     = help: the whole log: `ev log /eval/store/[HASH]-slow.drv`
             enter it as it failed: `ev shell --failed slow`
    1 failed in [TIME]
    error[build::timed_out]: `slow` failed, as reported above
    "#);
    assert_snapshot!(workspace.check("build -f default.nix --no-link --max-silent-time 2"), @r#"
    status: 101
    --- stderr
    plan: 1 build to run
          slow
    building slow
    error[build::timed_out]: `slow` failed: the builder printed nothing for 2 seconds, its limit of silence
        last lines of the log:
        > starting
     |
     = help: the whole log: `ev log /eval/store/[HASH]-slow.drv`
             enter it as it failed: `ev shell --failed slow`
    1 failed in [TIME]
    error[build::timed_out]: `slow` failed, as reported above
    "#);
}

#[test]
fn keep_going_builds_independent_targets() {
    // Ties between builds are broken by their hashes, which must be the same in each run.
    let workspace = Workspace::with_own_store(
        r#"
        let
          inherit (import ./prelude.nix) sh shell;
        in
        rec {
          inherit shell;
          bad = sh { name = "bad"; nonce = ""; script = "echo no luck; exit 1"; };
          good = sh { name = "good"; nonce = ""; script = "echo > $out"; };
          above = sh { name = "above"; nonce = ""; script = "echo > $out"; inherit bad; };
        }
        "#,
    );
    workspace.stdout("build -f default.nix --no-link shell");
    assert_snapshot!(workspace.check("build -f default.nix --no-link -k -j1 above good"), @r#"
    status: 100
    --- stderr
    plan: 3 builds to run
          good, bad, above
    building bad
    error[build::failed]: `bad` failed: the builder exited with status 1
        last lines of the log:
        > no luck
     |
     = help: the whole log: `ev log /eval/store/[HASH]-bad.drv`
             enter it as it failed: `ev shell --failed bad`
    building good
    built    good in [TIME]
    1 built, 1 failed, 1 blocked by failures in [TIME]
    error[build::failed]: `bad` failed, as reported above
      not built, since it needs `bad`: `above`
    "#);
    let json = workspace.json("build -f default.nix --no-link --json bad");
    assert_snapshot!(workspace.json_text(&json), @r#"
    {
      "blocked": [],
      "error": {
        "code": "build::failed",
        "help": "the whole log: `ev log /eval/store/[HASH]-bad.drv`\nenter it as it failed: `ev shell --failed bad`",
        "message": "`bad` failed: the builder exited with status 1\n  last lines of the log:\n  > no luck"
      },
      "exitStatus": 100,
      "failures": [
        {
          "builderExitStatus": 1,
          "builderSignal": null,
          "code": "build::failed",
          "command": null,
          "drvPath": "/eval/store/[HASH]-bad.drv",
          "firstError": null,
          "hash": null,
          "help": null,
          "kept": "[STORE]/failed/[HASH]-bad.drv",
          "lastLines": [
            "no luck"
          ],
          "logPath": "[STORE]/log/[HASH]-bad.drv.zst",
          "message": "the builder exited with status 1",
          "name": "bad",
          "phase": null,
          "unreachableHost": null
        }
      ],
      "notStarted": [],
      "realised": [],
      "results": [
        {
          "drvPath": "/eval/store/[HASH]-bad.drv",
          "outputs": {
            "out": "/eval/store/[HASH]-bad"
          },
          "physicalOutputs": {
            "out": "[STORE]/store/[HASH]-bad"
          },
          "valid": false
        }
      ],
      "success": false,
      "version": 1
    }
    "#);
}

#[test]
fn another_system() {
    let source = "derivation { name = \"x\"; system = \"riscv64-linux\"; builder = \"/bin/sh\"; }";
    assert_snapshot!(Workspace::with_own_store(source).check("build -f default.nix"), @r#"
    status: 115
    --- stderr
    plan: 1 build to run
          x
    error[build::platform]: `x` failed: this derivation is for `riscv64-linux`, and this machine builds for `x86_64-linux`
     |
     = help: set `system = "x86_64-linux"`, or build it on a machine of that kind
    1 failed in [TIME]
    error[build::platform]: `x` failed, as reported above
    "#);
}

#[test]
fn an_output_that_does_not_exist() {
    let source = "(import ./prelude.nix).sh { name = \"toy\"; nonce = \"\"; script = \"echo > $out\"; }";
    let workspace = Workspace::with_own_store(&format!("{{ toy = {source}; }}"));
    assert_snapshot!(workspace.check("build -f default.nix toy^dev"), @r#"
    status: 114
    --- stderr
    error[build::no_such_output]: `[HASH]-toy.drv` has no output `dev`; it has `out`
    "#);
    assert_eq!(workspace.json("build -f default.nix toy^dev --json")["error"]["code"], "build::no_such_output");
}
