//! `doctor`: the shape of its JSON, and an exit status that agrees with it.

use crate::workspace::Workspace;

#[test]
fn json_and_exit_status_agree() {
    let workspace = Workspace::with_own_store("1");
    let ran = workspace.run(["doctor", "--json"]);
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
    let report = workspace.json("doctor --json");
    let ran = workspace.run(["doctor"]);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    for feature in report["features"].as_array().expect("a list of features") {
        let name = feature["name"].as_str().expect("a name");
        assert!(text.lines().any(|line| line.contains(name)), "{name}:\n{text}");
    }
    assert_eq!(ran.status.success(), report["ok"] == true);
}
