//! A store's permissions do not depend on the umask of its user.

use crate::workspace::{PROGRAM, Workspace};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Commands that make every kind of file of a store, except those of the sandbox.
const WORK: &str = r#"
let inherit (import ./prelude.nix) write fetchurl; in
{
  app = write { name = "app"; files."bin/app" = { text = "app"; executable = true; }; };
  both = derivation { name = "both"; system = "builtin"; builder = "builtin:unpack"; srcs = [ "${./a.tar}" ]; };
  lost = fetchurl { urls = [ "http://127.0.0.1:9/lost" ]; sha256 = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; };
}
"#;

/// Runs the program under a umask and returns its output.
fn run(workspace: &Workspace, umask: &str, words: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), PROGRAM]);
    workspace.text(&workspace.prepare(command, words.split_whitespace()).output().expect("a shell is installed"))
}

/// Lists everything below a directory: kind, permissions and path, without names that differ from
/// run to run.
fn listing(root: &Path) -> BTreeSet<String> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("it is there");
        let relative = path.strip_prefix(root).expect("it is below");
        let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let top = parts.next().unwrap_or_default();
        let name = match top.as_str() {
            // The name has the process id and random digits.
            "tmp" | "cas" | "cache" | "gcroots" => {
                format!("{top}/{}", parts.map(|_| "*").collect::<Vec<_>>().join("/"))
            }
            _ => relative.display().to_string(),
        };
        let kind = if meta.is_dir() { "directory" } else { "file" };
        if !meta.is_symlink() {
            found.insert(format!("{kind} {:04o} {name}", meta.permissions().mode() & 0o7777));
        }
        if meta.is_dir() {
            todo.extend(
                fs::read_dir(&path).expect("it can be listed").map(|entry| entry.expect("it can be read").path()),
            );
        }
    }
    found
}

fn worked_under(umask: &str) -> (Workspace, BTreeSet<String>) {
    let workspace = Workspace::with_own_store(WORK);
    let mut tar = vec![0; 1024];
    tar.resize(10_240, 0);
    fs::write(workspace.path().join("a.tar"), tar).expect("the workspace can be written");
    workspace.write("flake.nix", "{ outputs = { self }: { x = 1; }; }");
    for words in [
        "build -f default.nix app",
        "build -f default.nix both --no-link",
        "build -f default.nix lost --no-link",
        "expr .#x",
        "store add default.nix",
        "store verify",
        "store gc",
    ] {
        let said = run(&workspace, umask, words);
        // One of the URLs cannot be fetched.
        assert_eq!(said.starts_with("status: 0\n"), !words.contains(" lost "), "umask {umask}, {words}:\n{said}");
    }
    let found = listing(workspace.store());
    (workspace, found)
}

#[test]
fn permissions_do_not_depend_on_the_umask() {
    let (_kept, usual) = worked_under("022");
    assert!(usual.len() > 15, "{usual:?}");
    for line in &usual {
        let (kind, mode) = (line.split(' ').next(), line.split(' ').nth(1).unwrap_or_default());
        let private = line.ends_with(" tmp/*") || line.contains(" tmp/*/");
        let expected: &[&str] = match kind {
            Some("directory") if private => &["0700"],
            Some("directory") => &["0755", "0555"],
            _ => &["0644", "0444", "0555", "0600"],
        };
        assert!(expected.contains(&mode), "{line}");
    }
    for umask in ["000", "077", "027"] {
        let (_kept, found) = worked_under(umask);
        assert_eq!(found, usual, "umask {umask}");
    }
}

/// Holds for directories made above the store as well, except that a stricter umask applies there.
#[test]
fn directories_above_a_store_are_not_writable_by_others() {
    for (umask, expected) in [("000", 0o755), ("022", 0o755), ("077", 0o700)] {
        let workspace = Workspace::with_own_store("5");
        let root = workspace.path().join("a/b/store");
        let said = run(&workspace, umask, &format!("--root {} store verify", root.display()));
        assert!(said.starts_with("status: 0\n"), "{said}");
        for (path, mode) in [("a", expected), ("a/b", expected), ("a/b/store", 0o755)] {
            let found = fs::metadata(workspace.path().join(path)).expect("it was made").permissions().mode() & 0o7777;
            assert_eq!(found, mode, "{path} under umask {umask}: {found:o}");
        }
    }
}

/// Permissions that an earlier eval left open are tightened.
#[test]
fn directories_that_others_can_write_are_tightened() {
    let workspace = Workspace::with_own_store("5");
    workspace.stdout("store verify");
    let places = ["", "cas", "store", "db", "tmp", "locks", "log", "gcroots", "gcroots/auto"];
    for place in places {
        let path = workspace.store().join(place);
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("it is ours");
    }
    workspace.stdout("store verify");
    for place in places {
        let mode = fs::metadata(workspace.store().join(place)).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o755, "{place}: {mode:o}");
    }
}
