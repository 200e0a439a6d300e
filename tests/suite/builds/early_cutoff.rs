//! Unchanged derivations are not built, and an output with the same contents rebuilds nothing above
//! it.

use crate::workspace::Workspace;
use insta::assert_snapshot;

fn recipe(comment: &str, library: &str) -> String {
    format!(
        r#"
        let
          inherit (import ./prelude.nix) sh;
          lib = sh {{ name = "lib-@nonce@"; script = "mkdir -p $out/lib; echo {library} > $out/lib/x # {comment}"; }};
          app = sh {{ name = "app-@nonce@"; script = "cat /lib/x > $out"; trees = [ lib ]; }};
        in
        sh {{ name = "top-@nonce@"; script = "cat /source/app > $out"; __sources = builtins.toJSON {{ inherit app; }}; }}
        "#
    )
}

#[test]
fn a_changed_comment_runs_one_build() {
    let workspace = Workspace::new(&recipe("first", "x"));
    assert_snapshot!(workspace.check("build -f default.nix --no-link"), @r#"
    status: 0
    --- stderr
    plan: 3 builds to run
          lib-[NONCE], app-[NONCE], top-[NONCE]
    building lib-[NONCE]
    built    lib-[NONCE] in [TIME]
    building app-[NONCE]
    built    app-[NONCE] in [TIME]
    building top-[NONCE]
    built    top-[NONCE] in [TIME]
    3 built in [TIME]
    "#);
    workspace.write("default.nix", &recipe("second", "x"));
    assert_snapshot!(workspace.check("build -f default.nix --no-link"), @r#"
    status: 0
    --- stderr
    plan: 3 builds to run
          lib-[NONCE], app-[NONCE], top-[NONCE]
    building lib-[NONCE]
    built    lib-[NONCE] in [TIME]
    cut off  app-[NONCE]: reused, its inputs are unchanged
    cut off  top-[NONCE]: reused, its inputs are unchanged
    1 built, 2 cut off in [TIME]
    "#);
    workspace.write("default.nix", &recipe("third", "x"));
    let json = workspace.json("build -f default.nix --no-link --json");
    assert_snapshot!(workspace.json_text(&json["summary"]), @r#"
    {
      "built": 1,
      "cutOff": 2,
      "fetched": 0,
      "made": 0
    }
    "#);
    workspace.write("default.nix", &recipe("third", "another"));
    let json = workspace.json("build -f default.nix --no-link --json");
    assert_snapshot!(workspace.json_text(&json["summary"]), @r#"
    {
      "built": 3,
      "cutOff": 0,
      "fetched": 0,
      "made": 0
    }
    "#);
    let json = workspace.json("build -f default.nix --no-link --json");
    assert_snapshot!(workspace.json_text(&json["summary"]), @r#"
    {
      "built": 0,
      "cutOff": 0,
      "fetched": 0,
      "made": 0
    }
    "#);
}
