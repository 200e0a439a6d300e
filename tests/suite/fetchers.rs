//! Fetchers of the language: their results for files, archives, directories and repositories of
//! this machine, in each mode of evaluation.

use crate::workspace::Workspace;
use gix::objs::tree::EntryKind;
use insta::assert_snapshot;
use std::fs;
use std::path::Path;
use test_support::server::{Answer, Server};

/// Makes a repository of two commits. Its working tree:
///
/// ```text
/// .gitattributes    excludes `kept-out` from archives
/// bin/program       executable
/// kept-out
/// link              → text
/// text
/// ```
pub fn repository(directory: &Path) -> String {
    let files: [(&str, EntryKind, &str); 5] = [
        (".gitattributes", EntryKind::Blob, "kept-out export-ignore\n"),
        ("bin/program", EntryKind::BlobExecutable, "#!/bin/sh\n"),
        ("kept-out", EntryKind::Blob, "not in archives\n"),
        ("link", EntryKind::Link, "text"),
        ("text", EntryKind::Blob, "first\n"),
    ];
    let repository = gix::init(directory).expect("a repository can be made");
    let mut entries = Vec::new();
    for (name, kind, content) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("it has a name")).expect("the directory can be written");
        match kind {
            EntryKind::Link => std::os::unix::fs::symlink(content, &path),
            _ => fs::write(&path, content),
        }
        .expect("the directory can be written");
        if kind == EntryKind::BlobExecutable {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, mode).expect("the directory can be written");
        }
        let oid = repository.write_blob(content).expect("objects can be written").detach();
        entries.push((name, kind, oid));
    }
    let entry =
        |name: &str, kind: EntryKind, oid| gix::objs::tree::Entry { mode: kind.into(), filename: name.into(), oid };
    let write = |mut entries: Vec<gix::objs::tree::Entry>| {
        entries.sort();
        repository.write_object(gix::objs::Tree { entries }).expect("objects can be written").detach()
    };
    let program = write(vec![entry("program", entries[1].1, entries[1].2)]);
    entries[1] = ("bin", EntryKind::Tree, program);
    let tree = write(entries.into_iter().map(|(name, kind, oid)| entry(name, kind, oid)).collect());
    let first = commit(&repository, tree, None, 1_000_000_000);
    let second = commit(&repository, tree, Some(first), 1_000_000_060);
    let git = directory.join(".git");
    fs::create_dir_all(git.join("refs/heads")).expect("the repository can be written");
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").expect("the repository can be written");
    fs::write(git.join("refs/heads/main"), format!("{second}\n")).expect("the repository can be written");
    fs::write(git.join("refs/heads/old"), format!("{first}\n")).expect("the repository can be written");
    let mut index = repository.index_from_tree(&tree).expect("a tree that was written can be read");
    index.write(gix::index::write::Options::default()).expect("the repository can be written");
    second.to_string()
}

pub fn commit(
    repository: &gix::Repository,
    tree: gix::ObjectId,
    parent: Option<gix::ObjectId>,
    seconds: i64,
) -> gix::ObjectId {
    let who = gix::actor::Signature {
        name: "A".into(),
        email: "a@example.org".into(),
        time: gix::date::Time { seconds, offset: 0 },
    };
    let commit = gix::objs::Commit {
        tree,
        parents: parent.into_iter().collect(),
        author: who.clone(),
        committer: who,
        encoding: None,
        message: "changed\n".into(),
        extra_headers: Vec::new(),
    };
    repository.write_object(&commit).expect("objects can be written").detach()
}

/// Returns a workspace with a repository in `repository` and its own home directory, and the
/// revision.
pub fn with_repository() -> (Workspace, String) {
    let workspace = Workspace::with_own_store("");
    let rev = repository(&workspace.path().join("repository"));
    (workspace, rev)
}

pub fn run(workspace: &Workspace, arguments: &[&str]) -> String {
    // The position in the source depends on the length of the workspace's name.
    run_whole(workspace, arguments).split("\n -->").next().unwrap_or_default().to_owned()
}

/// Does the same as [`run`], with all output.
pub fn run_whole(workspace: &Workspace, arguments: &[&str]) -> String {
    let mut command = workspace.command(arguments);
    command.env("HOME", workspace.path().join("home")).env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME");
    command.env("NIX_CONF_DIR", workspace.path());
    workspace.text(&command.output().expect("the program starts"))
}

/// Evaluates an expression with `nix-instantiate` and returns its output.
pub fn nix(workspace: &Workspace, expression: &str) -> String {
    run(workspace, &["nix-instantiate", "--eval", "--strict", "-E", expression])
}

const FACTS: &str =
    "t: removeAttrs t [ \"outPath\" ] // { path = baseNameOf t.outPath; files = builtins.readDir t.outPath; }";

#[test]
fn a_clean_repository_gives_its_head() {
    let (workspace, _) = with_repository();
    assert_snapshot!(nix(&workspace, &format!("({FACTS}) (fetchGit ./repository)")), @r#"
    status: 0
    --- stdout
    { files = { ".gitattributes" = "regular"; bin = "directory"; link = "symlink"; text = "regular"; }; lastModified = 1000000060; lastModifiedDate = "20010909014740"; narHash = "sha256-kFv/RB+Y+Vqz4UyrKgYhi3cgFaFcLEFhc/aflPwuYzo="; path = "[HASH]-source"; rev = "6f12739d219a79befa6f321cf205fabdf16ade81"; revCount = 2; shortRev = "6f12739"; submodules = false; }
    "#);
    let by_url = format!("(fetchGit \"file://{}/repository\").rev", workspace.path().display());
    assert_snapshot!(nix(&workspace, &by_url), @r#"
    status: 0
    --- stdout
    "6f12739d219a79befa6f321cf205fabdf16ade81"
    "#);
    assert_snapshot!(nix(&workspace, "let t = fetchGit { url = ./repository; ref = \"old\"; shallow = true; }; in [ t.rev t.lastModifiedDate t.revCount ]"), @r#"
    status: 0
    --- stdout
    [ "486d36b378b53f32519be87282a4274b8ff34437" "20010909014640" 0 ]
    "#);
    assert_snapshot!(nix(&workspace, "builtins.attrNames (builtins.readDir (fetchGit { url = ./repository; exportIgnore = false; }))"), @r#"
    status: 0
    --- stdout
    [ ".gitattributes" "bin" "kept-out" "link" "text" ]
    "#);
}

#[test]
fn a_changed_working_tree_gives_its_tracked_files() {
    let (workspace, _) = with_repository();
    workspace.write("repository/text", "changed\n");
    workspace.write("repository/untracked", "not of the repository\n");
    assert_snapshot!(nix(&workspace, &format!("({FACTS}) (fetchGit ./repository)")), @r#"
    status: 0
    --- stdout
    { dirtyRev = "6f12739d219a79befa6f321cf205fabdf16ade81-dirty"; dirtyShortRev = "6f12739-dirty"; files = { ".gitattributes" = "regular"; bin = "directory"; link = "symlink"; text = "regular"; }; lastModified = 1000000060; lastModifiedDate = "20010909014740"; narHash = "sha256-ZZGg0diIY6mYGGeJ5xrvB87atc+2PUzfp3YteviXHzg="; path = "[HASH]-source"; rev = "0000000000000000000000000000000000000000"; revCount = 0; shortRev = "0000000"; submodules = false; }
    --- stderr
    warning: Git tree '[DIR]/repository' is dirty
    "#);
    assert_snapshot!(nix(&workspace, "builtins.readFile (fetchGit ./repository + \"/text\")"), @r#"
    status: 0
    --- stdout
    "changed\n"
    --- stderr
    warning: Git tree '[DIR]/repository' is dirty
    "#);
}

#[test]
fn a_missing_repository_is_an_error() {
    let workspace = Workspace::with_own_store("");
    assert_snapshot!(nix(&workspace, "fetchGit ./absent"), @r#"
    status: 1
    --- stderr
    error:
           … while calling the 'fetchGit' builtin
             at «string»:1:1:
                  1| fetchGit ./absent
                   | ^

           error: cannot open the Git repository `[DIR]/absent`: "[DIR]/absent" does not appear to be a git repository
           at «string»:1:1:
                1| fetchGit ./absent
                 | ^
    "#);
    assert_snapshot!(nix(&workspace, "builtins.fetchMercurial \"https://example.org/repository\""), @r#"
    status: 1
    --- stderr
    error:
           … while calling the 'fetchMercurial' builtin
             at «string»:1:1:
                  1| builtins.fetchMercurial "https://example.org/repository"
                   | ^

           error: fetching from Mercurial repositories is not possible here
           at «string»:1:1:
                1| builtins.fetchMercurial "https://example.org/repository"
                 | ^
    "#);
}

#[test]
fn pure_evaluation_needs_a_revision_or_a_hash() {
    let (workspace, rev) = with_repository();
    let url = format!("file://{}/repository", workspace.path().display());
    let pure = |expression: &str| run(&workspace, &["expr", "--expr", expression]);
    assert_snapshot!(pure(&format!("(fetchGit \"{url}\").narHash")), @r#"
    status: 1
    --- stderr
    error[lang::unlocked_fetch]: in pure evaluation mode, fetching 'file://[DIR]/repository' requires a hash or a revision
    "#);
    assert_snapshot!(pure(&format!("builtins.readFile (fetchGit {{ url = \"{url}\"; rev = \"{rev}\"; }} + \"/text\")")), @r#"
    status: 0
    --- stdout
    "first\n"
    "#);
    assert_snapshot!(run(&workspace, &["expr", "--impure", "--expr", &format!("(fetchGit \"{url}\").narHash")]), @r#"
    status: 0
    --- stdout
    "sha256-kFv/RB+Y+Vqz4UyrKgYhi3cgFaFcLEFhc/aflPwuYzo="
    "#);
}

#[test]
fn restricted_evaluation_fetches_what_it_is_allowed() {
    let (workspace, _) = with_repository();
    let url = format!("file://{}/repository", workspace.path().display());
    let expression = format!("(fetchGit \"{url}\").rev");
    assert_snapshot!(run(&workspace, &["nix-instantiate", "--eval", "--restrict-eval", "-E", &expression]), @r#"
    status: 1
    --- stderr
    error:
           … while calling the 'fetchGit' builtin
             at «string»:1:2:
                  1| (fetchGit "file://[DIR]/repository").rev
                   |  ^

           error: access to absolute path '[DIR]/repository' is forbidden in restricted mode
           at «string»:1:2:
                1| (fetchGit "file://[DIR]/repository").rev
                 |  ^
    "#);
    let allowed = format!("repository={}/repository", workspace.path().display());
    let arguments = ["nix-instantiate", "--eval", "--restrict-eval", "-I", &allowed, "-E", &expression];
    assert_snapshot!(run(&workspace, &arguments), @r#"
    status: 0
    --- stdout
    "6f12739d219a79befa6f321cf205fabdf16ade81"
    "#);
}

/// Writes an uncompressed tar archive of one directory with one file; `time` is the file's field of
/// its modification time.
fn archive(path: &Path, time: &[u8]) {
    let mut header = [0_u8; 512];
    let content = b"of the archive\n";
    let fields: [(usize, &[u8]); 7] = [
        (0, b"top/file"),
        (100, b"0000644"),
        (108, b"0000000"),
        (116, b"0000000"),
        (124, b"00000000017"),
        (136, time),
        (257, b"ustar\x0000"),
    ];
    for (at, bytes) in fields {
        header[at..at + bytes.len()].copy_from_slice(bytes);
    }
    header[148..156].fill(b' ');
    header[156] = b'0';
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend(content);
    bytes.resize(1024 + 1024, 0);
    fs::write(path, bytes).expect("the workspace can be written");
}

#[test]
fn archives_are_unpacked_and_checked() {
    let workspace = Workspace::with_own_store("");
    archive(&workspace.path().join("archive.tar"), b"00000000000");
    let url = format!("file://{}/archive.tar", workspace.path().display());
    assert_snapshot!(nix(&workspace, &format!("let t = fetchTarball \"{url}\"; in [ (baseNameOf t) (builtins.readFile (t + \"/file\")) ]")), @r#"
    status: 0
    --- stdout
    [ "[HASH]-source" "of the archive\n" ]
    "#);
    let with_hash = |hash: &str| {
        format!("builtins.readFile (fetchTarball {{ url = \"{url}\"; sha256 = \"{hash}\"; }} + \"/file\")")
    };
    assert_snapshot!(nix(&workspace, &with_hash("sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")), @r#"
    status: 1
    --- stderr
    error:
           … while calling the 'fetchTarball' builtin
             at «string»:1:20:
                  1| builtins.readFile (fetchTarball { url = "file://[DIR]/archive.tar"; sha256 = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; } + "/file")
                   |                    ^

           error: hash mismatch in 'file://[DIR]/archive.tar'
             specified: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
             got:       sha256-0JNtIwp+I+Mt963UleU+JPBuceYZkEAW/rPhSOjYLgY=
           at «string»:1:20:
                1| builtins.readFile (fetchTarball { url = "file://[DIR]/archive.tar"; sha256 = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; } + "/file")
                 |                    ^
    "#);
    assert_snapshot!(run(&workspace, &["expr", "--expr", &with_hash("")]), @r#"
    status: 1
    --- stderr
    error[lang::host]: hash mismatch in 'file://[DIR]/archive.tar'
                         specified: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
                         got:       sha256-0JNtIwp+I+Mt963UleU+JPBuceYZkEAW/rPhSOjYLgY=
    "#);
    assert_snapshot!(run(&workspace, &["expr", "--expr", &format!("fetchTarball \"{url}\"")]), @r#"
    status: 1
    --- stderr
    error[lang::unlocked_fetch]: in pure evaluation mode, fetching 'file://[DIR]/archive.tar' requires a hash or a revision
    "#);
}

#[test]
fn files_are_fetched_without_a_hash_where_that_is_allowed() {
    let workspace = Workspace::with_own_store("");
    workspace.write("file.txt", "of the file\n");
    let url = format!("file://{}/file.txt", workspace.path().display());
    let expression = format!("let f = builtins.fetchurl \"{url}\"; in [ (baseNameOf f) (builtins.readFile f) ]");
    assert_snapshot!(nix(&workspace, &expression), @r#"
    status: 0
    --- stdout
    [ "[HASH]-file.txt" "of the file\n" ]
    "#);
    assert_snapshot!(run(&workspace, &["expr", "--impure", "--expr", &format!("builtins.readFile (builtins.fetchurl \"{url}\")")]), @r#"
    status: 0
    --- stdout
    "of the file\n"
    "#);
    assert_snapshot!(run(&workspace, &["expr", "--expr", &expression]), @r#"
    status: 1
    --- stderr
    error[lang::unlocked_fetch]: in pure evaluation mode, fetching 'file://[DIR]/file.txt' requires a hash or a revision
    "#);
}

#[test]
fn trees_are_behind_their_feature() {
    let (workspace, _) = with_repository();
    assert_snapshot!(nix(&workspace, "builtins ? fetchTree"), @r#"
    status: 0
    --- stdout
    false
    "#);
    let url = format!("git+file://{}/repository", workspace.path().display());
    let tree = format!("({FACTS}) (fetchTree \"{url}\")");
    let arguments =
        ["nix-instantiate", "--eval", "--strict", "--extra-experimental-features", "fetch-tree", "-E", &tree];
    assert_snapshot!(run(&workspace, &arguments), @r#"
    status: 0
    --- stdout
    { files = { ".gitattributes" = "regular"; bin = "directory"; kept-out = "regular"; link = "symlink"; text = "regular"; }; lastModified = 1000000060; lastModifiedDate = "20010909014740"; narHash = "sha256-8iJgoEZ2M7287IFrupbSfnB3P7JwsE8jzPfWAvre5Dc="; path = "[HASH]-source"; rev = "6f12739d219a79befa6f321cf205fabdf16ade81"; revCount = 2; shortRev = "6f12739"; submodules = false; }
    "#);
}

/// Evaluates a tree's attributes, except its path.
fn facts_of_tree(workspace: &Workspace, tree: &str) -> String {
    let expression = format!("removeAttrs (builtins.fetchTree {{ {tree} }}) [ \"outPath\" ]");
    run(workspace, &["expr", "--impure", "--json", &expression])
}

#[test]
fn the_time_of_an_archive_is_that_of_its_newest_entry() {
    let workspace = Workspace::with_own_store("");
    let place = workspace.path().join("archive.tar");
    let facts = || facts_of_tree(&workspace, &format!("type = \"tarball\"; url = \"file://{}\";", place.display()));
    archive(&place, b"07346545000");
    assert_snapshot!(facts(), @r#"
    status: 0
    --- stdout
    {"lastModified":1000000000,"lastModifiedDate":"20010909014640","narHash":"sha256-0JNtIwp+I+Mt963UleU+JPBuceYZkEAW/rPhSOjYLgY="}
    "#);
    // Beyond the range of a clock: 2^63 - 1 and, without a sign, 2^64 - 1.
    archive(&place, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert_snapshot!(facts(), @r#"
    status: 0
    --- stdout
    {"lastModified":4294967295,"lastModifiedDate":"21060207062815","narHash":"sha256-0JNtIwp+I+Mt963UleU+JPBuceYZkEAW/rPhSOjYLgY="}
    "#);
    archive(&place, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_snapshot!(facts(), @r#"
    status: 0
    --- stdout
    {"lastModified":4294967295,"lastModifiedDate":"21060207062815","narHash":"sha256-0JNtIwp+I+Mt963UleU+JPBuceYZkEAW/rPhSOjYLgY="}
    "#);
}

#[test]
fn a_repository_given_as_a_set_is_fetched_without_its_history() {
    let (workspace, _) = with_repository();
    let url = format!("file://{}/repository", workspace.path().display());
    assert_snapshot!(facts_of_tree(&workspace, &format!("type = \"git\"; url = \"{url}\";")), @r#"
    status: 0
    --- stdout
    {"lastModified":1000000060,"lastModifiedDate":"20010909014740","narHash":"sha256-8iJgoEZ2M7287IFrupbSfnB3P7JwsE8jzPfWAvre5Dc=","rev":"6f12739d219a79befa6f321cf205fabdf16ade81","shortRev":"6f12739","submodules":false}
    "#);
    assert_snapshot!(facts_of_tree(&workspace, &format!("type = \"git\"; url = \"{url}\"; shallow = false;")), @r#"
    status: 0
    --- stdout
    {"lastModified":1000000060,"lastModifiedDate":"20010909014740","narHash":"sha256-8iJgoEZ2M7287IFrupbSfnB3P7JwsE8jzPfWAvre5Dc=","rev":"6f12739d219a79befa6f321cf205fabdf16ade81","revCount":2,"shortRev":"6f12739","submodules":false}
    "#);
}

/// In seconds since 1970: the newest file, unless the caller gives a time.
#[test]
fn the_time_of_a_directory_is_that_of_its_newest_file() {
    let workspace = Workspace::new("");
    workspace.write("tree/file", "text");
    workspace.write("tree/subdirectory/file", "text");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for (name, later) in [("tree/subdirectory/file", 60), ("tree/subdirectory", 0), ("tree/file", 0), ("tree", 0)] {
        let file = std::fs::File::open(workspace.path().join(name)).unwrap();
        file.set_modified(time + std::time::Duration::from_secs(later)).unwrap();
    }
    let tree = |more: &str| {
        let expression = format!(
            "builtins.removeAttrs (builtins.fetchTree {{ type = \"path\"; path = ./tree; {more} }}) [ \"outPath\" ]"
        );
        let arguments =
            ["nix-instantiate", "--eval", "--strict", "--extra-experimental-features", "fetch-tree", "-E", &expression];
        run(&workspace, &arguments)
    };
    assert_snapshot!(tree(""), @r#"
    status: 0
    --- stdout
    { lastModified = 1000000060; lastModifiedDate = "20010909014740"; narHash = "sha256-QmLGpxKU02JAedbDYn3Q/ikcd1aMzQ2B7e3LgQYz6yQ="; }
    "#);
    assert_snapshot!(tree("lastModified = 5;"), @r#"
    status: 0
    --- stdout
    { lastModified = 5; lastModifiedDate = "19700101000005"; narHash = "sha256-QmLGpxKU02JAedbDYn3Q/ikcd1aMzQ2B7e3LgQYz6yQ="; }
    "#);
}

#[test]
fn a_locked_input_comes_from_a_repository() {
    let (workspace, rev) = with_repository();
    let url = format!("file://{}/repository", workspace.path().display());
    workspace.write(
        "flake.nix",
        &format!("{{ inputs.r = {{ url = \"git+{url}\"; flake = false; }}; outputs = {{ self, r }}: {{ text = builtins.readFile \"${{r}}/text\"; inherit (r) rev; }}; }}"),
    );
    assert_snapshot!(run(&workspace, &["expr", "--locked", ".#text"]), @r#"
    status: 1
    --- stderr
    error[lang::flake_lock]: the lock file of `path:[DIR]` must change, which `--locked` forbids:
        added 'r': git+file://[DIR]/repository?ref=refs/heads/main&rev=6f12739d219a79befa6f321cf205fabdf16ade81
     |
     = help: `ev flake lock` makes the changes
    "#);
    workspace.write(
        "flake.lock",
        &format!("{{ \"nodes\": {{ \"r\": {{ \"flake\": false, \"locked\": {{ \"type\": \"git\", \"url\": \"{url}\", \"rev\": \"{rev}\" }}, \"original\": {{ \"type\": \"git\", \"url\": \"{url}\" }} }}, \"root\": {{ \"inputs\": {{ \"r\": \"r\" }} }} }}, \"root\": \"root\", \"version\": 7 }}"),
    );
    assert_snapshot!(run(&workspace, &["expr", ".#text"]), @r#"
    status: 0
    --- stdout
    "first\n"
    "#);
    assert_snapshot!(run(&workspace, &["expr", ".#rev"]), @r#"
    status: 0
    --- stdout
    "6f12739d219a79befa6f321cf205fabdf16ade81"
    "#);
}

/// Otherwise a lock would pin less of a directory than of all other kinds.
#[test]
fn a_locked_directory_has_its_locked_contents() {
    let workspace = Workspace::with_own_store("");
    workspace.write("base/text", "first\n");
    workspace.write(
        "flake.nix",
        "{ inputs.base = { url = \"path:./base\"; flake = false; }; outputs = { self, base }: { text = builtins.readFile \"${base}/text\"; }; }",
    );
    assert_snapshot!(run(&workspace, &["expr", ".#text"]), @r#"
    status: 0
    --- stdout
    "first\n"
    --- stderr
    wrote [DIR]/flake.lock
      added 'base': path:./base
    "#);
    let directory = workspace.path().join("base");
    let lock = |hash: &str| {
        let original = "\"original\": { \"type\": \"path\", \"path\": \"./base\" }, \"parent\": []";
        let locked = format!(
            "\"locked\": {{ \"type\": \"path\", \"path\": \"{}\", \"narHash\": \"{hash}\", \"lastModified\": 5 }}",
            directory.display()
        );
        workspace.write(
            "flake.lock",
            &format!("{{ \"nodes\": {{ \"base\": {{ \"flake\": false, {locked}, {original} }}, \"root\": {{ \"inputs\": {{ \"base\": \"base\" }} }} }}, \"root\": \"root\", \"version\": 7 }}"),
        );
    };
    lock("sha256-2mjBolyCJcE4VyHlhTa3fP8o2725uiWoQ1zG5Mvr+P0=");
    assert_snapshot!(run(&workspace, &["expr", ".#text"]), @r#"
    status: 0
    --- stdout
    "first\n"
    --- stderr
    warning: '[DIR]/base' has changed since the input 'base' was locked; `ev flake update base` takes it as it is now
    "#);
    // The directory is not read when the store has the locked tree.
    workspace.write("base/text", "second\n");
    assert_snapshot!(run(&workspace, &["expr", ".#text"]), @r#"
    status: 0
    --- stdout
    "first\n"
    --- stderr
    warning: '[DIR]/base' has changed since the input 'base' was locked; `ev flake update base` takes it as it is now
    "#);
    lock("sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_snapshot!(run(&workspace, &["expr", ".#text"]), @r#"
    status: 1
    --- stderr
    warning: '[DIR]/base' has changed since the input 'base' was locked; `ev flake update base` takes it as it is now
    error[lang::host]: hash mismatch in '[DIR]/base'
                         specified: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
                         got:       sha256-+nv1sGEC3tmpcExcmlKlJIhDV008pKesSKsT/TOn2uI=
    "#);
}

#[test]
fn slow_fetches_are_reported() {
    let workspace = Workspace::with_own_store("");
    let server = Server::start(|_, _| {
        std::thread::sleep(std::time::Duration::from_secs(3));
        Answer::new("200 OK", b"text")
    });
    let expression = format!("builtins.readFile (builtins.fetchurl \"{}\")", server.url("/file"));
    assert_snapshot!(nix(&workspace, &expression).replace(&server.url(""), "[URL]"), @r#"
    status: 0
    --- stdout
    "text"
    --- stderr
    fetching `[URL]/file`
    "#);
}
