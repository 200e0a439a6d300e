//! Files larger than an evaluation's memory limit.

use crate::workspace::Workspace;
use model::{HashAlgorithm, Hasher};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

const FILE_BYTES: u64 = 384 << 20;
/// The same as an argument.
const LIMIT: &str = "128M";

/// Makes a sparse file of zeros.
fn with_large_file() -> Workspace {
    let workspace = Workspace::with_own_store("1");
    let file = File::create(workspace.path().join("large")).expect("the workspace can be written");
    file.set_len(FILE_BYTES).expect("files have holes");
    workspace
}

fn hash_of_zeros() -> String {
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        hasher.update(&zeros);
    }
    hasher.finish().hex()
}

/// Returns the peak memory of a process.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is running");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel reports it");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

#[test]
fn a_file_is_hashed_in_pieces() {
    let workspace = with_large_file();
    let mut command = workspace.command(["repl", "--max-eval-memory", LIMIT]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut keys = child.stdin.take().expect("it is piped");
    writeln!(keys, "builtins.hashFile \"sha256\" ./large").expect("it reads");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it answers");
    // The program waits for another line.
    let peak = peak_kib(child.id());
    drop(keys);
    assert!(child.wait().expect("it is ours").success());
    assert_eq!(line.trim().trim_matches('"'), hash_of_zeros());
    assert!(peak < FILE_BYTES >> 10, "{peak} KiB");
}

#[test]
fn a_file_that_does_not_fit_is_not_read() {
    let workspace = with_large_file();
    let path = workspace.path().join("large").display().to_string();
    let limit = 128u64 << 20;
    let expected = format!("its {FILE_BYTES} bytes are more than the {limit} that the evaluation may use");
    for expression in [
        "builtins.readFile ./large",
        "builtins.stringLength (builtins.readFile ./large)",
        "builtins.fromJSON (builtins.readFile ./large)",
        "import ./large",
        "builtins.scopedImport { } ./large",
    ] {
        let ran = workspace.run(["expr", "--impure", "--max-eval-memory", LIMIT, "--expr", expression]);
        let said = workspace.text(&ran);
        assert!(said.starts_with("status: 1\n") && said.contains(&expected), "{expression}\n{said}");
        assert!(String::from_utf8_lossy(&ran.stderr).contains(&path) && said.contains("--max-eval-memory"), "{said}");
    }
    let endless = format!("it has more than the {limit} bytes that the evaluation may use");
    let ran = workspace.run(["expr", "--impure", "--max-eval-memory", LIMIT, "--expr", "builtins.readFile /dev/zero"]);
    let said = workspace.text(&ran);
    assert!(said.starts_with("status: 1\n") && said.contains(&endless), "{said}");
    let mut command = workspace.command(["nix-instantiate", "--eval", "-E", "builtins.readFile ./large"]);
    let said = workspace.text(&command.env("EVAL_MAX_EVAL_MEMORY", LIMIT).output().expect("the program starts"));
    assert!(said.starts_with("status: 1\n") && said.contains(&expected), "{said}");
    // Other uses of the file need no memory for it.
    let words = ["nix-instantiate", "--eval", "-E", "builtins.hashFile \"sha256\" ./large"];
    let said =
        workspace.text(&workspace.command(words).env("EVAL_MAX_EVAL_MEMORY", LIMIT).output().expect("it starts"));
    assert!(said.contains(&hash_of_zeros()), "{said}");
}
