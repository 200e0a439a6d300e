//! `--eval-profile`: the input file of flame graph programs.

use crate::workspace::Workspace;

#[test]
fn stacks_and_their_milliseconds() {
    let workspace = Workspace::with_own_store(
        "let\n  fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2);\n  loop = n: sum: if n == 0 then sum else loop (n - 1) (sum + fib 12);\nin builtins.foldl' (sum: n: sum + loop 40 0) 0 (builtins.genList (n: n) 200)",
    );
    let value = workspace.stdout("expr -f default.nix");
    assert_eq!(workspace.stdout("expr -f default.nix --eval-profile profile"), value, "looking changes nothing");
    let profile = std::fs::read_to_string(workspace.path().join("profile")).expect("it was written");
    let mut total = 0;
    for line in profile.lines() {
        let (stack, ticks) = line.rsplit_once(' ').expect("a stack and a number");
        total += ticks.parse::<u64>().expect("a number");
        assert!(!stack.is_empty() && stack.split(';').all(|call| !call.is_empty()), "{line}");
    }
    assert!(total > 0, "{profile}");
    // The caller is to the left of the callee, and a function is named with its position.
    let fib = |line: &&str| line.contains("loop (") && line.contains("default.nix:3:") && line.contains(";fib (");
    assert!(profile.lines().any(|line| fib(&line)), "{profile}");
    assert!(profile.contains("builtins.foldl'"), "{profile}");
}
