//! Progress on terminals of several widths, without one, and failures while other builds run.

use crate::workspace::{HANG_TIMEOUT, Workspace, finish};
use insta::assert_snapshot;
use nix::pty::Winsize;
use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Builds whose logs have tabs and wide characters, and go on long enough for some frames.
const CHATTY: &str = r#"
let
  inherit (import ./prelude.nix) sh;
  text = "a\\tb\\t日本語のとても長いログの行が続きます日本語のとても長いログの行が続きます日本語のとても長いログの行\\n";
  chatty = name: sh {
    inherit name;
    script = "echo @phase configure; for i in 1 2 3 4 5 6 7 8 9; do printf '${text}'; sleep 0.1; done; mkdir $out";
  };
in
sh { name = "above"; script = "echo > $out"; trees = map chatty [ "one" "two" ]; }
"#;

/// Returns the screen of a terminal after a command on it, and the widest frame that was drawn.
fn on_a_screen(mut command: Command, width: u16) -> (Vec<String>, String) {
    let size = Winsize { ws_row: 24, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = nix::pty::openpty(Some(&size), None).expect("there are pseudo terminals");
    let stdout = pair.slave.try_clone().expect("there are descriptors left");
    command.env_remove("EVAL_PROGRESS").stdout(Stdio::from(stdout)).stderr(Stdio::from(pair.slave));
    let mut child = command.spawn().expect("the program starts");
    // Only the child holds the other end open.
    drop(command);
    let some = |number| NonZero::new(number).expect("no screen is empty");
    let mut terminal = vt100::Parser::new(some(24), some(width), 0);
    let mut master = File::from(pair.master);
    let (mut piece, mut sent) = ([0; 4096], Vec::new());
    // A terminal reports EIO when its other end is closed.
    while let Ok(count @ 1..) = master.read(&mut piece) {
        terminal.process(&piece[..count]);
        sent.extend_from_slice(&piece[..count]);
    }
    child.wait().expect("the program is our child");
    let rows = terminal.screen().rows(0, width).filter(|row| !row.is_empty()).collect();
    (rows, String::from_utf8_lossy(&sent).into_owned())
}

#[test]
fn a_live_view_leaves_lines_only() {
    for width in [60, 120] {
        let workspace = Workspace::new(CHATTY);
        let mut command = workspace.command(["build", "-f", "default.nix", "--no-link"]);
        command.env("TERM", "xterm-256color");
        let (rows, sent) = on_a_screen(command, width);
        let text = workspace.normal(&rows.join("\n")).replace("two", "one");
        assert_eq!(
            text,
            "plan: 3 builds to run\n      one, one, above\nbuilt    one in [TIME]\nbuilt    one in [TIME]\n\
             built    above in [TIME]\n3 built in [TIME]",
            "{width} columns:\n{sent:?}"
        );
        assert!(sent.contains("▶ one  ") && sent.contains("[configure]"), "a frame was drawn:\n{sent:?}");
    }
}

#[test]
fn a_terminal_that_can_do_nothing_gets_lines() {
    let workspace = Workspace::new("(import ./prelude.nix).sh { name = \"toy\"; script = \"echo > $out\"; }");
    for term in ["dumb", ""] {
        let mut command = workspace.command(["build", "-f", "default.nix", "--no-link", "--rebuild"]);
        command.env("TERM", term);
        let (rows, sent) = on_a_screen(command, 80);
        assert!(!sent.contains('\x1b'), "{sent:?}");
        assert!(rows.contains(&"building toy".to_owned()), "{rows:?}");
    }
}

/// `bad` fails while `slow` runs, which ends when a file appears.
const ONE_FAILS: &str = r#"
let
  inherit (import ./prelude.nix) sh;
  slow = sh { name = "slow"; script = ": @nonce@; sleep 600; echo > $out"; };
  bad = sh { name = "bad"; script = ": @nonce@; sleep 1; echo no luck; exit 1"; };
in
sh { name = "above"; script = "echo > $out"; trees = [ slow bad ]; }
"#;

#[test]
fn a_failure_is_reported_while_others_run() {
    let workspace = Workspace::new(ONE_FAILS);
    let child = workspace
        .start_until("build -f default.nix --no-link -j2", "waiting for 1 build that runs: `slow` (Ctrl-C stops them)");
    let started = Instant::now();
    crate::workspace::send(&child, "INT");
    assert_snapshot!(workspace.text(&finish(child)), @r#"
    status: 130
    --- stderr
    stopped  slow
    1 failed, 1 stopped, 1 blocked by failures in [TIME]
    error: `bad` failed, as reported above
      not built, since it needs `bad`: `above`
      stopped on request
    "#);
    assert!(started.elapsed() < HANG_TIMEOUT);
    workspace.expect_no_build_left();
}

#[test]
fn fail_fast_stops_the_others() {
    let workspace = Workspace::new(ONE_FAILS);
    let started = Instant::now();
    let text = workspace.check("build -f default.nix --no-link -j2 --fail-fast");
    assert!(started.elapsed() < Duration::from_secs(300), "the other build was not stopped");
    // The order depends on the times of earlier builds of these names.
    let text = text.replace("building bad\nbuilding slow", "building slow\nbuilding bad");
    let text = text.replace("      bad, slow, above", "      slow, bad, above");
    assert_snapshot!(text, @r#"
    status: 100
    --- stderr
    plan: 3 builds to run
          slow, bad, above
    building slow
    building bad
    error[build::failed]: `bad` failed: the builder exited with status 1
        last lines of the log:
        > no luck
     |
     = help: the whole log: `ev log /eval/store/[HASH]-bad.drv`
             enter it as it failed: `ev shell --failed bad`
    stopped  slow
    1 failed, 1 stopped, 1 blocked by failures in [TIME]
    error[build::failed]: `bad` failed, as reported above
      not built, since it needs `bad`: `above`
    "#);
    workspace.expect_no_build_left();
}

#[test]
fn logs_are_groups_in_pipelines() {
    let source = "(import ./prelude.nix).sh { name = \"toy\"; script = \"echo ::warning::x; echo two; exit 1\"; }";
    let workspace = Workspace::new(source);
    let mut command = workspace.command(["build", "-f", "default.nix", "--no-link"]);
    command.env_remove("EVAL_PROGRESS").env_remove("GITLAB_CI").env("GITHUB_ACTIONS", "true");
    let text = workspace.text(&command.output().expect("the program starts"));
    assert_snapshot!(text, @r#"
    status: 100
    --- stderr
    plan: 1 build to run
          toy
    building toy
    error[build::failed]: `toy` failed: the builder exited with status 1
        last lines of the log:
        > ::warning::x
        > two
     |
     = help: the whole log: `ev log /eval/store/[HASH]-toy.drv`
             enter it as it failed: `ev shell --failed toy`
    ::group::log of toy
    > ::warning::x
    > two
    ::endgroup::
    1 failed in [TIME]
    error[build::failed]: `toy` failed, as reported above
    "#);
    let text = workspace.check("build -f default.nix --no-link --progress gitlab");
    assert!(text.contains(":log_toy[collapsed=true]\r\u{1b}[0Klog of toy\n> ::warning::x\n> two\n"), "{text}");
}
