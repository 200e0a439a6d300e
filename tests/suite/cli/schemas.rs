//! The schemas in `docs/schemas` against what commands print. They allow no field that they do not
//! name, so that a new one is described before it is printed.

use crate::schema::Schema;
use crate::workspace::Workspace;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

#[track_caller]
fn check(schema: &str, value: &Value) {
    let text = fs::read_to_string(directory().join(format!("{schema}.json"))).expect("there is such a schema");
    let errors = Schema::parse(&text).errors(value);
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// Returns the events of a file, each of which is checked.
#[track_caller]
fn events(text: &str) -> Vec<Value> {
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    events.iter().for_each(|event| check("event", event));
    events
}

#[track_caller]
fn kinds(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["event"].as_str().expect("each has a kind")).collect()
}

const FILE: &str = r#"
let
  inherit (import ./prelude.nix) sh write fetchurl;
in
rec {
  good = sh { name = "good"; script = "echo @phase make; echo working; echo > $out"; };
  tree = write { name = "tree"; files."lib/x".text = "@nonce@"; };
  bad = sh { name = "bad"; script = "set -x; echo @phase make; echo; echo error: no luck; exit 3"; };
  above = sh { name = "above"; script = "echo > $out"; inherit bad; };
  killed = sh { name = "killed"; script = "kill -SEGV $$"; };
  wrong = fetchurl {
    name = "wrong.txt";
    urls = [ "file://DIR/default.nix" ];
    sha256 = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  };
  unreachable = fetchurl {
    name = "away.txt";
    urls = [ "http://127.0.0.1:1/x" ];
    sha256 = "sha256-BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  };
}
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new("");
    workspace.write("default.nix", &FILE.replace("DIR", &workspace.path().display().to_string()));
    workspace
}

#[test]
fn a_successful_build() {
    let workspace = workspace();
    check("plan", &workspace.json("build -f default.nix good tree --dry-run --json"));
    let report = workspace.json("build -f default.nix good tree --no-link --json --events events -L");
    check("build", &report);
    assert_eq!(report["summary"], serde_json::json!({ "built": 1, "cutOff": 0, "fetched": 0, "made": 1 }));
    check("build", &workspace.json("build -f default.nix good --no-link --json"));
    let text = fs::read_to_string(workspace.path().join("events")).expect("it was written");
    let all = events(&text);
    assert_eq!(kinds(&all), BTreeSet::from(["plan", "start", "build", "phase", "log", "end", "summary"]));
    let last = all.last().expect("there is a summary");
    assert_eq!((&last["event"], &last["success"]), (&"summary".into(), &true.into()));
    check("path-info", &workspace.json("path-info -f default.nix good --json"));
}

#[test]
fn each_failure_is_an_object_of_its_own() {
    let workspace = workspace();
    workspace.stdout("build -f default.nix tree --no-link");
    let command = "build -f default.nix -k --no-link --json --events events above killed wrong unreachable tree good";
    let report = workspace.json(command);
    check("build", &report);
    check("failure", &report);
    let failures = report["failures"].as_array().expect("there are some");
    let of = |name: &str| failures.iter().find(|failure| failure["name"] == name).expect("it failed");
    assert_eq!(failures.len(), 4, "{report:#}");
    let bad = of("bad");
    let seen = ["code", "phase", "command", "firstError", "builderExitStatus"].map(|field| &bad[field]);
    let expected = serde_json::json!(["build::failed", "make", "exit 3", "error: no luck", 3]);
    assert_eq!(serde_json::json!(seen), expected, "{bad:#}");
    assert!(Path::new(bad["logPath"].as_str().expect("it has a log")).is_file());
    assert_eq!(of("killed")["builderSignal"], 11);
    let hash = &of("wrong.txt")["hash"];
    assert_eq!(hash["places"].as_array().map(Vec::len), Some(1), "{hash:#}");
    assert_eq!(of("away.txt")["unreachableHost"], "127.0.0.1:1");
    assert_eq!(report["blocked"].as_array().map(Vec::len), Some(1), "{report:#}");
    let results = report["results"].as_array().expect("one of each target").iter();
    let valid: Vec<&Value> = results.map(|result| &result["valid"]).collect();
    assert_eq!(serde_json::json!(valid), serde_json::json!([false, false, false, false, true, true]));
    // The help names each place once.
    let help = report["error"]["help"].as_str().expect("a hash is wrong");
    assert_eq!(help.matches("default.nix:").count(), 1, "{help}");

    let text = fs::read_to_string(workspace.path().join("events")).expect("it was written");
    let all = events(&text);
    let ends = |result: &str| all.iter().filter(|event| event["result"] == result).count();
    assert_eq!((ends("failed"), ends("blocked"), ends("built")), (4, 1, 1), "{text}");
    let last = all.last().expect("there is a summary");
    assert_eq!((&last["success"], &last["exitStatus"]), (&false.into(), &report["exitStatus"]));
}

#[test]
fn other_failures_and_commands() {
    let workspace = workspace();
    check("failure", &workspace.json("build -f default.nix nothing --json"));
    check("failure", &workspace.json("build -f nothing.nix --json"));
    check("failure", &workspace.json("expr --json -f default.nix nothing"));
    check("doctor", &workspace.json("doctor --json"));
    check("store-verify", &Workspace::with_own_store("1").json("store verify --json"));
    let ran = workspace.run(["expr", "--error-format", "json", "-f", "default.nix", "nothing"]);
    check("diagnostic", &serde_json::from_slice(&ran.stderr).expect("it is one line"));
    let words = "build --no-link --error-format json -f default.nix bad -q";
    let ran = workspace.run(words.split(' '));
    let lines: Vec<Value> =
        String::from_utf8_lossy(&ran.stderr).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().for_each(|line| check("diagnostic", line));
    assert_eq!(lines.len(), 2, "the failure, and the summary: {lines:#?}");
}

#[test]
fn events_and_results_do_not_share_an_output() {
    let workspace = workspace();
    let ran = workspace.run("build -f default.nix tree --no-link --events -".split(' '));
    assert!(ran.status.success() && !events(&String::from_utf8_lossy(&ran.stdout)).is_empty());
    let text = workspace.check("build -f default.nix tree --no-link --events - --print-out-paths");
    assert!(text.starts_with("status: 2\n"), "{text}");
}
