//! Prefixes that lead out of themselves.

use crate::workspace::{Workspace, open_to_all};
use insta::assert_snapshot;

#[test]
fn leak_names_file_and_offset() {
    let workspace = Workspace::with_own_store(
        r##"
        let
          inherit (import ./prelude.nix) audit write;
        in
        audit {
          name = "toy-audited";
          path = "/opt/toy";
          tree = write {
            name = "toy";
            files."opt/toy/bin/run" = { text = "#!/bin/sh\nexec /opt/toy/bin/sh\n"; executable = true; };
            files."opt/toy/share/note".text = "built in /build/toy-1.0/src\n";
            files."opt/toy/lib/outside.so".link = "/usr/lib/outside.so";
            files."opt/toy/lib/inside.so".link = "/opt/toy/share/note";
          };
        }
        "##,
    );
    assert_snapshot!(workspace.check("build -f default.nix"), @r#"
    status: 100
    --- stderr
    plan: 2 trees to put together
    error[build::audit]: `toy-audited` failed: the tree leads out of its prefix in 3 places:
        opt/toy/bin/run, byte 2: the script is run by `/bin/sh`, which is not in the prefix
        opt/toy/lib/outside.so: the link leads out of the prefix, to `/usr/lib/outside.so`
        opt/toy/share/note, byte 9: the bytes name a directory of the build: `/build/toy-1.0/src`
    1 failed in [TIME]
    error[build::audit]: `toy-audited` failed, as reported above
    "#);
}

#[test]
fn check_of_a_directory() {
    let workspace = Workspace::with_own_store("");
    let program = |name: &str, text: &str| {
        workspace.write(name, text);
        open_to_all(&workspace.path().join(name));
    };
    program("root/opt/toy/bin/run", "#!/opt/toy/bin/sh\n");
    assert_snapshot!(workspace.check("prefix check root --prefix /opt/toy"), @r#"
    status: 1
    --- stdout
    opt/toy/bin/run, byte 2: the script is run by `/opt/toy/bin/sh`, which does not exist
    --- stderr
    error: `root` leads out of the prefix `/opt/toy` in 1 place
     |
     = help: the lines above name each place
    "#);
    program("root/opt/toy/bin/other", "#!/usr/bin/perl\n");
    assert_snapshot!(workspace.check("prefix check root --prefix /opt/toy"), @r#"
    status: 1
    --- stdout
    opt/toy/bin/other, byte 2: the script is run by `/usr/bin/perl`, which is not in the prefix
    opt/toy/bin/run, byte 2: the script is run by `/opt/toy/bin/sh`, which does not exist
    --- stderr
    error: `root` leads out of the prefix `/opt/toy` in 2 places
     |
     = help: the lines above name each place
    "#);
    let json = workspace.json("prefix check root --prefix /opt/toy --json");
    assert_snapshot!(workspace.json_text(&json), @r#"
    {
      "findings": [
        {
          "file": "opt/toy/bin/other",
          "help": "rewrite the first line to the prefix's interpreter, or drop the file's executable bit",
          "kind": "script",
          "offset": 2,
          "text": "the script is run by `/usr/bin/perl`, which is not in the prefix"
        },
        {
          "file": "opt/toy/bin/run",
          "help": "add the package with the interpreter to the prefix, or leave the script out",
          "kind": "script",
          "offset": 2,
          "text": "the script is run by `/opt/toy/bin/sh`, which does not exist"
        }
      ],
      "prefix": "/opt/toy",
      "version": 1
    }
    "#);
}
