//! `flake show`, `check`, `metadata`, `init` and `archive`.

use crate::fetchers::run_whole as run;
use crate::workspace::Workspace;
use insta::assert_snapshot;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

/// A flake with outputs of most kinds; `more` is added to them.
fn flake(more: &str) -> Workspace {
    let workspace = Workspace::with_own_store("");
    workspace.write(
        "flake.nix",
        &(r#"{
  description = "outputs of most kinds";
  inputs.dep.url = "path:./dep";
  inputs.again.follows = "dep";
  outputs = { self, dep, again }: let
    package = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; };
    in {
    packages.x86_64-linux.hello = package "hello-1" // { meta.description = "says hello\nand more"; };
    packages.aarch64-linux.hello = throw "never evaluated";
    legacyPackages.x86_64-linux = { a = package "a"; set = { recurseForDerivations = true; b = package "b"; }; hidden.c = package "c"; };
    devShells.x86_64-linux.default = package "shell";
    formatter.x86_64-linux = package "fmt";
    apps.x86_64-linux.default = { type = "app"; program = "/bin/sh"; meta.description = "runs"; };
    overlays.default = final: prev: { };
    nixosModules.m = { ... }: { };
    templates.t = { path = ./template; description = "a start"; welcomeText = "Welcome."; };
    hydraJobs.a.b = package "job";
    lib.f = x: x;
"#
        .to_owned()
            + more
            + "\n  };\n}\n"),
    );
    workspace.write("dep/flake.nix", "{ outputs = _: { }; }");
    workspace.write("template/flake.nix", "{ outputs = _: { v = \"from the template\"; }; }");
    workspace.write("template/sub/file", "text");
    workspace
}

#[test]
fn outputs_are_shown_as_a_tree() {
    let workspace = flake("");
    assert_snapshot!(run(&workspace, &["flake", "show"]), @r#"
    status: 0
    --- stdout
    path:[DIR]
    ├───apps
    │   └───x86_64-linux
    │       └───default: app - 'runs'
    ├───devShells
    │   └───x86_64-linux
    │       └───default: development environment 'shell'
    ├───formatter
    │   └───x86_64-linux: package 'fmt'
    ├───hydraJobs
    │   └───a
    │       └───b: derivation 'job'
    ├───legacyPackages
    │   └───x86_64-linux omitted (use '--legacy' to show)
    ├───lib: library
    ├───nixosModules
    │   └───m: NixOS module
    ├───overlays
    │   └───default: Nixpkgs overlay
    ├───packages
    │   ├───aarch64-linux omitted (use '--all-systems' to show)
    │   └───x86_64-linux
    │       └───hello: package 'hello-1' - 'says hello'
    └───templates
        └───t: template - 'a start'
    --- stderr
    wrote [DIR]/flake.lock
      added 'again': follows 'dep'
      added 'dep': path:./dep
    "#);
    let said = run(&workspace, &["flake", "show", "--legacy"]);
    let legacy = "├───legacyPackages\n│   └───x86_64-linux\n│       ├───a: package 'a'\n│       └───set\n│           └───b: package 'b'\n";
    assert!(said.contains(legacy) && !said.contains("hidden"), "{said}");
    let shown = workspace.json("flake show --json");
    assert_eq!(shown["version"], 1);
    assert_eq!(
        shown["outputs"]["packages"],
        serde_json::json!({
            "aarch64-linux": {},
            "x86_64-linux": { "hello": { "type": "derivation", "name": "hello-1", "description": "says hello\nand more" } },
        })
    );
    assert_eq!(shown["success"], true);
    let shown = workspace.json("flake show --json --all-systems");
    assert_eq!(shown["success"], false);
    assert_eq!(shown["failed"], serde_json::json!(["packages.aarch64-linux.hello"]));
    assert_eq!(workspace.json("flake show --json ./nowhere")["error"]["code"], "installable");
    assert_eq!(workspace.json("flake check --json ./nowhere")["error"]["code"], "installable");
    // An output that fails leaves the others as they are.
    assert_snapshot!(run(&workspace, &["flake", "show", "--all-systems"]).split_once("├───packages").expect("it is shown").1, @"
    │   ├───aarch64-linux
    │   │   └───hello: error: never evaluated
    │   └───x86_64-linux
    │       └───hello: package 'hello-1' - 'says hello'
    └───templates
        └───t: template - 'a start'
    --- stderr
    error: the output `packages.aarch64-linux.hello` cannot be evaluated
     |
     = help: `ev flake check` shows where the error is
    ");
}

#[test]
fn all_outputs_are_checked() {
    let workspace = flake("");
    assert_snapshot!(run(&workspace, &["flake", "check"]), @r#"
    status: 0
    --- stderr
    wrote [DIR]/flake.lock
      added 'again': follows 'dep'
      added 'dep': path:./dep
    not checked: outputs for `aarch64-linux` (`--all-systems` does)
    10 outputs are right
    "#);
    let workspace = flake(
        "packages.x86_64-linux.broken = throw \"broken\"; packages.x86_64-linux.number = 1; overlays.set = { }; \
         apps.x86_64-linux.text = \"/bin/sh\"; templates.empty = { }; nixosConfigurations.host = { }; odd = throw \"never\";",
    );
    run(&workspace, &["flake", "lock"]);
    let said = run(&workspace, &["flake", "check"]);
    for part in [
        "status: 1\n",
        "error[lang::throw]: broken\n",
        "… while checking the output `packages.x86_64-linux.broken`",
        "error[installable]: the output `packages.x86_64-linux.number` is not a derivation",
        "error[installable]: the output `overlays.set` is not an overlay: a function of two arguments",
        "error[installable]: the output `apps.x86_64-linux.text` is not an app: a set with `type = \"app\"` and a string `program`",
        "error[installable]: the output `templates.empty` is not a template: a set with a `path` and a string `description`",
        "… while checking the output `nixosConfigurations.host`",
        "warning: outputs of no known kind, which are not checked: `odd`",
        "error[installable]: 6 of 16 outputs failed: `apps.x86_64-linux.text`, `nixosConfigurations.host`, `overlays.set`, \
         `packages.x86_64-linux.broken`, `packages.x86_64-linux.number`, `templates.empty`",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let report = workspace.json("flake check --json");
    assert_eq!(report["success"], false);
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(6));
    assert_eq!(report["failures"][3]["path"], "packages.x86_64-linux.broken");
    assert_eq!(report["failures"][3]["error"]["code"], "lang::throw");
}

#[test]
fn checks_are_built() {
    let check = |name: &str, text: &str| {
        format!(
            "checks.x86_64-linux.{name} = derivation {{ name = \"{name}\"; system = \"builtin\"; builder = \"builtin:{text}\"; files = builtins.toJSON {{ t.text = \"t\"; }}; }};"
        )
    };
    let workspace = flake(&check("good", "write"));
    let said = run(&workspace, &["flake", "check"]);
    assert!(said.starts_with("status: 0") && said.contains("11 outputs are right"), "{said}");
    let workspace = flake(&(check("good", "write") + &check("bad", "no-such-builder")));
    let said = run(&workspace, &["flake", "check"]);
    assert!(said.starts_with("status: 100") && said.contains("`bad` failed"), "{said}");
    assert!(said.contains("1 of 12 outputs failed: `checks.x86_64-linux`"), "{said}");
    assert!(run(&workspace, &["flake", "check", "--no-build"]).starts_with("status: 0"));
}

#[test]
fn metadata_has_the_inputs() {
    let workspace = flake("");
    workspace.write("plain/text", "text");
    for place in ["plain/text", "plain"] {
        let file = fs::File::open(workspace.path().join(place)).expect("it was written");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("it is ours");
    }
    workspace.write(
        "with-inputs/flake.nix",
        &format!(
            "{{ description = \"has inputs\"; inputs.plain = {{ url = \"path:{}/plain\"; flake = false; }}; \
             inputs.up.url = \"path:../dep\"; inputs.again.follows = \"up\"; outputs = _: throw \"never\"; }}",
            workspace.path().display()
        ),
    );
    let said = run(&workspace, &["flake", "metadata", "./with-inputs"]);
    let inputs = "Inputs:\n├───again follows input 'up'\n├───plain: path:[DIR]/plain?lastModified=1000000000&narHash=sha256-DSveEV6bfrkQEDcIxUO5u1k42lXq1/86lsYFr+MU5to%3D (2001-09-09 01:46:40)\n└───up: path:../dep\n";
    assert!(said.contains(inputs), "{said}");
    assert!(said.contains("Description:   has inputs\n"), "{said}");
    let metadata = workspace.json("flake info ./with-inputs --json");
    assert_eq!(metadata["description"], "has inputs");
    assert_eq!(metadata["locks"]["nodes"]["root"]["inputs"]["again"], serde_json::json!(["up"]));
    assert_eq!(metadata["originalUrl"], metadata["resolvedUrl"]);
    assert!(metadata["locked"]["path"].as_str().is_some_and(|path| path.ends_with("/with-inputs")), "{metadata}");
}

#[test]
fn templates_start_flakes() {
    let workspace = flake("");
    run(&workspace, &["flake", "lock"]);
    assert_snapshot!(run(&workspace, &["flake", "new", "started", "-t", ".#t"]), @r#"
    status: 0
    --- stderr
    wrote started/flake.nix
    wrote started/sub/file
    Welcome.
    "#);
    assert_eq!(workspace.stdout("expr ./started#v"), "\"from the template\"");
    // Equal files are no obstacle, others are, and nothing is written then.
    fs::remove_file(workspace.path().join("started/sub/file")).expect("it was written");
    assert!(run(&workspace, &["flake", "new", "started", "-t", ".#t"]).starts_with("status: 0"));
    workspace.write("started/flake.nix", "{ }");
    fs::remove_file(workspace.path().join("started/sub/file")).expect("it was written");
    assert_snapshot!(run(&workspace, &["flake", "new", "started", "-t", ".#t"]), @r#"
    status: 1
    --- stderr
    error: files of the template exist already: `flake.nix`
     |
     = help: remove them, or make the flake in another directory with `ev flake new DIR`
    "#);
    assert!(!workspace.path().join("started/sub/file").exists());
    let workspace = flake("templates.host = { path = \"/etc\"; description = \"of the host\"; };");
    let said = run(&workspace, &["flake", "new", "x", "-t", ".#host"]);
    assert!(said.contains("the `path` of the template `.#host`, '/etc', is not in the store"), "{said}");
    let said = run(&workspace, &["flake", "new", "x", "-t", ".#none"]);
    assert!(said.contains("has no `templates.none`, `none`"), "{said}");
}

/// The template of this project, with a registry that says where its repository is.
#[test]
fn the_own_template_evaluates() {
    let workspace = Workspace::with_own_store("");
    // Only its name for the tools is needed, and no copy of the repository.
    workspace.write(
        "eval/flake.nix",
        "{ outputs = _: { packages.x86_64-linux.stage0 = derivation { name = \"stage0\"; system = \"builtin\"; builder = \"builtin:write\"; text = \"t\"; }; }; }",
    );
    run(&workspace, &["registry", "add", "eval", "./eval"]);
    let said = run(&workspace, &["flake", "new", "mine"]);
    assert!(said.contains("next: `ev build .#greeting && cat result`"), "{said}");
    let said = run(&workspace, &["flake", "check", "--no-build", "./mine"]);
    assert!(said.starts_with("status: 0") && said.contains("3 outputs are right"), "{said}");
}

#[test]
fn archives_have_all_inputs() {
    let workspace = Workspace::with_own_store("");
    let place = workspace.path().display().to_string();
    workspace.write("plain/text", "text");
    workspace.write("flake/inner/flake.nix", "{ outputs = _: { }; }");
    workspace.write(
        "flake/flake.nix",
        &format!(
            "{{ inputs.plain = {{ url = \"path:{place}/plain\"; flake = false; }}; inputs.inner.url = \"path:./inner\"; outputs = _: {{ }}; }}"
        ),
    );
    run(&workspace, &["flake", "lock", "./flake"]);
    let archived = workspace.json("flake archive --json ./flake");
    let path = archived["path"].as_str().expect("a path");
    // This input is in the same tree.
    assert_eq!(archived["inputs"]["inner"]["path"], path);
    let plain = archived["inputs"]["plain"]["path"].as_str().expect("a path");
    let in_store = |path: &str| workspace.store().join("store").join(path.trim_start_matches("/eval/store/"));
    assert!(in_store(path).join("inner/flake.nix").is_file());
    assert!(in_store(plain).join("text").is_file());
    let mut paths = [path, plain];
    paths.sort_unstable();
    assert_eq!(workspace.stdout("flake archive ./flake"), paths.join("\n"));
}
