//! `file:` URLs at evaluation: every fetcher takes them for absolute paths of this machine, or
//! reports an error.

use crate::fetchers::{repository, run};
use crate::workspace::Workspace;
use std::fs;

/// Makes a workspace with a file, an archive and a repository, and the same below a directory with
/// the name of a host.
fn workspace() -> Workspace {
    let workspace = Workspace::with_own_store("");
    for place in ["", "etc/"] {
        workspace.write(&format!("{place}file.txt"), "text");
        fs::write(workspace.path().join(format!("{place}archive.tar")), vec![0; 10_240]).expect("it is ours");
        repository(&workspace.path().join(format!("{place}repository")));
        workspace.write(&format!("{place}flake/flake.nix"), "{ outputs = { self }: { x = 1; }; }");
    }
    workspace
}

/// Each fetcher with a URL that ends with a name: the name of the file to fetch, and the arguments.
fn ways(url: &dyn Fn(&str) -> String) -> Vec<Vec<String>> {
    let expressions = [
        format!("builtins.readFile (builtins.fetchurl \"{}\")", url("file.txt")),
        format!("builtins.readFile (builtins.fetchurl {{ url = \"{}\"; name = \"x\"; }})", url("file.txt")),
        format!("builtins.typeOf (fetchTarball \"{}\")", url("archive.tar")),
        format!("(fetchGit \"{}\").rev", url("repository")),
        format!("(fetchGit {{ url = \"{}\"; }}).rev", url("repository")),
        format!("(builtins.fetchTree {{ type = \"git\"; url = \"{}\"; }}).rev", url("repository")),
        format!("(builtins.fetchTree {{ type = \"file\"; url = \"{}\"; }}).narHash", url("file.txt")),
        format!("(builtins.fetchTree {{ type = \"tarball\"; url = \"{}\"; }}).narHash", url("archive.tar")),
        format!("(builtins.fetchTree \"git+{}\").rev", url("repository")),
        format!("(builtins.fetchTree \"{}\").narHash", url("archive.tar")),
    ];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut ways: Vec<Vec<String>> =
        expressions.iter().map(|text| words(&["expr", "--impure", "--expr", text])).collect();
    let include = format!("x={}", url("archive.tar"));
    ways.push(words(&["expr", "--impure", "-I", &include, "--expr", "<x>"]));
    ways
}

fn said(workspace: &Workspace, words: &[String]) -> String {
    let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
    all.extend(["--extra-experimental-features", "fetch-tree flakes"]);
    let said = run(workspace, &all);
    if said.contains("unexpected argument") { run(workspace, &all[..all.len() - 2]) } else { said }
}

#[test]
fn another_machine_is_refused_by_every_fetcher() {
    let workspace = workspace();
    for host in ["etc", "127.0.0.1", ".", "user@etc", "etc:80"] {
        for words in ways(&|name| format!("file://{host}/{name}")) {
            let said = said(&workspace, &words);
            assert!(!said.starts_with("status: 0"), "{words:?}\n{said}");
            assert!(said.contains(&format!("has unexpected authority '{host}'")), "{words:?}\n{said}");
        }
    }
}

#[test]
fn a_path_that_is_not_absolute_is_refused() {
    let workspace = workspace();
    for words in ways(&|name| format!("file:{name}")) {
        let said = said(&workspace, &words);
        assert!(!said.starts_with("status: 0"), "{words:?}\n{said}");
        let is_reported = said.contains("names no absolute path") || said.contains("needs an absolute path");
        // A colon is no part of a name; the search path takes it for a missing directory.
        let is_other = said.contains("invalid store path name") || words.contains(&"-I".to_owned());
        assert!(is_reported || is_other, "{words:?}\n{said}");
    }
}

#[test]
fn a_path_of_this_machine_is_read() {
    let workspace = workspace();
    let place = workspace.path().display().to_string();
    for words in ways(&|name| format!("file://{place}/{name}")) {
        let said = said(&workspace, &words);
        assert!(said.starts_with("status: 0"), "{words:?}\n{said}");
    }
    // As in curl for downloads, and in Nix for the other fetchers.
    for words in ways(&|name| format!("file://localhost{place}/{name}")) {
        let said = said(&workspace, &words);
        let is_plain = ["fetchurl", "fetchTarball"].iter().any(|name| words.iter().any(|word| word.contains(name)))
            || words.contains(&"-I".to_owned());
        assert_eq!(said.starts_with("status: 0"), is_plain, "{words:?}\n{said}");
        assert_eq!(said.contains("has unexpected authority 'localhost'"), !is_plain, "{words:?}\n{said}");
    }
}

/// Inputs of flakes, with a lock file and without.
#[test]
fn inputs_of_flakes_are_no_exception() {
    let workspace = workspace();
    let locked = |url: &str, kind: &str| {
        format!(
            "{{ \"nodes\": {{ \"r\": {{ \"flake\": false, \"locked\": {{ \"type\": \"{kind}\", \"url\": \"{url}\", \
             \"rev\": \"6f12739d219a79befa6f321cf205fabdf16ade81\", \"narHash\": \"sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\" }}, \
             \"original\": {{ \"type\": \"{kind}\", \"url\": \"{url}\" }} }}, \"root\": {{ \"inputs\": {{ \"r\": \"r\" }} }} }}, \
             \"root\": \"root\", \"version\": 7 }}"
        )
    };
    for (scheme, kind, name) in
        [("git+", "git", "repository"), ("tarball+", "tarball", "archive.tar"), ("file+", "file", "file.txt")]
    {
        let url = format!("file://etc/{name}");
        workspace.write(
            "flake.nix",
            &format!("{{ inputs.r = {{ url = \"{scheme}{url}\"; flake = false; }}; outputs = {{ self, r }}: {{ x = toString r; }}; }}"),
        );
        let _ = fs::remove_file(workspace.path().join("flake.lock"));
        let lock = run(&workspace, &["flake", "lock"]);
        let unlocked = run(&workspace, &["expr", "--impure", ".#x"]);
        workspace.write("flake.lock", &locked(&url, kind));
        let locked = run(&workspace, &["expr", ".#x"]);
        for said in [lock, unlocked, locked] {
            assert!(said.contains("has unexpected authority 'etc'"), "{scheme}:\n{said}");
        }
    }
}

/// Restricted evaluation checks the decoded path, not the encoded URL.
#[test]
fn restricted_evaluation_checks_the_path_that_is_read() {
    let workspace = workspace();
    workspace.write("allowed/file.txt", "allowed");
    workspace.write("secret", "secret");
    let place = workspace.path().display().to_string();
    let read = |url: &str| {
        let expression = format!("builtins.readFile (builtins.fetchurl {{ url = \"{url}\"; name = \"x\"; }})");
        let allowed = format!("{place}/allowed");
        run(&workspace, &["expr", "--restrict", "-I", &format!("a={allowed}"), "--expr", &expression])
    };
    for url in [
        "file://{}/allowed/file.txt",
        "file:{}/allowed/file.txt",
        "{}/allowed/file.txt",
        "file://{}/allowed/fil%65.txt",
    ] {
        let said = read(&url.replace("{}", &place));
        assert!(said.starts_with("status: 0") && said.contains("allowed"), "{url}: {said}");
    }
    for url in [
        "file://{}/secret",
        "file:{}/secret",
        "FILE://{}/secret",
        "{}/secret",
        "file://{}/allowed/../secret",
        "file://{}/allowed/%2e%2e/secret",
        "file://{}/allowed/%2E./secret",
        "file://{}/allowed%2f..%2fsecret",
        "{}/allowed/../secret",
        "file://localhost{}/secret",
    ] {
        let said = read(&url.replace("{}", &place));
        assert!(!said.starts_with("status: 0") && !said.contains("\"secret\""), "{url}: {said}");
        assert!(said.contains("forbidden in restricted mode"), "{url}: {said}");
    }
}

/// Restricted evaluation bounds evaluation alone. Builds fetch by hash from any URL of the
/// derivation, as in Nix.
#[test]
fn a_build_fetches_from_where_evaluation_may_not() {
    let workspace = workspace();
    let place = workspace.path().display().to_string();
    let hash = "sha256-mC2ePrmW9VnmM/TRlN7zdh2Qn1o7ZH0ahR/q1nwyydE=";
    let recipe = format!(
        "derivation {{ name = \"x\"; system = \"builtin\"; builder = \"builtin:fetchurl\"; url = \"file://{place}/file.txt\"; \
         outputHash = \"{hash}\"; outputHashAlgo = \"sha256\"; outputHashMode = \"flat\"; }}"
    );
    let built = run(&workspace, &["build", "--restrict", "--no-link", "--expr", &recipe]);
    assert!(built.starts_with("status: 0"), "{built}");
    let expression = format!("builtins.fetchurl {{ url = \"file://{place}/file.txt\"; sha256 = \"{hash}\"; }}");
    let evaluated = run(&workspace, &["expr", "--restrict", "--expr", &expression]);
    assert!(evaluated.contains("restricted mode"), "{evaluated}");
}
