//! Pure and restricted evaluation see the allowed roots and nothing else, whatever links in them
//! say.
#![allow(clippy::disallowed_methods, reason = "a test makes the files it is about")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;

use test_support::files::Files;

struct Folders {
    dir: tempfile::TempDir,
}

impl Folders {
    /// `root` may be read, `secret` may not; links lead from one to the other.
    fn new() -> Folders {
        let dir = tempfile::tempdir().unwrap();
        let (root, secret) = (dir.path().join("root"), dir.path().join("secret"));
        for folder in [&root, &secret, &root.join("sub"), &secret.join("sub")] {
            fs::create_dir(folder).unwrap();
        }
        for folder in [&root, &secret, &secret.join("sub")] {
            fs::write(folder.join("file"), "\"text\"").unwrap();
            fs::write(folder.join("default.nix"), "42").unwrap();
        }
        symlink(&secret, root.join("folder")).unwrap();
        symlink("../secret/file", root.join("link")).unwrap();
        symlink(secret.join("default.nix"), root.join("sub/default.nix")).unwrap();
        symlink("link", root.join("chain")).unwrap();
        symlink(secret.join("none"), root.join("dangling")).unwrap();
        symlink("../root/file", root.join("around")).unwrap();
        symlink("sub/../file", root.join("inside")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        Folders { dir }
    }

    fn eval(&self, text: &str, pure: bool) -> Result<String, String> {
        self.eval_with(text, EvalOptions { pure, ..EvalOptions::default() })
    }

    fn eval_with(&self, text: &str, options: EvalOptions) -> Result<String, String> {
        let root = self.dir.path().join("root");
        let allowed_roots = vec![root.clone()];
        let options = EvalOptions { allowed_roots, store_model: StoreModel::Nix, ..options };
        let host = Arc::new(Files::new(StoreModel::Nix));
        let mut evaluator = Evaluator::new(host.clone(), options);
        let value = evaluator.eval_text(text.as_bytes(), Origin::CommandLine, Path::new(&root)).and_then(|value| {
            evaluator.force_deep(value)?;
            Ok(value)
        });
        assert!(host.take_messages().is_empty(), "{text} warns");
        match value {
            Ok(value) => Ok(String::from_utf8(evaluator.print(value).unwrap()).unwrap()),
            Err(error) => Err(evaluator.report(&error).code.to_owned()),
        }
    }
}

/// Ways out of the root: each works in impure mode, so that the wall is what stops it in pure mode.
const ESCAPES: &[&str] = &[
    "import ../secret",
    "import ./folder",
    "import ./folder/sub",
    "import ./sub",
    "import ./link",
    "builtins.scopedImport { } ./chain",
    "builtins.readFile ./link",
    "builtins.readFile ./chain",
    "builtins.readFile ./folder/file",
    "builtins.readFile (./. + \"/../secret/file\")",
    "builtins.readDir ./folder",
    "builtins.readFileType ./folder/file",
    "builtins.hashFile \"sha256\" ./link",
    "\"${./folder/file}\"",
    "\"${./folder/sub}\"",
    "builtins.path { path = ./folder/file; }",
    "builtins.filterSource (path: type: true) ./folder/sub",
];

#[test]
fn links_do_not_lead_out() {
    let folders = Folders::new();
    for escape in ESCAPES {
        assert!(folders.eval(escape, false).is_ok(), "{escape}: {:?}", folders.eval(escape, false));
        assert_eq!(folders.eval(escape, true), Err("lang::pure_path".to_owned()), "{escape}");
    }
}

#[test]
fn what_lies_outside_does_not_exist() {
    let folders = Folders::new();
    let cases = [
        ("builtins.pathExists ./folder/file", "true", "false"),
        ("builtins.pathExists (toString ./folder + \"/\")", "true", "false"),
        ("builtins.pathExists ../secret", "true", "false"),
        // The link itself is there, and inside.
        ("builtins.pathExists ./folder", "true", "true"),
        ("builtins.pathExists ./dangling", "true", "true"),
    ];
    for (text, impure, pure) in cases {
        assert_eq!(folders.eval(text, false).as_deref(), Ok(impure), "{text}");
        assert_eq!(folders.eval(text, true).as_deref(), Ok(pure), "{text}");
    }
    let find = "builtins.tryEval (builtins.findFile [ { path = ./folder; } ] \"file\")";
    assert!(folders.eval(find, false).is_ok());
    assert_eq!(folders.eval(find, true), Err("lang::lookup_path".to_owned()));
}

#[test]
fn what_lies_inside_is_read() {
    let folders = Folders::new();
    for file in ["file", "around", "inside", "sub/../file"] {
        let text = format!("import ./{file}");
        assert_eq!(folders.eval(&text, true).as_deref(), Ok("\"text\""), "{text}");
    }
    assert_eq!(folders.eval("import ./.", true).as_deref(), Ok("42"));
    assert!(folders.eval("\"${./.}${./file}${./link}\"", true).is_ok());
    assert_eq!(folders.eval("builtins.readFile ./loop", true), Err("lang::link_loop".to_owned()));
}

#[test]
fn restricted_evaluation_sees_the_allowed_folders_only() {
    let folders = Folders::new();
    let restricted = |text: &str| {
        let allowed_uris = vec!["https://allowed.example/below".to_owned()];
        folders.eval_with(text, EvalOptions { pure: false, restrict: true, allowed_uris, ..EvalOptions::default() })
    };
    for escape in ESCAPES {
        assert_eq!(restricted(escape), Err("lang::restricted_path".to_owned()), "{escape}");
    }
    assert_eq!(restricted("import ./.").as_deref(), Ok("42"));
    assert_eq!(restricted("builtins.pathExists ./folder/file").as_deref(), Ok("false"));
    assert_eq!(folders.eval("builtins.getEnv \"PATH\" != \"\"", false).as_deref(), Ok("true"));
    assert_eq!(restricted("builtins.getEnv \"PATH\"").as_deref(), Ok("\"\""));
    // What is allowed gets as far as the host, which fetches nothing.
    for (url, code) in [
        ("https://allowed.example/below", "lang::host"),
        ("https://allowed.example/below/it", "lang::host"),
        ("https://allowed.example/belowit", "lang::restricted_uri"),
        ("https://allowed.example/", "lang::restricted_uri"),
        ("file:///etc/passwd", "lang::restricted_path"),
    ] {
        assert_eq!(restricted(&format!("builtins.fetchurl \"{url}\"")), Err(code.to_owned()), "{url}");
    }
}
