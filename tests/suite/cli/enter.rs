//! `shell`, `develop` and `run`: sandboxes of builds entered, and programs out of the store.

use crate::signals::terminal::{CTRL_C, Terminal};
use crate::workspace::{HANG_TIMEOUT, Workspace, finish, send};
use insta::assert_snapshot;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

/// Prints what a process can see of its sandbox.
const FACTS: &str = r#"id; umask; pwd; ulimit -a; env | sort; cat /proc/sys/kernel/hostname /proc/net/dev; \
    stat -c '%n %A %u %g %F' /* /dev/* /build; cat /proc/self/status; cat /proc/self/mountinfo"#;

/// A build that fails. Its directories are kept on request, as those of other tests' builds would
/// take the place of others in this store.
fn failing(script: &str) -> Workspace {
    let source = format!("(import ./prelude.nix).sh {{ name = \"toy\"; script = ''\n{script}\n''; }}");
    let workspace = Workspace::new(&source);
    let ran = workspace.run(["build", "-f", "default.nix", "--no-link", "--keep-failed"]);
    assert_eq!(ran.status.code(), Some(100), "{}", workspace.text(&ran));
    workspace
}

/// Returns the derivation of `default.nix`: other tests have builds of the same name in this store.
fn derivation(workspace: &Workspace) -> String {
    workspace.stdout("instantiate -f default.nix").lines().next_back().expect("it has one").to_owned()
}

/// Runs a line in the sandbox of the failed build.
#[track_caller]
fn in_failed(workspace: &Workspace, line: &str) -> String {
    let ran = workspace.run(["shell", "--failed", &derivation(workspace), "-c", line]);
    assert!(ran.status.success(), "{}", workspace.text(&ran));
    String::from_utf8(ran.stdout).expect("it is text")
}

/// The facts, without what differs from process to process: numbers of mounts and devices, the
/// host's paths of directories, ids, counters of memory.
fn comparable(facts: &str) -> String {
    let status = ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:", "Umask", "NSpid"];
    let mut lines = Vec::new();
    for line in facts.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(dash) = words.iter().position(|word| *word == "-").filter(|at| *at > 5) {
            // A mount: its place, options, and the type of its file system.
            lines.push(format!("{} {} {}", words[4], words[5], words[dash + 1]));
        } else if line.contains('\t') && line.contains(':') && words.len() < 8 {
            lines.extend(status.iter().any(|name| line.starts_with(name)).then(|| line.to_owned()));
        } else if !line.starts_with("_=") {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

#[test]
fn the_sandbox_of_a_failed_build_is_that_of_the_build() {
    let workspace = failing(&format!("{{ {FACTS}; }} > facts; exit 1"));
    let of_build = in_failed(&workspace, "cat facts");
    let of_visit = in_failed(&workspace, FACTS);
    assert_eq!(comparable(&of_build), comparable(&of_visit));
    // No file of the caller is open inside.
    let files = in_failed(&workspace, "readlink /proc/$$/fd/*; true");
    assert!(files.lines().count() == 3 && files.lines().all(|file| file.starts_with("pipe:")), "{files}");
    // They are facts about the right things.
    for part in [
        "uid=1000",
        "\n/build\n",
        "SOURCE_DATE_EPOCH=1700000000",
        "localhost",
        "\n/ ro",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(comparable(&of_visit).contains(part), "`{part}` is missing:\n{of_visit}");
    }
}

#[test]
fn the_directories_are_as_the_failure_left_them_and_changes_stay() {
    let workspace = failing("mkdir work; echo half > work/file; echo x > $out; exit 1");
    assert_eq!(in_failed(&workspace, "cat work/file $out; echo more >> work/file"), "half\nx\n");
    assert_eq!(in_failed(&workspace, "cat work/file"), "half\nmore\n");
    let ran = workspace.run(["shell", "--failed", &derivation(&workspace), "-c", "echo x > /etc/x"]);
    assert_snapshot!(workspace.text(&ran), @r"
    status: 1
    --- stderr
    /bin/bash: line 2: /etc/x: Read-only file system
    ");
}

#[test]
fn exit_statuses_and_streams_pass_through() {
    let workspace = failing("exit 1");
    let drv = derivation(&workspace);
    for (line, status) in [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)] {
        let ran = workspace.run(["shell", "--failed", &drv, "-c", line]);
        assert_eq!(ran.status.code(), Some(status), "{line}: {}", workspace.text(&ran));
    }
    let mut command = workspace.command(["shell", "--failed", &drv, "--", "cat", "-", "/none"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let text = "some input\n".repeat(50_000);
    let mut input = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn({
        let text = text.clone();
        move || input.write_all(text.as_bytes())
    });
    let ran = child.wait_with_output().expect("it is our child");
    writer.join().expect("it does not panic").expect("everything is read");
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stdout == text.as_bytes(), "{} bytes came back", ran.stdout.len());
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "/bin/cat: /none: No such file or directory\n");
}

#[test]
fn several_words_are_a_command_and_its_arguments() {
    let workspace = failing("exit 1");
    let ran = workspace.run(["shell", "--failed", &derivation(&workspace), "-c", "printf", "%s|", "a b", "$HOME"]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "a b|$HOME|");
}

#[test]
fn phases_of_the_build_are_functions() {
    let workspace = failing(
        r#"
        set -eu
        exec </dev/null
        greet() { echo "hello $1"; }
        { set +x; } 2>/dev/null; echo "@phase unpack"; set -x
        mkdir -p src
        cd src
        { set +x; } 2>/dev/null; echo "@phase make"; set -x
        greet "$name"
        test -e fixed
        touch made
        "#,
    );
    // A phase ends at the first command that fails, and the next goes on where it was.
    let said = in_failed(&workspace, "unpackPhase; pwd; buildPhase; echo $?; touch fixed; makePhase && ls");
    assert_eq!(said, "/build/src\nhello toy\n1\nhello toy\nfixed\nmade\n");
    let ran = workspace.run(["shell", "--failed", &derivation(&workspace), "-c", "runBuild"]);
    assert_eq!(ran.status.code(), Some(0), "{}", workspace.text(&ran));
}

#[test]
fn a_shell_on_a_terminal_has_a_terminal_of_its_own() {
    let workspace = failing("echo left > note; exit 1");
    let mut terminal = Terminal::start(&workspace, &format!("shell --failed {}", derivation(&workspace)));
    terminal.wait_for("$ ", 1);
    terminal.type_keys("tty; cat note; echo $((6 * 7))\n");
    terminal.wait_for("/dev/pts/0", 1);
    terminal.wait_for("left", 1);
    terminal.wait_for("42", 1);
    // Ctrl-C is for the program in the foreground, and job control works.
    terminal.type_keys("bash -c 'echo be\"\"gun; exec sleep 1000'\n");
    terminal.wait_for("begun", 1);
    terminal.type_keys(CTRL_C);
    terminal.wait_for("^C", 1);
    terminal.type_keys("sleep 2000 & kill %1; echo alive $((40 + 4))\n");
    terminal.wait_for("alive 44", 1);
    terminal.type_keys("exit 5\n");
    let ended = terminal.end();
    assert_eq!(ended.status, 5, "{}", ended.screen);
    assert!(ended.was_given_back, "the terminal stays raw");
}

#[test]
fn the_last_failed_build_can_be_entered_without_having_been_kept_on_request() {
    let sh =
        |name: &str| format!("{name} = sh {{ name = \"{name}\"; script = \"echo left by $name > note; exit 1\"; }};");
    let workspace = Workspace::with_own_store(&format!(
        "let inherit (import ./prelude.nix) sh; in {{ {} {} }}",
        sh("first"),
        sh("second")
    ));
    for name in ["first", "second"] {
        let ran = workspace.run(["build", "-f", "default.nix", name, "--no-link"]);
        let text = workspace.text(&ran);
        assert!(text.contains(&format!("enter it as it failed: `ev shell --failed {name}`")), "{text}");
    }
    let note = |words: &[&str]| {
        workspace.stdout(&[&["shell", "--failed"][..], words, &["--", "cat", "note"]].concat().join(" "))
    };
    assert_eq!(note(&[]), "left by second");
    assert_eq!(note(&["first"]), "left by first");
    assert_eq!(note(&["-f", "default.nix", "second"]), "left by second");
    let failed = workspace.store().join("failed");
    workspace.stdout("store gc");
    assert_eq!(fs::read_dir(&failed).expect("it is there").count(), 2);
    for entry in fs::read_dir(&failed).expect("it is there").flatten() {
        let directory = fs::File::open(entry.path()).expect("it is there");
        directory.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("it is ours");
    }
    workspace.stdout("store gc");
    assert_eq!(fs::read_dir(&failed).expect("it is there").count(), 0);
}

#[test]
fn builds_that_did_not_fail_have_no_directories() {
    let workspace = Workspace::with_own_store("(import ./prelude.nix).shell");
    assert_snapshot!(workspace.check("shell --failed"), @r"
    status: 1
    --- stderr
    error: no directories of failed builds are kept in [STORE]
     |
     = help: those of the latest failed builds are kept, unless they are very large; `-K` keeps all
    ");
    assert_snapshot!(workspace.check("shell --failed toy"), @r"
    status: 1
    --- stderr
    error: no directories of a failed build of `toy` are kept
     |
     = help: those of the latest failed builds are kept, unless they are very large; `-K` keeps all
    ");
}

#[test]
fn develop_enters_the_sandbox_of_a_package_that_is_not_built() {
    let workspace =
        Workspace::new("(import ./prelude.nix).sh { name = \"toy\"; script = \"exit 1\"; greeting = \"hi\"; }");
    let develop = |words: &[&str]| workspace.run([&["develop", "-f", "default.nix"], words].concat());
    let ran = develop(&["--fresh", "-c", "id -u; pwd; ls -A; echo $greeting $out; ls -d /home /tmp/.. 2>&1"]);
    assert_snapshot!(workspace.text(&ran), @r"
    status: 2
    --- stdout
    1000
    /build
    hi /output/out
    ls: cannot access '/home': No such file or directory
    /tmp/..
    ");
    // The working directory is the only part of the host that is seen, and can be written.
    fs::create_dir(workspace.path().join("mine")).expect("it is our directory");
    fs::write(workspace.path().join("mine/in"), "from the host").expect("it is our directory");
    let mut command = workspace.command([
        "develop",
        "-f",
        "../default.nix",
        "--impure",
        "-c",
        "cat in; echo $greeting > made; ls ..",
    ]);
    let ran = command.current_dir(workspace.path().join("mine")).output().expect("it starts");
    assert_eq!(workspace.text(&ran), "status: 0\n--- stdout\nfrom the hostmine\n");
    assert_eq!(fs::read_to_string(workspace.path().join("mine/made")).expect("it was made"), "hi\n");
    assert_eq!(develop(&["--fresh", "-c", "exit 9"]).status.code(), Some(9));
    assert_snapshot!(workspace.text(&develop(&["--fresh", "--", "/none"])), @r"
    status: 127
    --- stderr
    error: cannot run `/none` in the sandbox: it has no such program
    ");
}

#[test]
fn develop_takes_shells_of_a_flake_before_its_packages() {
    let workspace = Workspace::new("{ }");
    workspace.write(
        "flake.nix",
        r#"
        {
          outputs = _: let sh = name: (import ./prelude.nix).sh { inherit name; script = "exit 1"; shellHook = "echo hook of $name"; }; in {
            devShells.x86_64-linux.default = sh "shell";
            packages.x86_64-linux.default = sh "package";
            packages.x86_64-linux.other = sh "other";
          };
        }
        "#,
    );
    assert_eq!(workspace.stdout("develop --fresh -c true"), "hook of shell");
    assert_eq!(workspace.stdout("develop .#other --fresh -c true"), "hook of other");
    assert_snapshot!(workspace.check("develop .#none --fresh -c true"), @r"
    status: 1
    --- stderr
    error[installable]: the flake at `[DIR]` has no `devShells.x86_64-linux.none`, `packages.x86_64-linux.none`, `legacyPackages.x86_64-linux.none`, `none`
     |
     = help: `ev flake show [DIR]` lists what it has
    ");
}

/// Packages of one script each: one with its files in the store, one for a prefix, an app.
const PROGRAMS: &str = r##"
let
  inherit (import ./prelude.nix) write;
  script = text: { inherit text; executable = true; };
in
rec {
  plain = write { name = "plain-1.0"; files."bin/plain" = script "#!/bin/sh\necho \"$0: $*\"\nexit 3\n"; } // { };
  prefixed = write {
    name = "prefixed";
    files."usr/local/ev-suite/bin/one" = script "#!/bin/sh\ncat /usr/local/ev-suite/share/text\n";
    files."usr/local/ev-suite/bin/two" = script "#!/bin/sh\necho two of \"$0\"\n";
    files."usr/local/ev-suite/share/text" = { text = "text of one\n"; };
  };
  more = write {
    name = "more";
    files."usr/local/ev-suite/bin/three" = script "#!/bin/sh\n/usr/local/ev-suite/bin/one\n";
  };
  app = { type = "app"; program = "${plain}/bin/plain"; };
}
"##;

/// Commands, each with its exit status and output.
const RUNS: [(&str, &str); 9] = [
    ("run -f default.nix plain a -- --b c", "3\n/eval/store/[HASH]-plain-1.0/bin/plain: a --b c"),
    ("run -f default.nix app x", "3\n/eval/store/[HASH]-plain-1.0/bin/plain: x"),
    (
        "run -f default.nix prefixed",
        "1\nerror: `prefixed` has no main program: neither is there `prefixed`\n |\n = help: name one with `--command`: `one`, `two`",
    ),
    ("run -f default.nix prefixed -- one", "0\ntext of one"),
    ("run -f default.nix prefixed --command two", "0\ntwo of /usr/local/ev-suite/bin/two"),
    (
        "run -f default.nix prefixed --command none",
        "1\nerror: `prefixed` has no program `none`\n |\n = help: name one with `--command`: `one`, `two`",
    ),
    ("shell -f default.nix plain prefixed more -c three", "0\ntext of one"),
    ("shell -f default.nix plain -c plain a b", "3\n/eval/store/[HASH]-plain-1.0/bin/plain: a b"),
    ("shell -f default.nix plain -c none", "127\nerror: cannot run `none`: ENOENT (No such file or directory)"),
];

#[track_caller]
fn check_programs(workspace: &Workspace) {
    workspace.stdout("build -f default.nix plain prefixed more --no-link");
    for (words, expected) in RUNS {
        let text = workspace.check(words);
        let shown: Vec<&str> = text.lines().filter(|line| !line.starts_with("---")).collect();
        assert_eq!(shown.join("\n"), format!("status: {expected}"), "{words}");
    }
    let ran = workspace.run(["shell", "-f", "default.nix", "prefixed", "-c", "two | cat; kill -TERM $$"]);
    assert_eq!(workspace.text(&ran), "status: signal: 15 (SIGTERM)\n--- stdout\ntwo of /usr/local/ev-suite/bin/two\n");
    // The host has none of it.
    assert!(!PathBuf::from("/usr/local/ev-suite").exists() && !PathBuf::from("/eval").exists());
}

#[test]
fn programs_run_out_of_the_store() {
    check_programs(&Workspace::with_own_store(PROGRAMS));
}

#[test]
fn programs_run_out_of_the_store_of_an_ordinary_user() {
    if let Some(workspace) = Workspace::of_ordinary_user(PROGRAMS) {
        check_programs(&workspace);
    }
}

#[test]
fn the_paths_of_a_running_program_are_not_collected() {
    let workspace = Workspace::with_own_store(PROGRAMS);
    workspace.write("run.sh", "echo ready >&2\nexec sleep 500\n");
    let running = workspace.start_until("shell -f default.nix plain -- sh run.sh", "ready");
    let collected = |workspace: &Workspace| workspace.stdout("store gc").contains("-plain-1.0");
    assert!(!collected(&workspace));
    send(&running, "KILL");
    finish(running);
    assert!(collected(&workspace));
}

#[test]
fn a_program_has_the_host_as_it_is() {
    let workspace = Workspace::with_own_store(PROGRAMS);
    workspace.write("here", "text of a file\n");
    let line = "cat here; ls / | sort; ls /usr/local | sort; pwd; touch made; test -w /tmp && echo writable";
    let ran = workspace.run(["shell", "-f", "default.nix", "prefixed", "-c", line]);
    let said: Vec<String> = String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect();
    let names = |directory: &str, also: &str| -> Vec<String> {
        let entries = fs::read_dir(directory).expect("it is there").flatten();
        // `ls` leaves out names that start with a dot.
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let names: BTreeSet<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.into_iter().chain([also.to_owned()]).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let mut expected = vec!["text of a file".to_owned()];
    expected.extend(names("/", "eval"));
    expected.extend(names("/usr/local", "ev-suite"));
    expected.extend([workspace.path().display().to_string(), "writable".to_owned()]);
    let sorted = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&said), sorted(&expected), "{}", workspace.text(&ran));
    assert!(workspace.path().join("made").exists());
}

#[test]
fn the_log_of_a_running_build_can_be_read() {
    let source = "(import ./prelude.nix).sh { name = \"toy\"; script = \"echo first @nonce@; sleep 500\"; }";
    let workspace = Workspace::new(source);
    let build = workspace.start_until("build -f default.nix --no-link", "building toy");
    let start = Instant::now();
    loop {
        let ran = workspace.run(["log", "-f", "default.nix"]);
        if ran.status.success() && ran.stdout.starts_with(b"first ") {
            break;
        }
        assert!(start.elapsed() < HANG_TIMEOUT, "it does not come: {}", workspace.text(&ran));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The one that follows ends with the build.
    let follow =
        workspace.command(["log", "-f", "default.nix", "--follow"]).stdout(Stdio::piped()).spawn().expect("it starts");
    send(&build, "INT");
    assert_eq!(finish(build).status.code(), Some(130));
    let followed = follow.wait_with_output().expect("it is our child");
    assert!(followed.stdout.is_empty() || followed.stdout.starts_with(b"first "), "{:?}", followed.stdout);
}
