//! `prefix install` and the commands after it.

use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

const TOYS: &str = r##"
let
  inherit (import ./prelude.nix) write;
  toy = version: write {
    name = "toy-${version}";
    files."opt/toy/bin/run" = { text = "#!/opt/toy/bin/sh\necho ${version}\n"; executable = true; };
    files."opt/toy/bin/alias".link = "run";
  };
in
{
  one = toy "1";
  two = toy "2";
}
"##;

#[test]
fn install_rollback_uninstall() {
    let workspace = Workspace::with_own_store(TOYS);
    let installed = || fs::read_to_string(workspace.path().join("root/opt/toy/bin/alias"));
    assert_snapshot!(workspace.check("prefix install one -f default.nix --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy
    --- stderr
    plan: 1 tree to put together
    1 tree put together in [TIME]
    "#);
    assert!(installed().expect("it is installed").contains("echo 1"));
    assert_snapshot!(workspace.check("prefix install two -f default.nix --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy
    --- stderr
    plan: 1 tree to put together
    1 tree put together in [TIME]
    "#);
    assert!(installed().expect("it is installed").contains("echo 2"));
    assert_snapshot!(undated(&workspace.check("prefix generations /opt/toy --to root")), @r#"
    status: 0
    --- stdout
    1	[DATE]	[STORE]/store/[HASH]-toy-1
    2	[DATE]	[STORE]/store/[HASH]-toy-2	current
    "#);
    assert_snapshot!(workspace.check("prefix rollback /opt/toy --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy	generation 1
    "#);
    assert!(installed().expect("it is installed").contains("echo 1"));
    assert_snapshot!(undated(&workspace.check("prefix generations /opt/toy --to root")), @r#"
    status: 0
    --- stdout
    1	[DATE]	[STORE]/store/[HASH]-toy-1	current
    2	[DATE]	[STORE]/store/[HASH]-toy-2
    "#);
    assert_snapshot!(workspace.check("prefix switch /opt/toy --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy	generation 2
    "#);
    assert_snapshot!(workspace.check("prefix switch /opt/toy 1 --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy	generation 1
    "#);
    assert_snapshot!(workspace.check("prefix switch /opt/toy 7 --to root"), @r#"
    status: 1
    --- stderr
    error[prefix::generation]: `root/opt/toy` has no generation 7; it has 1, 2
     |
     = help: `ev prefix generations` lists them
    "#);
    assert_snapshot!(workspace.check("prefix prune /opt/toy --keep 0 --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy	generation 2
    "#);
    assert_snapshot!(workspace.check("prefix uninstall /opt/toy --to root"), @"status: 0");
    assert!(installed().is_err());
    assert_snapshot!(workspace.check("prefix generations /opt/toy --to root"), @r#"
    status: 1
    --- stderr
    error[prefix::not_installed]: no prefix is installed at `root/opt/toy`
    "#);
}

/// Returns the list without the dates of its generations.
fn undated(text: &str) -> String {
    let lines = text.lines().map(|line| match line.splitn(3, '\t').collect::<Vec<_>>()[..] {
        [number, date, rest] if date.starts_with("20") && date.ends_with("+0000") => {
            format!("{number}\t[DATE]\t{rest}")
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_list_as_json() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("prefix install one -f default.nix --to root");
    workspace.stdout("prefix install two -f default.nix --to root --mode symlink");
    let mut list = workspace.json("prefix generations /opt/toy --to root --json");
    for generation in list["generations"].as_array_mut().expect("a list") {
        assert!(generation["installedSecs"].as_i64().expect("a number") > 1_600_000_000);
        generation["installedSecs"] = "[TIME]".into();
    }
    assert_snapshot!(workspace.json_text(&list), @r#"
    {
      "generations": [
        {
          "current": false,
          "generation": 1,
          "installedSecs": "[TIME]",
          "mode": "copy",
          "source": "[STORE]/store/[HASH]-toy-1"
        },
        {
          "current": true,
          "generation": 2,
          "installedSecs": "[TIME]",
          "mode": "symlink",
          "source": "[STORE]/store/[HASH]-toy-2/opt/toy"
        }
      ],
      "prefix": "/opt/toy",
      "version": 1
    }
    "#);
    let failed = workspace.json("prefix generations /opt/other --to root --json");
    assert_eq!(failed["success"], false);
}

#[test]
fn the_current_generation_is_not_installed_again() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("prefix install one -f default.nix --to root");
    assert_snapshot!(workspace.check("prefix install one -f default.nix --to root"), @r#"
    status: 0
    --- stdout
    root/opt/toy
    --- stderr
    up to date: nothing to do
    generation 1 is current already
    "#);
}

#[test]
fn pruning_reports_moved_files_and_needs_a_rule() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("prefix install one -f default.nix --to root");
    workspace.write("root/opt/toy/mine", "precious");
    assert_snapshot!(workspace.check("prefix install two -f default.nix --to root --force -q --keep 0"), @r#"
    status: 0
    --- stdout
    root/opt/toy
    --- stderr
    files that were not installed are kept in `root/opt/.toy.generations/kept-1`
    "#);
    let refused = workspace.check("prefix prune /opt/toy --to root");
    assert!(refused.starts_with("status: 2") && refused.contains("<--keep <N>|--older-than <DAYS>>"), "{refused}");
}

/// A package with a link of the marker's name made root write to the link's target; a directory of
/// that name broke the prefix permanently.
#[test]
fn a_package_with_a_reserved_name() {
    let workspace = Workspace::with_own_store(&TOYS.replace(
        "two = toy \"2\";",
        r##"
  link = write { name = "odd"; files."opt/toy/bin/run".text = "odd"; files."opt/toy/.eval-generation".link = "@canary@"; };
  inside = write { name = "odd"; files."opt/toy/bin/run".text = "odd"; files."opt/toy/.eval-generation".link = "bin/run"; };
  file = write { name = "odd"; files."opt/toy/bin/run".text = "odd"; files."opt/toy/.eval-generation".text = "odd"; };
  directory = write { name = "odd"; files."opt/toy/bin/run".text = "odd"; files."opt/toy/.eval-generation/a".text = "odd"; };"##,
    ));
    let canary = workspace.path().join("canary");
    let text = fs::read_to_string(workspace.path().join("default.nix")).expect("it was written");
    workspace.write("default.nix", &text.replace("@canary@", &canary.display().to_string()));
    workspace.write("canary", "precious");
    workspace.stdout("prefix install one -f default.nix --to root");
    for name in ["link", "inside", "file", "directory"] {
        for mode in ["copy", "symlink", "hardlink"] {
            let text =
                workspace.check(&format!("prefix install {name} -f default.nix --to root --mode {mode} --force"));
            assert!(
                text.starts_with("status: 1") && text.contains("has a name that is reserved"),
                "{name} {mode}: {text}"
            );
        }
    }
    assert_eq!(fs::read_to_string(canary).expect("it is there"), "precious");
    workspace.stdout("store verify");
    workspace.stdout("prefix uninstall /opt/toy --to root");
}

/// Permissions do not depend on the caller's umask.
#[test]
fn permissions() {
    for umask in ["000", "077"] {
        let workspace = Workspace::with_own_store(TOYS);
        let shell = |words: &str| {
            let mut command = workspace.prepare(Command::new("sh"), ["-c", &format!("umask {umask}; exec {words}")]);
            let ran = command.output().expect("there is a shell");
            assert!(ran.status.success(), "{}", workspace.text(&ran));
        };
        for (name, mode) in [("one", "copy"), ("two", "symlink"), ("one", "copy")] {
            shell(&format!(
                "{} prefix install {name} -f default.nix --to root/deep --mode {mode}",
                crate::workspace::PROGRAM
            ));
        }
        let mode = |path: &str| {
            let metadata = fs::symlink_metadata(workspace.path().join("root").join(path)).expect(path);
            format!("{:o}", metadata.mode() & 0o7777)
        };
        for (path, expected) in [
            ("", "755"),
            ("deep", "755"),
            ("deep/opt", "755"),
            ("deep/opt/toy", "755"),
            ("deep/opt/toy/bin", "755"),
            ("deep/opt/toy/bin/run", "755"),
            ("deep/opt/toy/.eval-generation", "644"),
            ("deep/opt/.toy.generations", "755"),
            ("deep/opt/.toy.generations/1", "755"),
            ("deep/opt/.toy.generations/1.files", "644"),
            // A process that can open it can block all others.
            ("deep/opt/.toy.generations/lock", "600"),
        ] {
            assert_eq!(mode(path), expected, "umask {umask}: {path}");
        }
    }
}

/// A directory that systemd shows as an extension: `refresh` checks nothing below it.
#[test]
fn an_extension_must_be_refreshed() {
    let workspace = Workspace::with_own_store(TOYS);
    assert_snapshot!(workspace.check("prefix install one -f default.nix --to var/lib/extensions/toy"), @r#"
    status: 0
    --- stdout
    var/lib/extensions/toy/opt/toy
    --- stderr
    plan: 1 tree to put together
    1 tree put together in [TIME]
    an extension changed inside: `systemd-sysext refresh --always-refresh=yes` shows it (systemd 258 and later)
    "#);
    assert_snapshot!(workspace.check("prefix uninstall /opt/toy --to var/lib/extensions/toy -q"), @"status: 0");
}

/// A tree is kept alive exactly as long as its link: pruning and removing release it.
#[test]
fn roots_of_links_are_released() {
    let workspace = Workspace::with_own_store(TOYS);
    let trees = || {
        workspace.stdout("store gc");
        let names = fs::read_dir(workspace.store().join("store")).expect("there is a store");
        let names = names.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
        let mut trees: Vec<String> = names.filter(|name| !name.ends_with(".drv") && name.contains("-toy-")).collect();
        trees.iter_mut().for_each(|name| drop(name.drain(..name.len() - 1)));
        trees.sort();
        trees.concat()
    };
    for root in ["a", "b"] {
        workspace.stdout(&format!("prefix install one -f default.nix --to {root} --mode symlink"));
    }
    workspace.stdout("prefix install two -f default.nix --to a --mode symlink");
    assert_eq!(trees(), "12");
    workspace.stdout("prefix prune /opt/toy --to a --keep 0");
    assert_eq!(trees(), "12", "another root has it too");
    workspace.stdout("prefix uninstall /opt/toy --to b");
    assert_eq!(trees(), "2");
    workspace.stdout("prefix uninstall /opt/toy --to a");
    assert_eq!(trees(), "");
}

/// A root with links that lead elsewhere; root installs into it.
#[test]
fn a_hostile_root() {
    for link in ["opt", "opt/.toy.generations"] {
        let workspace = Workspace::with_own_store(TOYS);
        workspace.write("elsewhere/mine", "precious");
        let at = workspace.path().join("root").join(link);
        fs::create_dir_all(at.parent().expect("it has one")).expect("it can be made");
        symlink(workspace.path().join("elsewhere"), &at).expect("it can be made");
        let text = workspace.check("prefix install one -f default.nix --to root -q");
        assert!(text.contains(&format!("`root/{link}` is a symbolic link")), "{text}");
        assert_eq!(fs::read_dir(workspace.path().join("elsewhere")).expect("it is there").count(), 1);
    }
}

#[test]
fn modes() {
    let workspace = Workspace::with_own_store(TOYS);
    for mode in ["copy", "symlink", "hardlink"] {
        workspace.stdout(&format!("prefix install one -f default.nix --to {mode} --mode {mode}"));
        let run = fs::read_to_string(workspace.path().join(mode).join("opt/toy/bin/run"));
        assert!(run.expect("it is installed").contains("echo 1"), "{mode}");
    }
    // A prefix that is a link into the store keeps its tree alive; a copy does not need it.
    fs::remove_dir_all(workspace.path().join("hardlink")).expect("it is ours");
    workspace.stdout("store gc");
    for mode in ["copy", "symlink"] {
        assert!(fs::read(workspace.path().join(mode).join("opt/toy/bin/run")).is_ok(), "{mode}");
    }
}

#[test]
fn foreign_files_stay() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.write("root/opt/toy/mine", "precious");
    assert_snapshot!(workspace.check("prefix install one -f default.nix --to root"), @r#"
    status: 1
    --- stderr
    plan: 1 tree to put together
    1 tree put together in [TIME]
    error[prefix::foreign_files]: files that were not installed from the store are in the way at `root/opt/toy`:
        root/opt/toy/mine
     |
     = help: `--force` moves them aside
    "#);
    assert_eq!(fs::read_to_string(workspace.path().join("root/opt/toy/mine")).expect("it stays"), "precious");
}

#[test]
fn a_changed_file_stops_an_uninstall() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("prefix install one -f default.nix --to root");
    workspace.write("root/opt/toy/note", "mine");
    assert_snapshot!(workspace.check("prefix uninstall /opt/toy --to root"), @r#"
    status: 1
    --- stderr
    error[prefix::foreign_files]: files that were not installed from the store are in the way at `root/opt/toy`:
        root/opt/toy/note
     |
     = help: `--force` moves them aside
    "#);
    assert_snapshot!(workspace.check("prefix uninstall /opt/toy --to root --force"), @r#"
    status: 0
    --- stderr
    files that were not installed are kept in `root/opt/.toy.generations/kept-1`
    "#);
    let kept = workspace.path().join("root/opt/.toy.generations/kept-1/note");
    assert_eq!(fs::read_to_string(kept).expect("it is kept"), "mine");
}

/// A name with a line end or a tab makes no line and no column of its own.
#[test]
fn values_stay_in_their_lines() {
    let workspace = Workspace::with_own_store(TOYS);
    let root = "root\n9\tforged";
    workspace.run(["prefix", "install", "one", "-f", "default.nix", "--to", root, "-q"]);
    let marker = format!("{root}/opt/toy/.eval-generation");
    let forged = r#"{"generation":1,"mode":"copy","source":"/a\n9\t2026-01-01 00:00:00 +0000\t/forged\tcurrent"}"#;
    fs::write(workspace.path().join(&marker), forged).expect("it is ours");
    let list = workspace.run(["prefix", "generations", "/opt/toy", "--to", root]);
    let list = String::from_utf8(list.stdout).expect("it is text");
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.contains("\t/a^J9^I2026-01-01 00:00:00 +0000^I/forged^Icurrent\tcurrent\n"), "{list}");
    workspace.run(["prefix", "install", "two", "-f", "default.nix", "--to", root, "-q", "--force"]);
    let switched = workspace.run(["prefix", "rollback", "/opt/toy", "--to", root, "--force"]);
    let switched = String::from_utf8(switched.stdout).expect("it is text");
    assert_eq!(switched, "root^J9^Iforged/opt/toy\tgeneration 1\n");
    let foreign = workspace.path().join(root).join("opt/toy/a\n  forged");
    fs::write(foreign, "mine").expect("it is ours");
    let refused = workspace.run(["prefix", "uninstall", "/opt/toy", "--to", root]);
    let refused = String::from_utf8(refused.stderr).expect("it is text");
    assert!(refused.contains("a^J  forged") && refused.contains("`root^J9^Iforged/opt/toy`"), "{refused}");
}

/// The full or read-only file system is the root's, not the store's.
#[test]
fn a_root_that_is_full_or_read_only() {
    let workspace =
        Workspace::with_own_store(&TOYS.replace(
            "echo ${version}",
            "${builtins.concatStringsSep \"\" (builtins.genList (n: \"0123456789\") 60000)}",
        ));
    workspace.stdout("build -f default.nix one --no-link");
    for (options, expected, remedy) in [
        ("size=256k", "(ENOSPC)", "the file system of the root is full"),
        ("ro", "(EROFS)", "the root cannot be written"),
    ] {
        let script = format!(
            "mkdir -p at && mount -t tmpfs -o {options} small at && exec {} prefix install one -f default.nix --to at -q",
            crate::workspace::PROGRAM
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-e", "-c"]);
        let ran = workspace.prepare(command, [script]).output().expect("`unshare` is installed");
        let text = workspace.text(&ran);
        assert!(text.contains("status: 1") && text.contains(expected) && text.contains(remedy), "{text}");
        assert!(!text.contains("EVAL_ROOT") && !text.contains("/./"), "{text}");
    }
}

/// Other programs call the destination `--root`; the commands that use no store accept that.
#[test]
fn the_destination_may_be_called_root() {
    let workspace = Workspace::with_own_store(TOYS);
    workspace.stdout("prefix install one -f default.nix --to there");
    let by_to = workspace.stdout("prefix generations /opt/toy --to there");
    assert!(by_to.contains("toy-1"), "{by_to}");
    assert_eq!(workspace.stdout("prefix generations /opt/toy --root there"), by_to);
    // The variable is the store's.
    assert_snapshot!(workspace.check("prefix generations /opt/toy-that-is-not-there"), @r#"
    status: 1
    --- stderr
    error[prefix::not_installed]: no prefix is installed at `/opt/toy-that-is-not-there`
    "#);
    workspace.stdout("prefix uninstall /opt/toy --root there");
    assert!(!workspace.path().join("there/opt/toy").exists());
}

#[test]
fn what_is_checked_may_be_built_first() {
    let workspace = Workspace::with_own_store(TOYS);
    assert_snapshot!(workspace.check("prefix check -f default.nix one -q"), @r#"
    status: 1
    --- stdout
    opt/toy/bin/run, byte 2: the script is run by `/opt/toy/bin/sh`, which does not exist
    --- stderr
    error: `[STORE]/store/[HASH]-toy-1` leads out of the prefix `/opt/toy` in 1 place
     |
     = help: the lines above name each place
    "#);
    workspace.write("flake.nix", "{ outputs = _: { packages.x86_64-linux = import ./default.nix; }; }");
    assert_snapshot!(workspace.check("prefix check .#two -q"), @r#"
    status: 1
    --- stdout
    opt/toy/bin/run, byte 2: the script is run by `/opt/toy/bin/sh`, which does not exist
    --- stderr
    error: `[STORE]/store/[HASH]-toy-2` leads out of the prefix `/opt/toy` in 1 place
     |
     = help: the lines above name each place
    "#);
    assert_snapshot!(workspace.check("prefix check ./nothing"), @r#"
    status: 1
    --- stderr
    error: cannot open directory `./nothing`: No such file or directory (ENOENT)
     |
     = help: give the path with `--prefix /usr/local/my-stuff`
    "#);
}
