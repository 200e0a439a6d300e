//! Flakes that are used: inputs locked on the way, the flags for that, names of registries, and quoted
//! attribute paths.

use crate::fetchers::{run_whole as run, with_repository};
use crate::git_server;
use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;

/// Writes a flake with one Git input, which is not locked.
fn write(workspace: &Workspace, reference: &str) {
    let place = workspace.path().display();
    workspace.write(
        "flake.nix",
        &format!(
            "{{ inputs.r = {{ url = \"git+file://{place}/repository{reference}\"; flake = false; }}; \
             outputs = {{ self, r }}: {{ inherit (r) rev; text = builtins.readFile \"${{r}}/text\"; }}; }}"
        ),
    );
}

fn lock(workspace: &Workspace) -> Option<String> {
    fs::read_to_string(workspace.path().join("flake.lock")).ok()
}

#[test]
fn inputs_are_locked_when_the_flake_is_used() {
    let (workspace, rev) = with_repository();
    write(&workspace, "?ref=old");
    assert_snapshot!(run(&workspace, &["expr", "--no-write-lock-file", ".#rev"]), @r#"
    status: 0
    --- stdout
    "486d36b378b53f32519be87282a4274b8ff34437"
    "#);
    assert_eq!(lock(&workspace), None);
    for flags in [&["--locked"][..], &["--no-update-lock-file"], &["--frozen"]] {
        let said = run(&workspace, &[&["expr", ".#rev"], flags].concat());
        assert!(said.contains("must change, which `--locked` forbids") && said.contains("`ev flake lock`"), "{said}");
        assert_eq!(lock(&workspace), None);
    }
    assert_snapshot!(run(&workspace, &["expr", ".#rev"]), @r#"
    status: 0
    --- stdout
    "486d36b378b53f32519be87282a4274b8ff34437"
    --- stderr
    wrote [DIR]/flake.lock
      added 'r': git+file://[DIR]/repository?ref=old&rev=486d36b378b53f32519be87282a4274b8ff34437
    "#);
    // The file is that of `flake lock`.
    let written = lock(&workspace).expect("it was written");
    fs::remove_file(workspace.path().join("flake.lock")).expect("it was written");
    run(&workspace, &["flake", "lock"]);
    assert_eq!(lock(&workspace), Some(written.clone()));

    // A locked input stays, unless it is asked for.
    fs::write(workspace.path().join("repository/.git/refs/heads/old"), format!("{rev}\n")).expect("it is ours");
    for flags in [&["--locked"][..], &["--frozen"], &[]] {
        let said = run(&workspace, &[&["expr", ".#rev"], flags].concat());
        assert_eq!(said, "status: 0\n--- stdout\n\"486d36b378b53f32519be87282a4274b8ff34437\"\n", "{flags:?}");
    }
    for flags in [&["--update-input", "r"][..], &["--recreate-lock-file"]] {
        let said = run(&workspace, &[&["expr", "--no-write-lock-file", ".#rev"], flags].concat());
        assert_eq!(said, "status: 0\n--- stdout\n\"6f12739d219a79befa6f321cf205fabdf16ade81\"\n", "{flags:?}");
        assert_eq!(lock(&workspace), Some(written.clone()), "{flags:?}");
    }
    assert_snapshot!(run(&workspace, &["expr", "--update-input", "r", ".#rev"]), @r#"
    status: 0
    --- stdout
    "6f12739d219a79befa6f321cf205fabdf16ade81"
    --- stderr
    wrote [DIR]/flake.lock
      updated 'r': git+file://[DIR]/repository?ref=old&rev=486d36b378b53f32519be87282a4274b8ff34437
           → git+file://[DIR]/repository?ref=old&rev=6f12739d219a79befa6f321cf205fabdf16ade81
    "#);

    // Declared otherwise, it is locked again.
    write(&workspace, "?ref=main");
    assert!(run(&workspace, &["expr", ".#rev"]).contains("wrote [DIR]/flake.lock"));
    assert!(run(&workspace, &["expr", "-q", ".#rev", "--locked"]).starts_with("status: 0"));
}

#[test]
fn an_input_can_be_another_flake_for_one_command() {
    let (workspace, _) = with_repository();
    write(&workspace, "");
    run(&workspace, &["flake", "lock"]);
    let before = lock(&workspace);
    workspace.write("other/text", "other");
    assert_snapshot!(run(&workspace, &["expr", ".#text", "--override-input", "r", "./other"]), @r#"
    status: 0
    --- stdout
    "other"
    "#);
    assert_eq!(lock(&workspace), before);
    assert_snapshot!(run(&workspace, &["expr", ".#text", "--override-input", "s", "./other"]), @r#"
    status: 0
    --- stdout
    "first\n"
    --- stderr
    warning: there is no input 's', which `--override-input` names
    "#);
}

#[test]
fn an_input_with_changes_is_locked_for_one_command() {
    let (workspace, _) = with_repository();
    write(&workspace, "");
    fs::write(workspace.path().join("repository/text"), "changed\n").expect("it is ours");
    let said = run(&workspace, &["expr", ".#text"]);
    assert!(said.starts_with("status: 0\n--- stdout\n\"changed\\n\"\n"), "{said}");
    assert!(said.contains("is not written: the working tree of the input 'r' has uncommitted changes"), "{said}");
    assert_eq!(lock(&workspace), None);
}

#[test]
fn a_lock_that_cannot_be_written_holds_for_one_command() {
    let Some(workspace) = Workspace::of_ordinary_user("") else { return };
    workspace.write("dep/flake.nix", "{ outputs = _: { v = 1; }; }");
    workspace.write(
        "flakes/flake.nix",
        "{ inputs.dep.url = \"path:../dep\"; outputs = { self, dep }: { inherit (dep) v; }; }",
    );
    workspace.change_owner();
    let directory = workspace.path().join("flakes");
    let mode = |mode| fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(mode));
    mode(0o555).expect("we are root");
    let said = run(&workspace, &["expr", "./flakes#v"]);
    mode(0o755).expect("we are root");
    assert_snapshot!(said, @r#"
    status: 0
    --- stdout
    1
    --- stderr
    warning: cannot write `[DIR]/flakes/flake.lock`, so its inputs are locked for this command only: Permission denied (os error 13)
    "#);
}

#[test]
fn nothing_is_fetched_offline() {
    let (workspace, _) = with_repository();
    let server = git_server::start(workspace.path());
    let url = server.url("/repository");
    workspace.write(
        "flake.nix",
        &format!("{{ inputs.r = {{ url = \"git+{url}\"; flake = false; }}; outputs = {{ self, r }}: {{ inherit (r) rev; }}; }}"),
    );
    let evaluate = |flags: &[&str]| run(&workspace, &[&["expr", ".#rev"], flags].concat()).replace(&url, "[URL]");
    assert_snapshot!(evaluate(&["--offline"]), @r#"
    status: 100
    --- stderr
    error[build::offline]: cannot fetch `HEAD` of the Git repository `[URL]`: it is in no cache, and `--offline` forbids to fetch it
     |
     = help: run it once without `--offline` where there is a network
      … while locking the input 'r'
    "#);
    assert_eq!(server.seen().len(), 0);
    assert!(evaluate(&["--no-write-lock-file"]).starts_with("status: 0"));
    let asked = server.seen().len();
    assert!(asked > 0);
    // Now the cache has it, and neither of these asks the server.
    assert!(evaluate(&["--offline"]).starts_with("status: 0"));
    assert!(evaluate(&["--frozen"]).starts_with("status: 0"));
    assert_eq!(server.seen().len(), asked);
    let archive = run(&workspace, &["expr", "--offline", &format!("{}#x", server.url("/a.tar.gz"))]);
    assert!(archive.contains("/a.tar.gz` is in no cache, and `--offline` forbids to fetch it"), "{archive}");
    assert!(archive.contains("run it once without `--offline` where there is a network"), "{archive}");
    assert_eq!(server.seen().len(), asked);
}

#[test]
fn follows_that_lead_nowhere_are_named() {
    let workspace = Workspace::with_own_store("");
    workspace.write("dep/flake.nix", "{ inputs.d.url = \"path:./d\"; outputs = { self, d }: { inherit (d) v; }; }");
    workspace.write("dep/d/flake.nix", "{ outputs = _: { v = 1; }; }");
    workspace.write(
        "flake.nix",
        "{ inputs.b.url = \"path:./dep\"; inputs.b.inputs.d.follows = \"nope\"; outputs = { self, b }: { inherit (b) v; }; }",
    );
    assert_snapshot!(run(&workspace, &["expr", ".#v"]), @r#"
    status: 1
    --- stderr
    error[lang::flake_input]: the input 'b/d' follows 'nope', which is not there
    "#);
}

#[test]
fn a_lock_follows_the_declarations() {
    let workspace = Workspace::with_own_store("");
    workspace.write("e/flake.nix", "{ outputs = _: { v = \"e\"; }; }");
    workspace.write("b/d/flake.nix", "{ outputs = _: { v = \"d\"; }; }");
    workspace.write("b/flake.nix", "{ inputs.d.url = \"path:./d\"; outputs = { self, d }: { v = \"b-${d.v}\"; }; }");
    let write = |more: &str| {
        workspace.write(
            "flake.nix",
            &format!(
                "{{ inputs.e.url = \"path:./e\"; inputs.b.url = \"path:./b\"; {more} \
                 outputs = {{ self, e, b }}: {{ b = b.v; e = if e ? v then \"flake\" else \"tree\"; }}; }}"
            ),
        );
    };
    let value = |attribute: &str, flags: &[&str]| {
        let said = run(&workspace, &[&["expr", "--raw", attribute], flags].concat());
        said.strip_prefix("status: 0\n--- stdout\n").unwrap_or(&said).lines().next().unwrap_or_default().to_owned()
    };
    write("inputs.b.inputs.d.follows = \"e\";");
    assert_eq!((value(".#b", &[]), value(".#e", &[])), ("b-e".to_owned(), "flake".to_owned()));
    // Each time without the file first, then with it.
    for flags in [&["--no-write-lock-file"][..], &[], &["--locked"]] {
        write("inputs.e.flake = false;");
        assert_eq!((value(".#b", flags), value(".#e", flags)), ("b-d".to_owned(), "tree".to_owned()), "{flags:?}");
    }
}

/// An expression cannot lock a flake.
#[test]
fn an_unlocked_input_of_an_expression_is_named() {
    let (workspace, _) = with_repository();
    let place = workspace.path().display().to_string();
    workspace.write(
        "dep/flake.nix",
        &format!("{{ inputs.r = {{ url = \"git+file://{place}/repository\"; flake = false; }}; outputs = {{ self, r }}: {{ inherit (r) rev; }}; }}"),
    );
    workspace.write("flake.nix", "{ outputs = { self }: { v = (builtins.getFlake \"path:${self}/dep\").rev; }; }");
    let said = run(&workspace, &["expr", ".#v"]);
    let message = "error[lang::unlocked_fetch]: in pure evaluation mode, the input 'git+file://[DIR]/repository' cannot be used, as no 'flake.lock' pins it";
    assert!(said.contains(message) && said.contains("`ev flake lock`"), "{said}");
}

#[test]
fn names_of_flakes_come_from_registries() {
    let workspace = Workspace::with_own_store("");
    for name in ["one", "two", "three"] {
        workspace.write(&format!("{name}/flake.nix"), &format!("{{ outputs = _: {{ v = \"{name}\"; }}; }}"));
    }
    assert_snapshot!(run(&workspace, &["expr", "my-flake#v"]), @r#"
    status: 1
    --- stderr
    error: no registry has the flake 'flake:my-flake'
     |
     = help: say where it is, as in `github:owner/my-flake`, or name it once: `ev registry add my-flake github:owner/my-flake`
    "#);
    assert_snapshot!(run(&workspace, &["registry", "add", "my-flake", "./one"]), @r#"
    status: 0
    --- stderr
    `my-flake` is `path:[DIR]/one`, in [DIR]/home/.config/eval/registry.json
    "#);
    assert_snapshot!(run(&workspace, &["expr", "my-flake#v"]), @r#"
    status: 0
    --- stdout
    "one"
    "#);
    // The user's own registry wins over that of Nix.
    let entry = |name: &str, place: &str| {
        format!(
            "{{ \"from\": {{ \"type\": \"indirect\", \"id\": \"{name}\" }}, \
             \"to\": {{ \"type\": \"path\", \"path\": \"{}/{place}\" }} }}",
            workspace.path().display()
        )
    };
    let file = |entries: &[String]| format!("{{ \"version\": 2, \"flakes\": [ {} ] }}", entries.join(", "));
    workspace.write("home/.config/nix/registry.json", &file(&[entry("my-flake", "two"), entry("nix-flake", "two")]));
    workspace.write("flag.json", &file(&[entry("nix-flake", "three")]));
    for (arguments, expected) in [
        (&["my-flake#v"][..], "\"one\""),
        (&["nix-flake#v"], "\"two\""),
        (&["nix-flake#v", "--flake-registry", "flag.json"], "\"three\""),
        (&["flake:nix-flake#v", "--flake-registry", "flag.json"], "\"three\""),
        (&["--impure", "--expr", "(builtins.getFlake \"nix-flake\").v"], "\"two\""),
        (&["--impure", "-I", "n=flake:nix-flake", "--expr", "((import <n/flake.nix>).outputs { }).v"], "\"two\""),
    ] {
        let said = run(&workspace, &[&["expr"], arguments].concat());
        assert_eq!(said, format!("status: 0\n--- stdout\n{expected}\n"), "{arguments:?}");
    }
    let expression = "((import <n/flake.nix>).outputs { }).v";
    let front = ["nix-instantiate", "--eval", "-I", "n=flake:nix-flake", "-E", expression];
    let said = run(&workspace, &[&front[..], &["--extra-experimental-features", "flakes"]].concat());
    assert_eq!(said, "status: 0\n--- stdout\n\"two\"\n");
    let said = run(&workspace, &front);
    assert!(said.contains("experimental Nix feature 'flakes' is disabled"), "{said}");
    let said = run(&workspace, &["expr", "my-flake#v", "--no-registries"]);
    assert!(said.contains("no registry has the flake 'flake:my-flake'"), "{said}");
    let said = run(&workspace, &["registry", "list", "--flake-registry", "flag.json"]);
    let own = "user       flake:my-flake path:[DIR]/one\nnix-user   flake:my-flake path:[DIR]/two\n";
    assert!(said.contains(&format!("flag       flake:nix-flake path:[DIR]/three\n{own}")), "{said}");

    // A lock must not depend on the user.
    workspace.write("flake.nix", "{ outputs = { self, nix-flake }: { inherit (nix-flake) v; }; }");
    let said = run(&workspace, &["expr", ".#v"]);
    assert!(said.contains("the input 'nix-flake' has no 'url'"), "{said}");
    let said = run(&workspace, &["expr", ".#v", "--flake-registry", "flag.json"]);
    assert!(said.contains("\"three\"") && said.contains("wrote [DIR]/flake.lock"), "{said}");
    let written = lock(&workspace).expect("it was written");
    assert!(
        written.contains("\"original\": {\n        \"id\": \"nix-flake\",\n        \"type\": \"indirect\"\n      }"),
        "{written}"
    );
    assert!(run(&workspace, &["expr", ".#v"]).starts_with("status: 0"), "the lock says where it is");

    assert_snapshot!(run(&workspace, &["registry", "remove", "my-flake"]), @r#"
    status: 0
    --- stderr
    removed `my-flake` from [DIR]/home/.config/eval/registry.json
    "#);
    assert_snapshot!(run(&workspace, &["registry", "remove", "my-flake"]), @r#"
    status: 1
    --- stderr
    error: the registry of the user, `[DIR]/home/.config/eval/registry.json`, has no `my-flake`
     |
     = help: `ev registry list` lists all names
    "#);
}

#[test]
fn a_name_can_be_pinned() {
    let (workspace, _) = with_repository();
    let place = workspace.path().display().to_string();
    run(&workspace, &["registry", "add", "repository-of-mine", &format!("git+file://{place}/repository")]);
    let said = run(&workspace, &["registry", "pin", "repository-of-mine"]);
    assert!(said.contains("rev=6f12739d219a79befa6f321cf205fabdf16ade81"), "{said}");
    let said = run(&workspace, &["registry", "list", "--json"]);
    assert!(said.contains("\"rev\":\"6f12739d219a79befa6f321cf205fabdf16ade81\""), "{said}");
}

#[test]
fn quotes_protect_the_dots_of_names() {
    let workspace = Workspace::with_own_store("");
    let derivation =
        "derivation { name = \"x\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; outputs = [ \"out\" \"dev\" ]; }";
    workspace.write(
        "flake.nix",
        &format!(
            "{{ outputs = _: {{ nixosConfigurations.\"web.example.org\".config.v = 7; a.\"b.c\" = 3; \"a.b\".c = 2; \
             packages.x86_64-linux.\"x.y\" = {derivation}; }}; }}"
        ),
    );
    for (attribute, expected) in [
        ("nixosConfigurations.\"web.example.org\".config.v", "7"),
        ("a.\"b.c\"", "3"),
        ("\"a.b\".c", "2"),
        (".a.\"b.c\"", "3"),
        ("packages.x86_64-linux.\"x.y\".name", "\"x\""),
        ("\"x.y\".name", "\"x\""),
    ] {
        let said = run(&workspace, &["expr", &format!(".#{attribute}")]);
        assert_eq!(said, format!("status: 0\n--- stdout\n{expected}\n"), "{attribute}");
    }
    let by_name = run(&workspace, &["instantiate", ".#\"x.y\""]);
    assert!(by_name.starts_with("status: 0"), "{by_name}");
    for attribute in ["packages.x86_64-linux.\"x.y\"", ".packages.x86_64-linux.\"x.y\"", "\"x.y\"^dev"] {
        assert_eq!(run(&workspace, &["instantiate", &format!(".#{attribute}")]), by_name, "{attribute}");
        let said = run(&workspace, &["build", "--dry-run", &format!(".#{attribute}")]);
        assert!(said.starts_with("status: 0"), "{said}");
    }
}

#[test]
fn mistyped_outputs_are_answered() {
    let workspace = Workspace::with_own_store("");
    workspace.write(
        "flake.nix",
        "{ outputs = _: { v = 1; nested.zlib.name = 1; packages.x86_64-linux = { hello = 1; openssl = 1; }; }; }",
    );
    for (argument, help) in [
        (".#vv", "did you mean `v`?"),
        (".#helo", "did you mean `hello`?"),
        (".#opnessl", "did you mean `openssl`?"),
        (".#nested.zlbi.name", "did you mean `nested.zlib.name`?"),
        (".#packages.x86_64-linux.hlelo", "did you mean `packages.x86_64-linux.hello`?"),
        (".#entirely-different", "`ev flake show [DIR]` lists what it has"),
        ("hello", "did you mean `.#hello`?"),
        ("v", "did you mean `.#v`?"),
        ("nowhere", "say where it is, as in `github:owner/nowhere`"),
    ] {
        let said = run(&workspace, &["build", argument]);
        assert!(said.starts_with("status: 1") && said.contains(help), "{argument}:\n{said}");
    }
    let said = run(&workspace, &["build", "hello"]);
    assert!(said.contains("there is no directory `hello` with a `flake.nix`"), "{said}");
}

#[test]
fn a_file_may_read_everything_unless_it_is_pure() {
    let workspace =
        Workspace::with_own_store("{ read = builtins.readFile ../outside; time = builtins.currentTime > 0; }");
    let place = workspace.path().join("inner");
    fs::create_dir(&place).expect("it is ours");
    fs::rename(workspace.path().join("default.nix"), place.join("default.nix")).expect("it is ours");
    workspace.write("outside", "outside");
    let evaluate = |flags: &[&str]| {
        let mut command = workspace.command([&["expr", "-f", ".", "-A", "read"], flags].concat());
        workspace.text(&command.current_dir(&place).output().expect("the program starts"))
    };
    assert_eq!(evaluate(&[]), "status: 0\n--- stdout\n\"outside\"\n");
    assert_eq!(evaluate(&["-A", "time"]), "status: 0\n--- stdout\n\"outside\"\ntrue\n");
    for flag in ["--pure", "--pure-eval", "--restrict"] {
        let said = evaluate(&[flag]);
        assert!(said.starts_with("status: 1") && said.contains("is forbidden"), "{flag}: {said}");
    }
    // An expression is pure.
    let said = workspace.run(["expr", "--expr", "builtins.currentTime"]);
    assert!(workspace.text(&said).contains("attribute 'currentTime' missing"), "{}", workspace.text(&said));
}
