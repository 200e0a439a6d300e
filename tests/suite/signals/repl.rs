//! `repl` on a terminal: Ctrl-C is for the line, other signals for the program.

use super::terminal::{CTRL_C, Terminal};
use crate::workspace::Workspace;
use nix::sys::signal::Signal;

fn start(workspace: &Workspace) -> Terminal {
    let terminal = Terminal::start(workspace, "repl --max-eval-memory 1G");
    terminal.wait_for("lists the commands", 1);
    terminal
}

/// Types a line once the prompt is there: the terminal discards earlier input.
fn type_line(terminal: &mut Terminal, line: &str) {
    terminal.wait_until_it_edits();
    terminal.type_keys(&format!("{line}\n"));
}

#[test]
fn ctrl_c_ends_an_evaluation_and_keeps_the_names() {
    let workspace = Workspace::with_own_store("1");
    let mut terminal = start(&workspace);
    type_line(&mut terminal, ":a { kept = builtins.trace \"begun\" (20 + 1); }");
    terminal.wait_for("1 names added", 1);
    let endless = [
        "let f = n: if n < 0 then n else f (n + 1); in f kept",
        "builtins.genericClosure { startSet = [ { key = kept; } ]; operator = x: [ { key = x.key + 1; } ]; }",
        "let f = n: if n == 0 then kept else let y = f (n - 1); in [ y y ]; in f 60 == f 60",
    ];
    for (nth, line) in endless.into_iter().enumerate() {
        type_line(&mut terminal, &format!("builtins.trace \"go ${{toString {nth}}}\" ({line})"));
        terminal.wait_for(&format!("trace: go {nth}"), 1);
        std::thread::sleep(std::time::Duration::from_millis(50));
        terminal.type_keys(CTRL_C);
        terminal.wait_for("the evaluation was interrupted", nth + 1);
    }
    type_line(&mut terminal, "kept + 100");
    terminal.wait_for("121", 1);
    type_line(&mut terminal, ":q");
    let ended = terminal.end();
    assert_eq!(ended.status, 0, "{}", ended.screen);
    // Earlier names survive the interruption.
    assert_eq!(ended.screen.matches("trace: begun").count(), 1, "{}", ended.screen);
}

#[test]
fn ctrl_c_stops_a_build_and_the_next_one_is_built() {
    let workspace = Workspace::new(
        r#"{
          slow = (import ./prelude.nix).sh { name = "slow"; script = ": @nonce@; sleep 600; echo > $out"; };
          quick = (import ./prelude.nix).sh { name = "quick"; script = ": @nonce@; echo x > $out"; };
        }"#,
    );
    let mut terminal = start(&workspace);
    type_line(&mut terminal, ":l default.nix");
    terminal.wait_for("2 names added", 1);
    type_line(&mut terminal, ":b slow");
    workspace.wait_for_build();
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopped on request", 1);
    workspace.expect_no_build_left();
    type_line(&mut terminal, ":b quick");
    terminal.wait_for("-quick\r\n", 1);
    type_line(&mut terminal, ":q");
    assert_eq!(terminal.end().status, 0);
}

#[test]
fn ctrl_c_discards_the_typed_line() {
    let workspace = Workspace::with_own_store("1");
    let mut terminal = start(&workspace);
    terminal.wait_until_it_edits();
    terminal.type_keys("half a line");
    terminal.wait_for("half a line", 1);
    terminal.type_keys(CTRL_C);
    terminal.wait_for("[?2004h", 2);
    type_line(&mut terminal, "20 + 1");
    terminal.wait_for("21\r\n", 1);
    type_line(&mut terminal, ":q");
    assert_eq!(terminal.end().status, 0);
}

/// While a line is edited the terminal does not echo; afterwards it does again.
#[test]
fn other_signals_end_it_and_restore_the_terminal() {
    let workspace = Workspace::with_own_store("1");
    for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let terminal = start(&workspace);
        terminal.wait_until_it_edits();
        terminal.send(signal);
        let ended = terminal.end();
        assert_eq!(ended.status, status, "{}", ended.screen);
        assert!(ended.was_given_back, "{signal}");
    }
}
