//! The probe shows the features that the machine lacks, for a user whose builds do not run.

use crate::scene::child_exe;
use sandbox::Sandbox;

#[test]
fn finds_everything_this_machine_needs() {
    let features = Sandbox::new(child_exe()).probe();
    for name in ["user namespaces", "landlock", "seccomp", "overlay", "sandbox"] {
        let feature = features.iter().find(|feature| feature.name == name).unwrap_or_else(|| panic!("{name}"));
        assert!(feature.ok && feature.remedy.is_none(), "{feature:?}");
    }
}

#[test]
fn says_so_where_the_sandbox_cannot_be_started() {
    let features = Sandbox::new("/nonexistent/eval".into()).probe();
    let sandbox = features.iter().find(|feature| feature.name == "sandbox").unwrap();
    assert!(!sandbox.ok && sandbox.required && sandbox.level.contains("ENOENT"), "{sandbox:?}");
}
