//! Remote repositories: fetched contents, the cache, and hostile repositories.

use crate::fetchers::{commit, nix, with_repository};
use crate::git_server;
use crate::workspace::Workspace;
use gix::objs::Write;
use gix::objs::tree::EntryKind;
use insta::assert_snapshot;
use std::fs;
use std::path::Path;

const WRITTEN: &str = "the repository can be written";

/// Returns the facts about a fetched repository, and its contents.
fn over_http(workspace: &Workspace, url: &str, more: &str) -> String {
    let expression = format!(
        "let t = fetchGit {{ url = \"{url}\"; {more} }}; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]"
    );
    nix(workspace, &expression)
}

#[test]
fn repositories_are_fetched_over_http() {
    let (workspace, rev) = with_repository();
    let server = git_server::start(workspace.path());
    let url = server.url("/repository");
    let get = |more: &str| over_http(&workspace, &url, more).replace(&url, "[URL]");
    assert_snapshot!(get(""), @r#"
    status: 0
    --- stdout
    [ "6f12739d219a79befa6f321cf205fabdf16ade81" 2 false [ ".gitattributes" "bin" "link" "text" ] ]
    "#);
    assert_snapshot!(get("ref = \"old\";"), @r#"
    status: 0
    --- stdout
    [ "486d36b378b53f32519be87282a4274b8ff34437" 1 false [ ".gitattributes" "bin" "link" "text" ] ]
    "#);
    assert_snapshot!(get("ref = \"old\"; shallow = true;"), @r#"
    status: 0
    --- stdout
    [ "486d36b378b53f32519be87282a4274b8ff34437" 0 false [ ".gitattributes" "bin" "link" "text" ] ]
    "#);
    assert_snapshot!(get("ref = \"none\";"), @r#"
    status: 1
    --- stderr
    error:
           … while evaluating the attribute 't'
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]"; ref = "none"; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           … while calling the 'fetchGit' builtin
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]"; ref = "none"; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           error: cannot fetch `refs/heads/none` of the Git repository `[URL]`: it has no such name; a branch is given by its name, a tag as `refs/tags/…`
           at «string»:1:9:
                1| let t = fetchGit { url = "[URL]"; ref = "none"; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                 |         ^
    "#);
    // A cached revision is not fetched again, and a branch only after a while.
    let asked = server.seen().len();
    assert_snapshot!(get(&format!("rev = \"{rev}\";")), @r#"
    status: 0
    --- stdout
    [ "6f12739d219a79befa6f321cf205fabdf16ade81" 2 false [ ".gitattributes" "bin" "link" "text" ] ]
    "#);
    get("ref = \"old\";");
    assert_eq!(server.seen().len(), asked);
    // In its own home directory, with an empty cache.
    fs::remove_dir_all(workspace.path().join("home")).unwrap();
    let whole = get(&format!("rev = \"{rev}\";"));
    assert!(whole.contains(&rev) && server.seen().len() > asked, "{whole}");
    let missing = "1234567890123456789012345678901234567890";
    assert_snapshot!(get(&format!("rev = \"{missing}\";")), @r#"
    status: 1
    --- stderr
    error:
           … while evaluating the attribute 't'
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]"; rev = "1234567890123456789012345678901234567890"; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           … while calling the 'fetchGit' builtin
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]"; rev = "1234567890123456789012345678901234567890"; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           error: cannot fetch the commit '1234567890123456789012345678901234567890' of the Git repository `[URL]`: none of its branches and tags has it
           at «string»:1:9:
                1| let t = fetchGit { url = "[URL]"; rev = "1234567890123456789012345678901234567890"; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                 |         ^
    "#);
    assert_snapshot!(over_http(&workspace, &server.url("/moved/repository"), ""), @r#"
    status: 0
    --- stdout
    [ "6f12739d219a79befa6f321cf205fabdf16ade81" 2 false [ ".gitattributes" "bin" "link" "text" ] ]
    "#);
    assert_snapshot!(over_http(&workspace, &server.url("/nothing"), "").replace(&server.url(""), "[URL]"), @r#"
    status: 1
    --- stderr
    error:
           … while evaluating the attribute 't'
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]/nothing";  }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           … while calling the 'fetchGit' builtin
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]/nothing";  }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           error: cannot fetch `HEAD` of the Git repository `[URL]/nothing`: Transport handshake failed: cannot fetch `[URL]/nothing/info/refs?service=git-upload-pack`: its one URL failed
             [URL]/nothing/info/refs?service=git-upload-pack: HTTP 404 Not Found
           at «string»:1:9:
                1| let t = fetchGit { url = "[URL]/nothing";  }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                 |         ^
    "#);
    assert_snapshot!(nix(&workspace, "fetchGit \"gopher://example.org/a\""), @r#"
    status: 1
    --- stderr
    error:
           … while calling the 'fetchGit' builtin
             at «string»:1:1:
                  1| fetchGit "gopher://example.org/a"
                   | ^

           error: fetching the Git repository `gopher://example.org/a`: only https, http, ssh, git and file are known
           at «string»:1:1:
                1| fetchGit "gopher://example.org/a"
                 | ^
    "#);
}

/// The damage of an interrupted process or a bad disk.
#[test]
fn a_damaged_copy_of_a_repository_is_fetched_again() {
    let (workspace, rev) = with_repository();
    let server = git_server::start(workspace.path());
    let url = server.url("/repository");
    assert!(over_http(&workspace, &url, "").contains(&rev));
    let git = workspace.path().join("home/.cache/eval/git");
    let copy =
        fs::read_dir(git).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_dir()).expect("a copy");
    fs::write(copy.join("HEAD"), "").unwrap();
    assert!(over_http(&workspace, &url, "").contains(&rev));
    let packs = fs::read_dir(copy.join("objects/pack")).unwrap().flatten().map(|entry| entry.path());
    let pack = packs.into_iter().find(|path| path.extension().is_some_and(|end| end == "pack")).expect("a pack");
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, "PACK").unwrap();
    fs::remove_dir_all(workspace.path().join("home/.cache/eval/trees")).unwrap();
    assert!(over_http(&workspace, &url, "").contains(&rev));
}

/// Makes a commit the head of the branch `main`.
fn set_main(repository: &Path, commit: gix::ObjectId) {
    fs::create_dir_all(repository.join("refs/heads")).expect(WRITTEN);
    fs::write(repository.join("HEAD"), "ref: refs/heads/main\n").expect(WRITTEN);
    fs::write(repository.join("refs/heads/main"), format!("{commit}\n")).expect(WRITTEN);
}

/// Makes a repository `outer` whose directory `inner` is the repository of [`with_repository`], by
/// the given URL.
fn with_submodule(url: &str) -> Workspace {
    let (workspace, rev) = with_repository();
    let directory = workspace.path().join("outer");
    let modules = format!("[submodule \"inner\"]\n\tpath = inner\n\turl = {url}\n");
    let outer = gix::init_bare(&directory).expect("a repository can be made");
    let blob = outer.write_blob(&modules).expect(WRITTEN).detach();
    let entry =
        |name: &str, kind: EntryKind, oid| gix::objs::tree::Entry { mode: kind.into(), filename: name.into(), oid };
    let inner = gix::ObjectId::from_hex(rev.as_bytes()).expect("a revision");
    let entries = vec![entry(".gitmodules", EntryKind::Blob, blob), entry("inner", EntryKind::Commit, inner)];
    let tree = outer.write_object(gix::objs::Tree { entries }).expect(WRITTEN).detach();
    let commit = commit(&outer, tree, None, 1_000_000_120);
    set_main(&directory, commit);
    workspace
}

#[test]
fn submodules_are_fetched_with_a_repository() {
    let workspace = with_submodule("../repository");
    let server = git_server::start(workspace.path());
    let get = |url: &str, submodules: bool| {
        let expression = format!(
            "let t = fetchGit {{ url = \"{url}\"; submodules = {submodules}; }}; in [ t.narHash (builtins.readDir (t + \"/inner\")) ]"
        );
        nix(&workspace, &expression)
    };
    let local = workspace.path().join("outer").display().to_string();
    assert_snapshot!(get(&local, true), @r#"
    status: 0
    --- stdout
    [ "sha256-f/2YqB4CVC0O4nbVEyhHyCAdh2DYt5DnjBfrIlcy2Nc=" { ".gitattributes" = "regular"; bin = "directory"; kept-out = "regular"; link = "symlink"; text = "regular"; } ]
    "#);
    assert_snapshot!(get(&local, false), @r#"
    status: 0
    --- stdout
    [ "sha256-Wi0jipLr2mfD6Xly1TeoIx21jEvTL1FJ0bpSsBfihPQ=" { } ]
    "#);
    assert_eq!(get(&server.url("/outer"), true), get(&local, true));
    assert_eq!(get(&server.url("/outer"), false), get(&local, false));
}

#[test]
fn a_repository_from_elsewhere_has_no_submodules_here() {
    let workspace = with_submodule("file:///etc/private");
    let server = git_server::start(workspace.path());
    let said = over_http(&workspace, &server.url("/outer"), "submodules = true;").replace(&server.url(""), "[URL]");
    assert_snapshot!(said, @r#"
    status: 1
    --- stderr
    error:
           … while evaluating the attribute 't'
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]/outer"; submodules = true; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           … while calling the 'fetchGit' builtin
             at «string»:1:9:
                  1| let t = fetchGit { url = "[URL]/outer"; submodules = true; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                   |         ^

           error: the submodule at 'inner' has the URL `file:///etc/private`: a repository from elsewhere has none on this machine
           at «string»:1:9:
                1| let t = fetchGit { url = "[URL]/outer"; submodules = true; }; in [ t.rev t.revCount t.submodules (builtins.attrNames (builtins.readDir t)) ]
                 |         ^
    "#);
}

/// Serves a commit whose tree holds these entries, unchecked, and returns the output of fetching
/// it.
fn hostile(entries: &[(&str, &str, EntryKind)], more: &str) -> (Workspace, String) {
    let workspace = Workspace::with_own_store("");
    let repository = gix::init_bare(workspace.path().join("hostile")).expect("a repository can be made");
    let mut tree = Vec::new();
    for (name, content, kind) in entries {
        let id = match kind {
            EntryKind::Tree => repository.objects.write_buf(gix::objs::Kind::Tree, content.as_bytes()).expect(WRITTEN),
            _ => repository.write_blob(content).expect(WRITTEN).detach(),
        };
        let mode = match kind {
            EntryKind::Tree => "40000",
            EntryKind::Link => "120000",
            _ => "100644",
        };
        tree.extend(format!("{mode} {name}\0").as_bytes());
        tree.extend(id.as_bytes());
    }
    let tree = repository.objects.write_buf(gix::objs::Kind::Tree, &tree).expect(WRITTEN);
    let commit = commit(&repository, tree, None, 1_000_000_000);
    let directory = workspace.path().join("hostile");
    set_main(&directory, commit);
    let server = git_server::start(workspace.path());
    let said = nix(&workspace, &format!("(fetchGit {{ url = \"{}\"; {more} }}).rev", server.url("/hostile")));
    let cause = said.lines().rfind(|line| line.contains("error: ")).unwrap_or(&said).trim().to_owned();
    (workspace, cause)
}

#[test]
fn a_hostile_repository_writes_nothing_outside() {
    // With `exportIgnore` the tree first becomes an index.
    for (more, why) in [("", " is invalid: "), ("exportIgnore = false;", "is not a file name")] {
        for name in ["..", ".", "", "a/b", "/etc/a"] {
            let (_workspace, said) = hostile(&[(name, "x", EntryKind::Blob)], more);
            assert!(said.contains(why), "{name}: {said}");
        }
        // A duplicate name, first as a link that leads out.
        for second in [EntryKind::Blob, EntryKind::Tree, EntryKind::Link] {
            let target = tempfile::tempdir().expect("a directory can be made");
            let outside = target.path().join("outside");
            let content = if second == EntryKind::Tree { "" } else { "x" };
            let link = outside.display().to_string();
            let (_workspace, said) = hostile(&[("a", &link, EntryKind::Link), ("a", content, second)], more);
            assert!(said.contains("File exists"), "{said}");
            assert!(!outside.exists());
        }
    }
}
