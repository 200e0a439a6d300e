//! Outputs made with bad intentions: what the store takes over is what was checked, and nothing else of the machine.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::{World, text};

/// Everything below `root` that could be written, run with privileges, or carries a time of its own.
fn not_normalised(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if stat.mtime() != 1 || (!stat.is_symlink() && stat.mode() & 0o7222 != 0) {
            found.push(format!("{} {:o} {}", path.display(), stat.mode(), stat.mtime()));
        }
    }
    found
}

#[test]
fn fifos_and_sockets_are_no_output() {
    let world = World::new();
    for (name, script) in [
        ("fifo", "mkdir $out; mkfifo $out/pipe"),
        ("fifo-alone", "mkfifo $out"),
        (
            "socket",
            r#"mkdir $out; perl -e 'socket(S, 1, 1, 0); bind(S, pack("S a*", 1, "$ENV{out}/socket")) or die $!'"#,
        ),
    ] {
        let error = world.error(&world.script(name, script).add(&world));
        assert!(error.contains("holds only regular files") && error.contains(name), "{error}");
    }
    // In the build directory they are nobody's business.
    let fine = world.script("fine", "mkfifo /build/pipe; echo x > $out").add(&world);
    assert_eq!(text(&world.built(&fine)), "x\n");
}

#[test]
fn times_and_permissions_are_the_stores() {
    let world = World::new();
    let script = "mkdir -p $out/shut/deep $out/open; echo x > $out/shut/f; echo y > $out/g
        chmod 666 $out/g; chmod 777 $out/open; touch -d 2200-01-01 $out/g $out/open; touch -d 1903-01-01 $out/shut/f
        ln -s g $out/link; chmod 0 $out/shut/f; chmod 500 $out/shut/deep; chmod 100 $out/shut";
    let built = world.built(&world.script("odd", script).add(&world));
    assert_eq!(not_normalised(&built), Vec::<String>::new());
    assert_eq!(text(&built.join("shut/f")), "x\n");
}

/// CVE-2024-27297, from within: what stays behind would write to the output after it was hashed.
#[test]
fn nothing_is_left_to_change_an_output_after_the_check() {
    let world = World::new();
    let script = "echo good > $out
        (exec 3>>$out; sleep 1; echo evil >&3; echo evil > $out; chmod 777 $out) > /dev/null 2>&1 &
        perl -e 'open F, q(+<), $ENV{out}; fork and exit; sleep 1; syswrite F, q(evil)' > /dev/null 2>&1 &
        sleep 0.2";
    let drv = world.script("changing", script).add(&world);
    let built = world.built(&drv);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(text(&built), "good\n");
    let report = world.store.verify(false).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Neither the store's permissions nor its times reach a file outside through a link, symbolic or hard.
#[test]
fn links_in_an_output_are_not_followed() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    fs::write(&precious, "stays").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&precious).unwrap();
    let script = format!(
        "mkdir $out; ln -s {0} $out/file; ln -s {1} $out/directory; ln -s / $out/root; ln -s ../../../../etc/passwd $out/up
        echo one > $out/a; ln $out/a $out/b; ln $out/a /build/kept 2>/dev/null && exit 9; true",
        precious.display(),
        outside.path().display()
    );
    let built = world.built(&world.script("links", &script).add(&world));
    let after = fs::metadata(&precious).unwrap();
    assert_eq!((before.mode(), before.mtime_nsec()), (after.mode(), after.mtime_nsec()));
    assert_eq!(text(&precious), "stays");
    assert_eq!(fs::read_link(built.join("file")).unwrap(), precious);
    // Hard links within an output come apart: names never share what can be changed.
    assert_ne!(fs::metadata(built.join("a")).unwrap().ino(), fs::metadata(built.join("b")).unwrap().ino());
    assert_eq!(text(&built.join("b")), "one\n");
}

#[test]
fn names_are_bytes() {
    let world = World::new();
    let script = r#"mkdir $out; perl -e 'chdir $ENV{out}; for my $n ("new\nline", "bad\xff\xfe", "-rf", " ", "\\", "*", "a" x 255) {
        open F, ">", $n or die $!; print F "x" }'"#;
    let built = world.built(&world.script("names", script).add(&world));
    let mut names: Vec<Vec<u8>> =
        fs::read_dir(&built).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    let long = vec![b'a'; 255];
    let expected: [&[u8]; 7] = [b" ", b"*", b"-rf", b"\\", &long, b"bad\xff\xfe", b"new\nline"];
    assert_eq!(names, expected);
    let report = world.store.verify(false).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn very_many_and_sparse_files_are_taken_over() {
    let world = World::new();
    let script = r#"mkdir $out; perl -e 'for my $i (1..20000) { open F, ">", "$ENV{out}/$i"; print F $i % 7 }
        open F, ">", "$ENV{out}/hole"; truncate F, 300_000_000'"#;
    let built = world.built(&world.script("many", script).add(&world));
    assert_eq!(fs::read_dir(&built).unwrap().count(), 20_001);
    assert_eq!(fs::metadata(built.join("hole")).unwrap().len(), 300_000_000);
}

/// Trees deeper than the format holds are refused, with a message and not with a crash.
#[test]
fn endless_depth_is_refused() {
    let world = World::new();
    let script = "perl -e 'mkdir $ENV{out}; chdir $ENV{out}; for (1..2000) { mkdir q(d) or die; chdir q(d) }'";
    let error = world.error(&world.script("deep", script).add(&world));
    assert!(error.contains("nested deeper than the 256 directories"), "{error}");
}

/// CVE-2025-52992: what a failed build leaves is for its user alone, without privileges, and away when not asked for.
#[test]
fn failed_builds_leave_nothing_for_others() {
    let mut world = World::new();
    let script =
        "mkdir $out; echo x > $out/f; chmod 777 $out $out/f /build; touch /build/tool; chmod 777 /build/tool; exit 1";
    let drv = world.script("failing", script).add(&world);
    world.error(&drv);
    assert!(!world.store.root().join("failed").exists());
    world.options.keep_failed = true;
    world.error(&drv);
    let failed = world.store.root().join("failed");
    let mode = fs::metadata(&failed).unwrap().mode();
    let inner = fs::metadata(failed.join(drv.to_string())).map_or(0o700, |stat| stat.mode());
    assert!(mode & 0o077 == 0 || inner & 0o077 == 0, "{mode:o} {inner:o}: others reach what a build made");
    // While it ran, nobody else could enter it either.
    let temporary = fs::metadata(world.store.root().join("tmp")).unwrap().mode();
    assert_eq!(temporary & 0o022, 0, "{temporary:o}");
}

/// CVE-2024-38531: while a build runs, nobody else reaches what it makes, whatever permissions it gives.
#[test]
fn what_is_being_built_is_out_of_reach() {
    let world = World::new();
    let drv = world
        .script("open", "umask 0; mkdir -p $out/d; touch /build/tool; chmod -R 777 /build $out; sleep 1")
        .add(&world);
    let tmp = world.store.root().join("tmp");
    let seen = std::thread::scope(|scope| {
        let running = scope.spawn(|| world.built(&drv));
        let mut seen = false;
        while !running.is_finished() {
            for entry in fs::read_dir(&tmp).unwrap().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                assert_eq!(meta.mode() & 0o077, 0, "{}: {:o}", entry.path().display(), meta.mode());
                seen |= entry.path().read_dir().is_ok_and(|mut inside| {
                    inside.any(|scratch| scratch.is_ok_and(|scratch| scratch.path().join("build/tool").exists()))
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(running.join().unwrap().is_dir());
        seen
    });
    assert!(seen, "the build was seen at work");
}

/// CVE-2026-39860: links at the places where what takes an output over might write.
#[test]
fn links_in_place_of_an_output_are_taken_as_links() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "stays").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o750)).unwrap();
    let script = format!("ln -s {} $out", precious.display());
    let built = world.built(&world.script("link", &script).add(&world));
    assert_eq!(fs::read_link(&built).unwrap(), precious);
    // Beside the output nothing may lie, under whatever name.
    for name in ["out.tmp", ".tmp-out", "0-out", "out~"] {
        let script = format!("echo x > $out; ln -s {} ${{out%/*}}/{name}", precious.display());
        let error = world.error(&world.script("beside", &script).add(&world));
        assert!(error.contains("not an output of this derivation"), "{name}: {error}");
    }
    assert_eq!(fs::metadata(&precious).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(text(&precious.join("file")), "stays");
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 1);
}

/// Nothing of the above is owed to being root.
#[test]
fn as_an_ordinary_user() {
    crate::ordinary::run_again(
        &["hostile::", "jobserver::", "failing::"],
        &[("SANDBOX_RUN", &crate::common::sandbox_child())],
    );
}
