//! A failed build that an evaluation waited for ends as if it had been asked for.

use crate::workspace::Workspace;

const HASH: &str = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn status_code_and_help_are_those_of_the_build() {
    let workspace = Workspace::with_own_store("");
    workspace.write("source.txt", "another content\n");
    let source = format!(
        "with import ./prelude.nix;
rec {{
  failed = sh {{ name = \"failed\"; script = \"echo so; exit 3\"; }};
  timed_out = sh {{ name = \"slow\"; script = \"echo so; sleep 300\"; timeout = \"1\"; }};
  hash_mismatch = fetchurl {{
    urls = [ \"file://{}/source.txt\" ];
    sha256 = \"{HASH}\";
  }};
  awaited = builtins.mapAttrs (_: import) {{ inherit failed timed_out hash_mismatch; }};
}}
",
        workspace.path().display()
    );
    workspace.write("default.nix", &source);
    for (name, status) in [("failed", 100), ("timed_out", 101), ("hash_mismatch", 102)] {
        let direct = workspace.json(&format!("build --no-link --json -f default.nix -A {name}"));
        let awaited = workspace.json(&format!("build --no-link --json -f default.nix -A awaited.{name}"));
        assert_eq!(direct["exitStatus"], status, "{direct:#}");
        assert_eq!(direct["error"]["code"], format!("build::{name}"), "{direct:#}");
        assert!(direct["error"]["help"].is_string(), "{direct:#}");
        assert_eq!(awaited["exitStatus"], status, "{awaited:#}");
        for field in ["code", "help", "message"] {
            assert_eq!(awaited["error"][field], direct["error"][field], "{awaited:#}");
        }
        let text = workspace.check(&format!("build --no-link -f default.nix -A awaited.{name}"));
        assert!(text.starts_with(&format!("status: {status}\n")), "{text}");
        assert!(text.contains(&format!("error[build::{name}]: ")), "{text}");
        // The help names the log, or the line with the hash.
        assert!(text.contains(if name == "hash_mismatch" { "default.nix:7`" } else { "ev log" }), "{text}");
        let report = if name == "hash_mismatch" { "specified: " } else { "last lines of the log:" };
        assert_eq!(text.matches(report).count(), 1, "each failure is reported once:\n{text}");
    }
}
