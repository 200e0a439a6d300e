//! The same contents for every user who builds: root, or a user without any rights.

use crate::workspace::{PROGRAM, Workspace, open_to_all};
use insta::assert_snapshot;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const TOY: &str = r##"
(import ./prelude.nix).sh {
  name = "toy";
  nonce = "";
  script = ''
    mkdir -p $out/bin
    echo "#!/bin/bash" > $out/bin/run
    chmod 751 $out/bin/run
    ln -s run $out/bin/alias
    { id -u; umask; pwd; cat /proc/sys/kernel/hostname; env -u EVAL_CORES -u NIX_BUILD_CORES -u script | sort; } > $out/seen
  '';
}
"##;

/// The user `nobody`, who owns no files.
const ORDINARY_USER: u32 = 65534;

fn contents(workspace: &Workspace) -> String {
    let json = workspace.json("path-info --json ./result");
    json["paths"][0]["contents"].as_str().expect("contents are hashed").to_owned()
}

#[test]
fn same_contents_as_root_and_as_an_ordinary_user() {
    let workspace = Workspace::with_own_store(TOY);
    let mut out = workspace.stdout("build -f default.nix --print-out-paths");
    // The contents are the same for every user who runs the tests.
    assert_snapshot!(fs::read_to_string(Path::new(&out).join("seen")).expect("it was built"), @r#"
    1000
    0022
    /build
    localhost
    HOME=/build
    LC_ALL=C
    PATH=/usr/bin:/bin
    PWD=/build
    SHLVL=1
    SOURCE_DATE_EPOCH=1700000000
    TERM=dumb
    TMPDIR=/tmp
    TZ=UTC
    _=/usr/bin/env
    builder=/bin/bash
    name=toy
    nonce=
    out=/output/out
    system=x86_64-linux
    "#);
    assert_snapshot!(contents(&workspace), @"69e018b461657d987b89918c1a58a678583f82503479a1faace72f86bf41b0dd");
    out = workspace.normal(&out);

    if fs::metadata("/proc/self").is_ok_and(|us| std::os::unix::fs::MetadataExt::uid(&us) == 0) {
        let theirs = Workspace::with_own_store(TOY);
        let place = tempfile::tempdir().expect("there is a directory for temporary files");
        open_to_all(place.path());
        for name in ["prelude.nix", "default.nix", "corpus/builders.nix", "corpus/fetch.nix", "corpus/seed.json"] {
            let to = place.path().join(name);
            fs::create_dir_all(to.parent().expect("it has a name")).expect("it is our directory");
            fs::copy(theirs.path().join(name), to).expect("it is our directory");
        }
        let program = place.path().join("eval");
        fs::copy(PROGRAM, &program).expect("it is our directory");
        std::os::unix::fs::chown(place.path(), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("we are root");
        let run = |words: &str| {
            let mut command = Command::new(&program);
            command.uid(ORDINARY_USER).gid(ORDINARY_USER);
            let mut command = theirs.prepare(command, words.split_whitespace());
            command.current_dir(place.path()).env("EVAL_ROOT", place.path().join("store")).env("HOME", "/nonexistent");
            let ran = command.output().expect("the program starts");
            assert!(ran.status.success(), "{}", theirs.text(&ran));
            String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
        };
        let built = run("build -f default.nix --print-out-paths");
        assert_eq!(crate::normal::normalise(&built, &[(&place.path().join("store"), "[STORE]")]), out);
        let json: serde_json::Value = serde_json::from_str(&run("path-info --json ./result")).expect("it is JSON");
        assert_eq!(json["paths"][0]["contents"], contents(&workspace).as_str());
        run("store verify");
    }
}
