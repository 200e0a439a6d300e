//! An interrupted build is stopped, not failed, for every source of the signal; none of its
//! processes stays.

use super::terminal::{CTRL_C, SIGNALS, Terminal};
use crate::workspace::{HANG_TIMEOUT, Workspace};
use nix::sys::signal::{Signal, killpg};
use std::fs::{self, File};
use std::time::{Duration, Instant};

/// Eight builds that take a while, and one above them.
const MANY: &str = r#"
let
  inherit (import ./prelude.nix) sh;
  slow = map (n: sh { name = "slow-${toString n}"; script = ": @nonce@; sleep 600; echo > $out"; }) (builtins.genList (n: n) 8);
in
sh { name = "above"; script = "echo > $out"; trees = slow; }
"#;

/// Starts the builds, and returns when all slots are used.
fn start(workspace: &Workspace, jobs: usize, style: &str, out: Option<File>) -> Terminal {
    let words = format!("build -f default.nix --no-link --json -j {jobs} --progress {style}");
    let mut terminal = Terminal::unread(workspace.command_in_session(words.split(' ')), out);
    terminal.read();
    let start = Instant::now();
    while workspace.scripts_running() < jobs {
        assert!(start.elapsed() < HANG_TIMEOUT, "the builds do not start:\n{}", terminal.screen());
        std::thread::sleep(Duration::from_millis(5));
    }
    terminal
}

/// Checks the output for people and the output for programs.
#[track_caller]
fn expect_stopped(workspace: &Workspace, terminal: Terminal, status: i32, jobs: usize) {
    let ended = terminal.end();
    workspace.expect_no_build_left();
    assert_eq!(ended.status, status, "{}", ended.screen);
    assert!(!ended.screen.contains("failed"), "{}", ended.screen);
    assert_eq!(ended.screen.matches("stopped  slow-").count(), jobs, "{}", ended.screen);
    assert!(ended.screen.contains(&format!("{jobs} stopped in ")), "{}", ended.screen);
    assert!(ended.screen.ends_with("error: stopped on request\r\n"), "{}", ended.screen);
    let report = fs::read(workspace.path().join("out")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!((&report["exitStatus"], &report["error"]["code"]), (&status.into(), &"interrupted".into()));
    assert_eq!(workspace.json("store verify --json")["damage"], serde_json::json!([]));
}

fn out(workspace: &Workspace) -> Option<File> {
    Some(File::create(workspace.path().join("out")).unwrap())
}

/// The terminal sends the signal to its whole foreground group, as for a typed Ctrl-C.
#[test]
fn ctrl_c_in_a_terminal() {
    for (jobs, style) in [(1, "tree"), (2, "plain"), (4, "tree"), (4, "plain")] {
        let workspace = Workspace::new(MANY);
        let mut terminal = start(&workspace, jobs, style, out(&workspace));
        terminal.type_keys(CTRL_C);
        expect_stopped(&workspace, terminal, 130, jobs);
    }
}

#[test]
fn each_signal_to_the_program_alone() {
    for (signal, status) in SIGNALS {
        let workspace = Workspace::new(MANY);
        let terminal = start(&workspace, 2, "plain", out(&workspace));
        terminal.send(signal);
        expect_stopped(&workspace, terminal, status, 2);
    }
}

/// `timeout` sends a signal to the program and to its group, and a user may press Ctrl-C twice.
#[test]
fn twice_the_same() {
    let workspace = Workspace::new(MANY);
    let terminal = start(&workspace, 2, "plain", out(&workspace));
    killpg(terminal.pid(), Signal::SIGTERM).unwrap();
    terminal.send(Signal::SIGTERM);
    expect_stopped(&workspace, terminal, 143, 2);
}

/// Closing the terminal.
#[test]
fn a_terminal_that_is_gone() {
    let workspace = Workspace::new(MANY);
    let mut terminal = start(&workspace, 2, "tree", out(&workspace));
    terminal.hang_up();
    assert_eq!(terminal.wait(), 129);
    workspace.expect_no_build_left();
    assert_eq!(workspace.json("store verify --json")["damage"], serde_json::json!([]));
}

/// The spawners are in groups of their own, and end nevertheless.
#[test]
fn kill_9_of_the_program_and_of_its_group() {
    for whole_group in [false, true] {
        let workspace = Workspace::new(MANY);
        let mut terminal = start(&workspace, 4, "plain", None);
        match whole_group {
            true => killpg(terminal.pid(), Signal::SIGKILL).unwrap(),
            false => terminal.send(Signal::SIGKILL),
        }
        assert_eq!(terminal.wait(), 137);
        workspace.expect_no_build_left();
        assert_eq!(workspace.json("store verify --json")["damage"], serde_json::json!([]));
    }
}

#[test]
fn import_from_derivation() {
    let workspace = Workspace::new(
        r#"import ((import ./prelude.nix).sh { name = "slow"; script = ": @nonce@; sleep 600; echo > $out"; })"#,
    );
    for (signal, status) in SIGNALS {
        let terminal = Terminal::start(&workspace, "expr -f default.nix");
        workspace.wait_for_build();
        terminal.send(signal);
        let ended = terminal.end();
        assert_eq!(ended.status, status, "{}", ended.screen);
        assert!(ended.screen.ends_with("error: stopped on request\r\n"), "{}", ended.screen);
        workspace.expect_no_build_left();
    }
}

/// Ctrl-Z stops the program and not its builds, which soon block, as their logs are not read. That
/// time is not part of any limit.
#[test]
fn suspended_and_continued() {
    let workspace = Workspace::new(
        r#"(import ./prelude.nix).sh {
          name = "talks";
          script = ": @nonce@; sleep 1; printf %0300000d 0; echo > $out";
        }"#,
    );
    let terminal = Terminal::start(&workspace, "build -f default.nix --no-link --timeout 6");
    workspace.wait_for_build();
    terminal.send(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(8));
    terminal.send(Signal::SIGCONT);
    let ended = terminal.end();
    assert_eq!(ended.status, 0, "{}", ended.screen);
    assert!(ended.screen.contains("built    talks"), "{}", ended.screen);
}
