//! Completions, as the shells themselves understand them.

use crate::workspace::Workspace;
use std::process::Command;

const FLAKE: &str = r#"
{
  outputs = { self }: {
    packages.x86_64-linux = {
      python3 = throw "names are not evaluated";
      python3Packages = { numpy = 1; pandas = 2; };
      hello = 3;
    };
    packages.aarch64-linux = { };
    library.x = 1;
  };
}
"#;

/// Returns the answers of bash, after its own script has asked for them.
#[track_caller]
fn completed(workspace: &Workspace, line: &str) -> String {
    workspace.write("completions.bash", &workspace.stdout("completions bash"));
    let script = format!(
        "source ./completions.bash
         COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
         COMP_TYPE=9; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
         _clap_complete_${{COMP_WORDS[0]}} ${{COMP_WORDS[0]}} \"${{COMP_WORDS[COMP_CWORD]}}\"; echo ${{COMPREPLY[@]}}"
    );
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script);
    let ran = workspace.prepare(bash, [] as [&str; 0]).output().expect("bash is installed");
    assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

#[test]
fn bash_completes_commands_and_flags() {
    let workspace = Workspace::with_own_store("");
    assert_eq!(completed(&workspace, "ev bui"), "build");
    assert_eq!(completed(&workspace, "ev build --keep-f"), "--keep-failed");
    assert_eq!(completed(&workspace, "ev store ver"), "verify");
    assert_eq!(completed(&workspace, "ev prefix prune --older"), "--older-than");
    assert_eq!(completed(&workspace, "ev build --durability f"), "full");
    assert_eq!(completed(&workspace, "eval bui"), "build");
    assert_eq!(completed(&workspace, "build --dry"), "--dry-run");
    assert_eq!(completed(&workspace, "build --durab"), "--durability");
}

#[test]
fn attributes_of_a_flake_are_completed() {
    let workspace = Workspace::with_own_store("");
    workspace.write("flake.nix", FLAKE);
    // A question makes no store.
    assert_eq!(completed(&workspace, "ev build .#py"), "");
    assert!(!workspace.store().exists());
    workspace.stdout("store add default.nix");
    assert_eq!(completed(&workspace, "ev build .#py"), ".#python3 .#python3Packages");
    assert_eq!(completed(&workspace, "build .#python3Packages."), ".#python3Packages.numpy .#python3Packages.pandas");
    assert_eq!(completed(&workspace, "ev log .#lib"), ".#library");
    assert_eq!(completed(&workspace, "ev build .#packages."), ".#packages.aarch64-linux .#packages.x86_64-linux");
    assert_eq!(completed(&workspace, "ev build .#nothing"), "");
    // The next answer is that of the changed file.
    workspace.write("flake.nix", "{ outputs = _: { packages.x86_64-linux.pyramid = 1; }; }");
    assert_eq!(completed(&workspace, "ev build .#py"), ".#pyramid");
}

#[test]
fn attributes_of_a_file_are_completed() {
    let workspace = Workspace::with_own_store("{ app = 1; apple.seed = 2; }");
    workspace.stdout("store add default.nix");
    assert_eq!(completed(&workspace, "ev build -f default.nix ap"), "app apple");
    assert_eq!(completed(&workspace, "ev build -f default.nix apple."), "apple.seed");
}

/// The flake needs its network or a build, and neither is used.
#[test]
fn nothing_is_fetched_or_built() {
    let workspace = Workspace::with_own_store("");
    workspace.stdout("store add default.nix");
    workspace.write(
        "flake.nix",
        "{ outputs = _: { packages.x86_64-linux = import (builtins.fetchTarball \"http://127.0.0.1:9/x\"); }; }",
    );
    assert_eq!(completed(&workspace, "ev build .#py"), "");
    let toy = "(import ./prelude.nix).write { name = \"t\"; files.x.text = \"{ pyx = 1; }\"; }";
    workspace
        .write("flake.nix", &format!("{{ outputs = _: {{ packages.x86_64-linux = import \"${{{toy}}}/x\"; }}; }}"));
    assert_eq!(completed(&workspace, "ev build .#py"), "");
    assert_eq!(std::fs::read_dir(workspace.store().join("store")).expect("a directory").count(), 1);
}

#[test]
fn every_shell_has_a_script() {
    let workspace = Workspace::with_own_store("");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = workspace.stdout(&format!("completions {shell}"));
        for text in ["EVAL_COMPLETE", "build"] {
            assert!(script.contains(text), "{shell}: {script}");
        }
        let one = workspace.stdout(&format!("completions {shell} --name ev"));
        assert!(one.len() < script.len(), "{shell}");
    }
    assert!(workspace.stdout("completions nushell").contains("keep-going"));
}
