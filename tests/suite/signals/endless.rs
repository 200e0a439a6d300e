//! One signal ends every endless or long operation: an evaluation, a wait for a lock, for a server,
//! for SQLite, for input.

use super::terminal::{CTRL_C, SIGNALS, Terminal};
use crate::workspace::Workspace;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Moment of the signal.
#[derive(Clone, Copy)]
enum When {
    /// A moment after the expression has printed that it begins.
    Begun,
    /// The moment at which the program waits.
    Waiting,
}

/// Each signal ends the command at once, with its exit status and one line; and nothing keeps the
/// next command from working.
#[track_caller]
fn check(workspace: &Workspace, words: &str, when: When) {
    for (signal, status) in SIGNALS {
        check_signal(workspace, words, when, signal, status);
    }
    assert_eq!(workspace.stdout("expr --expr 1"), "1");
}

#[track_caller]
fn check_signal(workspace: &Workspace, words: &str, when: When, signal: Signal, status: i32) {
    let mut terminal = Terminal::start(workspace, words);
    match when {
        When::Begun => {
            terminal.wait_for("trace: begun", 1);
            std::thread::sleep(Duration::from_millis(30));
        }
        When::Waiting => terminal.wait_until_it_waits(),
    }
    match signal {
        Signal::SIGINT => terminal.type_keys(CTRL_C),
        signal => terminal.send(signal),
    }
    let ended = terminal.end();
    assert_eq!(ended.status, status, "{signal} {words}:\n{}", ended.screen);
    // The terminal itself writes `^C` before.
    assert!(ended.screen.ends_with("error: stopped on request\r\n"), "{signal} {words}:\n{}", ended.screen);
}

/// An expression in `default.nix`, which may use `twice n`: a list as deep as `n` with 2ⁿ leaves,
/// and `often f`: `f` of one number after the other.
fn evaluating(expression: &str) -> Workspace {
    Workspace::with_own_store(&format!(
        r#"
        let
          twice = n: if n == 0 then "x" else let half = twice (n - 1); in [ half half ];
          often = f: let next = n: builtins.seq (f n) (next (n + 1)); in next 0;
          many = builtins.genList (n: n) 100000;
          long = builtins.concatStringsSep "" (map toString many);
        in
        builtins.trace "begun" ({expression})
        "#
    ))
}

const EVALUATE: &str = "expr -f default.nix --max-eval-memory 1G";

#[test]
fn calls() {
    check(&evaluating("let f = n: if n < 0 then n else f (n + 1); in f 0"), EVALUATE, When::Begun);
}

/// The kinds of loops in builtins: those that call functions, and those that only walk values.
#[test]
fn builtins() {
    let expressions = [
        "builtins.genericClosure { startSet = [ { key = 0; } ]; operator = x: [ { key = x.key + 1; } ]; }",
        "often (n: builtins.foldl' (a: b: a + b) 0 many)",
        "often (n: builtins.length (builtins.concatMap (x: [ x n ]) many))",
        "often (n: builtins.length (builtins.sort (a: b: a > b) many))",
        "often (n: builtins.length (builtins.genList (x: x + n) 100000))",
        "twice 60 == twice 60",
        "builtins.stringLength (builtins.toJSON (twice 60))",
        "often (n: builtins.fromJSON \"[${long}]\")",
        "often (n: builtins.stringLength (builtins.replaceStrings [ \"1\" ] [ \"${toString n}\" ] long))",
        "often (n: builtins.hashString \"sha512\" long)",
    ];
    for expression in expressions {
        check_signal(&evaluating(expression), EVALUATE, When::Begun, Signal::SIGINT, 130);
    }
}

/// The file is endless, and is read piece by piece.
#[test]
fn a_file() {
    let workspace = evaluating("builtins.hashFile \"sha512\" /dev/zero");
    check_signal(&workspace, &format!("{EVALUATE} --impure"), When::Begun, Signal::SIGINT, 130);
}

/// A signal ends an evaluation with several threads.
#[test]
fn several_threads() {
    let workspace = evaluating("builtins.deepSeq (map (n: twice (60 + n) == twice (60 + n)) many) 1");
    check(&workspace, &format!("{EVALUATE} --eval-jobs 4"), When::Begun);
}

/// Some patterns take long in spite of memoisation.
#[test]
fn regular_expressions() {
    let pattern = "builtins.concatStringsSep \"\" (builtins.genList (n: \"(1?2?)*\") 300)";
    check(&evaluating(&format!("often (n: builtins.match ({pattern} + \"x\") long)")), EVALUATE, When::Begun);
}

#[test]
fn nix_instantiate_prints_its_own_message() {
    let workspace = evaluating("twice 60 == twice 60");
    for (signal, status) in SIGNALS {
        let terminal = Terminal::start(&workspace, "nix-instantiate --eval default.nix");
        terminal.wait_for("trace: begun", 1);
        terminal.send(signal);
        let ended = terminal.end();
        assert_eq!(ended.status, status, "{}", ended.screen);
        assert!(ended.screen.ends_with("error: interrupted by the user\r\n"), "{}", ended.screen);
    }
}

#[test]
fn json_is_printed_once_and_complete() {
    let workspace = evaluating("twice 60 == twice 60");
    let out = workspace.path().join("out");
    let command = workspace.command_in_session("expr -f default.nix --json".split(' '));
    let mut terminal = Terminal::unread(command, Some(File::create(&out).unwrap()));
    terminal.read();
    terminal.wait_for("trace: begun", 1);
    terminal.send(Signal::SIGTERM);
    assert_eq!(terminal.end().status, 143);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!((&report["exitStatus"], &report["error"]["code"]), (&143.into(), &"interrupted".into()));
}

/// A program under `nohup` outlives its terminal.
#[test]
fn hangups_that_are_ignored_stay_ignored() {
    let workspace = evaluating("twice 60 == twice 60");
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", "sh", "-c", "trap '' HUP; exec \"$0\" \"$@\"", crate::workspace::PROGRAM]);
    let mut terminal = Terminal::unread(workspace.prepare(command, EVALUATE.split(' ')), None);
    terminal.read();
    terminal.wait_for("trace: begun", 1);
    terminal.send(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    terminal.send(Signal::SIGTERM);
    assert_eq!(terminal.end().status, 143);
}

/// Writing blocks without a reader; so would the report of the interruption, which is then left
/// out.
#[test]
fn output_without_a_reader() {
    let workspace = Workspace::with_own_store("builtins.genList (n: n) 100000");
    for (signal, status) in SIGNALS {
        let mut terminal = Terminal::unread(workspace.command_in_session(["expr", "-f", "default.nix"]), None);
        terminal.wait_until_it_waits();
        terminal.send(signal);
        assert_eq!(terminal.wait(), status, "{signal}");
    }
}

#[test]
fn input_that_never_arrives() {
    check(&Workspace::with_own_store("1"), "expr -f -", When::Waiting);
}

#[test]
fn fifos_in_place_of_files() {
    let workspace = Workspace::with_own_store("import ./fifo.nix");
    nix::unistd::mkfifo(&workspace.path().join("fifo.nix"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    for words in ["expr -f default.nix", "build -f fifo.nix"] {
        check(&workspace, words, When::Waiting);
    }
}

/// A file of the store that is open and locked until it is dropped.
fn locked(path: &Path) -> Flock<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o644).open(path).unwrap();
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap()
}

#[test]
fn a_lock_that_another_holds() {
    let workspace = Workspace::with_own_store("1");
    workspace.write("source", "text");
    workspace.stdout("store add source");
    let lock = locked(&workspace.store().join("locks/collector"));
    for words in ["store gc", "store add default.nix"] {
        for (signal, status) in SIGNALS {
            check_signal(&workspace, words, When::Waiting, signal, status);
        }
    }
    drop(lock);
    workspace.stdout("store add default.nix");
}

#[test]
fn a_database_that_another_writes_to() {
    let workspace = Workspace::with_own_store("1");
    workspace.write("source", "text");
    workspace.stdout("store add source");
    let database = rusqlite::Connection::open(workspace.store().join("db/store.sqlite")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    workspace.write("other", "another text");
    check(&workspace, "store add other", When::Waiting);
    database.execute_batch("ROLLBACK").unwrap();
    workspace.stdout("store add other");
}

#[test]
fn a_build_that_another_process_runs() {
    let workspace =
        Workspace::new(r#"(import ./prelude.nix).sh { name = "slow"; script = ": @nonce@; sleep 600; echo > $out"; }"#);
    let first = Terminal::start(&workspace, "build -f default.nix --no-link");
    workspace.wait_for_build();
    for (signal, status) in SIGNALS {
        let second = Terminal::start(&workspace, "build -f default.nix --no-link");
        second.wait_for("waiting for", 1);
        second.send(signal);
        let ended = second.end();
        assert_eq!(ended.status, status, "{}", ended.screen);
        assert!(ended.screen.contains("stopped  slow"), "{}", ended.screen);
    }
    first.send(Signal::SIGINT);
    assert_eq!(first.end().status, 130);
    workspace.expect_no_build_left();
}

/// Before the head of an answer, and in the middle of a body.
#[test]
fn a_server_that_stops_sending() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if open.len() % 2 == 1 {
                // The client may be gone.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
            }
            open.push(stream);
        }
    });
    let workspace = Workspace::with_own_store(&format!(
        r#"let at = name: "http://{address}/${{name}}"; in {{
          now = builtins.fetchTarball (at "a");
          file = builtins.readFile (builtins.fetchurl (at "b"));
          later = derivation {{
            name = "later"; system = "builtin"; builder = "builtin:fetchurl"; urls = at "c";
            outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; outputHashMode = "flat";
          }};
        }}"#
    ));
    for words in ["expr now --impure -f default.nix", "expr file --impure -f default.nix"] {
        check(&workspace, words, When::Waiting);
        check(&workspace, words, When::Waiting);
    }
    check(&workspace, "build later -f default.nix --no-link", When::Waiting);
}

/// Hashing and copying a terabyte of holes.
#[test]
fn a_huge_file() {
    let workspace = Workspace::with_own_store(r#"builtins.trace "begun" "${./huge}""#);
    File::create(workspace.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    check(&workspace, "expr -f default.nix", When::Begun);
    assert_eq!(workspace.json("store verify --json")["damage"], serde_json::json!([]));
}

/// A tar of many files, a few bytes each.
#[test]
fn a_huge_archive() {
    let workspace = Workspace::with_own_store(
        r#"builtins.trace "begun" (builtins.fetchTarball "file://${toString ./.}/huge.tar.gz")"#,
    );
    let file = File::create(workspace.path().join("huge.tar.gz")).unwrap();
    let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    for number in 0..100_000 {
        let mut header = [0; 1024];
        let fields: [(usize, &str); 7] = [
            (0, &format!("top/{number}")),
            (100, "0000644"),
            (124, "00000000004"),
            (136, "00000000000"),
            (148, "        "),
            (156, "0"),
            (512, "text"),
        ];
        for (at, text) in fields {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        let sum: u32 = header[..512].iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.write_all(&header).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap();
    check(&workspace, "expr -f default.nix --impure", When::Begun);
    assert_eq!(workspace.json("store verify --json")["damage"], serde_json::json!([]));
}
