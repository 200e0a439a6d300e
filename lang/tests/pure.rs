//! Pure and restricted evaluation see only the allowed roots, regardless of links in them.
#![allow(clippy::disallowed_methods, reason = "the test writes its files")]

use lang::source::Origin;
use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use test_support::files::Files;

struct Roots {
    dir: tempfile::TempDir,
}

impl Roots {
    /// Makes `root`, which may be read, `secret`, which may not, and links from one to the other.
    fn new() -> Roots {
        let dir = tempfile::tempdir().unwrap();
        let (root, secret) = (dir.path().join("root"), dir.path().join("secret"));
        for directory in [&root, &secret, &root.join("sub"), &secret.join("sub")] {
            fs::create_dir(directory).unwrap();
        }
        for directory in [&root, &secret, &secret.join("sub")] {
            fs::write(directory.join("file"), "\"text\"").unwrap();
            fs::write(directory.join("default.nix"), "42").unwrap();
        }
        symlink(&secret, root.join("outside")).unwrap();
        symlink("../secret/file", root.join("link")).unwrap();
        symlink(secret.join("default.nix"), root.join("sub/default.nix")).unwrap();
        symlink("link", root.join("chain")).unwrap();
        symlink(secret.join("none"), root.join("dangling")).unwrap();
        symlink("../root/file", root.join("around")).unwrap();
        symlink("sub/../file", root.join("inside")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        Roots { dir }
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

/// Expressions that leave the root. Each works in impure mode, so only the check stops it in pure
/// mode.
const ESCAPES: &[&str] = &[
    "import ../secret",
    "import ./outside",
    "import ./outside/sub",
    "import ./sub",
    "import ./link",
    "builtins.scopedImport { } ./chain",
    "builtins.readFile ./link",
    "builtins.readFile ./chain",
    "builtins.readFile ./outside/file",
    "builtins.readFile (./. + \"/../secret/file\")",
    "builtins.readDir ./outside",
    "builtins.readFileType ./outside/file",
    "builtins.hashFile \"sha256\" ./link",
    "\"${./outside/file}\"",
    "\"${./outside/sub}\"",
    "builtins.path { path = ./outside/file; }",
    "builtins.filterSource (path: type: true) ./outside/sub",
];

#[test]
fn links_do_not_lead_out() {
    let roots = Roots::new();
    for escape in ESCAPES {
        assert!(roots.eval(escape, false).is_ok(), "{escape}: {:?}", roots.eval(escape, false));
        assert_eq!(roots.eval(escape, true), Err("lang::pure_path".to_owned()), "{escape}");
    }
}

#[test]
fn outside_the_roots_nothing_exists() {
    let roots = Roots::new();
    let cases = [
        ("builtins.pathExists ./outside/file", "true", "false"),
        ("builtins.pathExists (toString ./outside + \"/\")", "true", "false"),
        ("builtins.pathExists ../secret", "true", "false"),
        // The link itself is inside the root.
        ("builtins.pathExists ./outside", "true", "true"),
        ("builtins.pathExists ./dangling", "true", "true"),
    ];
    for (text, impure, pure) in cases {
        assert_eq!(roots.eval(text, false).as_deref(), Ok(impure), "{text}");
        assert_eq!(roots.eval(text, true).as_deref(), Ok(pure), "{text}");
    }
    let find = "builtins.tryEval (builtins.findFile [ { path = ./outside; } ] \"file\")";
    assert!(roots.eval(find, false).is_ok());
    assert_eq!(roots.eval(find, true), Err("lang::pure_path".to_owned()));
}

#[test]
fn a_name_without_a_search_path_can_be_caught() {
    let roots = Roots::new();
    for text in ["<nixpkgs>", "<nixpkgs/lib>", "import <nixpkgs-overlays>", "builtins.findFile [ ] \"x\""] {
        assert_eq!(roots.eval(text, true), Err("lang::lookup_path".to_owned()), "{text}");
        let caught = format!("(builtins.tryEval ({text})).success");
        assert_eq!(roots.eval(&caught, true).as_deref(), Ok("false"), "{text}");
        assert_eq!(roots.eval(&caught, false).as_deref(), Ok("false"), "{text}");
    }
}

#[test]
fn files_inside_the_roots_are_read() {
    let roots = Roots::new();
    for file in ["file", "around", "inside", "sub/../file"] {
        let text = format!("import ./{file}");
        assert_eq!(roots.eval(&text, true).as_deref(), Ok("\"text\""), "{text}");
    }
    assert_eq!(roots.eval("import ./.", true).as_deref(), Ok("42"));
    assert!(roots.eval("\"${./.}${./file}${./link}\"", true).is_ok());
    assert_eq!(roots.eval("builtins.readFile ./loop", true), Err("lang::link_loop".to_owned()));
}

#[test]
fn restricted_evaluation_sees_the_allowed_directories_only() {
    let roots = Roots::new();
    let restricted = |text: &str| {
        let allowed_uris = vec!["https://allowed.example/below".to_owned()];
        roots.eval_with(text, EvalOptions { pure: false, restrict: true, allowed_uris, ..EvalOptions::default() })
    };
    for escape in ESCAPES {
        assert_eq!(restricted(escape), Err("lang::restricted_path".to_owned()), "{escape}");
    }
    assert_eq!(restricted("import ./.").as_deref(), Ok("42"));
    assert_eq!(restricted("builtins.pathExists ./outside/file").as_deref(), Ok("false"));
    assert_eq!(roots.eval("builtins.getEnv \"PATH\" != \"\"", false).as_deref(), Ok("true"));
    assert_eq!(restricted("builtins.getEnv \"PATH\"").as_deref(), Ok("\"\""));
    // Allowed requests reach the host, which refuses all.
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
