//! Flake references and lock files, each through both doors: `builtins.getFlake` and the command
//! line.

use crate::fetchers::{commit, run};
use crate::workspace::Workspace;
use gix::objs::tree::EntryKind;
use std::fs;

const WRITTEN: &str = "the repository can be written";

fn flake(value: &str) -> String {
    format!("{{ outputs = _: {{ value = \"{value}\"; }}; }}")
}

/// Makes a repository with a flake at its top and another in `sub`.
fn write_repository(workspace: &Workspace) {
    let directory = workspace.path().join("repository");
    let repository = gix::init(&directory).expect(WRITTEN);
    let entry =
        |name: &str, kind: EntryKind, oid| gix::objs::tree::Entry { mode: kind.into(), filename: name.into(), oid };
    let file = |name: &str, value: &str| {
        workspace.write(&format!("repository/{name}"), &flake(value));
        repository.write_blob(flake(value)).expect(WRITTEN).detach()
    };
    let write = |entries| repository.write_object(gix::objs::Tree { entries }).expect(WRITTEN).detach();
    let below = write(vec![entry("flake.nix", EntryKind::Blob, file("sub/flake.nix", "below"))]);
    let top = file("flake.nix", "repository");
    let tree = write(vec![entry("flake.nix", EntryKind::Blob, top), entry("sub", EntryKind::Tree, below)]);
    let commit = commit(&repository, tree, None, 1_000_000_000);
    fs::create_dir_all(directory.join(".git/refs/heads")).expect(WRITTEN);
    fs::write(directory.join(".git/HEAD"), "ref: refs/heads/main\n").expect(WRITTEN);
    fs::write(directory.join(".git/refs/heads/main"), format!("{commit}\n")).expect(WRITTEN);
    let mut index = repository.index_from_tree(&tree).expect(WRITTEN);
    index.write(gix::index::write::Options::default()).expect(WRITTEN);
}

/// The value, or the error without its code's frames and help.
fn outcome(text: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("error")).or_else(|| text.lines().nth(2));
    line.unwrap_or(text).to_owned()
}

#[test]
fn the_language_and_the_command_line_take_the_same_references() {
    let workspace = Workspace::with_own_store("");
    write_repository(&workspace);
    workspace.write("flakes/one/flake.nix", &flake("one"));
    workspace.write("with space/flake.nix", &flake("space"));
    let place = workspace.path().display().to_string();
    let host = "error[lang::host]: ";
    for (reference, expected) in [
        ("path:@/flakes/one", "\"one\"".to_owned()),
        ("path:@/flakes?dir=one", "\"one\"".to_owned()),
        ("@/flakes?dir=one", "\"one\"".to_owned()),
        ("path:@/with%20space", "\"space\"".to_owned()),
        ("git+file://@/repository", "\"repository\"".to_owned()),
        ("git+file://@/repository?dir=sub", "\"below\"".to_owned()),
        ("git+file://@/repository?ref=main&dir=sub", "\"below\"".to_owned()),
        // Below the tree, also when it looks absolute; and never out of it.
        ("path:@/flakes?dir=/one", "\"one\"".to_owned()),
        (
            "path:@/flakes/one?dir=../../repository",
            "the parameter 'dir' of a flake reference, '../../repository', leads out of its tree".to_owned(),
        ),
        (
            "git+file://@/repository?dir=sub/../../flakes/one",
            "the parameter 'dir' of a flake reference, 'sub/../../flakes/one', leads out of its tree".to_owned(),
        ),
        (
            "git+file://elsewhere/r",
            "error[lang::file_url]: file:// URL 'file://elsewhere/r' has unexpected authority 'elsewhere'".to_owned(),
        ),
        (
            "no-such-flake",
            "no registry has the flake 'flake:no-such-flake'".to_owned(),
        ),
        ("github:o/r?host=a:b", format!("{host}'a:b' cannot be the 'host' of a reference of type 'github'")),
        ("hg+file:///r", format!("{host}fetching from Mercurial repositories is not possible here")),
        (
            "github:o",
            "'github:o' is not a valid flake reference: an owner and a repository are needed, as in 'github:owner/repo'"
                .to_owned(),
        ),
        ("a b", "'a b' is not a valid flake reference: it is neither a path, a URL nor a name".to_owned()),
    ] {
        let reference = reference.replace('@', &place);
        let expression = format!("(builtins.getFlake \"{reference}\").value");
        let language = run(&workspace, &["expr", "--impure", "--json", "--expr", &expression]);
        // `expr` takes text that is not a reference for an expression.
        let command = match expected.contains("is not a valid flake reference") {
            true => run(&workspace, &["build", &format!("{reference}#value")]),
            false => run(&workspace, &["expr", "--json", &format!("{reference}#value")]),
        };
        for text in [language, command] {
            assert!(outcome(&text).ends_with(&expected), "{reference}: {expected}\n{text}");
        }
    }
    // On the command line a relative path starts at the current directory.
    for reference in ["path:flakes?dir=one", "path:./flakes/one", "./flakes/one", "flakes/one", "./flakes?dir=one"] {
        let text = run(&workspace, &["expr", "--json", &format!("{reference}#value")]);
        assert_eq!(outcome(&text), "\"one\"", "{reference}:\n{text}");
    }
}

#[test]
fn the_language_and_the_command_line_take_the_same_lock_files() {
    let workspace = Workspace::with_own_store("");
    workspace.write(
        "locked/flake.nix",
        "{ inputs.one.url = \"path:./one\"; outputs = { self, one }: { inherit (one) value; }; }",
    );
    workspace.write("locked/one/flake.nix", &flake("one"));
    let node = |inputs: &str| {
        format!(
            "{{ \"inputs\": {{ {inputs} }}, \"parent\": [], \"locked\": {{ \"type\": \"path\", \"path\": \"./one\" }}, \
             \"original\": {{ \"type\": \"path\", \"path\": \"./one\" }} }}"
        )
    };
    let file = |nodes: &str, version: u32| {
        format!(
            "{{ \"nodes\": {{ \"root\": {{ \"inputs\": {{ \"one\": \"one\" }} }}{nodes} }}, \"root\": \"root\", \"version\": {version} }}"
        )
    };
    let one = |inputs: &str| file(&format!(", \"one\": {}", node(inputs)), 7);
    // More than the resource limit, with two paths to each node.
    let doubling: String =
        (0..40).map(|n| format!(", \"n{n}\": {}", node(&format!("\"a\": \"n{0}\", \"b\": \"n{0}\"", n + 1)))).collect();
    let doubling = format!(", \"one\": {}{doubling}, \"n40\": {}", node("\"a\": \"n0\""), node(""));
    let flake = format!("{}/locked", workspace.path().display());
    for (lock, expected) in [
        (one(""), ""),
        (one("\"again\": [ \"one\" ]"), ""),
        (file(&format!(", \"one\": {}", node("")), 5), ""),
        (one("\"again\": \"one\""), "'one' is an input of itself"),
        (one("\"again\": \"none\""), "it has no node 'none'"),
        (one("\"again\": 1"), "an input is neither a name nor a list of names"),
        (one("\"again\": [ 1 ]"), "a list of names has another element"),
        (file(", \"one\": { \"locked\": 1 }", 7), "a reference is not a set"),
        (
            file(", \"one\": { \"locked\": { \"path\": [ ] } }", 7),
            "the attribute 'path' of a reference is neither string, number nor Boolean",
        ),
        (file(&doubling, 7), "it leads to the same nodes too often"),
        (file("", 7), "it has no node 'one'"),
        (file("", 4), "its version is not supported"),
        (file("", 8), "its version is not supported"),
        ("{ \"version\": 7, \"root\": \"root\" }".to_owned(), "it has no 'nodes'"),
        ("{ \"version\": 7, \"nodes\": { } }".to_owned(), "it has no 'root'"),
        ("{".to_owned(), "EOF while parsing an object at line 1 column 1"),
    ] {
        workspace.write("locked/flake.lock", &lock);
        let expression = format!("(builtins.getFlake \"path:{flake}\").value");
        let language = run(&workspace, &["expr", "--impure", "--json", "--expr", &expression]);
        let command = run(&workspace, &["expr", "--json", "path:locked#value"]);
        let locking = run(&workspace, &["flake", "lock", "locked"]);
        for text in [language, command, locking] {
            if expected.is_empty() {
                assert!(text.starts_with("status: 0\n"), "{lock}\n{text}");
            } else {
                let error = format!("error[lang::flake_lock]: 'flake.lock' cannot be used: {expected}");
                assert_eq!(outcome(&text), error, "{lock}\n{text}");
            }
        }
    }
}
