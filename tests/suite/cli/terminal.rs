//! Output on a terminal: control characters of builds, expressions and file names have no effect
//! there.

use crate::workspace::Workspace;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

/// Active characters of every kind: C0 and sequences they begin, C1 ones, bidirectional controls.
const HOSTILE: &str = "[\u{1b}[31m|\u{1b}]0;owned\u{7}|\u{1b}P1$r\u{1b}\\|\u{9b}5n|\u{9d}0;owned\u{9c}|\u{202e}evil|\u{2066}|\u{200f}|\u{8}\u{7f}]";

const FILE: &str = r#"
let
  inherit (import ./prelude.nix) sh write;
  text = "HOSTILE";
in
rec {
  value = text;
  set = { ${text} = 1; };
  path = ./. + "/${text}";
  thrown = throw text;
  context = builtins.addErrorContext text (throw text);
  traced = builtins.trace text 1;
  warned = builtins.warn text 1;
  missing = { }.${text};
  read = builtins.readFile path;
  aborted = abort text;
  assertion = assert text == ""; 1;
  logs = sh { name = "logs"; script = "printf '%s\n' '${text}'; echo > $out"; };
  fails = sh { name = "fails"; script = "printf '@phase %s\nerror: %s\n' '${text}' '${text}'; exit 1"; };
  stray = sh { name = "stray"; script = "echo > $out; echo > \"/output/${text}\""; };
  fifo = sh { name = "fifo"; script = "mkdir $out; mkfifo \"$out/${text}\""; };
  named = write { name = "named"; files."usr/local/p/bin/${text}".link = "/${text}"; };
}
"#;

/// The commands, each with a text that its output must contain to be the intended case.
const COMMANDS: [(&str, &str); 20] = [
    ("expr -f default.nix value", "evil"),
    ("expr -f default.nix set", "evil"),
    ("expr --json -f default.nix value", "evil"),
    ("expr -f default.nix path", "evil"),
    ("expr -f default.nix thrown", "evil"),
    ("expr --show-trace -f default.nix context", "evil"),
    ("expr -f default.nix traced", "trace: "),
    ("expr -f default.nix warned", "warning: "),
    ("expr -f default.nix missing", "missing"),
    ("expr -f default.nix read", "evil"),
    ("expr -f default.nix aborted", "evil"),
    ("expr -f default.nix assertion", "assertion"),
    ("expr --error-format json -f default.nix thrown", "evil"),
    ("nix-instantiate --eval -A value", "evil"),
    ("nix-instantiate --eval -A thrown", "evil"),
    ("build -L --no-link -f default.nix logs", "logs> ["),
    ("log -f default.nix logs", "<U+202E>evil"),
    ("build --no-link -f default.nix fails", "> error: ["),
    ("build --no-link --json -f default.nix stray", "evil"),
    ("build --no-link -f default.nix fifo", "evil"),
];

/// Returns the bytes that a command sends to a terminal that is its standard output and error.
fn on_a_terminal(mut command: Command) -> Vec<u8> {
    let pair = nix::pty::openpty(None, None).expect("there are pseudo terminals");
    let stdout = pair.slave.try_clone().expect("there are descriptors left");
    command.env_remove("NO_COLOR").env_remove("EVAL_PROGRESS").env("TERM", "xterm-256color");
    let mut child =
        command.stdout(Stdio::from(stdout)).stderr(Stdio::from(pair.slave)).spawn().expect("the program starts");
    // Only the child holds the other end open.
    drop(command);
    let mut sent = Vec::new();
    let mut master = File::from(pair.master);
    let mut piece = [0; 4096];
    // A terminal reports EIO when its other end is closed.
    while let Ok(count @ 1..) = master.read(&mut piece) {
        sent.extend_from_slice(&piece[..count]);
    }
    child.wait().expect("the program is our child");
    sent
}

/// Removes the program's own sequences: colours, and the frames of the live view.
fn without_own_sequences(mut text: &str) -> String {
    let mut rest = String::new();
    while let Some(at) = text.find("\u{1b}[") {
        rest.push_str(&text[..at]);
        let sequence = &text[at + 2..];
        let end = sequence.find(|c: char| c.is_ascii_alphabetic()).map_or(sequence.len(), |end| end + 1);
        // The hostile text contains plain red and a status request, which the program never sends.
        if matches!(&sequence[..end], "31m" | "5n") {
            rest.push_str("\u{1b}[");
        }
        text = &sequence[end..];
    }
    rest.push_str(text);
    rest
}

#[track_caller]
fn assert_no_effect(words: &str, sent: &[u8]) {
    let sent = String::from_utf8_lossy(sent);
    let rest = without_own_sequences(&sent);
    // The terminal's driver makes a line end of two characters.
    let active: Vec<char> = rest.chars().filter(|&c| model::terminal::is_active(c) && c != '\r').collect();
    assert!(active.is_empty(), "`{words}` sends {active:?}:\n{}", sent.escape_debug());
}

fn workspace() -> Workspace {
    let workspace = Workspace::new("");
    let written = HOSTILE.replace('\\', "\\\\").replace("$", "\\$");
    workspace.write("default.nix", &FILE.replace("HOSTILE", &written));
    workspace
}

#[test]
fn foreign_control_characters_have_no_effect() {
    let workspace = workspace();
    for (words, expected) in COMMANDS {
        let sent = on_a_terminal(workspace.command(words.split_whitespace()));
        let sent = String::from_utf8_lossy(&sent);
        assert!(sent.contains(expected), "`{words}` is not the case that is meant:\n{sent}");
        assert_no_effect(words, sent.as_bytes());
    }
}

/// Messages of clap contain the arguments, and the values of environment variables.
#[test]
fn control_characters_in_arguments_have_no_effect() {
    let workspace = workspace();
    let hostile = HOSTILE;
    let unknown = format!("--{HOSTILE}");
    let assigned = format!("--progress={HOSTILE}");
    let cases: [&[&str]; 8] = [
        &[hostile],
        &["prefix", hostile],
        &["build", "--max-jobs", hostile],
        &["build", &assigned],
        &["expr", "1", &unknown],
        &["build", "--nice", hostile],
        &["help", hostile],
        &["completions", hostile],
    ];
    for words in cases {
        let mut command = workspace.command(words);
        assert_eq!(command.output().expect("the program starts").status.code(), Some(2), "{words:?}");
        let sent = on_a_terminal(command);
        assert_no_effect(&format!("{words:?}"), &sent);
        let sent = String::from_utf8_lossy(&sent);
        assert!(sent.contains("error") && sent.contains("<U+202E>evil"), "{sent}");
    }
    // A variable that is not a number is an error, in other commands too; `config show` shows its value.
    for (variable, words, status) in [
        ("EVAL_JOBS", "build", 2),
        ("EVAL_CORES", "build", 2),
        ("EVAL_MAX_EVAL_MEMORY", "doctor", 2),
        ("EVAL_ROOT", "config show", 0),
    ] {
        let mut command = workspace.command(words.split_whitespace());
        command.env(variable, HOSTILE);
        assert_eq!(command.output().expect("the program starts").status.code(), Some(status), "{variable}");
        let sent = on_a_terminal(command);
        assert_no_effect(variable, &sent);
        assert!(String::from_utf8_lossy(&sent).contains("<U+202E>"), "{}", String::from_utf8_lossy(&sent));
    }
}

/// Help has styles on a terminal, as errors have; not in a pipe.
#[test]
fn help_has_styles() {
    let workspace = workspace();
    for words in ["--help", "build --nosuch"] {
        let sent = on_a_terminal(workspace.command(words.split_whitespace()));
        assert!(sent.starts_with(b"\x1b[") || sent.windows(2).any(|two| two == b"\x1b["), "{words}");
        let piped = workspace.command(words.split_whitespace()).output().expect("the program starts");
        assert!(!piped.stdout.contains(&0x1b) && !piped.stderr.contains(&0x1b), "{words}");
        assert_eq!(piped.stdout.is_empty(), words != "--help", "{words}");
    }
}

#[test]
fn control_characters_in_names_have_no_effect() {
    let workspace = workspace();
    let tree = workspace.stdout("build --no-link --print-out-paths -f default.nix named");
    let sent = on_a_terminal(workspace.command(["prefix", "check", &tree]));
    assert_no_effect("prefix check", &sent);
    assert!(String::from_utf8_lossy(&sent).contains("<U+202E>evil"), "{}", String::from_utf8_lossy(&sent));
}

#[test]
fn raw_and_pipes_get_the_bytes() {
    let workspace = workspace();
    let raw = on_a_terminal(workspace.command(["expr", "--raw", "-f", "default.nix", "value"]));
    assert_eq!(String::from_utf8(raw).expect("it is as it was written"), HOSTILE);
    let piped = workspace.run(["expr", "--raw", "-f", "default.nix", "value"]);
    assert_eq!(piped.stdout, HOSTILE.as_bytes());
    workspace.stdout("build --no-link -f default.nix logs");
    let line = format!("{HOSTILE}\n");
    assert_eq!(workspace.run(["log", "-f", "default.nix", "logs"]).stdout, line.as_bytes());
    let raw = on_a_terminal(workspace.command(["log", "--raw", "-f", "default.nix", "logs"]));
    assert_eq!(String::from_utf8(raw).expect("it is as it was written"), line.replace('\n', "\r\n"));
}
