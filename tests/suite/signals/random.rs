//! Each signal at random moments of every command: it ends soon and with the documented status, or
//! had ended already; no process is left, the store is clean, and the same command works
//! afterwards.
//!
//! `EVAL_SIGNAL_ROUNDS` is the number of times that each command gets each signal; without it each
//! command gets one or two.

use super::terminal::{CTRL_C, SIGNALS, Terminal};
use crate::workspace::Workspace;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const FILES: &str = r#"
{ n ? "" }: let inherit (import ./prelude.nix) sh write; in {
  toy = write { name = "toy"; files."opt/toy/bin/run".text = "@nonce@"; };
  other = write { name = "other"; files."opt/toy/bin/run".text = "other"; };
  built = sh { name = "built"; script = ": @nonce@ ${n}; sleep 0.1; echo > $out"; };
  number = builtins.length (builtins.genList (n: n * n) 1000);
}
"#;

/// Commands, each with a preparation before each run, so that it has work to do. `#` is another
/// number each time.
const COMMANDS: [(&str, &str); 22] = [
    ("build built -f default.nix --no-link --argstr n #", ""),
    ("build built -f default.nix --no-link --rebuild", "build built -f default.nix --no-link"),
    ("build toy -f default.nix", ""),
    ("expr number -f default.nix --no-eval-cache", ""),
    ("expr -f default.nix --json", ""),
    ("instantiate built -f default.nix --no-eval-cache", ""),
    ("nix-instantiate --eval --strict default.nix -A number", ""),
    ("flake lock", ""),
    ("derivation show built -f default.nix", ""),
    ("log built -f default.nix", "build built -f default.nix --no-link"),
    ("path-info -r ./toy", "build toy -f default.nix -o toy"),
    ("store add corpus", ""),
    ("store verify", ""),
    ("store verify --repair", ""),
    ("store gc", ""),
    ("store rebuild-db", ""),
    ("prefix install toy -f default.nix --to root", ""),
    ("prefix install other -f default.nix --to root", ""),
    (
        "prefix rollback /opt/toy --to root --force",
        "prefix install toy -f default.nix --to root --force; prefix uninstall /opt/toy --to root --force; \
         prefix install toy -f default.nix --to root; prefix install other -f default.nix --to root",
    ),
    ("prefix generations /opt/toy --to root", ""),
    ("prefix uninstall /opt/toy --to root --force", "prefix install toy -f default.nix --to root --force"),
    ("doctor", ""),
];

/// Random numbers from 0 to 1; a failing run prints them.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> f64 {
        // Numerical Recipes' generator; the upper bits are the random ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn run(workspace: &Workspace) {
    let rounds: Option<usize> = std::env::var("EVAL_SIGNAL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut dice = Dice(seed);
    workspace.write("flake.nix", "{ outputs = { self }: { }; }");
    workspace.change_owner();
    workspace.stdout("build built toy other -f default.nix --no-link");
    let (mut sent, mut ended_before) = (0, 0);
    for (nth, (command, before)) in COMMANDS.into_iter().enumerate() {
        let prepare = || {
            for words in before.split("; ").filter(|words| !words.is_empty()) {
                workspace.stdout(words);
            }
        };
        let words = |number: usize| command.replace('#', &number.to_string());
        let run_whole = |number| {
            prepare();
            let start = Instant::now();
            let status = workspace.run(words(number).split(' ')).status.code();
            (start.elapsed(), status)
        };
        // The first run may have more to do than later ones.
        run_whole(0);
        let (usual_time, usual) = run_whole(1);
        let times = rounds.map_or(1, |rounds| rounds * SIGNALS.len());
        for time in 0..times {
            prepare();
            let (signal, status) = SIGNALS[(nth + time) % SIGNALS.len()];
            let moment = usual_time.mul_f64(1.1 * dice.throw()).min(Duration::from_secs(3));
            let mut terminal = Terminal::start(workspace, &words(2 + time));
            std::thread::sleep(moment);
            if signal == Signal::SIGINT {
                terminal.type_keys(CTRL_C)
            } else {
                terminal.send(signal)
            }
            let ended = terminal.end();
            let what = format!("{signal} after {moment:?}, seed {seed}, `{command}`:\n{}", ended.screen);
            assert!(ended.status == status || Some(ended.status) == usual, "{} by {what}", ended.status);
            assert!(!ended.screen.contains("failed  "), "{what}");
            sent += 1;
            ended_before += usize::from(ended.status != status);
        }
        workspace.expect_no_build_left();
        prepare();
        let again = workspace.run(words(0).split(' '));
        assert_eq!(again.status.code(), usual, "`{command}` does not work any more:\n{}", workspace.text(&again));
        assert_eq!(workspace.json("store verify --json")["damage"], serde_json::json!([]), "after `{command}`");
    }
    println!("{sent} signals; {ended_before} commands had ended before");
}

#[test]
fn at_random_moments() {
    run(&Workspace::with_own_store(FILES));
}

#[test]
fn at_random_moments_as_an_ordinary_user() {
    if let Some(workspace) = Workspace::of_ordinary_user(FILES) {
        run(&workspace);
    }
}
