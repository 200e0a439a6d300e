//! `flake lock` and `flake update`: written entries, unchanged entries, and errors.

use crate::fetchers::{run, with_repository};
use crate::git_server;
use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

/// Writes a flake with inputs of several kinds. `dep` has its own lock file and is beside it.
fn flake(workspace: &Workspace, more: &str) {
    let place = workspace.path().display();
    workspace.write(
        "flake.nix",
        &format!(
            "{{\n  inputs.repo = {{ url = \"git+file://{place}/repository?ref=old\"; flake = false; }};\n\
             inputs.plain = {{ url = \"path:{place}/plain\"; flake = false; }};\n\
             inputs.dep.url = \"path:./dep\";\n{more}\n\
             outputs = inputs: {{ revs = [ inputs.repo.rev inputs.dep.own.rev inputs.dep.repo.rev ]; }};\n}}\n"
        ),
    );
    workspace.write(
        "dep/flake.nix",
        &format!(
            "{{\n  inputs.own = {{ url = \"git+file://{place}/repository\"; flake = false; }};\n\
             inputs.repo = {{ url = \"git+file://{place}/repository\"; flake = false; }};\n\
             outputs = {{ self, own, repo }}: {{ inherit own repo; }};\n}}\n"
        ),
    );
    workspace.write("plain/text", "text");
    let times = [workspace.path().join("plain/text"), workspace.path().join("plain")];
    for place in times {
        let file = fs::File::open(place).expect("it was written");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("it is ours");
    }
}

fn locked(workspace: &Workspace) -> String {
    workspace.normal(&fs::read_to_string(workspace.path().join("flake.lock")).expect("there is a lock file"))
}

/// Moves the branch `old` to the last commit.
fn move_branch(workspace: &Workspace, rev: &str) {
    let branch = workspace.path().join("repository/.git/refs/heads/old");
    fs::write(branch, format!("{rev}\n")).expect("the repository is ours");
}

#[test]
fn a_lock_pins_the_inputs() {
    let (workspace, rev) = with_repository();
    flake(&workspace, "inputs.dep.inputs.repo.follows = \"repo\"; inputs.also.follows = \"dep/own\";");
    assert_snapshot!(run(&workspace, &["flake", "lock"]), @r#"
    status: 0
    --- stderr
    wrote [DIR]/flake.lock
      added 'also': follows 'dep/own'
      added 'dep': path:./dep
      added 'dep/own': git+file://[DIR]/repository?ref=refs/heads/main&rev=6f12739d219a79befa6f321cf205fabdf16ade81
      added 'dep/repo': follows 'repo'
      added 'plain': path:[DIR]/plain?narHash=sha256-DSveEV6bfrkQEDcIxUO5u1k42lXq1/86lsYFr+MU5to%3D
      added 'repo': git+file://[DIR]/repository?ref=old&rev=486d36b378b53f32519be87282a4274b8ff34437
    "#);
    assert_snapshot!(locked(&workspace), @r#"
    {
      "nodes": {
        "dep": {
          "inputs": {
            "own": "own",
            "repo": [
              "repo"
            ]
          },
          "locked": {
            "path": "./dep",
            "type": "path"
          },
          "original": {
            "path": "./dep",
            "type": "path"
          },
          "parent": []
        },
        "own": {
          "flake": false,
          "locked": {
            "lastModified": 1000000060,
            "narHash": "sha256-8iJgoEZ2M7287IFrupbSfnB3P7JwsE8jzPfWAvre5Dc=",
            "ref": "refs/heads/main",
            "rev": "6f12739d219a79befa6f321cf205fabdf16ade81",
            "revCount": 2,
            "type": "git",
            "url": "file://[DIR]/repository"
          },
          "original": {
            "type": "git",
            "url": "file://[DIR]/repository"
          }
        },
        "plain": {
          "flake": false,
          "locked": {
            "lastModified": 1000000000,
            "narHash": "sha256-DSveEV6bfrkQEDcIxUO5u1k42lXq1/86lsYFr+MU5to=",
            "path": "[DIR]/plain",
            "type": "path"
          },
          "original": {
            "path": "[DIR]/plain",
            "type": "path"
          }
        },
        "repo": {
          "flake": false,
          "locked": {
            "lastModified": 1000000000,
            "narHash": "sha256-8iJgoEZ2M7287IFrupbSfnB3P7JwsE8jzPfWAvre5Dc=",
            "ref": "old",
            "rev": "486d36b378b53f32519be87282a4274b8ff34437",
            "revCount": 1,
            "type": "git",
            "url": "file://[DIR]/repository"
          },
          "original": {
            "ref": "old",
            "type": "git",
            "url": "file://[DIR]/repository"
          }
        },
        "root": {
          "inputs": {
            "also": [
              "dep",
              "own"
            ],
            "dep": "dep",
            "plain": "plain",
            "repo": "repo"
          }
        }
      },
      "root": "root",
      "version": 7
    }
    "#);
    // In pure evaluation, and without a lock file of `dep`.
    assert_snapshot!(run(&workspace, &["expr", "--json", ".#revs"]), @r#"
    status: 0
    --- stdout
    ["486d36b378b53f32519be87282a4274b8ff34437","6f12739d219a79befa6f321cf205fabdf16ade81","486d36b378b53f32519be87282a4274b8ff34437"]
    "#);

    move_branch(&workspace, &rev);
    assert_snapshot!(run(&workspace, &["flake", "lock"]), @r#"
    status: 0
    "#);
    assert_snapshot!(run(&workspace, &["flake", "update", "dep/own"]), @r#"
    status: 0
    "#);
    assert_snapshot!(run(&workspace, &["flake", "update", "repo"]), @r#"
    status: 0
    --- stderr
    wrote [DIR]/flake.lock
      updated 'repo': git+file://[DIR]/repository?ref=old&rev=486d36b378b53f32519be87282a4274b8ff34437
           → git+file://[DIR]/repository?ref=old&rev=6f12739d219a79befa6f321cf205fabdf16ade81
    "#);
    assert_snapshot!(run(&workspace, &["expr", "--json", ".#revs"]), @r#"
    status: 0
    --- stdout
    ["6f12739d219a79befa6f321cf205fabdf16ade81","6f12739d219a79befa6f321cf205fabdf16ade81","6f12739d219a79befa6f321cf205fabdf16ade81"]
    "#);
}

#[test]
fn changed_declarations_are_locked_again() {
    let (workspace, rev) = with_repository();
    flake(&workspace, "inputs.dep.inputs.repo.follows = \"repo\";");
    run(&workspace, &["flake", "lock"]);
    move_branch(&workspace, &rev);
    flake(&workspace, "inputs.dep.inputs.repo.follows = \"dep/own\"; inputs.plain.inputs.x.follows = \"repo\";");
    assert_snapshot!(run(&workspace, &["flake", "lock"]), @r#"
    status: 0
    --- stderr
    warning: the input 'plain' has no input 'x', which is overridden
    wrote [DIR]/flake.lock
      updated 'dep/repo': follows 'repo'
           → follows 'dep/own'
    "#);
    assert_snapshot!(run(&workspace, &["flake", "update", "--flake", "."]), @r#"
    status: 0
    --- stderr
    warning: the input 'plain' has no input 'x', which is overridden
    wrote [DIR]/flake.lock
      updated 'repo': git+file://[DIR]/repository?ref=old&rev=486d36b378b53f32519be87282a4274b8ff34437
           → git+file://[DIR]/repository?ref=old&rev=6f12739d219a79befa6f321cf205fabdf16ade81
    "#);
}

/// The flakes `a`, `b` and `c` of `top`, as plain directories; `b` lets `c` of its `a` follow its own.
fn nested(workspace: &Workspace, of_b: &str, of_top: &str) {
    let place = workspace.path().display();
    let input = |name: &str| format!("inputs.{name}.url = \"path:{place}/{name}\";");
    for (name, inputs) in
        [("c", String::new()), ("a", input("c")), ("b", input("a") + &input("c") + of_b), ("top", input("b") + of_top)]
    {
        workspace.write(&format!("{name}/flake.nix"), &format!("{{ {inputs} outputs = _: {{ v = 1; }}; }}"));
    }
}

fn follows_of_top(workspace: &Workspace) -> String {
    let text = fs::read_to_string(workspace.path().join("top/flake.lock")).expect("there is a lock file");
    let lock: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    lock["nodes"]["a"]["inputs"]["c"].to_string()
}

/// A pinned flake declares what it declared, so nothing of it is looked up again.
#[test]
fn follows_of_pinned_flakes_stay() {
    for has_own_lock in [false, true] {
        let workspace = Workspace::with_own_store("");
        nested(&workspace, "inputs.a.inputs.c.follows = \"c\";", "");
        if has_own_lock {
            run(&workspace, &["flake", "lock", "./b"]);
        }
        run(&workspace, &["flake", "lock", "./top"]);
        assert_eq!(follows_of_top(&workspace), "[\"b\",\"c\"]", "{has_own_lock}");
        assert_eq!(run(&workspace, &["flake", "lock", "./top"]), "status: 0\n", "{has_own_lock}");
        // Another input changes nothing.
        let place = workspace.path().display().to_string();
        nested(&workspace, "inputs.a.inputs.c.follows = \"c\";", &format!("inputs.x.url = \"path:{place}/c\";"));
        run(&workspace, &["flake", "lock", "./top"]);
        assert_eq!(follows_of_top(&workspace), "[\"b\",\"c\"]", "{has_own_lock}");
        // Nor do the flakes, which need not exist any more.
        fs::remove_dir_all(workspace.path().join("a")).expect("it is ours");
        fs::remove_dir_all(workspace.path().join("c")).expect("it is ours");
        assert_eq!(run(&workspace, &["flake", "lock", "./top", "--offline"]), "status: 0\n", "{has_own_lock}");
    }
}

/// An override of an input of the flake itself is undone with its declaration; one further below is
/// trusted, as by Nix.
#[test]
fn follows_that_are_not_declared_any_more() {
    let workspace = Workspace::with_own_store("");
    nested(&workspace, "", "inputs.b.inputs.a.inputs.c.follows = \"b/c\";");
    run(&workspace, &["flake", "lock", "./top"]);
    assert_eq!(follows_of_top(&workspace), "[\"b\",\"c\"]");
    nested(&workspace, "", "");
    run(&workspace, &["flake", "lock", "./top"]);
    assert_eq!(follows_of_top(&workspace), "[\"b\",\"c\"]");
    nested(&workspace, "", "inputs.b.inputs.c.follows = \"b/a/c\"; inputs.b.inputs.a.inputs.c.follows = \"\";");
    run(&workspace, &["flake", "lock", "./top"]);
    nested(&workspace, "", "");
    let said = run(&workspace, &["flake", "lock", "./top"]);
    assert!(said.contains("updated 'b/c': follows 'b/a/c'"), "{said}");
}

#[test]
fn a_branch_of_a_server_is_locked() {
    let (workspace, rev) = with_repository();
    let server = git_server::start(workspace.path());
    let url = server.url("/repository");
    workspace.write(
        "flake.nix",
        &format!("{{ inputs.r = {{ url = \"git+{url}\"; flake = false; }}; outputs = {{ self, r }}: {{ inherit (r) rev; }}; }}"),
    );
    run(&workspace, &["flake", "lock"]);
    assert_snapshot!(locked(&workspace).replace(&url, "[URL]"), @r#"
    {
      "nodes": {
        "r": {
          "flake": false,
          "locked": {
            "lastModified": 1000000060,
            "narHash": "sha256-8iJgoEZ2M7287IFrupbSfnB3P7JwsE8jzPfWAvre5Dc=",
            "ref": "refs/heads/main",
            "rev": "6f12739d219a79befa6f321cf205fabdf16ade81",
            "revCount": 2,
            "type": "git",
            "url": "[URL]"
          },
          "original": {
            "type": "git",
            "url": "[URL]"
          }
        },
        "root": {
          "inputs": {
            "r": "r"
          }
        }
      },
      "root": "root",
      "version": 7
    }
    "#);
    assert_snapshot!(run(&workspace, &["expr", ".#rev"]), @r#"
    status: 0
    --- stdout
    "6f12739d219a79befa6f321cf205fabdf16ade81"
    "#);
    // A revision fetched a moment ago is looked up nevertheless.
    workspace.write(
        "flake.nix",
        &format!("{{ inputs.r = {{ url = \"git+{url}?ref=old\"; flake = false; }}; outputs = {{ self, r }}: {{ }}; }}"),
    );
    run(&workspace, &["flake", "lock"]);
    move_branch(&workspace, &rev);
    assert_snapshot!(run(&workspace, &["flake", "update"]).replace(&url, "[URL]"), @r#"
    status: 0
    --- stderr
    wrote [DIR]/flake.lock
      updated 'r': git+[URL]?ref=old&rev=486d36b378b53f32519be87282a4274b8ff34437
           → git+[URL]?ref=old&rev=6f12739d219a79befa6f321cf205fabdf16ade81
    "#);
}

#[test]
fn mistakes_leave_the_lock_as_it_was() {
    let (workspace, _) = with_repository();
    flake(&workspace, "");
    run(&workspace, &["flake", "lock"]);
    let before = locked(&workspace);
    let check = |more: &str| {
        flake(&workspace, more);
        let text = run(&workspace, &["flake", "lock"]);
        assert_eq!(locked(&workspace), before);
        text
    };
    assert_snapshot!(check("inputs.a.follows = \"dep/nothing\";"), @r#"
    status: 1
    --- stderr
    error[lang::flake_input]: the input 'a' follows 'dep/nothing', which is not there
    "#);
    assert_snapshot!(check("inputs.a.flake = false;"), @r#"
    status: 1
    --- stderr
    error[lang::flake_input]: the input 'a' has no 'url'
     |
     = help: add `inputs.a.url = "…";` to the flake.nix that names it
    "#);
    assert_snapshot!(check("inputs.a.url = \"path:./nowhere\";"), @r#"
    status: 1
    --- stderr
    error[lang::flake_input]: there is no flake in '[DIR]/nowhere': it has no file 'flake.nix'
      … while locking the input 'a'
    "#);
    assert_snapshot!(check("inputs.a.url = \"path:.\";"), @r#"
    status: 1
    --- stderr
    error[lang::flake_input]: the input 'a' needs itself
    "#);
    assert_snapshot!(check("inputs.a.url = \"no-such-flake\";"), @r#"
    status: 1
    --- stderr
    error[lang::flake_input]: no registry has the flake 'flake:no-such-flake'
     |
     = help: write its place in flake.nix, as in `url = "github:owner/no-such-flake";`: a user's registry names no inputs, as locks must not depend on it (`--flake-registry FILE` does)
      … while locking the input 'a'
    "#);
    assert_snapshot!(check("inputs.a = 1;"), @r#"
    status: 1
    --- stderr
    error[lang::type]: expected a set but found an integer: 1
    "#);
    flake(&workspace, "");
    assert_snapshot!(run(&workspace, &["flake", "update", "dep/nothing"]), @r#"
    status: 1
    --- stderr
    error[lang::flake_input]: 'dep/nothing' is not an input that is locked
    "#);

    fs::write(workspace.path().join("repository/text"), "changed").expect("the repository is ours");
    let place = workspace.path().display().to_string();
    assert_snapshot!(check(&format!("inputs.a = {{ url = \"git+file://{place}/repository\"; flake = false; }};")), @r#"
    status: 1
    --- stderr
    warning: Git tree '[DIR]/repository' is dirty
    error[lang::unlocked_fetch]: the input 'a' cannot be locked: its working tree has uncommitted changes
     |
     = help: commit the changes, or give a `rev` or `ref`
    "#);
}

#[test]
fn a_hostile_lock_is_refused() {
    let (workspace, _) = with_repository();
    flake(&workspace, "");
    let node = |inputs: &str| format!("{{ \"inputs\": {{ {inputs} }}, \"locked\": {{}}, \"original\": {{}} }}");
    let check = |nodes: &str| {
        workspace.write("flake.lock", &format!("{{ \"nodes\": {{ {nodes} }}, \"root\": \"root\", \"version\": 7 }}"));
        run(&workspace, &["flake", "lock"])
    };
    assert_snapshot!(check(""), @r#"
    status: 1
    --- stderr
    error[lang::flake_lock]: 'flake.lock' cannot be used: it has no node 'root'
     |
     = help: delete the file, and `ev flake lock` locks all inputs again
    "#);
    assert_snapshot!(check(&format!("\"root\": {}", node("\"a\": \"root\""))), @r#"
    status: 1
    --- stderr
    error[lang::flake_lock]: 'flake.lock' cannot be used: 'root' is an input of itself
     |
     = help: delete the file, and `ev flake lock` locks all inputs again
    "#);
    assert_snapshot!(check(&format!("\"root\": {}", node("\"a\": [ 1 ]"))), @r#"
    status: 1
    --- stderr
    error[lang::flake_lock]: 'flake.lock' cannot be used: a list of names has another element
     |
     = help: delete the file, and `ev flake lock` locks all inputs again
    "#);
    // Twice as many at each step.
    let doubling: Vec<String> = (0..40)
        .map(|n| format!("\"n{n}\": {}", node(&format!("\"a\": \"n{0}\", \"b\": \"n{0}\"", n + 1))))
        .chain([format!("\"n40\": {}", node("")), format!("\"root\": {}", node("\"a\": \"n0\""))])
        .collect();
    assert_snapshot!(check(&doubling.join(", ")), @r#"
    status: 1
    --- stderr
    error[lang::flake_lock]: 'flake.lock' cannot be used: it leads to the same nodes too often
     |
     = help: delete the file, and `ev flake lock` locks all inputs again
    "#);
    workspace.write("flake.lock", "{");
    assert_snapshot!(run(&workspace, &["flake", "lock"]), @r#"
    status: 1
    --- stderr
    error[lang::flake_lock]: 'flake.lock' cannot be used: EOF while parsing an object at line 1 column 1
     |
     = help: delete the file, and `ev flake lock` locks all inputs again
    "#);
}
