//! How much memory there is: the machine's, less where a control group of this process allows less.

use crate::sandbox::Membership;
use std::fs;

/// What this process and all it starts may use together, in bytes; `None` where the kernel does not tell.
pub fn total_bytes() -> Option<u64> {
    let machine = machine("MemTotal:")?;
    Some(limits(&Membership::all()).map(|(limit, _)| limit).fold(machine, u64::min))
}

/// What of it is free, or would be if caches of files were given up, in bytes; `None` where the kernel does not tell.
pub fn available_bytes() -> Option<u64> {
    let machine = machine("MemAvailable:")?;
    Some(limits(&Membership::all()).map(|(limit, used)| limit.saturating_sub(used)).fold(machine, u64::min))
}

/// A line of `/proc/meminfo`.
fn machine(what: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(what))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Limit and use of each group with a limit on memory that binds this process. What is used only to keep files at hand
/// does not count.
fn limits(memberships: &[Membership]) -> impl Iterator<Item = (u64, u64)> {
    memberships.iter().filter(|membership| membership.may_have("memory")).flat_map(|membership| {
        let [limit, used, cached] = match membership.version {
            1 => ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
            _ => ["memory.max", "memory.current", "inactive_file"],
        };
        membership.groups().filter_map(move |group| {
            let text = |file: &str| fs::read_to_string(group.join(file)).ok();
            // Without a limit there is no file, or no number in it.
            let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
            let limit = number(limit)?;
            let cached = text("memory.stat").and_then(|stat| value(&stat, cached)).unwrap_or(0);
            Some((limit, number(used)?.saturating_sub(cached)))
        })
    })
}

fn value(table: &str, name: &str) -> Option<u64> {
    table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn group(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    #[test]
    fn every_group_above_counts_and_caches_do_not() {
        let place = tempfile::tempdir().unwrap();
        let (two, one) = (place.path().join("unified"), place.path().join("memory"));
        group(
            &two.join("a"),
            &[("memory.max", "1000\n"), ("memory.current", "700\n"), ("memory.stat", "anon 1\ninactive_file 300\n")],
        );
        group(&two.join("a/b"), &[("memory.max", "max\n"), ("memory.current", "600\n")]);
        group(&one, &[("memory.limit_in_bytes", "9223372036854771712\n"), ("memory.usage_in_bytes", "5000\n")]);
        group(
            &one.join("job"),
            &[
                ("memory.limit_in_bytes", "800\n"),
                ("memory.usage_in_bytes", "500\n"),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 200\n"),
            ],
        );
        let mounts = format!(
            "30 24 0:26 / {} rw - cgroup2 cgroup2 rw\n31 24 0:27 / {} rw - cgroup cgroup rw,memory\n",
            two.display(),
            one.display()
        );
        let found = Membership::in_texts(&mounts, "4:memory:/job\n0::/a/b\n");
        assert_eq!(limits(&found).collect::<Vec<_>>(), [(1000, 400), (800, 300), (9_223_372_036_854_771_712, 5000)]);
        assert_eq!(limits(&Membership::in_texts(&mounts, "")).count(), 0);
    }

    #[test]
    fn this_machine_has_some() {
        let (total, available) = (total_bytes().unwrap(), available_bytes().unwrap());
        assert!(0 < available && available <= total);
    }
}
