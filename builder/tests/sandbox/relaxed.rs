//! The promises of `--sandbox=relaxed` where the kernel lacks features: the attacks, run again
//! under a kernel that says that it has no Landlock, or neither Landlock nor seccomp filters nor
//! time namespaces.
//!
//! The page has the table (`docs/src/sandbox.md`, "Relaxed mode").

use crate::scene::{Scene, child_exe, try_run};
use sandbox::Status;
use sandbox::request::{Bind, SandboxMode};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Tests that start the child by itself, and bombs, which are the caller's affair.
const LEFT_OUT: [&str; 4] = ["bomb", "leftover_processes", "of_a_caller_that_has_one", "attacks::request"];

const WITHOUT_LANDLOCK: [&str; 1] = ["executable::of_the_monitor_is_out_of_reach"];

const WITHOUT_ANY: [&str; 27] = [
    "bpf::programs_and_maps_cannot_be_made",
    "call_tables::of_i386_ends_the_program",
    "device_nodes::cannot_be_made_and_fifos_can",
    "executable::of_the_monitor_is_out_of_reach",
    "extended_attributes::are_not_supported",
    "file_capabilities::cannot_be_set",
    "host_metadata::changes_where_the_build_writes",
    "host_metadata::of_the_job_servers_fifo_stays_as_it_is",
    "host_metadata::stays_as_it_is_on_every_mount",
    "host_metadata::stays_as_it_is_where_outputs_are_in_the_store",
    "host_metadata::stays_as_it_is_without_layers",
    "io_uring::is_no_call_of_this_kernel",
    "keyrings::cannot_be_used",
    "keyrings::keys_of_the_user_cannot_be_had",
    "memfd::gets_no_privileges_for_a_user_who_runs_it",
    "nested_namespaces::come_with_no_new_process",
    "nested_namespaces::of_every_kind_are_refused",
    "nested_namespaces::of_others_cannot_be_entered",
    "perf_events::cannot_be_opened",
    "setuid_files::are_not_left_by_a_failing_build",
    "setuid_files::cannot_be_made",
    "shared_inodes::cannot_be_kept_from_those_who_open_them",
    "shared_inodes::carry_nothing_from_one_build_to_another",
    "socket_families::that_reach_elsewhere_are_closed",
    "terminal::of_the_builds_own_works_and_takes_none",
    "terminal::words_cannot_be_put_into_one",
    "userfaultfd::cannot_be_opened",
];

/// A program that is started as the sandbox's child, and starts it under a filter that answers as
/// such a kernel would.
fn pretending(directory: &Path, calls: &str) -> std::path::PathBuf {
    // A copy, as nothing may forbid to write to it.
    let child = directory.join("child");
    fs::copy(child_exe(), &child).unwrap();
    let script = format!(
        r#"#!/usr/bin/perl
        my $program = pack 'SCCL', 0x20, 0, 0, 0;
        sub refuse {{ my ($call, $errno) = @_;
            $program .= pack 'SCCL' x 2, 0x15, 0, 1, $call, 0x06, 0, 0, 0x50000 | $errno }}
        sub refuse_flag {{ my ($call, $flag, $errno) = @_;
            $program .= pack 'SCCL' x 6, 0x15, 0, 5, $call, 0x20, 0, 0, 16, 0x54, 0, 0, $flag, 0x15, 1, 0, 0, 0x06, 0, 0, 0x50000 | $errno,
                0x20, 0, 0, 0 }}
        {calls};
        $program .= pack 'SCCL', 0x06, 0, 0, 0x7fff0000;
        my $header = pack 'S x6 P', length($program) / 8, $program;
        syscall({prctl}, 38, 1, 0, 0, 0) == 0 or die;
        syscall({seccomp}, 1, 0, $header) == 0 or die $!;
        exec {{'{}'}} 'eval-sandbox', @ARGV;"#,
        child.display(),
        prctl = libc::SYS_prctl,
        seccomp = libc::SYS_seccomp,
    );
    let path = directory.join("pretending");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Runs the attacks under such a kernel, and returns those that succeed.
#[track_caller]
fn open_under(calls: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["attacks::", "--test-threads", "2"])
        .args(LEFT_OUT.iter().flat_map(|left_out| ["--skip", left_out]))
        .env("SANDBOX_RUN", pretending(directory.path(), calls))
        .env("SANDBOX_MODE", "relaxed")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(text.contains("test result: ") && text.matches(" ... ok").count() >= 30, "{text}");
    let failed = |line: &str| Some(line.strip_prefix("test attacks::")?.strip_suffix(" ... FAILED")?.to_owned());
    let mut open: Vec<String> = text.lines().filter_map(failed).collect();
    open.sort();
    open
}

/// A run within a run would not end.
fn is_within() -> bool {
    std::env::var_os("SANDBOX_MODE").is_some()
}

#[test]
fn without_landlock_all_holds_but_the_executable() {
    if !is_within() {
        let refuse = format!("refuse({}, 38)", libc::SYS_landlock_create_ruleset);
        assert_eq!(open_under(&refuse), WITHOUT_LANDLOCK);
    }
}

#[test]
fn without_any_second_wall_namespaces_and_mounts_hold() {
    if !is_within() {
        let [landlock, seccomp, unshare] = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp, libc::SYS_unshare];
        let refuse = format!("refuse({landlock}, 38); refuse({seccomp}, 22); refuse_flag({unshare}, 0x80, 22)");
        assert_eq!(open_under(&refuse), WITHOUT_ANY);
    }
}

/// The kernel takes no directory as a layer that has mounts below it.
#[test]
fn without_an_overlay_inputs_are_shown_as_they_are_or_not_at_all() {
    if !fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|line| line.contains(" /dev/")) {
        return;
    }
    let scene = Scene::new();
    let mut request = scene.request("[ -e /source/dev/null ] && echo there");
    request.binds.push(Bind::read_only("/dev", "/source/dev"));
    request.mode = SandboxMode::Strict;
    let refused = try_run(&request).err().expect("there is no such overlay");
    assert!(refused.to_string().contains("overlay of /dev"), "{refused}");
    assert!(refused.help().is_some_and(|help| help.contains("set EVAL_ROOT")), "{refused:?}");
    request.mode = SandboxMode::Relaxed;
    let ran = try_run(&request).unwrap();
    assert_eq!((ran.outcome.status, ran.log.as_str()), (Status::Exited(0), "there\n"));
    assert_eq!(ran.outcome.skipped, ["inodes of the build's own for inputs"]);
}
