//! The library of the corpus, as expression files outside the repository use it: evaluated only, so
//! that nothing is built.

use crate::workspace::Workspace;
use std::path::Path;

/// A directory with packages beside an expression that binds `lib`, the corpus.
fn workspace() -> Workspace {
    let workspace = Workspace::with_own_store("{ }");
    workspace.write(
        "packages/sed.nix",
        r#"{ build, fetchSource, zlib }:
        build {
          pname = "sed";
          license = "GPL-3.0-or-later";
          source = fetchSource { version = "4.9"; url = "mirror://debian/sed.tar"; hash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; };
          inputs = [ zlib ];
        }"#,
    );
    workspace.write("packages/notes.txt", "not a package");
    workspace
}

/// Evaluates an expression in which `own` is the set at `/opt/own` with some more arguments of `at`.
fn value(workspace: &Workspace, arguments: &str, expression: &str) -> Result<String, String> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let text = format!(
        "let lib = import {} {{ }}; own = lib.at {{ path = \"/opt/own\"; packages = ./packages; {arguments} }}; in {expression}",
        corpus.display()
    );
    workspace.write("default.nix", &text);
    let ran = workspace.run(["nix-instantiate", "--eval", "--strict", "--json", "default.nix"]);
    match ran.status.success() {
        true => Ok(String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()),
        false => Err(workspace.text(&ran)),
    }
}

#[test]
fn own_packages_stand_beside_those_of_the_corpus() {
    let workspace = workspace();
    let check = |arguments: &str, expression: &str| value(&workspace, arguments, expression).unwrap();

    let names = check(
        "",
        "builtins.attrNames (builtins.removeAttrs own.packages (builtins.attrNames (lib.packagesFor \"/opt/own\")))",
    );
    assert_eq!(names, r#"["sed"]"#);
    // the same derivations as without the own ones
    assert_eq!(check("", "own.packages.python.drvPath == (lib.packagesFor \"/opt/own\").python.drvPath"), "true");
    assert_eq!(check("", "map (p: p.pname) own.packages.sed.inputs"), r#"["zlib"]"#);
    assert_eq!(check("", "own.packages.sed.src.name"), "\"source-4.9\"");

    let prefix = "prefixes.mine = { prefix, sed }: prefix { name = \"mine\"; packages = [ sed ]; };";
    assert_eq!(check(prefix, "own.prefixes.mine.prefixPath"), "\"/opt/own\"");
    let outputs =
        "builtins.mapAttrs (_: of: builtins.attrNames of.x86_64-linux) { inherit (own.flake) packages checks; }";
    assert_eq!(check(prefix, outputs), r#"{"checks":[],"packages":["mine-prefix","sed"]}"#);
    assert_eq!(check(prefix, "own.flake.legacyPackages.x86_64-linux ? python-prefix"), "true");
}

#[test]
fn a_package_of_the_same_name_replaces_that_of_the_corpus() {
    let workspace = workspace();
    let replaced = "packages.zlib = { build }: build { pname = \"zlib\"; version = \"9\"; license = \"Zlib\"; };";
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let text = format!("((import {} {{ }}).at {{ path = \"/opt/own\"; {replaced} }}).packages", corpus.display());
    workspace.write("default.nix", &format!("map (p: p.version) ({text}).python.inputs"));
    let versions = workspace.stdout("nix-instantiate --eval --strict --json default.nix");
    assert!(versions.contains("\"9\""), "{versions}");
}

#[test]
fn overrides_reach_every_user_of_a_package() {
    let workspace = workspace();
    let overlay = |new: &str| format!("overlays = [ (final: prev: {{ zlib = prev.zlib.overrideAttrs {new}; }}) ];");
    let configure = "(p: p.drvPath) (builtins.head own.packages.sed.inputs)";
    let plain = value(&workspace, "", configure).unwrap();
    let changed = value(&workspace, &overlay("{ configureFlags = [ \"--static\" ]; }"), configure).unwrap();
    let appended =
        value(&workspace, &overlay("(old: { configureFlags = old.configureFlags ++ [ ]; })"), configure).unwrap();
    assert_ne!(plain, changed);
    assert_eq!(plain, appended);

    // both overrides, in either order
    let other = "lib.stage0.tools";
    let chained = format!(
        "let a = (own.packages.sed.override {{ zlib = own.packages.xz; }}).overrideAttrs {{ tools = [ {other} ]; }}; \
         b = (own.packages.sed.overrideAttrs {{ tools = [ {other} ]; }}).override (old: {{ zlib = own.packages.xz; }}); \
         in [ (a.drvPath == b.drvPath) (a.drvPath == own.packages.sed.drvPath) (map (p: p.pname) b.inputs) ]"
    );
    assert_eq!(value(&workspace, "", &chained).unwrap(), r#"[true,false,["xz"]]"#);
}

#[test]
fn mistakes_are_errors() {
    let workspace = workspace();
    let check = |arguments: &str, expression: &str, message: &str| {
        let said = value(&workspace, arguments, expression).expect_err("the mistake is found");
        assert!(said.contains(message), "{expression}:\n{said}");
    };

    for path in ["opt/x", "/", "/opt/", "/opt/../etc", "/opt/./x", "/opt/a b", "/opt//x"] {
        check("", &format!("(lib.at \"{path}\").packages"), "has to be absolute");
    }
    check("", "own.packages.sed.override { zlip = 1; }", "unexpected argument 'zlip'");
    check(
        "",
        "(own.callPackage ({ fetchDebSource }: fetchDebSource { name = \"jq\"; }) { }).src",
        "no source package `jq` is pinned",
    );

    let image = "images.sed = { prefixes, sysext }: sysext { name = \"sed\"; tree = prefixes.python; };";
    check(image, "own.flake.packages", "the output `sed` would be one of `images` and one of `packages`");
    check(
        "",
        "((lib.at \"/home/own\").sysext { name = \"x\"; tree = (lib.prefixesFor \"/home/own\").hello; }).drvPath",
        "would never be seen",
    );
    check(
        "",
        "(own.sysext { name = \"x\"; tree = own.prefixes.hello; files.\"etc/x\".text = \"\"; }).drvPath",
        "would never be seen",
    );

    // a second zlib, by one input only
    let mixed = "(own.build { pname = \"x\"; version = \"1\"; license = \"MIT\"; inputs = [ own.packages.sed (own.packages.zlib.overrideAttrs { make = \"\"; }) ]; }).drvPath";
    check("", mixed, "two different packages `zlib`");
}

#[test]
fn an_image_says_what_it_fits() {
    let workspace = workspace();
    let check = |arguments: &str| {
        let image = format!("(own.sysext {{ name = \"x\"; tree = own.prefixes.hello; {arguments} }}).__sources");
        value(&workspace, "", &image).unwrap()
    };
    // other fields are another tree, null and the defaults are the same
    assert_eq!(check(""), check("reload = false; release.EXTENSION_RELOAD_MANAGER = null;"));
    assert_ne!(check(""), check("reload = true;"));
    assert_ne!(check(""), check("release = { ID = \"flatcar\"; SYSEXT_LEVEL = \"1.0\"; };"));
    assert_ne!(check(""), check("files.\"usr/lib/systemd/system/x.service\".text = \"[Service]\";"));
    let script = "builtins.elemAt (own.sysext { name = \"x\"; tree = own.prefixes.hello; version = \"2\"; }).args 1";
    assert!(value(&workspace, "", script).unwrap().contains("x-2-x86-64.raw"));
}

#[test]
fn a_pin_of_ones_own_is_a_source() {
    let workspace = workspace();
    workspace.write(
        "pins.json",
        r#"{ "jq": { "version": "1.6-2", "snapshot": "20260101T000000Z", "files": { "orig": { "path": "pool/jq.tar", "sha256": "0000000000000000000000000000000000000000000000000000000000000000" } } } }"#,
    );
    let source =
        "let jq = own.fetchDebSource { name = \"jq\"; }; in { inherit (jq) version debian; src = jq.src.name; }";
    let expected = r#"{"debian":null,"src":"jq-1.6-source","version":"1.6"}"#;
    assert_eq!(value(&workspace, "pins = ./pins.json;", source).unwrap(), expected);
    assert_eq!(
        value(&workspace, "pins = builtins.fromJSON (builtins.readFile ./pins.json);", source).unwrap(),
        expected
    );
}
