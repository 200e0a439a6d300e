//! Runs the tests of this very program again as an ordinary user, when root runs them.

use std::ffi::OsString;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Runs those tests of this program whose names contain one of `filters` as an ordinary user, with
/// copies of it and of `others`: programs with the variables that name them. Without a filter all
/// tests run, except those with random bytes, as parsers do not depend on the user.
///
/// Does nothing if an ordinary user runs the tests already. Returns the files that they have left
/// in the directory for temporary files.
#[track_caller]
pub fn run_again(filters: &[&str], others: &[(&str, &Path)]) -> Vec<OsString> {
    const ORDINARY_USER: u32 = 65534;
    // The user of this process owns `/proc/self`.
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) != 0 {
        return Vec::new();
    }
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    for path in [directory.path(), &temporary] {
        chown(path, Some(ORDINARY_USER), Some(ORDINARY_USER)).unwrap();
    }
    let tests = directory.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    let mut command = Command::new(&tests);
    for (variable, program) in others {
        let copy = directory.path().join(variable);
        std::fs::copy(program, &copy).unwrap();
        command.env(variable, copy);
    }
    let ran = command
        .args(["--test-threads", "2", "--skip", "fuzz"])
        .args(filters)
        .env("TMPDIR", &temporary)
        .current_dir(directory.path())
        .uid(ORDINARY_USER)
        .gid(ORDINARY_USER)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}");
    assert!(text.contains(" passed") && !text.contains("running 0 tests"), "{text}");
    std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}
