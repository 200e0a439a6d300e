//! Entries of lock files that do not identify their tree: pure evaluation refuses them, kind by
//! kind, and `flake lock` adds the missing attributes.

use crate::fetchers::{repository, run_whole as run, with_repository};
use crate::workspace::Workspace;
use std::fs;

/// Writes a flake with one input, locked with the given members.
fn write(workspace: &Workspace, url: &str, original: &str, locked: &str) {
    let parent = if url.starts_with("path:./") { ", \"parent\": []" } else { "" };
    workspace.write(
        "flake.nix",
        &format!("{{ inputs.r = {{ url = \"{url}\"; flake = false; }}; outputs = {{ self, r }}: {{ text = builtins.readFile \"${{r}}/text\"; }}; }}"),
    );
    workspace.write(
        "flake.lock",
        &format!(
            "{{ \"nodes\": {{ \"r\": {{ \"flake\": false, \"locked\": {{ {locked} }}, \"original\": {{ {original} }}{parent} }}, \
             \"root\": {{ \"inputs\": {{ \"r\": \"r\" }} }} }}, \"root\": \"root\", \"version\": 7 }}"
        ),
    );
}

fn members(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("\"{name}\": \"{value}\"")).collect::<Vec<_>>().join(", ")
}

const EVALUATE: [&str; 2] = ["expr", ".#text"];

#[test]
fn each_kind_has_its_pinning_attribute() {
    let (workspace, rev) = with_repository();
    let place = workspace.path().display().to_string();
    workspace.write("plain/text", "plain");
    let hash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let (repository, directory) = (format!("file://{place}/repository"), format!("{place}/plain"));
    let zeros = "0".repeat(40);
    let refused = "in pure evaluation mode, the input 'r' cannot be used: its entry in 'flake.lock' has ";
    // The members of the entry, and the message of pure evaluation.
    let cases: [(&[(&str, &str)], &str); 15] = [
        (&[("type", "path"), ("path", &directory)], "no 'narHash'"),
        (&[("type", "path"), ("path", &directory), ("rev", &rev)], "no 'narHash'"),
        (&[("type", "path"), ("path", &directory), ("narHash", "")], "no 'narHash'"),
        (&[("type", "path"), ("path", &directory), ("narHash", hash)], "hash mismatch"),
        (&[("type", "path"), ("path", "./plain")], "status: 0"),
        (&[("type", "git"), ("url", &repository)], "neither a 'rev' nor a 'narHash'"),
        (&[("type", "git"), ("url", &repository), ("rev", &zeros)], "neither a 'rev' nor a 'narHash'"),
        (&[("type", "git"), ("url", &repository), ("ref", "old")], "neither a 'rev' nor a 'narHash'"),
        (&[("type", "git"), ("url", &repository), ("rev", &rev)], "status: 0"),
        (&[("type", "tarball"), ("url", "file:///nothing.tar"), ("rev", &rev)], "no 'narHash'"),
        (&[("type", "file"), ("url", "file:///nothing")], "no 'narHash'"),
        (&[("type", "github"), ("owner", "o"), ("repo", "r")], "neither a 'rev' nor a 'narHash'"),
        (&[("type", "gitlab"), ("owner", "o"), ("repo", "r"), ("ref", "main")], "neither a 'rev' nor a 'narHash'"),
        (&[("type", "indirect"), ("id", "nixpkgs"), ("rev", &rev)], "neither a 'rev' nor a 'narHash'"),
        (&[("type", "sourcehut"), ("owner", "~o"), ("repo", "r")], "neither a 'rev' nor a 'narHash'"),
    ];
    for (entry, expected) in cases {
        write(&workspace, "path:./plain", &members(&[("type", "path"), ("path", "./plain")]), &members(entry));
        let said = run(&workspace, &EVALUATE);
        assert!(said.contains(expected), "{entry:?}:\n{said}");
        if expected.contains("narHash") {
            assert!(said.contains(&format!("{refused}{expected}")), "{entry:?}:\n{said}");
            assert!(said.contains("`ev flake lock`") && said.contains("`--impure`"), "{entry:?}:\n{said}");
        }
    }
}

/// Both alternatives of the help work.
#[test]
fn missing_attributes_are_added_by_the_help() {
    let (workspace, _) = with_repository();
    let place = workspace.path().display().to_string();
    workspace.write("plain/text", "plain");
    workspace.write("other/text", "other");
    let url = format!("file://{place}/repository");
    let path = |name: &str| members(&[("type", "path"), ("path", &format!("{place}/{name}"))]);
    for (reference, original, locked, impure, pure) in [
        // A replaced directory is not the locked one.
        (format!("path:{place}/plain"), path("plain"), path("other"), "other", "plain"),
        (
            format!("git+{url}"),
            members(&[("type", "git"), ("url", &url)]),
            members(&[("type", "git"), ("url", &url)]),
            "first",
            "first",
        ),
    ] {
        write(&workspace, &reference, &original, &locked);
        let said = run(&workspace, &EVALUATE);
        assert!(said.contains("`ev flake lock`"), "{reference}:\n{said}");
        let said = run(&workspace, &["expr", "--impure", ".#text"]);
        assert!(said.starts_with("status: 0") && said.contains(impure), "{reference}:\n{said}");
        let said = run(&workspace, &["flake", "lock"]);
        assert!(said.starts_with("status: 0"), "{reference}:\n{said}");
        let lock = fs::read_to_string(workspace.path().join("flake.lock")).expect("it was written");
        assert!(lock.contains("narHash"), "{lock}");
        let said = run(&workspace, &EVALUATE);
        assert!(said.starts_with("status: 0") && said.contains(pure), "{reference}:\n{said}");
    }
}

/// An unchecked `rev` pins nothing, outside of lock files either.
#[test]
fn a_revision_of_an_archive_pins_nothing() {
    let workspace = Workspace::with_own_store("");
    let rev = repository(&workspace.path().join("repository"));
    fs::write(workspace.path().join("archive.tar"), vec![0; 10_240]).expect("it is ours");
    let place = workspace.path().display();
    for tree in [
        format!("{{ type = \"tarball\"; url = \"file://{place}/archive.tar\"; rev = \"{rev}\"; }}"),
        format!("{{ type = \"file\"; url = \"file://{place}/archive.tar\"; rev = \"{rev}\"; }}"),
        format!("{{ type = \"path\"; path = \"{place}/repository\"; rev = \"{rev}\"; }}"),
        format!("{{ type = \"git\"; url = \"file://{place}/repository\"; rev = \"{}\"; }}", "0".repeat(40)),
    ] {
        let said = run(&workspace, &["expr", "--expr", &format!("(builtins.fetchTree {tree}).narHash")]);
        let is_reported = said.contains("requires a hash or a revision") || said.contains("experimental");
        assert!(is_reported && !said.starts_with("status: 0"), "{tree}:\n{said}");
    }
}
