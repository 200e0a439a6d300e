//! Settings: files, variables and options, and their order.

use crate::workspace::Workspace;
use insta::assert_snapshot;

#[track_caller]
fn check(workspace: &Workspace, words: &str, variables: &[(&str, &str)]) -> String {
    let mut command = workspace.command(words.split_whitespace());
    command.env("EVAL_CONFIG", workspace.path().join("config.toml")).env_remove("EVAL_PROGRESS");
    command.envs(variables.iter().copied());
    workspace.text(&command.output().expect("the program starts"))
}

#[test]
fn an_option_precedes_a_variable_and_that_the_file() {
    let workspace = Workspace::with_own_store("1");
    assert_snapshot!(check(&workspace, "config show jobs", &[]), @r#"
    status: 0
    --- stdout
    # jobs: auto
    "#);
    workspace.write("config.toml", "# ours\njobs = 2\nkeep-failed = true\nmax-memory = \"4G\"\n");
    assert_snapshot!(check(&workspace, "config show jobs", &[]), @r#"
    status: 0
    --- stdout
    jobs = 2  # [DIR]/config.toml:2
    "#);
    assert_snapshot!(check(&workspace, "config show jobs", &[("EVAL_JOBS", "3")]), @r#"
    status: 0
    --- stdout
    jobs = 3  # EVAL_JOBS
    "#);
    assert_snapshot!(check(&workspace, "config show jobs --option max-jobs 4", &[("EVAL_JOBS", "3")]), @r#"
    status: 0
    --- stdout
    jobs = 4  # --option
    "#);
    assert_snapshot!(check(&workspace, "config show max-memory", &[]), @r#"
    status: 0
    --- stdout
    max-memory = "4G"  # [DIR]/config.toml:4
    "#);
    assert_snapshot!(check(&workspace, "config show keep-failed --option keep-failed false", &[]), @r#"
    status: 0
    --- stdout
    keep-failed = false  # --option
    "#);
}

/// The values take effect, and are not only shown.
#[test]
fn settings_change_what_commands_do() {
    let workspace = Workspace::with_own_store("throw \"no\"");
    workspace.write("config.toml", "error-format = \"json\"\n");
    assert!(check(&workspace, "expr -f default.nix", &[]).contains("\"severity\":\"error\""));
    assert!(!check(&workspace, "expr -f default.nix --error-format text", &[]).contains("severity"));
    assert!(!check(&workspace, "expr -f default.nix", &[("EVAL_ERROR_FORMAT", "text")]).contains("severity"));
    assert!(
        check(&workspace, "expr -f default.nix --option error-format json", &[("EVAL_ERROR_FORMAT", "text")])
            .contains("severity")
    );
    workspace.write("config.toml", "system = \"riscv64-linux\"\n");
    assert_snapshot!(check(&workspace, "expr --impure builtins.currentSystem", &[]), @r#"
    status: 0
    --- stdout
    "riscv64-linux"
    "#);
}

#[test]
fn mistakes_name_their_line() {
    let workspace = Workspace::with_own_store("1");
    workspace.write("config.toml", "jobs = 2\n\nkeep-faild = true\n");
    assert_snapshot!(check(&workspace, "expr 1", &[]), @r#"
    status: 2
    --- stderr
    error: [DIR]/config.toml:3: there is no setting `keep-faild`
     |
     = help: did you mean `keep-failed`?
    "#);
    workspace.write("config.toml", "jobs = 0\n");
    assert_snapshot!(check(&workspace, "expr 1", &[]), @r#"
    status: 2
    --- stderr
    error: [DIR]/config.toml:1: `jobs`: invalid value '0': with 0 nothing can be built; `--dry-run` prints what would be
    "#);
    workspace.write("config.toml", "jobs = \n");
    let text = check(&workspace, "expr 1", &[]);
    assert!(text.contains("status: 2") && text.contains("config.toml:1: "), "{text}");
    workspace.write("config.toml", "");
    assert_snapshot!(check(&workspace, "expr 1 --option jbos 3", &[]), @r#"
    status: 0
    --- stdout
    1
    --- stderr
    warning: there is no setting `jbos`; did you mean `jobs`?
    "#);
}

#[test]
fn json_has_the_source_of_each_setting() {
    let workspace = Workspace::with_own_store("1");
    workspace.write("config.toml", "mirrors = [\"a=http://x\", \"b=http://y\"]\n");
    let mut command = workspace.command(["config", "show", "--json"]);
    command.env("EVAL_CONFIG", workspace.path().join("config.toml"));
    let ran = command.output().expect("the program starts");
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let settings = &json["settings"];
    assert_eq!(settings["mirrors"]["value"], serde_json::json!(["a=http://x", "b=http://y"]));
    assert_eq!(settings["mirrors"]["source"], "file");
    assert_eq!(settings["root"]["source"], "variable");
    assert_eq!(settings["nice"]["source"], "default");
    assert_eq!(settings["nice"]["default"], "0");
    assert_eq!(json["files"], serde_json::json!([workspace.path().join("config.toml")]));
}
