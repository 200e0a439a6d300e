//! Sources that cannot be fetched, or have other contents.

use crate::workspace::Workspace;
use insta::assert_snapshot;

const HASH: &str = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn hash_mismatch_shows_both_and_the_line_to_change() {
    let workspace = Workspace::with_own_store("");
    workspace.write("source.txt", "what the server has now\n");
    workspace.write(
        "default.nix",
        &format!(
            "(import ./prelude.nix).fetchurl {{\n  urls = [ \"file://{}/source.txt\" ];\n  sha256 = \"{HASH}\";\n}}\n",
            workspace.path().display()
        ),
    );
    assert_snapshot!(workspace.check("build -f default.nix"), @r#"
    status: 102
    --- stderr
    plan: 1 file to fetch
    error[build::hash_mismatch]: `source.txt` failed: the contents have another hash than the derivation says
        specified: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
        got:       sha256-XwO/H6trHJ6wxC+eAOiICWig3dPG7fMJGBEK81XRJAM=
        url:       file://[DIR]/source.txt
     |
     = help: when the new contents are what you want, write the new hash in `[DIR]/default.nix:3`
    1 failed in [TIME]
    error[build::hash_mismatch]: `source.txt` failed, as reported above
    "#);
}

#[test]
fn hash_mismatch_fixed_by_the_help() {
    let workspace = Workspace::with_own_store("");
    workspace.write("source.txt", "what the server has now\n");
    let url = format!("file://{}/source.txt", workspace.path().display());
    let recipe =
        |hash: &str| format!("(import ./prelude.nix).fetchurl {{ urls = [ \"{url}\" ]; sha256 = \"{hash}\"; }}");
    workspace.write("default.nix", &recipe(HASH));
    let json = workspace.json("build -f default.nix --json");
    let message = json["error"]["message"].as_str().expect("a failure has a message");
    let got =
        message.split("got:").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("both hashes are shown");
    workspace.write("default.nix", &recipe(got));
    assert_snapshot!(workspace.check("build -f default.nix"), @r#"
    status: 0
    --- stderr
    plan: 1 file to fetch
    fetched  source.txt
    1 fetched in [TIME]
    "#);
}

#[test]
fn an_empty_hash_is_a_question() {
    let workspace = Workspace::with_own_store("");
    workspace.write("source.txt", "what the server has now\n");
    let url = format!("file://{}/source.txt", workspace.path().display());
    workspace.write(
        "default.nix",
        &format!("(import ./prelude.nix).fetchurl {{\n  urls = [ \"{url}\" ];\n  sha256 = \"\";\n}}\n"),
    );
    let said = workspace.check("build -f default.nix");
    assert!(said.contains("specified: (nothing)\n") && said.contains("got:       sha256-XwO/H6tr"), "{said}");
    assert!(said.contains("write the new hash in `[DIR]/default.nix:3`\n"), "{said}");
}

#[test]
fn all_mirrors_dead_names_every_url() {
    let source = format!(
        "(import ./prelude.nix).fetchurl {{
  name = \"dead.tar\";
  urls = [ \"file:///nonexistent/dead.tar\" \"http://127.0.0.1:1/dead.tar\" \"mirror://toy/dead.tar\" ];
  sha256 = \"{HASH}\";
}}"
    );
    let workspace = Workspace::with_own_store(&source);
    let mut command = workspace.command(["build", "-f", "default.nix"]);
    command.env("EVAL_MIRRORS", "toy=http://127.0.0.1:1/a toy=file:///nonexistent/b");
    assert_snapshot!(workspace.text(&command.output().expect("the program starts")), @r#"
    status: 112
    --- stderr
    plan: 1 file to fetch
    error[build::network]: `dead.tar` cannot be fetched: all its URLs failed
        file:///nonexistent/dead.tar: cannot read `/nonexistent/dead.tar`: No such file or directory (ENOENT)
        http://127.0.0.1:1/dead.tar: Connection refused (ECONNREFUSED) (tried 2 times)
        http://127.0.0.1:1/a/dead.tar: Connection refused (ECONNREFUSED) (tried 2 times)
        file:///nonexistent/b/dead.tar: cannot read `/nonexistent/b/dead.tar`: No such file or directory (ENOENT)
     |
     = help: check the network, and the proxy if there is one (`http_proxy`), then run it again
    1 failed in [TIME]
    error[build::network]: `dead.tar` failed, as reported above
    "#);
}

#[test]
fn unknown_mirror() {
    let source = format!(
        "(import ./prelude.nix).fetchurl {{ name = \"x\"; urls = [ \"mirror://nowhere/x\" ]; sha256 = \"{HASH}\"; }}"
    );
    assert_snapshot!(Workspace::with_own_store(&source).check("build -f default.nix"), @r#"
    status: 100
    --- stderr
    plan: 1 file to fetch
    error[build::fetch]: `x` cannot be fetched: its one URL failed
        mirror://nowhere/x: not tried: no mirror named `nowhere` is configured, only debian
     |
     = help: name one with `EVAL_MIRRORS='nowhere=URL'`
    1 failed in [TIME]
    error[build::fetch]: `x` failed, as reported above
    "#);
}

/// Two files of one host that cannot be reached, and two that need them.
const AWAY: &str = r#"
let
  inherit (import ./prelude.nix) fetchurl sh;
  file = name: fetchurl {
    name = "${name}.tar";
    urls = [ "http://127.0.0.1:1/${name}" "mirror://debian-snapshot/${name}" ];
    sha256 = "sha256-${builtins.substring 0 1 name}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  };
  needs = name: sh { name = "needs-${name}"; script = "echo > $out"; src = file name; };
in
map needs [ "one" "two" ]
"#;

#[test]
fn a_host_that_cannot_be_reached_is_reported_once() {
    let workspace = Workspace::new(AWAY);
    let text = workspace.check("build -f default.nix --no-link -k");
    assert!(text.starts_with("status: 112\n"), "{text}");
    assert_eq!(text.matches("check the network, and the proxy").count(), 1, "{text}");
    assert!(!text.contains("debian-snapshot"), "{text}");
    let summary = "error[build::network]: `127.0.0.1:1` cannot be reached: Connection refused (ECONNREFUSED); 2 files wait for it: ";
    assert!(text.contains(summary), "{text}");
}

#[test]
fn offline_names_each_missing_file_at_once() {
    let workspace = Workspace::new(AWAY);
    let report = workspace.json("build -f default.nix --no-link --offline --json");
    assert_eq!(
        (&report["exitStatus"], &report["error"]["code"]),
        (&100.into(), &"build::offline".into()),
        "{report:#}"
    );
    let failures = report["failures"].as_array().expect("there are failures");
    let mut names: Vec<&str> = failures.iter().filter_map(|failure| failure["name"].as_str()).collect();
    names.sort();
    assert_eq!(names, ["one.tar", "two.tar"], "{report:#}");
}
