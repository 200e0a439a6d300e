//! A damaged store, or one of another user: each message names the command that repairs it, or
//! another next step.

use crate::workspace::{PROGRAM, Workspace, open_to_all};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

const TOY: &str = "(import ./prelude.nix).write { name = \"toy\"; files.x.text = \"toy\"; }";

fn database(workspace: &Workspace) -> PathBuf {
    workspace.store().join("db/store.sqlite")
}

fn sql(path: &Path, text: &str) {
    Connection::open(path).and_then(|connection| connection.execute_batch(text)).expect("the database is ours");
}

fn overwrite(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).expect("it is there");
    let to = to.min(bytes.len());
    bytes[from..to].fill(0xff);
    fs::write(path, bytes).expect("it is ours");
}

/// Checks the messages of the commands that need the database after damage to it; at least one
/// fails.
#[track_caller]
fn check_repaired(case: &str, damage: impl Fn(&Path)) {
    let workspace = Workspace::with_own_store(TOY);
    let out = workspace.stdout("build -f default.nix --print-out-paths");
    damage(&database(&workspace));
    let mut named = 0;
    for words in ["path-info ./result", "store verify", "store gc --dry-run", "build -f default.nix --no-link"] {
        let said = workspace.check(words);
        if said.starts_with("status: 0\n") {
            continue;
        }
        // A row with another name belongs to another path.
        let is_missing = said.contains("is not in the store");
        let is_named = said.contains("`ev store rebuild-db`");
        assert!(is_named || is_missing, "{case}, {words}:\n{said}");
        named += u32::from(is_named);
    }
    assert!(named > 0, "{case}: no command noticed");
    let said = workspace.check("store verify --repair");
    assert!(said.starts_with("status: 0\n") && said.contains("2 paths found"), "{case}:\n{said}");
    assert_eq!(workspace.stdout("path-info ./result"), out, "{case}");
    let said = workspace.check("store verify");
    assert!(said.starts_with("status: 0\n"), "{case}:\n{said}");
    let said = workspace.check("build -f default.nix --no-link");
    assert!(said.starts_with("status: 0\n"), "{case}:\n{said}");
}

#[test]
fn each_damage_of_the_database_is_repaired_by_the_named_command() {
    check_repaired("not a database", |path| fs::write(path, "not a database at all".repeat(100)).expect("it is ours"));
    check_repaired("truncated", |path| {
        let len = fs::metadata(path).expect("it is there").len();
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(len / 2)).expect("it is ours");
    });
    check_repaired("a part of a page", |path| {
        let len = fs::metadata(path).expect("it is there").len();
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(len - 100)).expect("it is ours");
    });
    check_repaired("pages overwritten", |path| overwrite(path, 4096, usize::MAX));
    check_repaired("schema overwritten", |path| overwrite(path, 100, 4096));
    check_repaired("a table is missing", |path| sql(path, "PRAGMA foreign_keys = OFF; DROP TABLE valid_paths"));
    check_repaired("another table is missing", |path| sql(path, "DROP TABLE actions; DROP TABLE builds"));
    check_repaired("a column has another name", |path| sql(path, "ALTER TABLE valid_paths RENAME COLUMN node TO tree"));
    check_repaired("the database of another store", |path| {
        fs::remove_file(path).expect("it is ours");
        sql(path, "CREATE TABLE notes (text TEXT); PRAGMA user_version = 5");
    });
    check_repaired("one of another store, of an older schema", |path| {
        fs::remove_file(path).expect("it is ours");
        sql(path, "CREATE TABLE valid_paths (text TEXT); PRAGMA user_version = 1");
    });
    check_repaired("a record that is none", |path| sql(path, "UPDATE valid_paths SET node = x'00'"));
    check_repaired("a path that is none", |path| sql(path, "UPDATE valid_paths SET path = '../../etc' || id"));
}

/// The log of another database is ignored, or reported as damage.
#[test]
fn the_log_of_another_database_does_no_harm() {
    let workspace = Workspace::with_own_store(TOY);
    let out = workspace.stdout("build -f default.nix --print-out-paths");
    let other = workspace.path().join("other.sqlite");
    let connection = Connection::open(&other).expect("the workspace can be written");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE valid_paths (x); CREATE TABLE y (x); CREATE TABLE z (x);",
        )
        .expect("it is ours");
    fs::copy(workspace.path().join("other.sqlite-wal"), workspace.store().join("db/store.sqlite-wal"))
        .expect("it is ours");
    drop(connection);
    let said = workspace.check("store verify");
    assert!(said.starts_with("status: 0\n") || said.contains("`ev store rebuild-db`"), "{said}");
    workspace.stdout("store verify --repair");
    assert_eq!(workspace.stdout("path-info ./result"), out);
}

/// Data of a newer eval is not discarded by accident.
#[test]
fn a_newer_database_is_replaced_only_on_request() {
    let workspace = Workspace::with_own_store(TOY);
    let out = workspace.stdout("build -f default.nix --print-out-paths");
    let version = || {
        let connection = Connection::open(database(&workspace)).expect("it is there");
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).expect("it has a version")
    };
    let known = version();
    sql(&database(&workspace), "PRAGMA user_version = 99");
    for words in ["path-info ./result", "store verify", "store verify --repair", "store rebuild-db", "store gc"] {
        let said = workspace.check(words);
        assert!(said.starts_with("status: 1\n"), "{words}:\n{said}");
        assert!(said.contains("schema version 99") && said.contains("use the newer eval"), "{words}:\n{said}");
        assert!(said.contains("`ev store rebuild-db --downgrade`"), "{words}:\n{said}");
        assert_eq!(version(), 99, "{words}");
    }
    workspace.stdout("store rebuild-db --downgrade");
    assert_eq!(version(), known);
    assert_eq!(workspace.stdout("path-info ./result"), out);
    // If it is damaged as well, its header shows the version.
    sql(&database(&workspace), "PRAGMA user_version = 99");
    overwrite(&database(&workspace), 4096, usize::MAX);
    let said = workspace.check("store rebuild-db");
    assert!(said.contains("schema version 99"), "{said}");
    workspace.stdout("store rebuild-db --downgrade");
    assert_eq!(workspace.stdout("path-info ./result"), out);
}

/// Other kinds of files at the paths of a store.
#[test]
fn directories_and_locks_of_another_kind() {
    for name in ["cas", "store", "db", "tmp", "locks", "locks/collector", "db/store.sqlite"] {
        let workspace = Workspace::with_own_store(TOY);
        workspace.stdout("build -f default.nix");
        let place = workspace.store().join(name);
        fs::rename(&place, place.with_extension("aside")).expect("it is ours");
        let is_file = name.contains('/');
        if is_file {
            fs::create_dir(&place).expect("it is ours");
        } else {
            fs::write(&place, "").expect("it is ours");
        }
        let said = workspace.check("store verify");
        assert!(said.starts_with("status: 1\n"), "{name}:\n{said}");
        assert!(said.contains(&format!("`[STORE]/{name}`")), "{name}:\n{said}");
        assert!(said.contains("move it away") || said.contains("moves it aside"), "{name}:\n{said}");
    }
    // A missing directory is made, and its files are reported as missing.
    let workspace = Workspace::with_own_store(TOY);
    workspace.stdout("build -f default.nix");
    fs::rename(workspace.store().join("cas"), workspace.path().join("aside")).expect("it is ours");
    let said = workspace.check("store verify");
    assert!(said.contains("`ev store verify --repair`"), "{said}");
    workspace.stdout("store verify --repair");
    workspace.stdout("store verify");
}

/// Runs the program as a user who owns no files here.
fn as_ordinary_user(workspace: &Workspace, program: &Path, words: &str) -> String {
    let mut command = workspace.prepare(std::process::Command::new(program), words.split_whitespace());
    command.uid(65534).gid(65534).env("HOME", "/nonexistent").current_dir("/");
    workspace.text(&command.output().expect("the program starts"))
}

#[test]
fn the_store_of_another_user_names_the_setting() {
    if !os::public::is_root() {
        return;
    }
    let workspace = Workspace::with_own_store(TOY);
    let out = workspace.stdout("build -f default.nix --print-out-paths");
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    open_to_all(place.path());
    let program = place.path().join("eval");
    fs::copy(PROGRAM, &program).expect("the program can be read");
    // Other users may be unable to enter the workspace: the store is moved to a directory that all
    // can enter.
    let moved = place.path().join("store");
    let copied = std::process::Command::new("cp").arg("-a").arg(workspace.store()).arg(&moved).status();
    assert!(copied.is_ok_and(|status| status.success()), "the store is copied");
    let object = moved.join("store").join(Path::new(&out).file_name().expect("it has a name"));
    for words in [
        "store add /etc/hostname".to_owned(),
        "store verify".to_owned(),
        "store gc".to_owned(),
        "store rebuild-db".to_owned(),
        format!("path-info {}", object.display()),
        "build --expr 1 --no-link".to_owned(),
    ] {
        let words = format!("--root {} {words}", moved.display());
        let said = as_ordinary_user(&workspace, &program, &words);
        assert!(!said.starts_with("status: 0\n"), "{words}:\n{said}");
        let is_helpful = said.contains("set EVAL_ROOT") || words.contains("--expr");
        assert!(is_helpful, "{words}:\n{said}");
    }
    // A store that cannot be entered at all.
    fs::set_permissions(&moved, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let said = as_ordinary_user(&workspace, &program, &format!("--root {} store verify", moved.display()));
    assert!(said.contains("set EVAL_ROOT"), "{said}");
}

#[test]
fn paths_that_cannot_hold_a_store() {
    let workspace = Workspace::with_own_store("5");
    workspace.write("file", "");
    let at = |root: &str, variables: &[(&str, &str)]| {
        let mut command = workspace.command(["store", "verify"]);
        command.env("EVAL_ROOT", root);
        for (name, value) in variables {
            command.env(name, value);
        }
        workspace.text(&command.output().expect("the program starts"))
    };
    let file = workspace.path().join("file");
    for (root, expected) in [
        (file.display().to_string(), "EVAL_ROOT"),
        (file.join("below").display().to_string(), "EVAL_ROOT"),
        ("/proc/nothing/store".to_owned(), "EVAL_ROOT"),
    ] {
        let said = at(&root, &[]);
        assert!(said.starts_with("status: 1\n"), "{root}:\n{said}");
        assert!(said.contains(expected), "{root}:\n{said}");
    }
    // Made with its parents; relative to the working directory.
    let said = at("made/for/it", &[]);
    assert!(said.starts_with("status: 0\n") && workspace.path().join("made/for/it/cas").is_dir(), "{said}");
    // Works without a home directory, too.
    let mut command = workspace.command(["store", "verify"]);
    command.env_remove("EVAL_ROOT").env_remove("HOME").env_remove("XDG_DATA_HOME");
    let said = workspace.text(&command.output().expect("the program starts"));
    assert!(said.starts_with("status: 0\n") || said.contains("EVAL_ROOT"), "{said}");
}

/// When root builds, another user could exchange the store at the same time.
#[test]
fn root_is_warned_of_a_store_that_others_can_exchange() {
    if !os::public::is_root() {
        return;
    }
    let workspace = Workspace::with_own_store("5");
    let (place, others) = (tempfile::tempdir(), tempfile::tempdir());
    let (place, others) = (place.expect("it can be made"), others.expect("it can be made"));
    chown(others.path(), Some(65534), None).expect("root can do that");
    let said = |root: &Path| workspace.check(&format!("--root {} store verify", root.display()));
    assert!(!said(&place.path().join("store")).contains("warning"));
    let text = said(&others.path().join("store"));
    assert!(text.starts_with("status: 0\n") && text.contains("belongs to user 65534"), "{text}");
    assert!(text.contains("set EVAL_ROOT"), "{text}");
    for (mode, is_warned) in [(0o777, true), (0o775, true), (0o1777, false), (0o755, false)] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).expect("it is ours");
        let text = said(&place.path().join("store"));
        assert_eq!(text.contains("which other users can write"), is_warned, "{mode:o}: {text}");
    }
}
