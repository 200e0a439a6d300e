//! Files of one user below the XDG directories: closed to other users, independently of the umask.

use crate::fetchers::with_repository;
use crate::git_server;
use crate::signals::terminal::Terminal;
use crate::workspace::{PROGRAM, Workspace};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const HOME: &str = "home";

/// Returns the program under umask 000, with an existing home directory in the workspace.
fn command(workspace: &Workspace, before: &[&str], arguments: &[&str]) -> Command {
    let home = workspace.path().join(HOME);
    fs::create_dir_all(&home).expect("the workspace can be written");
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).args(["-c", "umask 000; exec \"$0\" \"$@\"", PROGRAM]);
    for variable in ["XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env_remove(variable);
    }
    command.env("HOME", home).env("NIX_CONF_DIR", workspace.path());
    workspace.prepare(command, arguments)
}

fn run(workspace: &Workspace, arguments: &[&str]) {
    let said = workspace.text(&command(workspace, &["sh"], arguments).output().expect("a shell is installed"));
    assert!(said.starts_with("status: 0\n"), "{arguments:?}:\n{said}");
}

/// Lists the files below the home directory, relative to it; of a fetched tree or repository only
/// its top.
fn found(workspace: &Workspace) -> Vec<String> {
    let home = workspace.path().join(HOME);
    let (mut found, mut todo) = (Vec::new(), vec![home.clone()]);
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).expect("it is ours") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() && !["trees", "git"].iter().any(|name| path.parent().is_some_and(|p| p.ends_with(name))) {
                todo.push(path.clone());
            }
            found.push(path.strip_prefix(&home).expect("it is below").display().to_string());
        }
    }
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[track_caller]
fn expect_closed(workspace: &Workspace, expected: &[&str]) {
    let found = found(workspace);
    for beginning in expected {
        assert!(found.iter().any(|path| path.starts_with(beginning)), "there is no {beginning}: {found:?}");
    }
    let modes = found.iter().map(|path| (path, mode(&workspace.path().join(HOME).join(path))));
    let open: Vec<String> =
        modes.filter(|(_, mode)| mode & 0o077 != 0).map(|(path, mode)| format!("{mode:o} {path}")).collect();
    assert!(open.is_empty(), "{open:#?}");
}

/// Writes an archive with one empty file.
fn archive(path: &Path) {
    let mut bytes = vec![0; 2048];
    let mut field = |at: usize, text: &[u8]| bytes[at..at + text.len()].copy_from_slice(text);
    field(0, b"directory/file");
    field(100, b"0000666\x000000000\x000000000\x0000000000000\x0000000000001\x00        0");
    field(257, b"ustar\x0000");
    let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    fs::write(path, bytes).expect("the workspace can be written");
}

#[test]
fn files_of_a_user_are_closed_to_others() {
    let (workspace, _) = with_repository();
    workspace.write("default.nix", "import ./other.nix");
    workspace.write("other.nix", "1 + 1");
    archive(&workspace.path().join("a.tar"));
    let server = git_server::start(workspace.path());
    run(&workspace, &["expr", "-f", "default.nix", "--no-eval-cache"]);
    run(&workspace, &["expr", "-f", "default.nix"]);
    let tarball = format!("builtins.readDir (fetchTarball \"file://{}/a.tar\")", workspace.path().display());
    run(&workspace, &["expr", "--impure", "--expr", &tarball]);
    let git = format!("builtins.readDir (fetchGit \"{}\")", server.url("/repository"));
    run(&workspace, &["expr", "--impure", "--expr", &git]);
    let own = ["nix-instantiate", "--eval", "--strict", "-E"];
    run(&workspace, &[&own[..], &[&git]].concat());
    let cache = [".cache/eval/code.sqlite", ".cache/eval/git/", ".cache/eval/trees/archive-", ".cache/eval/trees/git-"];
    expect_closed(&workspace, &cache);
}

#[test]
fn downloads_are_closed_to_others() {
    let workspace = Workspace::with_own_store("1");
    let server = test_support::server::Server::start(|request, _| test_support::server::Answer::file(request, b"text"));
    let expression = format!("builtins.readFile (builtins.fetchurl \"{}\")", server.url("/file"));
    run(&workspace, &["nix-instantiate", "--eval", "--strict", "-E", &expression]);
    expect_closed(&workspace, &[".cache/eval/files/", ".cache/eval/partial"]);
}

#[test]
fn the_history_is_closed_to_others() {
    let workspace = Workspace::with_own_store("1");
    run(&workspace, &["repl"]);
    let mut terminal = Terminal::unread(command(&workspace, &["setsid", "--ctty", "sh"], &["repl"]), None);
    terminal.read();
    terminal.wait_until_it_edits();
    terminal.type_keys("1 + 41\n");
    terminal.wait_for("42", 1);
    terminal.wait_until_it_edits();
    terminal.type_keys(":q\n");
    assert_eq!(terminal.wait(), 0, "{}", terminal.screen());
    expect_closed(&workspace, &[".local/state/eval/repl-history"]);
}

/// As an earlier version made it. Compiled code is run, so code that others could have written is
/// compiled again.
#[test]
fn a_cache_that_others_can_write_is_closed_and_not_read() {
    let workspace = Workspace::with_own_store("import ./other.nix");
    workspace.write("other.nix", "1 + 1");
    let file: PathBuf = workspace.path().join(HOME).join(".cache/eval/code.sqlite");
    let directory = file.parent().expect("it has one");
    run(&workspace, &["expr", "-f", "default.nix"]);
    for (number, (of_directory, of_file)) in [(0o777, 0o600), (0o775, 0o600), (0o700, 0o622)].into_iter().enumerate() {
        // Moved aside, so that its inode is not reused.
        fs::hard_link(&file, workspace.path().join(format!("old-{number}"))).expect("the workspace can be written");
        let before = fs::metadata(&file).expect("the code is cached").ino();
        fs::set_permissions(&file, fs::Permissions::from_mode(of_file)).expect("it is ours");
        fs::set_permissions(directory, fs::Permissions::from_mode(of_directory)).expect("it is ours");
        workspace.write("other.nix", &format!("1 + {number}"));
        run(&workspace, &["expr", "-f", "default.nix"]);
        expect_closed(&workspace, &[".cache/eval/code.sqlite"]);
        assert_ne!(fs::metadata(&file).expect("the code is cached").ino(), before, "{of_directory:o} {of_file:o}");
    }
    let before = fs::metadata(&file).expect("the code is cached").ino();
    workspace.write("other.nix", "100");
    run(&workspace, &["expr", "-f", "default.nix"]);
    assert_eq!(fs::metadata(&file).expect("the code is cached").ino(), before, "it was closed, and is compiled again");
}

/// Every user who can reach a program may run it, and only its owner may exchange it.
#[test]
fn an_installed_program_is_not_writable_by_others() {
    let workspace = Workspace::with_own_store("1");
    let bin = workspace.path().join(HOME).join(".local/bin");
    run(&workspace, &["self", "install", "--to", &bin.display().to_string()]);
    for path in [bin.parent().expect("it has one"), &bin, &bin.join("eval")] {
        assert_eq!(mode(path) & 0o022, 0, "{:o} {}", mode(path), path.display());
    }
}
