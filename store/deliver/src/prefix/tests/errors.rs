//! Messages of errors and their help, which never gives a store's advice for a root.

use super::*;
use nix::errno::Errno;

#[test]
fn help_is_about_the_root() {
    let at = |name: &str, errno| PrefixError::from(SysError::new("write", format!("/r/.p.generations/{name}"), errno));
    let cases = [
        (at("copying/a", Errno::ENOSPC), "the file system of the root is full"),
        (at("copying/a", Errno::EDQUOT), "the quota on the file system of the root"),
        (at("copying/a", Errno::EROFS), "the root cannot be written"),
        (at("copying/a", Errno::EACCES), "as the user that owns the directory"),
        (at("lock", Errno::EACCES), "the prefix belongs to another user"),
        (at("1", Errno::EBUSY), "neither can be a mount point"),
        (at("1", Errno::EXDEV), "neither can be a mount point"),
        (at("1", Errno::EMFILE), "`ulimit -n`"),
    ];
    for (error, remedy) in cases {
        let (text, help) = (error.to_string(), error.help().unwrap());
        assert!(help.contains(remedy), "{help}");
        assert!(!format!("{text}{help}").contains("EVAL_ROOT") && !text.contains(';'), "{text}");
    }
    assert_eq!(at("1", Errno::EIO).help(), None);
}

#[test]
fn the_argument_is_named() {
    let world = World::new();
    for wrong in ["/", "", "opt/toy", "/opt/../toy", ".."] {
        let error = generations(&world.root(), wrong.as_ref()).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("PREFIX `{wrong}` must be an absolute path below `/`")),
            "{error}"
        );
        assert!(error.help().unwrap().contains("such as `/usr/local/my-stuff`"));
    }
}

/// A removal of the hidden directory leads to the same error as the next command that misses it.
#[test]
fn nothing_but_a_hidden_directory() {
    type Command = fn(&World) -> Result<()>;
    let commands: [Command; 4] = [
        |world| generations(&world.root(), PREFIX.as_ref()).map(drop),
        |world| prune(&world.root(), PREFIX.as_ref(), 0, None).map(drop),
        |world| switch(&world.root(), PREFIX.as_ref(), Wanted::Newest, false).map(drop),
        |world| uninstall(&world.root(), PREFIX.as_ref(), false).map(drop),
    ];
    for command in commands {
        let world = World::new();
        fs::create_dir_all(world.hidden()).unwrap();
        for _ in 0..2 {
            let error = command(&world).unwrap_err();
            assert!(matches!(error, PrefixError::NotInstalled { .. }), "{error}");
        }
    }
}

#[test]
fn a_damaged_marker() {
    for damage in ["", "no JSON", r#"{"generation":0,"mode":"copy","source":"/a"}"#] {
        let world = World::new();
        world.install("one");
        fs::write(world.prefix().join(MARKER), damage).unwrap();
        for error in [
            generations(&world.root(), PREFIX.as_ref()).unwrap_err(),
            prune(&world.root(), PREFIX.as_ref(), 0, None).unwrap_err(),
            switch(&world.root(), PREFIX.as_ref(), Wanted::Previous, true).unwrap_err(),
            uninstall(&world.root(), PREFIX.as_ref(), true).unwrap_err(),
        ] {
            let (text, help) = (error.to_string(), error.help().unwrap());
            assert!(text.contains(".eval-generation` is damaged") && help.contains("--force"), "{text}: {help}");
        }
        // The command of the help is run.
        let force = InstallOptions { force: true, ..InstallOptions::default() };
        let installed = world.install_with("two", InstallMode::Copy, &force).unwrap();
        assert_eq!((world.version().as_str(), installed.kept.len()), ("two", 1));
    }
}

#[test]
fn the_hidden_directory_is_a_link() {
    let world = World::new();
    fs::create_dir_all(world.hidden().parent().unwrap()).unwrap();
    symlink("/nowhere", world.hidden()).unwrap();
    let error = generations(&world.root(), PREFIX.as_ref()).unwrap_err();
    assert!(error.help().unwrap().ends_with(&format!("`rm {}`", world.hidden().display())), "{error}");
}

/// A directory that is opened a second time has the same path.
#[test]
fn paths_have_no_dots() {
    let world = World::new();
    let tree = world.tree("one");
    let dir = os::dir::Dir::open(&tree).unwrap();
    let below = files::open_below(&dir, b"opt/my").unwrap();
    assert_eq!(below.path(), tree.join("opt/my"));
    let missing = below.stat(b"nothing").unwrap_err();
    assert!(!missing.to_string().contains("/./"), "{missing}");
}
