//! Running tests of this very program again as an ordinary user, where root runs them.

use std::ffi::OsString;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Runs those tests of this program whose names contain one of `filters` as an ordinary user, who has copies of it and of
/// `others`: programs with the variables that name them. All tests, if there is no filter; but none with random bytes, as
/// what reads bytes does not ask who it is.
///
/// Where an ordinary user runs the tests, there is nothing left to show. Returns what they have left in the directory for
/// temporary files.
#[track_caller]
pub fn run_again(filters: &[&str], others: &[(&str, &Path)]) -> Vec<OsString> {
    const NOBODY: u32 = 65534;
    // Its owner is who runs this.
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) != 0 {
        return Vec::new();
    }
    let place = tempfile::tempdir().unwrap();
    let temporary = place.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    for path in [place.path(), &temporary] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let tests = place.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    let mut command = Command::new(&tests);
    for (variable, program) in others {
        let copy = place.path().join(variable);
        std::fs::copy(program, &copy).unwrap();
        command.env(variable, copy);
    }
    let ran = command
        .args(["--test-threads", "2", "--skip", "fuzz"])
        .args(filters)
        .env("TMPDIR", &temporary)
        .current_dir(place.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}");
    assert!(text.contains(" passed") && !text.contains("running 0 tests"), "{text}");
    std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}
