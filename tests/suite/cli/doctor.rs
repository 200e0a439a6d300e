//! `doctor`: the shape of its JSON, and an exit status that agrees with it.

use crate::workspace::Workspace;

#[test]
fn json_and_exit_status_agree() {
    let workspace = Workspace::with_own_store("1");
    let ran = workspace.run(["doctor", "--json", "--no-network"]);
    let report: serde_json::Value =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", workspace.text(&ran)));
    assert_eq!(report["version"], 1);
    assert_eq!(report["store"], workspace.store().to_str().expect("it is text"));
    let features = report["features"].as_array().expect("a list of features");
    assert!(features.len() > 5, "{report:#}");
    let mut missing = false;
    for feature in features {
        let (Some(ok), Some(required)) = (feature["ok"].as_bool(), feature["required"].as_bool()) else {
            panic!("{feature:#}");
        };
        assert!(feature["name"].as_str().is_some_and(|name| !name.is_empty()), "{feature:#}");
        assert!(feature["level"].as_str().is_some_and(|level| !level.is_empty()), "{feature:#}");
        // Each missing feature has a help.
        assert!(ok || feature["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{feature:#}");
        missing |= required && !ok;
    }
    assert_eq!(report["ok"], !missing);
    assert_eq!(ran.status.code(), Some(i32::from(missing)), "{}", workspace.text(&ran));
    for name in ["user namespaces", "seccomp", "landlock"] {
        let known = |feature: &serde_json::Value| {
            feature["name"].as_str().is_some_and(|found| found.to_lowercase().contains(name))
        };
        assert!(features.iter().any(known), "{name} is not asked for: {report:#}");
    }
}

/// The text for people has a line for each feature, and the same exit status.
#[test]
fn text_and_json_agree() {
    let workspace = Workspace::with_own_store("1");
    let report = workspace.json("doctor --json --no-network");
    let ran = workspace.run(["doctor", "--no-network"]);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    for feature in report["features"].as_array().expect("a list of features") {
        let name = feature["name"].as_str().expect("a name");
        assert!(text.lines().any(|line| line.contains(name)), "{name}:\n{text}");
    }
    assert_eq!(ran.status.success(), report["ok"] == true);
}

#[test]
fn a_store_that_cannot_be_made_is_a_failure() {
    let workspace = Workspace::with_own_store("1");
    let mut command = workspace.command(["doctor", "--no-network"]);
    let ran = command.env("EVAL_ROOT", "/proc/nope").output().expect("the program starts");
    let text = workspace.text(&ran);
    assert!(text.contains("MISSING  store") && text.contains("to do: set `EVAL_ROOT`"), "{text}");
    assert_eq!(ran.status.code(), Some(1), "{text}");
}

#[test]
fn names_of_other_programs_are_reported() {
    let workspace = Workspace::with_own_store("1");
    workspace.stdout("self install --to bin");
    let names = |path: String| {
        let mut command = workspace.command(["doctor", "--no-network", "--json"]);
        let ran = command.env("PATH", path).output().expect("the program starts");
        let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        let features = report["features"].as_array().expect("a list").clone();
        features.into_iter().find(|feature| feature["name"] == "names on the PATH").expect("it is asked for")
    };
    assert_eq!(
        names(String::new())["level"],
        "`ev` is not on the PATH, `build` is not on the PATH, `eval` is not on the PATH"
    );
    // The installed program is a copy, and so another one.
    let bin = workspace.path().join("bin");
    let found = names(bin.display().to_string());
    assert!(
        found["ok"] == false && found["level"].as_str().is_some_and(|text| text.contains("another program")),
        "{found}"
    );
}
