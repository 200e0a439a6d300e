//! A store that is damaged or not ours: each message names the command that repairs it, or what else can be done.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::workspace::{PROGRAM, Workspace, open_to_all};

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

/// What the commands that need the database say when something has happened to it; at least one does not get on.
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
        // A row with another name is that of another path.
        let is_missing = said.contains("is not in the store");
        let is_named = said.contains("`ev store rebuild-db`");
        assert!(is_named || is_missing, "{case}, {words}:\n{said}");
        named += u32::from(is_named);
    }
    assert!(named > 0, "{case}: nobody noticed");
    let said = workspace.check("store verify --repair");
    assert!(said.starts_with("status: 0\n") && said.contains("2 paths found"), "{case}:\n{said}");
    assert_eq!(workspace.stdout("path-info ./result"), out, "{case}");
    let said = workspace.check("store verify");
    assert!(said.starts_with("status: 0\n"), "{case}:\n{said}");
    let said = workspace.check("build -f default.nix --no-link");
    assert!(said.starts_with("status: 0\n"), "{case}:\n{said}");
}

#[test]
fn each_damage_of_the_database_is_repaired_as_told() {
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
    check_repaired("somebody else's database", |path| {
        fs::remove_file(path).expect("it is ours");
        sql(path, "CREATE TABLE notes (text TEXT); PRAGMA user_version = 5");
    });
    check_repaired("somebody else's, of an older schema", |path| {
        fs::remove_file(path).expect("it is ours");
        sql(path, "CREATE TABLE valid_paths (text TEXT); PRAGMA user_version = 1");
    });
    check_repaired("a record that is none", |path| sql(path, "UPDATE valid_paths SET node = x'00'"));
    check_repaired("a path that is none", |path| sql(path, "UPDATE valid_paths SET path = '../../etc' || id"));
}

/// The log of another database is taken for no log, or for damage.
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

/// What a newer eval knows is not thrown away by chance.
#[test]
fn a_newer_database_is_replaced_only_when_told() {
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
    // One that is damaged besides is told by its header.
    sql(&database(&workspace), "PRAGMA user_version = 99");
    overwrite(&database(&workspace), 4096, usize::MAX);
    let said = workspace.check("store rebuild-db");
    assert!(said.contains("schema version 99"), "{said}");
    workspace.stdout("store rebuild-db --downgrade");
    assert_eq!(workspace.stdout("path-info ./result"), out);
}

/// Where there is something else than a store has there.
#[test]
fn directories_and_locks_that_are_none() {
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
    // A directory that is missing is made, and what was in it is told to be missing.
    let workspace = Workspace::with_own_store(TOY);
    workspace.stdout("build -f default.nix");
    fs::rename(workspace.store().join("cas"), workspace.path().join("aside")).expect("it is ours");
    let said = workspace.check("store verify");
    assert!(said.contains("`ev store verify --repair`"), "{said}");
    workspace.stdout("store verify --repair");
    workspace.stdout("store verify");
}

/// Runs the program as a user who has nothing here.
fn as_nobody(workspace: &Workspace, program: &Path, words: &str) -> String {
    let mut command = workspace.prepare(std::process::Command::new(program), words.split_whitespace());
    command.uid(65534).gid(65534).env("HOME", "/nonexistent").current_dir("/");
    workspace.text(&command.output().expect("the program starts"))
}

#[test]
fn the_store_of_another_user_says_what_to_set() {
    if !store::place::is_root() {
        return;
    }
    let workspace = Workspace::with_own_store(TOY);
    let out = workspace.stdout("build -f default.nix --print-out-paths");
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    open_to_all(place.path());
    let program = place.path().join("eval");
    fs::copy(PROGRAM, &program).expect("the program can be read");
    // Nobody can get into the workspace, perhaps: the store is moved to where everybody can.
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
        let said = as_nobody(&workspace, &program, &words);
        assert!(!said.starts_with("status: 0\n"), "{words}:\n{said}");
        let is_told = said.contains("set EVAL_ROOT") || words.contains("--expr");
        assert!(is_told, "{words}:\n{said}");
    }
    // One that cannot be entered at all.
    fs::set_permissions(&moved, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let said = as_nobody(&workspace, &program, &format!("--root {} store verify", moved.display()));
    assert!(said.contains("set EVAL_ROOT"), "{said}");
}

#[test]
fn roots_that_are_no_place_for_a_store() {
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
    // Made with all that is above it; relative to where one is.
    let said = at("made/for/it", &[]);
    assert!(said.starts_with("status: 0\n") && workspace.path().join("made/for/it/cas").is_dir(), "{said}");
    // Without a home there is a way, too.
    let mut command = workspace.command(["store", "verify"]);
    command.env_remove("EVAL_ROOT").env_remove("HOME").env_remove("XDG_DATA_HOME");
    let said = workspace.text(&command.output().expect("the program starts"));
    assert!(said.starts_with("status: 0\n") || said.contains("EVAL_ROOT"), "{said}");
}

/// Who root builds for: another user could exchange the store below its hands.
#[test]
fn root_is_told_of_a_store_that_others_can_exchange() {
    if !store::place::is_root() {
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
    for (mode, is_told) in [(0o777, true), (0o775, true), (0o1777, false), (0o755, false)] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).expect("it is ours");
        let text = said(&place.path().join("store"));
        assert_eq!(text.contains("which other users can write"), is_told, "{mode:o}: {text}");
    }
}
