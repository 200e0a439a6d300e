//! Flakes as source trees: what they may read, the facts of `self`, and the warnings about files
//! that are not in the last commit.

use crate::fetchers::commit;
use crate::workspace::Workspace;
use gix::objs::tree::EntryKind;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const WRITTEN: &str = "the repository can be written";

/// Writes a tree of files and returns its id.
fn write_tree(repository: &gix::Repository, files: &[(&str, &str)]) -> gix::ObjectId {
    let mut below: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut entries = Vec::new();
    let entry =
        |name: &str, kind: EntryKind, oid| gix::objs::tree::Entry { mode: kind.into(), filename: name.into(), oid };
    for &(name, text) in files {
        match name.split_once('/') {
            Some((directory, rest)) => below.entry(directory).or_default().push((rest, text)),
            None => entries.push(entry(name, EntryKind::Blob, repository.write_blob(text).expect(WRITTEN).detach())),
        }
    }
    for (directory, files) in below {
        entries.push(entry(directory, EntryKind::Tree, write_tree(repository, &files)));
    }
    entries.sort();
    repository.write_object(gix::objs::Tree { entries }).expect(WRITTEN).detach()
}

/// Makes a repository with these files in the directory `repository`, with two commits, and returns
/// the last one.
fn with_files(workspace: &Workspace, files: &[(&str, &str)]) -> String {
    let directory = workspace.path().join("repository");
    let repository = gix::init(&directory).expect(WRITTEN);
    files.iter().for_each(|(name, text)| workspace.write(&format!("repository/{name}"), text));
    let tree = write_tree(&repository, files);
    let first = commit(&repository, tree, None, 1_000_000_000);
    let second = commit(&repository, tree, Some(first), 1_000_000_060);
    fs::create_dir_all(directory.join(".git/refs/heads")).expect(WRITTEN);
    fs::write(directory.join(".git/HEAD"), "ref: refs/heads/main\n").expect(WRITTEN);
    fs::write(directory.join(".git/refs/heads/main"), format!("{second}\n")).expect(WRITTEN);
    let mut index = repository.index_from_tree(&tree).expect(WRITTEN);
    index.write(gix::index::write::Options::default()).expect(WRITTEN);
    second.to_string()
}

/// Runs in a directory of the workspace.
fn run_in(workspace: &Workspace, directory: &Path, arguments: &[&str]) -> String {
    let mut command = workspace.command(arguments);
    command.env("HOME", workspace.path().join("home")).env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME");
    let ran = command.current_dir(directory).output().expect("the program starts");
    let text = workspace.text(&ran);
    text.split("\n -->").next().unwrap_or_default().to_owned()
}

fn run(workspace: &Workspace, arguments: &[&str]) -> String {
    run_in(workspace, workspace.path(), arguments)
}

fn success(output: &str) -> String {
    format!("status: 0\n--- stdout\n{output}\n")
}

#[test]
fn what_may_be_read_is_the_flakes_and_not_the_directorys() {
    let workspace = Workspace::with_own_store("");
    workspace.write("outside/secret", "secret");
    let secret = workspace.path().join("outside/secret").display().to_string();
    workspace.write(
        "outside/flake/flake.nix",
        &format!(
            "{{ outputs = _: {{ read = builtins.readFile {secret}; exists = builtins.pathExists {secret}; \
             link = builtins.readFile ./link; up = builtins.readFile ../secret; list = builtins.readDir ./..; \
             copy = \"${{{secret}}}\"; import = import {secret}; kind = builtins.readFileType {secret}; \
             path = builtins.path {{ path = {secret}; }}; \
             filtered = builtins.filterSource (_: _: true) {secret}; hash = builtins.hashFile \"sha256\" {secret}; \
             flake = builtins.getFlake \"{secret}\"; \
             found = builtins.findFile [ {{ path = dirOf {secret}; prefix = \"\"; }} ] \"secret\"; }}; }}"
        ),
    );
    std::os::unix::fs::symlink("../secret", workspace.path().join("outside/flake/link")).expect("it is ours");
    // A path that begins in the store may lead out of it.
    workspace.write(
        "outside/user/flake.nix",
        "{ outputs = { self }: { up = builtins.getFlake \"path:${self}/../../../@\"; link = builtins.getFlake \"path:${self}/link\"; }; }"
            .replace('@', format!("{}/outside/flake", workspace.path().display()).trim_start_matches('/'))
            .as_str(),
    );
    let target = workspace.path().join("outside/flake");
    std::os::unix::fs::symlink(target, workspace.path().join("outside/user/link")).expect("it is ours");
    for attribute in ["up.read", "link.read"] {
        let text = run(&workspace, &["expr", &format!("./outside/user#{attribute}")]);
        assert!(text.contains("requires a hash or a revision"), "{attribute}: {text}");
    }
    let forbidden = "is forbidden in pure evaluation mode";
    let unlocked = "error[lang::unlocked_fetch]: cannot call 'getFlake' on unlocked flake reference";
    for directory in ["outside", "outside/flake", "."] {
        let directory = workspace.path().join(directory);
        let run = |arguments: &[&str]| run_in(&workspace, &directory, arguments);
        let flake = format!("{}/outside/flake", workspace.path().display());
        for attribute in ["read", "link", "up", "list", "copy", "import", "kind", "path", "filtered", "hash"] {
            let text = run(&["expr", &format!("{flake}#{attribute}")]);
            assert!(text.starts_with("status: 1\n") && text.contains(forbidden), "{attribute}: {text}");
        }
        assert_eq!(run(&["expr", &format!("{flake}#exists")]), success("false"));
        let text = run(&["expr", &format!("{flake}#flake")]);
        assert!(text.contains(unlocked), "{text}");
        let text = run(&["expr", &format!("{flake}#found")]);
        assert!(text.starts_with("status: 1\n"), "{text}");
        let text = run(&["expr", "--expr", &format!("builtins.readFile {secret}")]);
        assert!(text.contains(forbidden), "{text}");
        assert_eq!(run(&["expr", "--expr", &format!("builtins.pathExists {secret}")]), success("false"));
    }
}

#[test]
fn the_root_of_a_flake_is_its_repository() {
    let workspace = Workspace::with_own_store("");
    let below = "{ outputs = { self }: { top = builtins.readFile ../top; place = self.outPath; \
                 root = builtins.attrNames (builtins.readDir ../.); }; }";
    with_files(&workspace, &[("sub/flake.nix", below), ("top", "top"), ("sub/deep/file", "")]);
    let repository = workspace.path().join("repository");
    for (directory, flake) in [
        (".", "./repository/sub"),
        ("repository", "sub"),
        ("repository/sub", "."),
        ("repository/sub/deep", "."),
        ("repository/sub/deep", ".."),
    ] {
        let directory = workspace.path().join(directory);
        let run = |attribute: &str| run_in(&workspace, &directory, &["expr", &format!("{flake}#{attribute}")]);
        assert_eq!(run("top"), success("\"top\""), "{flake}");
        assert_eq!(run("place"), success("\"/eval/store/[HASH]-source/sub\""), "{flake}");
        assert_eq!(run("root"), success("[ \"sub\" \"top\" ]"), "{flake}");
    }
    // With its scheme, a path is a directory of its own.
    let text = run_in(&workspace, &repository, &["expr", "path:./sub#top"]);
    assert!(text.contains("is forbidden in pure evaluation mode"), "{text}");
    // A directory that the repository ignores does not belong to it.
    workspace.write("repository/.gitignore", "build\n");
    workspace.write("repository/build/flake.nix", "{ outputs = { self }: { names = self.sourceInfo ? rev; }; }");
    assert_eq!(run(&workspace, &["expr", "./repository/build#names"]), success("false"));
}

const FACTS: &str = "{ outputs = { self }: { \
    facts = removeAttrs self.sourceInfo [ \"narHash\" \"outPath\" ]; \
    names = builtins.attrNames (removeAttrs self [ \"facts\" \"names\" \"copy\" \"hash\" \"files\" \"self\" ]); \
    copy = \"${./.}\"; hash = self.narHash; files = builtins.readDir self; self = \"${self}\"; }; }";

#[test]
fn a_flake_knows_its_revision() {
    let workspace = Workspace::with_own_store("");
    let rev = with_files(&workspace, &[("flake.nix", FACTS), ("text", "text")]);
    let ask = |attribute: &str| run(&workspace, &["expr", &format!("./repository#{attribute}")]);
    let short = &rev[..7];
    let clean = format!(
        "{{ lastModified = 1000000060; lastModifiedDate = \"20010909014740\"; rev = \"{rev}\"; revCount = 2; shortRev = \"{short}\"; submodules = false; }}"
    );
    assert_eq!(ask("facts"), success(&clean));
    assert_eq!(
        ask("names"),
        success(
            "[ \"_type\" \"inputs\" \"lastModified\" \"lastModifiedDate\" \"narHash\" \"outPath\" \"outputs\" \"rev\" \"revCount\" \"shortRev\" \"sourceInfo\" \"submodules\" ]"
        )
    );
    // The name has the hash of the flake itself, as in Nix, which copies it from there.
    assert_eq!(ask("copy"), success("\"/eval/store/[HASH]-[HASH]-source\""));
    assert_eq!(ask("self"), success("\"/eval/store/[HASH]-source\""));
    let hash = ask("hash");

    // Untracked files change nothing, but a copy without them is worth a word.
    workspace.write("repository/untracked", "new");
    workspace.write("repository/.git/info/exclude", "ignored\n");
    workspace.write("repository/ignored", "");
    assert_eq!(ask("facts"), success(&clean));
    assert_eq!(ask("hash"), hash);
    assert_eq!(
        ask("files"),
        "status: 0\n--- stdout\n{ \"flake.nix\" = \"regular\"; text = \"regular\"; }\n--- stderr\n\
         warning: in the Git tree '[DIR]/repository', 'untracked' is missing in copied sources for not being tracked; `git add` it\n"
    );
    fs::remove_file(workspace.path().join("repository/untracked")).expect("it is ours");

    // A shallow clone does not know how many revisions there were.
    fs::write(workspace.path().join("repository/.git/shallow"), format!("{rev}\n")).expect(WRITTEN);
    assert_eq!(ask("facts"), success(&clean.replace("revCount = 2; ", "")));
    let fetched = format!("(fetchGit {}/repository).revCount", workspace.path().display());
    assert_eq!(run(&workspace, &["expr", "--impure", "--expr", &fetched]), success("1"));
    fs::remove_file(workspace.path().join("repository/.git/shallow")).expect("it is ours");

    workspace.write("repository/text", "changed");
    let dirty = format!(
        "{{ dirtyRev = \"{rev}-dirty\"; dirtyShortRev = \"{short}-dirty\"; lastModified = 1000000060; lastModifiedDate = \"20010909014740\"; submodules = false; }}"
    );
    let warning = "--- stderr\nwarning: Git tree '[DIR]/repository' is dirty: 'text' differs from the last commit\n";
    assert_eq!(ask("facts"), format!("{}{warning}", success(&dirty)));
    assert_ne!(ask("hash"), hash);
    let quiet = run(&workspace, &["expr", "--no-warn-dirty", "./repository#facts"]);
    assert_eq!(quiet, success(&dirty));

    // Outside of a repository, and with the scheme `path:`, there is no revision.
    workspace.write("plain/flake.nix", FACTS);
    for flake in ["./plain", "path:./repository"] {
        assert_eq!(
            run(&workspace, &["expr", &format!("{flake}#names")]),
            success(
                "[ \"_type\" \"inputs\" \"lastModified\" \"lastModifiedDate\" \"narHash\" \"outPath\" \"outputs\" \"sourceInfo\" ]"
            )
        );
    }
}

#[test]
fn files_that_are_not_committed_are_used_with_a_warning() {
    let workspace = Workspace::with_own_store("");
    let flake = "{ outputs = { self }: { value = import ./new.nix; d = derivation { name = \"d\"; system = \"x\"; builder = import ./new.nix; }; }; }";
    with_files(&workspace, &[("flake.nix", flake), ("other", "")]);
    workspace.write("repository/new.nix", "\"new\"");
    workspace.write("repository/other", "changed, but not used");
    let warning = "--- stderr\nwarning: in the Git tree '[DIR]/repository', 'new.nix' is used without being tracked; `git add` it\n";
    let ask = |more: &[&str]| run(&workspace, &[&["expr", "./repository#value"], more].concat());
    assert_eq!(ask(&[]), format!("{}{warning}", success("\"new\"")));
    assert_eq!(ask(&["--no-warn-dirty"]), success("\"new\""));
    let silenced = workspace.command(["expr", "./repository#value"]).env("EVAL_WARN_DIRTY", "0").output();
    assert_eq!(workspace.text(&silenced.expect("the program starts")), success("\"new\""));
    // A result that is reused has its warnings.
    let instantiate = || run(&workspace, &["instantiate", "./repository#d"]);
    let first = instantiate();
    assert!(first.ends_with(warning), "{first}");
    assert_eq!(instantiate(), first);
    // Once it is tracked, it is a change that no commit has.
    let repository = gix::open(workspace.path().join("repository")).expect("it was made");
    let files = [("flake.nix", flake), ("new.nix", "\"new\""), ("other", "")];
    let mut index = repository.index_from_tree(&write_tree(&repository, &files)).expect(WRITTEN);
    index.write(gix::index::write::Options::default()).expect(WRITTEN);
    let text = instantiate();
    let dirty = "--- stderr\nwarning: Git tree '[DIR]/repository' is dirty: 'new.nix' differs from the last commit\n";
    assert!(text.ends_with(dirty), "{text}");
}

#[test]
fn a_flake_asks_for_its_submodules() {
    let workspace = Workspace::with_own_store("");
    let inner = with_files(&workspace, &[("text", "inner")]);
    let outer = gix::init_bare(workspace.path().join("outer")).expect(WRITTEN);
    let entry =
        |name: &str, kind: EntryKind, oid| gix::objs::tree::Entry { mode: kind.into(), filename: name.into(), oid };
    let with = |own: &str| {
        let flake = format!(
            "{{ inputs.self.{own}; outputs = {{ self }}: {{ text = builtins.readFile ./inner/text; facts = self.submodules; inputs = self.inputs; }}; }}"
        );
        let blob = |text: &str| outer.write_blob(text).expect(WRITTEN).detach();
        let modules = "[submodule \"inner\"]\n\tpath = inner\n\turl = ../repository\n";
        let entries = vec![
            entry(".gitmodules", EntryKind::Blob, blob(modules)),
            entry("flake.nix", EntryKind::Blob, blob(&flake)),
            entry("inner", EntryKind::Commit, gix::ObjectId::from_hex(inner.as_bytes()).expect("a revision")),
        ];
        let tree = outer.write_object(gix::objs::Tree { entries }).expect(WRITTEN).detach();
        let commit = commit(&outer, tree, None, 1_000_000_120);
        fs::create_dir_all(workspace.path().join("outer/refs/heads")).expect(WRITTEN);
        fs::write(workspace.path().join("outer/HEAD"), "ref: refs/heads/main\n").expect(WRITTEN);
        fs::write(workspace.path().join("outer/refs/heads/main"), format!("{commit}\n")).expect(WRITTEN);
    };
    let reference = format!("git+file://{}/outer", workspace.path().display());
    let ask = |attribute: &str| run(&workspace, &["expr", &format!("{reference}#{attribute}")]);
    with("submodules = true");
    assert_eq!(ask("text"), success("\"inner\""));
    assert_eq!(ask("facts"), success("true"));
    assert_eq!(ask("inputs"), success("{ }"));
    // As an input too, and the lock says so.
    workspace.write(
        "user/flake.nix",
        &format!("{{ inputs.outer.url = \"{reference}\"; outputs = {{ self, outer }}: {{ inherit (outer) text; }}; }}"),
    );
    let text = run(&workspace, &["expr", "./user#text"]);
    assert!(text.starts_with(&success("\"inner\"")), "{text}");
    let lock = fs::read_to_string(workspace.path().join("user/flake.lock")).expect("it was written");
    assert!(lock.contains("\"submodules\": true"), "{lock}");
    with("lfs = true");
    assert!(ask("facts").contains("'inputs.self.lfs': Git LFS is not supported"), "{}", ask("facts"));
    with("nonsense = true");
    assert!(ask("facts").contains("flake 'self' attribute 'nonsense' is not supported"), "{}", ask("facts"));
}

#[test]
fn a_flake_of_a_form_that_nix_refuses_gets_a_warning() {
    let workspace = Workspace::with_own_store("");
    let ask = |flake: &str| {
        workspace.write("flake/flake.nix", flake);
        run(&workspace, &["expr", "./flake#v"])
    };
    let warned = |why: &str| {
        format!("{}--- stderr\nwarning: Nix refuses this flake: in '[DIR]/flake/flake.nix', {why}\n", success("1"))
    };
    assert_eq!(ask("{ outputs = _: { v = 1; }; }"), success("1"));
    assert_eq!(ask("{ foo = 1; outputs = _: { v = 1; }; }"), warned("the attribute 'foo' is not known"));
    assert_eq!(ask("let v = 1; in { outputs = _: { inherit v; }; }"), warned("there is an expression around the set"));
    assert_eq!(
        ask("{ inputs = { } // { }; outputs = _: { v = 1; }; }"),
        warned("'inputs' is computed, and has to be written out")
    );
    let text = ask("{ inputs.a.follows = \"nope\"; outputs = _: { v = 1; }; }");
    assert!(text.contains("the input 'a' follows 'nope', which is not there"), "{text}");
}

#[test]
fn relative_inputs_are_parts_of_the_tree() {
    let workspace = Workspace::with_own_store("");
    let flake = "{ inputs.part.url = \"path:./part\"; inputs.plain = { url = \"path:./plain\"; flake = false; }; \
                 outputs = { self, part, plain }: { place = part.outPath; top = part.top; names = builtins.attrNames part; rev = plain.rev; }; }";
    let part = "{ outputs = _: { top = builtins.readFile ../top; }; }";
    let lock = |name: &str, flake: &str| {
        format!(
            "\"{name}\": {{ {flake} \"parent\": [], \"locked\": {{ \"type\": \"path\", \"path\": \"./{name}\" }}, \"original\": {{ \"type\": \"path\", \"path\": \"./{name}\" }} }}"
        )
    };
    let lock = format!(
        "{{ \"nodes\": {{ {}, {}, \"root\": {{ \"inputs\": {{ \"part\": \"part\", \"plain\": \"plain\" }} }} }}, \"root\": \"root\", \"version\": 7 }}",
        lock("part", ""),
        lock("plain", "\"flake\": false,")
    );
    let files = [
        ("flake.lock", lock.as_str()),
        ("flake.nix", flake),
        ("part/flake.nix", part),
        ("plain/x", ""),
        ("top", "top"),
    ];
    let rev = with_files(&workspace, &files);
    let ask = |attribute: &str| run(&workspace, &["expr", &format!("./repository#{attribute}")]);
    assert_eq!(ask("top"), success("\"top\""));
    assert_eq!(ask("place"), success("\"/eval/store/[HASH]-source/./part\""));
    assert_eq!(ask("names"), success("[ \"_type\" \"inputs\" \"outPath\" \"outputs\" \"sourceInfo\" \"top\" ]"));
    assert_eq!(ask("rev"), success(&format!("\"{rev}\"")));
    // A tree from elsewhere names no directory of this machine.
    workspace.write("secret/flake.nix", "{ outputs = _: { top = \"secret\"; }; }");
    let outside = format!("path:../../../../../../../../../../..{}/secret", workspace.path().display());
    let hostile =
        format!("{{ inputs.part.url = \"{outside}\"; outputs = {{ self, part }}: {{ inherit (part) top; }}; }}");
    workspace.write("hostile/flake.nix", &hostile);
    workspace.write(
        "user/flake.nix",
        &format!(
            "{{ inputs.hostile.url = \"path:{}/hostile\"; outputs = {{ self, hostile }}: {{ inherit (hostile) top; }}; }}",
            workspace.path().display()
        ),
    );
    let text = run(&workspace, &["expr", "./user#top"]);
    assert!(text.contains("leads out of the tree of the flake that declares it"), "{text}");
}

#[test]
fn an_input_may_be_a_link_to_a_directory() {
    let workspace = Workspace::with_own_store("");
    workspace.write("base/flake.nix", "{ outputs = _: { v = 1; }; }");
    std::os::unix::fs::symlink("base", workspace.path().join("link")).expect("it is ours");
    for url in ["path:../link".to_owned(), format!("path:{}/link", workspace.path().display())] {
        workspace.write(
            "user/flake.nix",
            &format!("{{ inputs.base.url = \"{url}\"; outputs = {{ self, base }}: {{ inherit (base) v; }}; }}"),
        );
        let text = run(&workspace, &["expr", "./user#v"]);
        assert!(text.starts_with(&success("1")), "{text}");
    }
    assert_eq!(run(&workspace, &["expr", "./link#v"]), success("1"));
}
