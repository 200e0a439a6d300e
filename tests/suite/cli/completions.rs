//! Completions, as the shells themselves understand them.

use crate::workspace::Workspace;
use std::process::Command;

#[test]
fn bash_completes_commands_and_flags() {
    let workspace = Workspace::with_own_store("");
    workspace.write("completions.bash", &workspace.stdout("completions bash"));
    let completed = |words: &str| {
        let script = format!(
            "source ./completions.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1));
             _ev ev \"${{COMP_WORDS[COMP_CWORD]}}\"; echo ${{COMPREPLY[@]}}"
        );
        let ran = Command::new("bash")
            .arg("-c")
            .arg(script)
            .current_dir(workspace.path())
            .output()
            .expect("bash is installed");
        assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    };
    assert_eq!(completed("ev bui"), "build");
    assert_eq!(completed("ev build --keep-f"), "--keep-failed");
    assert_eq!(completed("ev store ver"), "verify");
    assert_eq!(completed("ev prefix pru"), "prune");
    assert_eq!(completed("ev prefix prune --older"), "--older-than");
}

#[test]
fn every_shell_has_a_script() {
    let workspace = Workspace::with_own_store("");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(workspace.stdout(&format!("completions {shell}")).contains("keep-going"), "{shell}");
    }
}
